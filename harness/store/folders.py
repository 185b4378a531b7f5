"""Folders in which files are to be made: whether they can be is found out first."""

import tempfile
from pathlib import Path

from harness.training.files import FULL


class FolderError(ValueError):
    """No file can be made in a folder; the message says why."""


def take_files(folder: Path, where: str, remedy: str) -> None:
    """Makes a folder where there is none, and makes sure that files can be made in it.

    Args:
        folder: The folder.
        where: The option or argument that named it.
        remedy: What to do where it takes none.

    Raises:
        FolderError: It cannot be made, or takes no files.
        OSError: Its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in FULL:  # it is told elsewhere, with the room that there is
            raise
        raise FolderError(
            f"{where}: must be a folder in which files can be made, but got "
            f"{where}={str(folder)!r} (the system says: {error.strerror}). {remedy}"
        ) from error
