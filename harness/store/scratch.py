"""Temporary folders, and those of processes that were killed before they could remove theirs."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.cache import is_ours

PREFIX = "recurrent-bench-files-"
LOCK = "lock"
"""Is held while a folder is in use; who is killed holds it no longer, in whatever container."""
MAKING_SECONDS = 60
"""A younger folder may not have its lock yet."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes an empty folder, and removes it with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as outer, FileLock(Path(outer, LOCK)):
        folder = Path(outer, "files")
        folder.mkdir()
        yield folder


def remove_left() -> None:
    """Removes the folders that killed processes of this user left."""
    for outer in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = outer.lstat()
            if not is_ours(found) or time.time() - found.st_mtime < MAKING_SECONDS:
                continue
            with FileLock(outer / LOCK, timeout=0):
                shutil.rmtree(outer, ignore_errors=True)
        except (OSError, Timeout):  # another process was faster, or works there
            continue
