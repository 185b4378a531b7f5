"""Published files from a mirror of the user's own: a folder that is served by HTTP.

Nobody else's server is asked. A file is there whole and proven by its checksum, or not at all.
"""

import contextlib
import http.client
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
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
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise DataError(
            f"{MIRROR}: must be the http or https address of a folder, but got {address!r}. "
            "Correct it, or name the folder itself by HARNESS_DATA."
        )
    problems = []
    for file in missing:
        source = f"{address.rstrip('/')}/{urllib.parse.quote(file.name)}"
        try:
            _bring(file, source, data_folder() / file.name)
        except DataError as error:
            problems += str(error).splitlines()
        except (OSError, http.client.HTTPException) as error:
            problems.append(
                f"{source}: must be a file that {MIRROR} has, but got error={str(error)!r}. Put "
                f"it there, or into {data_folder()}."
            )
    if problems:
        raise DataError(*problems)


def _bring(file: Published, source: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"{file.name}: {source} is copied to {path.parent}", file=sys.stderr)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            with urllib.request.urlopen(source, timeout=_SECONDS) as answer:
                shutil.copyfileobj(answer, part, 2**20)
            part.close()
            verify_file(file, Path(part.name), where=source, remedy="Put the published file there.")
            os.replace(part.name, path)
        finally:  # Ctrl-C too leaves no half of a file
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part.name)
