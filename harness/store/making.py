"""Databases that are made whole or not at all, whatever ends the process."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from harness import cache
from harness.store import patience
from harness.training.files import write_whole


def make_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Makes a file beside its place and moves it there, unless another process has.

    Libraries make their tables one by one: a second process that meets half of them fails, and so
    does every later one where the making was killed.

    Args:
        path: The file that is missing; its folder is made too.
        make: Makes the file at a path that it is given, and leaves nothing open.

    Raises:
        OSError: The disk, or a right on it, lacks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.stem}.new")
    with FileLock(path.with_name(f".{path.stem}.new.lock")):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(making, ignore_errors=True)
        if making.is_symlink() or making.is_file():  # somebody else put it there
            making.unlink()
        making.mkdir()
        try:
            # Where one fails, MLflow keeps its connection for every later one at that address.
            made = Path(tempfile.mkdtemp(dir=making), path.name)
            make(made)
            os.replace(made, path)
        except Exception as error:  # each library raises its own
            if patience.is_lasting(error):
                raise patience.lacking(error, path) from error
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)


def kept_copy(*libraries: str) -> Path:
    """Returns the place in the cache folder of a database as these libraries make it.

    Their versions decide what is in it. It need not be there.
    """
    name = "-".join(f"{library}-{version(library)}" for library in libraries)
    return cache.cache_folder() / "databases" / f"{name}.db"


def copied(copy: Path, path: Path) -> bool:
    """Copies a database that is kept, where it is there, whole and the user's own.

    MLflow makes its tables by all of its migrations, which takes most of a second.

    Returns:
        Whether that was done.
    """
    try:
        if not cache.is_ours(copy.stat()):
            return False  # its triggers would be whoever's who wrote it
        shutil.copyfile(copy, path)
        with closing(sqlite3.connect(path)) as file:
            has_tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone() > (0,)
            if has_tables and file.execute("PRAGMA quick_check").fetchall() == [("ok",)]:
                return True
    except (OSError, sqlite3.Error):
        pass
    path.unlink(missing_ok=True)
    return False


def keep(path: Path, copy: Path) -> None:
    """Keeps a copy of a fresh database for :func:`copied`, if that can be done."""
    with suppress(OSError, cache.CacheError):
        cache.make_private(copy.parent)
        write_whole(copy, path.read_bytes())
        copy.chmod(0o600)
