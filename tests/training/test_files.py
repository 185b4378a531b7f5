"""A file is written whole, or the old one stays."""

import os

import pytest

from harness.training.files import write_whole


def test_a_file_that_is_not_written_to_its_end_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "runs.csv"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
