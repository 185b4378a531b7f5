"""Databases that are made whole or not at all, whatever ends the process."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Makes a file beside its place and moves it there, unless another process has.

    Libraries make their tables one by one: a second process that meets half of them fails, and so
    does every later one where the making was killed.

    Args:
        path: The file that is missing; its folder is made too.
        make: Makes the file at a path that it is given, and leaves nothing open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.stem}.new")
    with FileLock(path.with_name(f".{path.stem}.new.lock")):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        make(making / path.name)
        os.replace(making / path.name, path)
        making.rmdir()
