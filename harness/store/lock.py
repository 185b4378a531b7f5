"""One process at a time runs a study, or removes what is of it."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harness.store import advisory_lock
from harness.store.address import sqlite_path
from harness.store.advisory_lock import AdvisoryLock, LockedError, key_of
from harness.store.databases import is_postgresql
from harness.store.folders import take_files
from harness.store.locations import Locations

__all__ = ["LockedError", "database_of", "held", "holder_of", "locked", "paths"]


Assure = Callable[..., None]
"""Makes sure that a study is still held (:meth:`AdvisoryLock.assure`); raises where it is not."""


@contextmanager
def locked(study_name: str, locations: Locations) -> Iterator[Assure]:
    """Holds the study, and yields what makes sure that it is still held.

    A kernel's file lock in the folder dies with its process. Where a store is in PostgreSQL, which
    other machines reach, a lock in that database is held too.

    Raises:
        LockedError: Another process holds it.
        FolderError: No file can be made in the folder.
    """
    with _file_locked(study_name, locations) as (holder, assure):
        url = database_of(locations)
        if url is None:
            yield assure
            return
        lock = AdvisoryLock(url, _key(study_name, locations), study_name, holder)
        try:
            lock.take()
            yield lock.assure
        finally:
            lock.release()


def held(*, at_once: bool = False) -> None:
    """Makes sure of nothing: for a study that no other process knows of."""
    del at_once


def database_of(locations: Locations) -> str | None:
    """Returns the database that holds a study's lock: MLflow's or Optuna's in PostgreSQL."""
    uris = (locations.tracking_uri, locations.storage_url)
    return next((uri for uri in uris if is_postgresql(uri)), None)


def _key(study_name: str, locations: Locations) -> int:
    """Returns the key of a study's lock.

    A study in a SQLite file is another than one of its name in another file, although their
    searches may lie in one database.
    """
    file = sqlite_path(locations.tracking_uri)
    return key_of(study_name if file is None else f"{study_name} in {file.resolve()}")


@contextmanager
def _file_locked(study_name: str, locations: Locations) -> Iterator[tuple[str, Assure]]:
    """Holds the lock in the folder, and yields who this process is and since when, and what makes
    sure that the file is still there: whoever removes it lets a second process in.
    """
    # Else a folder that takes no file would look like a lock that another process holds.
    take_files(locations.folder, "folder", "Choose another with --folder.")
    lock_path, holder = paths(study_name, locations)
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(
            f"study: must be run by one process at a time, but {study_name!r} is held by "
            f"{_who(holder)}. Wait for it, or end it."
        ) from error
    own = lock_path.stat()

    def is_own() -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(lock_path.stat(), own)
        return False

    def assure(*, at_once: bool = False) -> None:
        del at_once
        if is_own():
            return
        raise LockedError(
            f"study: {study_name!r} must be held to its end, but {lock_path} was removed or "
            "replaced, so that another process may hold it. The same command goes on from what "
            "is stored, once no other runs."
        )

    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        text = f"process {os.getpid()} on {platform.node()} since {now}"
        _write_new(holder, text)
        yield text, assure
    finally:
        if is_own():  # else the file says who holds the study now
            holder.unlink(missing_ok=True)
        lock.release()


def holder_of(study_name: str, locations: Locations) -> str | None:
    """Returns which process holds the study; None where none does. Nothing is made."""
    lock_path, holder = paths(study_name, locations)
    if lock_path.exists():
        try:
            with FileLock(lock_path, timeout=0):
                pass
        except Timeout:
            return _who(holder)
        except OSError:  # a lock that only its owner may take, or a folder that is read alone
            return _who(holder) if holder.exists() else None
    url = database_of(locations)
    return None if url is None else advisory_lock.holder_of(url, _key(study_name, locations))


def paths(study_name: str, locations: Locations) -> tuple[Path, Path]:
    """Returns the file of a study's lock, and the one that says who holds it.

    Raises:
        LockedError: The name would lead out of the folder; none of this bench's does.
    """
    if Path(study_name).name != study_name:
        raise LockedError(
            f"study: a name must be one word without slashes, but got study={study_name!r}, which "
            "this bench did not make. Look at it in MLflow: harness ui"
            f"{locations.reading_options}"
        )
    folder = locations.folder
    return folder / f".{study_name}.lock", folder / f".{study_name}.holder.lock"


def _who(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        return "another process"


def _write_new(path: Path, text: str) -> None:
    """Writes a file in place of what has its name: a link that is planted there is not followed."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
