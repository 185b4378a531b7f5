from pathlib import Path

import pytest

from harness.store.address import StoreError
from harness.store.locations import Locations


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_whose_databases_would_lie_elsewhere_is_refused(name):
    locations = Locations(Path(name, "here"))
    for address in ("tracking_uri", "storage_url"):
        with pytest.raises(StoreError, match="folder: must have a path without") as refused:
            getattr(locations, address)
        assert f"{name}/here'. Rename it" in str(refused.value)


def test_a_journal_and_a_server_take_any_folder():
    in_journal = Locations(Path("what?"), "http://host:5000", "journal:///optuna.journal")
    assert in_journal.tracking_uri == "http://host:5000"
    assert in_journal.storage_url.endswith("/what?/optuna.journal")


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'q"q', "ünï 文", "h#a", "h%a", "-dash", "do$HOME`x`"]
)
def test_other_names_of_folders_are_taken_as_they_are(name):
    locations = Locations(Path(name))
    assert locations.tracking_uri == f"sqlite:///{Path(name).resolve()}/mlflow.db"
    assert locations.artifacts == Path(name, "artifacts").resolve()
