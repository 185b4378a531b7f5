from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from sqlalchemy import make_url

from harness.store.address import StoreError
from harness.store.locations import Locations


def decoding(address):
    """Reads an address as SQLAlchemy 2.1 does."""
    return SimpleNamespace(database=unquote(address.removeprefix("sqlite:///").partition("?")[0]))


def literal(address):
    """Reads an address as SQLAlchemy 2.0 does."""
    return SimpleNamespace(database=address.removeprefix("sqlite:///").partition("?")[0])


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_whose_databases_would_lie_elsewhere_is_refused(name, monkeypatch):
    monkeypatch.setattr("sqlalchemy.make_url", decoding)
    locations = Locations(Path(name, "here"))
    for address in ("tracking_uri", "storage_url"):
        with pytest.raises(StoreError, match="folder: must have a path that") as refused:
            getattr(locations, address)
        assert f"{name}/here'" in str(refused.value)
        assert "Rename it, or choose another with --folder." in str(refused.value)


def test_an_address_that_is_read_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr("sqlalchemy.make_url", decoding)
    with pytest.raises(StoreError) as refused:
        _ = Locations(Path("here"), tracking="sqlite:///sub%20dir/mlflow.db").tracking_uri
    assert str(refused.value) == (
        "tracking: must name the file that SQLAlchemy reads from it, but got "
        "tracking='sqlite:///sub%20dir/mlflow.db', which it reads as "
        f"'{Path('here/sub dir/mlflow.db').resolve()}'. Write its path without codes."
    )


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_in_which_no_database_lies_may_have_any_name(name, tmp_path):
    kept = f"sqlite:///{tmp_path}/mlflow.db"
    assert Locations(Path(name), tracking=kept).tracking_uri == kept


def test_a_code_that_sqlalchemy_takes_as_it_is_is_no_fault(monkeypatch):
    monkeypatch.setattr("sqlalchemy.make_url", literal)
    path = Path("a%20b").resolve()
    assert Locations(path).tracking_uri == f"sqlite:///{path}/mlflow.db"


@pytest.mark.parametrize("name", ["h%a", "a%20b", "what?", "plain"])
def test_a_file_lies_where_sqlalchemy_reads_it_or_is_refused(name, tmp_path):
    """It asks the release that is installed."""
    try:
        address = Locations(tmp_path / name).tracking_uri
    except StoreError:
        return
    assert make_url(address).database == str(tmp_path / name / "mlflow.db")


def test_options_of_an_address_are_kept():
    address = Locations(Path("here"), storage="sqlite:///optuna.db?timeout=5").storage_url
    assert address == f"sqlite:///{Path('here').resolve()}/optuna.db?timeout=5"


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
