"""Published files from a mirror of the user's own: a folder that is served by HTTP.

Nobody else's server is asked. A file is there whole and proven by its checksum, or not at all.
"""

import http.client
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path

from harness.data.errors import DataError
from harness.data.published import MIRROR, Published, data_folder, verify_file

_SECONDS = 60.0
"""Without a byte for so long, a mirror is given up."""


def bring(files: Iterable[Published]) -> None:
    """Puts files that the data folder lacks there, from the mirror; nothing where none is named.

    Raises:
        DataError: The mirror is no address, does not have a file, or has another. The message has
            a line for each.
    """
    address = os.environ.get(MIRROR)
    missing = [file for file in files if not (data_folder() / file.name).exists()]
    if not address or not missing:
        return
    if (problem := _problem_of(address)) is not None:
        raise DataError(
            f"{MIRROR}: must be the http or https address of a folder, but got {problem}. "
            "Correct it, or name the folder itself by HARNESS_DATA."
        )
    problems = []
    for file in missing:
        source = f"{address.rstrip('/')}/{urllib.parse.quote(file.name)}"
        try:
            _bring(file, source, data_folder() / file.name)
        except DataError as error:
            problems += str(error).splitlines()
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            problems.append(
                f"{source}: must be a file that {MIRROR} has, but got error={str(error)!r}. Put "
                f"it there, or into {data_folder()}."
            )
    if problems:
        raise DataError(*problems)


def _problem_of(address: str) -> str | None:
    """Returns what is wrong with an address; a password in it is not shown."""
    try:
        parts = urllib.parse.urlsplit(address)
        parts.port  # noqa: B018  (raises where it is none)
    except ValueError as error:
        return f"error={str(error)!r}"
    if "@" in parts.netloc:
        return "one with a name or a password, which is not sent"
    return None if parts.scheme in ("http", "https") and parts.netloc else repr(address)


def _bring(file: Published, source: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"{file.name}: {source} is copied to {path.parent}", file=sys.stderr)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # with the rights of any new file
    try:
        with part.open("xb") as copy, urllib.request.urlopen(source, timeout=_SECONDS) as answer:
            shutil.copyfileobj(answer, copy, 2**20)
        verify_file(file, part, where=source, remedy="Put the published file there.")
        os.replace(part, path)
    finally:  # Ctrl-C too leaves no half of a file
        part.unlink(missing_ok=True)
