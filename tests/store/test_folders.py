"""A folder that takes no file is told as that."""

from pathlib import Path

import pytest

from harness.store.folders import FolderError, take_files
from harness.store.locations import Locations
from harness.store.lock import locked


def test_a_folder_is_made_and_holds_nothing(tmp_path):
    take_files(tmp_path / "a" / "b", "out", "Name another.")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("part", ["", "/deep"])
def test_a_place_that_is_no_folder_is_told_with_the_reason(tmp_path, part):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"^out: must be .*file.*\(the system says: .*\)"):
        take_files(tmp_path / f"file{part}", "out", "Name another.")


def test_a_folder_that_takes_no_file_is_not_said_to_be_held():
    # The kernel's own folder exists, and nobody can make a file in it.
    with pytest.raises(FolderError, match="folder='/proc'.*Choose another with --folder"):
        locked("small", Locations(Path("/proc"))).__enter__()
