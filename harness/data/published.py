"""Published files, each verified against its checksum: what is shipped, and what the user brings.

Nothing is downloaded.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.cache import cache_folder
from harness.data.errors import DataError

SHIPPED = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Published:
    """A file that somebody published, and the checksum that proves a copy of it."""

    name: str
    algorithm: Literal["SHA-1", "SHA-256"]
    checksum: str


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
        raise DataError(
            f"{path}: must be there, but got no such file, and it may not be shipped. "
            f"Put a file named {file.name} with {file.algorithm} {file.checksum} into "
            f"{path.parent} (the environment variable HARNESS_DATA names another folder). "
            "Or name a copy with path."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: must be a readable file, but got error={str(error)!r}. Mend HARNESS_DATA."
        ) from error
    _verify(file, content, where=path, remedy="Remove it, and put the published file there.")
    return content


def _verify(file: Published, content: bytes, *, where: Path, remedy: str) -> None:
    checksum = hashlib.new(
        file.algorithm.replace("-", "").lower(), content, usedforsecurity=False
    ).hexdigest()
    if checksum != file.checksum:
        raise DataError(
            f"{where}: {file.algorithm} must be {file.checksum}, but got {checksum=}. {remedy}"
        )
