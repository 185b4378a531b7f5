"""One process at a time runs a study, or removes what is of it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harness.store.address import AddressedError
from harness.store.locations import Locations


class LockedError(AddressedError):
    """Another process holds the study; the message says which."""


@contextmanager
def locked(study_name: str, locations: Locations) -> Iterator[None]:
    """Holds the study: a kernel's file lock beside the database, which dies with its process.

    Raises:
        LockedError: Another process holds it.
    """
    locations.folder.mkdir(parents=True, exist_ok=True)
    lock_path, holder = paths(study_name, locations)
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(
            f"study: must be run by one process at a time, but {study_name!r} is held by "
            f"{_who(holder)}. Wait for it, or end it."
        ) from error
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        _write_new(holder, f"process {os.getpid()} on {platform.node()} since {now}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def holder_of(study_name: str, locations: Locations) -> str | None:
    """Returns which process holds the study; None where none does. Nothing is made."""
    lock_path, holder = paths(study_name, locations)
    if not lock_path.exists():
        return None
    try:
        with FileLock(lock_path, timeout=0):
            return None
    except Timeout:
        return _who(holder)


def paths(study_name: str, locations: Locations) -> tuple[Path, Path]:
    """Returns the file of a study's lock, and the one that says who holds it.

    Raises:
        LockedError: The name would lead out of the folder; none of this bench's does.
    """
    if Path(study_name).name != study_name:
        raise LockedError(
            f"study: a name must be one word without slashes, but got study={study_name!r}, which "
            "this bench did not make. Look at it in MLflow: harness ui."
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
