import pytest
from stored import reader_of

from harness.results import names
from harness.store.locations import Locations


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "run: must be STUDY:ARM, .* run='small'. Write for example small:(wide|narrow)."),
        ("tiny:wide", "got study='tiny'. It holds .* stored in the folder that `harness run` was"),
        ("smal:wide", r"study: must be in sqlite.* but got study='smal'. Did you mean small\?"),
        ("small:wode", r"arm: must be in small, but got arm='wode'. Did you mean wide\?"),
        (
            "small:wide@1",
            r"but got arm='wide@1'. Did you mean wide\? @1 is an arm's second repeat, "
            "the first has no",
        ),
        (
            "small:wide:99",
            "seed: must be in small:wide, but got seed='99'. It holds 1000, 1001, .*1004",
        ),
        ("f" * 32, "run: must be in sqlite.*, but got run='f+', which is not"),
    ],
)
def test_a_name_that_is_not_in_the_store_is_refused(store, name, message):
    with pytest.raises(names.ArchiveError, match=message):
        names.Archive(Locations(store)).find(name)


def test_an_arms_own_run_is_no_run_to_ask_for(store):
    parent = reader_of(store, "small").arm_runs()["wide"]
    with pytest.raises(
        names.ArchiveError,
        match=f"must be a trial or a replicate, but got run='{parent}', an arm of",
    ):
        names.Archive(Locations(store)).find(parent)


def test_a_run_has_one_name_whether_by_id_or_by_seed(store):
    by_name = names.Archive(Locations(store)).find("small:wide:1003")
    by_id = names.Archive(Locations(store)).find(by_name.runs.iloc[0]["run_id"])
    assert by_name.is_run and by_id.name == by_name.name == "small:wide:1003"
    assert names.Archive(Locations(store)).find("small:wide").name == "small:wide"


def test_nothing_is_made_where_there_is_no_store(tmp_path):
    with pytest.raises(
        names.ArchiveError, match="tracking: the database must exist, but got .*mlflow.db"
    ):
        names.Archive(Locations(tmp_path))
    assert not list(tmp_path.iterdir())
