"""A file is written whole, or the old one stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.training.files import write_whole

ROOT = Path(__file__).parents[2]
KILLED = """
import builtins, os, signal, sys
from pathlib import Path
from harness.training.files import write_whole

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

place, path = sys.argv[1:]
setattr(builtins if place == "open" else os, place, die)
write_whole(Path(path), b"new ", b"and longer")
"""


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


@pytest.mark.parametrize("place", ["open", "fsync", "replace"])
def test_whoever_is_killed_within_a_write_leaves_the_old_file(tmp_path, place):
    """As an export is written: what was half written lies beside it, hidden, and is no table."""
    path = tmp_path / "runs.csv"
    write_whole(path, b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, place, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert not [each for each in tmp_path.glob("*.csv") if each != path]
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_may_not_be_written_is_named_by_its_own_name(tmp_path):
    path = tmp_path / "absent" / "runs.csv"
    with pytest.raises(FileNotFoundError) as raised:
        write_whole(path, b"new")
    assert raised.value.filename == str(path) and not hasattr(raised.value, "__notes__")
