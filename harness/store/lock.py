"""One process at a time runs a study, or removes what is of it."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harness.store import advisory_lock
from harness.store.address import SQLITE, sqlite_path
from harness.store.advisory_lock import AdvisoryLock, LockedError, key_of
from harness.store.databases import is_postgresql
from harness.store.folders import take_files
from harness.store.locations import TRACKING, Locations

__all__ = ["LockedError", "database_of", "held", "holder_of", "locked", "paths"]


Assure = Callable[..., None]
"""Makes sure that a study is still held (:meth:`AdvisoryLock.assure`); raises where it is not."""


@contextmanager
def locked(study_name: str, locations: Locations) -> Iterator[Assure]:
    """Holds the study, and yields what makes sure that it is still held.

    A kernel's file lock in the folder dies with its process. Where MLflow's file lies elsewhere,
    which another folder may name too, one beside that file is held as well; and where a store is in
    PostgreSQL, which other machines reach, a lock in that database.

    Raises:
        LockedError: Another process holds it.
        FolderError: No file can be made in the folder.
    """
    with ExitStack() as files:
        # Else a folder that takes no file would look like a lock that another process holds.
        take_files(locations.folder, "folder", "Choose another with --folder.")
        taken = [
            files.enter_context(_file_locked(study_name, *pair))
            for pair in _all_paths(study_name, locations)
        ]
        holder, url = taken[0][0], database_of(locations)
        if url is None:

            def assure(*, at_once: bool = False) -> None:
                for _, each in taken:
                    each(at_once=at_once)

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
def _file_locked(study_name: str, lock_path: Path, holder: Path) -> Iterator[tuple[str, Assure]]:
    """Holds the lock of a file, and yields who this process is and since when, and what makes sure
    that the file is still there: whoever removes it lets a second process in.
    """
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
        with suppress(OSError):  # a file that is left says nothing, and an error would hide others
            if is_own():  # else the file says who holds the study now
                holder.unlink()
        lock.release()


def holder_of(study_name: str, locations: Locations) -> str | None:
    """Returns which process holds the study; None where none does. Nothing is made."""
    for lock_path, holder in _all_paths(study_name, locations):
        if lock_path.exists() and (who := _file_holder(lock_path, holder)):
            return who
    url = database_of(locations)
    return None if url is None else advisory_lock.holder_of(url, _key(study_name, locations))


def _file_holder(lock_path: Path, holder: Path) -> str | None:
    try:
        with FileLock(lock_path, timeout=0):
            return None
    except Timeout:
        return _who(holder)
    except OSError:  # a lock that only its owner may take, or a folder that is read alone
        return _who(holder) if holder.exists() else None


def _all_paths(study_name: str, locations: Locations) -> list[tuple[Path, Path]]:
    """Returns the files of the lock in the folder, and of that beside MLflow's file elsewhere."""
    own, path = paths(study_name, locations), sqlite_path(locations.tracking_uri)
    if path is None:
        return [own]
    file = path.resolve()
    # Whoever names its folder alone has the first name; another file there may hold another study.
    is_default = TRACKING == f"{SQLITE}{file.name}"
    beside = paths(
        study_name if is_default else f"{study_name}.{file.name}", Locations(file.parent)
    )
    is_same = beside[0] == own[0].parent.resolve() / own[0].name
    return [own] if is_same else [own, beside]


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
