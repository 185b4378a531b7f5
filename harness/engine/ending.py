"""What must be done at the process's end, also at one that the interpreter has no part in."""

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_last: list[Callable[[], object]] = []


def at_end(function: Callable[[], None]) -> Callable[[], None]:
    """Has a function be called when the process ends, but where it is killed.

    It may be called in a signal's handler, so it waits for nothing.
    """
    _last.append(function)
    return atexit.register(function)


def end_at_once(exit_code: int) -> NoReturn:
    """Ends the process without the interpreter's own end, which waits for threads."""
    for function in _last:
        with suppress(Exception):  # nobody is left to be told
            function()
    os._exit(exit_code)
