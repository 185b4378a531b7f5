"""Published files, each verified against its checksum.

A file is read from the data folder, or else downloaded into it.
"""

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.cache import cache_folder
from harness.data.errors import DataError

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Published:
    """A file that somebody published, and the checksum that proves a copy of it."""

    name: str
    num_bytes: int
    algorithm: Literal["SHA-1", "SHA-256"]
    checksum: str
    address: str | None  # None: it may not be fetched, the user brings it


def data_folder() -> Path:
    """Returns the folder named by HARNESS_DATA, else the cache folder. It need not exist."""
    named = os.environ.get("HARNESS_DATA")
    return Path(named).expanduser() if named else cache_folder()


def read(file: Published) -> bytes:
    """Returns the verified content of ``file``, from the data folder or else from its address.

    Nothing is written where the file is already there, so the folder may be read-only then.

    Raises:
        DataError: The file is nowhere to be had, or its checksum is another.
    """
    path = data_folder() / file.name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _fetch(file, path)
    except OSError as error:
        raise DataError(
            f"{path}: must be a readable file, but got error={str(error)!r}. Mend HARNESS_DATA."
        ) from error
    _verify(file, content, where=path, remedy="Remove it, and put the published file there.")
    return content


def _fetch(file: Published, path: Path) -> bytes:
    # Imported here, since few runs download anything.
    import http.client
    import urllib.error
    import urllib.request

    remedy = (
        f"Put a file named {file.name} with {file.algorithm} {file.checksum} into {path.parent} "
        "(the environment variable HARNESS_DATA names another folder)."
    )
    if file.address is None:
        raise DataError(
            f"{path}: must be there, but got no such file, and none may be fetched. "
            f"{remedy} Or name a copy with path."
        )
    try:
        # One byte more than there should be, so that a page sent in the file's place is noticed
        # and cannot go on for ever.
        with urllib.request.urlopen(file.address, timeout=_TIMEOUT_SECONDS) as response:
            content: bytes = response.read(file.num_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        rule = f"must be there, or come from {file.address}"
        raise DataError(
            f"{path}: {rule}, but got no such file and error={str(error)!r}. {remedy}"
        ) from error
    _verify(file, content, where=file.address, remedy=remedy)
    _store(content, path)
    return content


def _verify(file: Published, content: bytes, *, where: Path | str, remedy: str) -> None:
    checksum = hashlib.new(
        file.algorithm.replace("-", "").lower(), content, usedforsecurity=False
    ).hexdigest()
    if checksum != file.checksum:
        raise DataError(
            f"{where}: {file.algorithm} must be {file.checksum}, but got {checksum=}. {remedy}"
        )


def _store(content: bytes, path: Path) -> None:
    """Writes to a temporary file and renames it, so that no reader ever sees half a file."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: the folder must be writable to keep the download, "
            f"but got error={str(error)!r}. "
            "Let HARNESS_DATA name a folder that is, or one that holds the file."
        ) from error
