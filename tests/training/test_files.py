"""A file is written whole, or the old one stays."""

import os

import pytest

from harness.training.files import write_whole


def test_a_file_that_is_not_written_to_its_end_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "runs.csv"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full") as raised:
        write_whole(path, b"new ", b"and longer")
    assert raised.value.errno == 28 and raised.value.filename == str(path)
    assert raised.value.__notes__ == ["at least 14 bytes must find room"]
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_be_written_is_named_by_its_own_name(tmp_path):
    path = tmp_path / "absent" / "runs.csv"
    with pytest.raises(FileNotFoundError) as raised:
        write_whole(path, b"new")
    assert raised.value.filename == str(path) and not hasattr(raised.value, "__notes__")
