"""The process's end: what must be done then, and the end that waits for no thread."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from harness.engine import beside

left: set[threading.Thread] = set()
"""Threads that somebody did not wait for, and the interpreter would."""

_last: list[Callable[[], object]] = []


def at_end(function: Callable[[], None]) -> Callable[[], None]:
    """Has a function be called when the process ends, but where it is killed.

    It may be called in a signal's handler, so it waits for nothing.
    """
    _last.append(function)
    return atexit.register(function)


def leave(exit_code: int) -> None:
    """Ends the process at once where a thread was left, or works beside: see ``is_working``.

    All that must be written is written by then; the standard streams are flushed here.
    """
    if not beside.is_working() and not any(thread.is_alive() for thread in list(left)):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader may have gone, or the stream be closed
            stream.flush()
    end_at_once(exit_code)


def end_at_once(exit_code: int) -> NoReturn:
    """Ends the process without the interpreter's own end, which waits for threads."""
    for function in _last:
        with suppress(Exception):  # nobody is left to be told
            function()
    os._exit(exit_code)
