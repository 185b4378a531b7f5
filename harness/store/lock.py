"""One process at a time runs a study, or removes what is of it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from filelock import FileLock, Timeout

from harness.store.locations import Locations


class LockedError(ValueError):
    """Another process holds the study; the message says which."""


@contextmanager
def locked(study_name: str, locations: Locations) -> Iterator[None]:
    """Holds the study: a kernel's file lock beside the database, which dies with its process.

    Raises:
        LockedError: Another process holds it.
    """
    locations.folder.mkdir(parents=True, exist_ok=True)
    lock_path = locations.folder / f".{study_name}.lock"
    holder = locations.folder / f".{study_name}.holder.lock"
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise LockedError(
            f"study: must be run by one process at a time, but {study_name!r} is held by {who}. "
            "Wait for it, or end it."
        ) from error
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        text = f"process {os.getpid()} on {platform.node()} since {now}"
        holder.write_text(text, encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
