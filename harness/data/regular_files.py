"""Whether a file ends, and fits in memory: asked before any of it is read."""

import os
import stat

from harness.data.errors import DataError

MAX_BYTES = 2**31
"""So large a file of plans or records may be: points of curves take some seven times as much memory
while they are read, 14 GB then, which machines that train have.
"""


def check_regular(
    found: os.stat_result,
    place: str,
    path: object,
    max_bytes: int = MAX_BYTES,
    *,
    held: str,
    remedy: str = "Cut it",
) -> None:
    """Raises DataError for a device, a pipe, or a file that is too large; a folder passes.

    Args:
        found: What the system says of it.
        place: What a message begins with.
        path: As it was given.
        max_bytes: How large it may be.
        held: What is held in memory, as the subject and the verb of a sentence.
        remedy: What to do with a file that is too large.
    """
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise DataError(
            f"{place}: must be a file, but got path={str(path)!r}, a device or a pipe, which may "
            "never end. Write its text to a file."
        )
    if found.st_size > max_bytes:
        raise DataError(
            f"{place}: must be a file of at most {max_bytes:,} bytes, since {held} held in memory, "
            f"but got path={str(path)!r} of {found.st_size:,}. {remedy}."
        )
