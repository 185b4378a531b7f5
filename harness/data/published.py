"""Published files, each verified against its checksum: what is shipped, and what the user brings.

Nothing is downloaded but from a mirror that the user names: see :mod:`harness.data.mirror`.
"""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.cache import cache_folder
from harness.data.errors import DataError

_REMEDY = "Remove it, and put the published file there."
SHIPPED = Path(__file__).parent / "texts"
MIRROR = "HARNESS_MIRROR"
"""The environment variable that names the address of a folder with files that are not here."""


@dataclass(frozen=True)
class Published:
    """A file that somebody published, and the checksum that proves a copy of it.

    Attributes:
        name: Its name.
        algorithm: Of the checksum.
        checksum: In hexadecimal digits.
        size: What a message says of its size; empty: nothing.
    """

    name: str
    algorithm: Literal["MD5", "SHA-1", "SHA-256"]
    checksum: str
    size: str = ""


def data_folder() -> Path:
    """Returns the folder named by HARNESS_DATA, else the cache folder. It need not exist."""
    named = os.environ.get("HARNESS_DATA")
    return Path(named).expanduser() if named else cache_folder()


def read_shipped(file: Published) -> bytes:
    """Returns the verified content of a file that comes with the bench.

    Raises:
        DataError: The file is missing or was changed, as by a conversion of its line ends.
    """
    path = SHIPPED / file.name
    remedy = "It is part of the bench: install the bench again."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: must be a readable file, but got error={str(error)!r}. {remedy}"
        ) from error
    _verify(file, content, where=path, remedy=remedy)
    return content


def read_own(file: Published) -> bytes:
    """Returns the verified content of a file that the user put into the data folder.

    Raises:
        DataError: The file is not there, or its checksum is another.
    """
    path = data_folder() / file.name
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise absent(file, path, "Or name a copy with path.") from error
    except OSError as error:
        raise DataError(
            f"{path}: must be a readable file, but got error={str(error)!r}. Mend HARNESS_DATA."
        ) from error
    _verify(file, content, where=path, remedy=_REMEDY)
    return content


def absent(file: Published, path: Path, more: str) -> DataError:
    """Returns the error of a file that is not at its path, which says what to put where."""
    size = f" ({file.size})" if file.size else ""
    return DataError(
        f"{path}: must be there, but got no such file, and it may not be shipped. "
        f"Put a file named {file.name}{size} with {file.algorithm} {file.checksum} into "
        f"{path.parent} (the environment variable HARNESS_DATA names another folder, and {MIRROR} "
        f"the http address of one that has it). {more}"
    )


def verify_file(
    file: Published, path: Path, where: Path | str | None = None, remedy: str = _REMEDY
) -> None:
    """Checks a copy, whose content may be large; once while it stays as it is.

    Args:
        file: What it must be.
        path: Where it lies.
        where: What a message calls it; None: its path.
        remedy: What a message says to do.

    Raises:
        DataError: Its checksum is another.
    """
    found = path.stat()
    checksum = _checksum_of(file.algorithm, path, found.st_size, found.st_mtime_ns)
    _compare(file, checksum, where=where or path, remedy=remedy)


@functools.lru_cache(maxsize=64)
def _checksum_of(algorithm: str, path: Path, size: int, changed: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: _digest(algorithm)).hexdigest()


def _digest(algorithm: str) -> "hashlib._Hash":
    return hashlib.new(algorithm.replace("-", "").lower(), usedforsecurity=False)


def _verify(file: Published, content: bytes, *, where: Path, remedy: str) -> None:
    digest = _digest(file.algorithm)
    digest.update(content)
    _compare(file, digest.hexdigest(), where=where, remedy=remedy)


def _compare(file: Published, checksum: str, *, where: Path | str, remedy: str) -> None:
    if checksum != file.checksum:
        raise DataError(
            f"{where}: {file.algorithm} must be {file.checksum}, but got {checksum=}. {remedy}"
        )
