"""The folder of what can be made again, such as compiled cells: whole, unchanged, the user's own.

A file is on the disk before it has its name; beside it lie its checksum and its source. Two
processes may make the same file at once: each makes one of its own and renames it.
"""

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PRIVATE = 0o700
"""The mode of the folder and of what it holds: whoever may write there runs code as the user."""
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
MAKING = "making-"
"""Begins the names of folders in which a file is being made."""
STALE_SECONDS = 24 * 3600
"""So old is a half-made file whose maker was killed."""
COMPILED = (".so", ".cubin")
"""What ends the names of compiled code: libraries of the host, and kernels of a GPU."""
_TRUSTED = (os.geteuid(), 0) if hasattr(os, "geteuid") else ()


class CacheError(RuntimeError):
    """The folder cannot be written, or it is another user's."""


def cache_folder() -> Path:
    """Returns the folder of what can be had again: HARNESS_CACHE, else the platform's.

    It need not exist.
    """
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named).expanduser()
    try:
        import platformdirs  # imported late: a worker may lack it
    except ImportError:
        return Path.home() / ".cache" / "harness"
    return platformdirs.user_cache_path("harness", appauthor=False)


def compiled_folder() -> Path:
    """Returns the folder of compiled code, which need not exist."""
    return cache_folder() / "engine"


def compiled_file(name: str, key: Sequence[str], suffix: str) -> Path:
    """Returns where the code is kept that follows from a key.

    Args:
        name: Begins the file's name, for a person who looks into the cache.
        key: Whatever the code depends on.
        suffix: One of :data:`COMPILED`.
    """
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()
    return compiled_folder() / f"{name}-{digest[:24]}{suffix}"


def make_once(file: Path, source: Path, text: str, make: Callable[[Path, Path], None]) -> None:
    """Makes a file of compiled code where the cache does not hold it.

    Args:
        file: As :func:`compiled_file` names it.
        source: What lies beside it, for whoever wants to read it.
        text: Of the source.
        make: Compiles its first argument into its second.

    Raises:
        CacheError: The folder cannot be written, or is another user's.
    """
    try:
        make_private(file.parent)
        if not is_sound(file):
            _make(file, source, text, make)
    except OSError as error:
        raise CacheError(
            f"{file.parent}: must hold compiled code, but got error={str(error)!r}. "
            "Name another folder with HARNESS_CACHE."
        ) from error


def _make(file: Path, source: Path, text: str, make: Callable[[Path, Path], None]) -> None:
    _remove_stale(file.parent)
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=file.parent) as folder:
        made, made_source = Path(folder) / file.name, Path(folder) / source.name
        made_source.write_text(text, encoding="utf-8")
        make(made_source, made)
        made.chmod(PRIVATE)
        its_checksum = checksum_file(made)
        its_checksum.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
        for part in (made_source, its_checksum, made):
            with part.open("rb") as content:
                os.fsync(content.fileno())
            os.replace(part, file.parent / part.name)


def is_sound(file: Path) -> bool:
    """Returns whether code is there that may be run: ours, and as it was compiled.

    A library that was cut off or damaged would not raise: its process ends by a signal.
    """
    try:
        found, content = file.stat(), file.read_bytes()
        checksum = checksum_file(file).read_text(encoding="ascii")
    except (OSError, ValueError):
        return False
    return is_ours(found) and checksum == hashlib.sha256(content).hexdigest()


def is_ours(file: os.stat_result) -> bool:
    """Returns whether nobody but the user, or root, can have written a file."""
    return file.st_uid in _TRUSTED and not file.st_mode & WRITABLE_BY_OTHERS


def checksum_file(file: Path) -> Path:
    """Returns the file that holds the checksum of another; earlier versions wrote none."""
    return file.with_suffix(".sha256")


def make_private(folder: Path) -> None:
    """Makes the folder one that only its owner writes to.

    Raises:
        CacheError: It is another user's: what lies there is not to be run.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    found = folder.stat()
    if found.st_uid not in _TRUSTED:
        raise CacheError(
            f"{folder}: must be a folder of the user who runs, but got uid={found.st_uid}. "
            "Name another with HARNESS_CACHE."
        )
    if found.st_mode & WRITABLE_BY_OTHERS and found.st_uid == os.geteuid():
        folder.chmod(PRIVATE)


def _remove_stale(folder: Path) -> None:
    """Removes what killed processes left half made."""
    for path in folder.glob(f"{MAKING}*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:  # another process was faster
            continue
