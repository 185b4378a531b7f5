"""A terminal that was closed: that it takes no more is no news to anybody."""

import errno
import os
import stat
import sys
from typing import IO


def is_gone(error: OSError, stream: IO[str]) -> bool:
    """Returns whether an error of a stream says that its terminal was closed.

    A file on a disk that fails reports the same number.
    """
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # it has no descriptor
        return False
    return error.errno == errno.EIO and stat.S_ISCHR(mode)


def silence(stream: IO[str]) -> None:
    """Has a stream that takes no more write to nowhere.

    The interpreter would try once more at its end, and print a traceback.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def tell(text: str) -> None:
    """Prints on standard error; where that takes no more, nobody is left to be told."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)
