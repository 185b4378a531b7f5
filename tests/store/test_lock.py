"""A file names the holder of a study: no planted link is followed, no name leads elsewhere."""

import os
from contextlib import nullcontext, suppress

import pytest

from harness.store.locations import Locations
from harness.store.lock import LockedError, holder_of, locked


def test_a_link_in_place_of_the_holder_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".small.holder.lock").symlink_to(victim)
    with locked("small", Locations(tmp_path)):
        assert not (tmp_path / ".small.holder.lock").is_symlink()
        assert "process" in (tmp_path / ".small.holder.lock").read_text()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_a_link_in_place_of_the_lock_changes_no_file(tmp_path, plant):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    plant(victim, tmp_path / ".small.lock")
    with suppress(OSError, LockedError), locked("small", Locations(tmp_path)):
        pass
    assert victim.read_text() == "mine"


def test_who_holds_a_study_is_told_and_nothing_is_made(tmp_path):
    locations = Locations(tmp_path)
    assert holder_of("small", locations) is None and list(tmp_path.iterdir()) == []
    with locked("small", locations):
        assert holder_of("small", locations).startswith("process ")
    assert holder_of("small", locations) is None


@pytest.mark.parametrize("is_replaced", [False, True])
def test_whose_lock_is_removed_writes_no_more(tmp_path, is_replaced):
    locations = Locations(tmp_path)
    with locked("small", locations) as assure:
        assure()
        (tmp_path / ".small.lock").unlink()
        with locked("small", locations) if is_replaced else nullcontext():
            with pytest.raises(LockedError, match="small.lock was removed or replaced"):
                assure()


def test_who_has_lost_the_lock_leaves_its_successors_name(tmp_path):
    locations = Locations(tmp_path)
    with locked("small", locations):
        (tmp_path / ".small.lock").unlink()
        successor = locked("small", locations)
        successor.__enter__()
        (tmp_path / ".small.holder.lock").write_text("the successor")
    assert (tmp_path / ".small.holder.lock").read_text() == "the successor"
    successor.__exit__(None, None, None)
    assert holder_of("small", locations) is None


@pytest.mark.parametrize("name", ["git/../../../victim", "/tmp/x", "a/b"])
def test_no_name_leaves_its_folder(tmp_path, name):
    with pytest.raises(LockedError, match="one word without slashes"):
        locked(name, Locations(tmp_path / "deep")).__enter__()


def test_a_hint_holds_no_password(tmp_path):
    locations = Locations(tmp_path, "https://me:s3cret@host", "postgresql://me:s3cret@host/db")
    assert "s3cret" not in locations.options and "https://me:***@host" in locations.options


@pytest.mark.parametrize("name", ["mlflow.db", "all.db"])
def test_a_file_of_mlflows_that_two_folders_name_holds_its_study_once(tmp_path, name):
    shared, (first, second) = tmp_path / "shared", (tmp_path / "first", tmp_path / "second")
    shared.mkdir()
    of = {folder: Locations(folder, f"sqlite:///{shared / name}") for folder in (first, second)}
    with locked("small", of[first]) as assure:
        assure()
        assert holder_of("small", of[second]).startswith("process ")
        with pytest.raises(LockedError, match="held by process"), locked("small", of[second]):
            pass
        others = [("large", of[second]), ("small", Locations(second, f"sqlite:///{shared}/b.db"))]
        for study, locations in others:
            with locked(study, locations):
                pass
        for lock in shared.glob(".small*.lock"):
            lock.unlink()
        with pytest.raises(LockedError, match="was removed or replaced"):
            assure()
    assert holder_of("small", of[second]) is None


def test_a_folder_and_another_that_names_its_file_hold_a_study_once(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    elsewhere = Locations(other, f"sqlite:///{own}/mlflow.db")
    with locked("small", Locations(own)):
        with pytest.raises(LockedError, match="held by process"), locked("small", elsewhere):
            pass
    with locked("small", elsewhere):
        with pytest.raises(LockedError, match="held by process"), locked("small", Locations(own)):
            pass


def test_a_name_of_the_holder_that_cannot_be_removed_hides_no_reason(tmp_path):
    locations = Locations(tmp_path)
    with pytest.raises(ValueError, match="the reason"), locked("small", locations):
        (tmp_path / ".small.holder.lock").unlink()
        (tmp_path / ".small.holder.lock").mkdir()
        raise ValueError("the reason")
    assert holder_of("small", locations) is None
