"""Temporary folders of processes that were killed are removed, those in use are not."""

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from harness.store import scratch

HOLD = """
from harness.store.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "curve.csv").write_text("update")
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that holds a folder which is old, in a folder of temporary files of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout.readline().strip()
    (outer,) = tmp_path.iterdir()
    os.utime(outer, (0, 0))
    with process:
        yield process, outer
        process.kill()


def test_a_folder_is_removed_with_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.scratch_folder() as folder:
        assert list(folder.iterdir()) == []
        (folder / "curve.csv").write_text("update")
        scratch.remove_left()
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(holder, tmp_path):
    process, outer = holder
    scratch.remove_left()
    assert (outer / "files" / "curve.csv").exists()
    os.utime(outer, (0, 0))  # asking for the lock was a change
    process.send_signal(signal.SIGKILL)
    process.wait()
    scratch.remove_left()
    assert list(tmp_path.iterdir()) == []


def test_what_is_young_or_a_link_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    young, target = tmp_path / f"{scratch.PREFIX}young", tmp_path / "own"
    young.mkdir()
    target.mkdir()
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(target)
    scratch.remove_left()
    assert young.is_dir() and target.is_dir()
