"""What Ctrl-C and other signals of an end do: the first interrupts, a second one ends the process.

They are SIGINT, SIGTERM, SIGQUIT, and SIGHUP, which comes where a terminal is closed.

The first comes at once, as KeyboardInterrupt. Only while a store is written it waits until that is
over: an interruption inside a database call leaves neither the database nor the program as it
should.

A second one ends the process as a kill would, wherever it is by then: in a database that does not
answer, in the clean-up that the first one began, at the interpreter's end. The next run goes on
from what is stored. Only the terminal gets its cursor back, which a progress bar hides.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SECOND_SECONDS = 0.5
"""A signal that comes so long after the first is a second one.

A terminal and a program such as make send theirs together.
"""
ENDED = b"interrupted twice: ended at once; the same command goes on from what is stored\n"
NEW_LINE = b"\r\n\x1b[?25h"
"""Leaves the line of a progress bar, and shows the cursor."""


@contextmanager
def handled() -> Iterator[None]:
    """Has signals do in the block what is said above; a signal that is ignored stays so.

    What follows is the process's end. Once one has come a second one counts there too; else the
    first one ends the process in silence: an exception would strike the interpreter's own clean-up.
    """
    handler = _Handler()
    _install(handler)
    try:
        yield
    finally:
        if not handler.has_come:
            _install(signal.SIG_DFL)


@contextmanager
def held() -> Iterator[None]:
    """Holds these signals back until the block is left.

    One that came meanwhile acts then, whatever ended the block. In a program that does not handle
    signals as above, a second one counts within the block alone.

    Only the main thread is ever interrupted, so elsewhere, and within another such block, this does
    nothing.
    """
    handler = _installed() or _Handler()
    if threading.current_thread() is not threading.main_thread() or handler.is_holding:
        yield
        return
    handler.is_holding = True
    before = _install(handler)
    try:
        yield
    finally:
        _restore(before)
        handler.is_holding = False
        number, handler.held_back = handler.held_back, None
        if number is not None:
            if before[number] is handler:
                raise KeyboardInterrupt
            signal.raise_signal(number)


def check() -> None:
    """Raises where a signal has come: for waits at which nothing is half done.

    A library may have swallowed what the signal raised. One that is held back acts besides when its
    block is left.

    Raises:
        KeyboardInterrupt: One has.
    """
    if has_come():
        raise KeyboardInterrupt


def has_come() -> bool:
    """Returns whether a signal has come."""
    handler = _installed()
    return handler is not None and handler.has_come


class _Handler:
    """Remembers the first signal, and ends the process at a second one.

    Attributes:
        is_holding: Whether signals are held back.
        held_back: The signal that has been.
        has_come: Whether there was one.
    """

    def __init__(self) -> None:
        self.is_holding = self.has_come = False
        self.held_back: int | None = None
        self._time = 0.0

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self.has_come:
            if number == signal.SIGHUP:  # a shell sends it on; nobody is there who would not wait
                return
            if now - self._time >= SECOND_SECONDS:
                _say_ended()
                # What compiles has loaded it; a launch that does not is not to wait for torch.
                if ending := sys.modules.get("harness.engine.ending"):
                    ending.end_at_once(128 + number)
                os._exit(128 + number)
            return
        self.has_come, self._time = True, now
        if not self.is_holding:
            raise KeyboardInterrupt
        self.held_back = number


def _say_ended() -> None:
    """Writes to the descriptors themselves: this may have interrupted a write of sys.stderr's."""
    with suppress(OSError):
        if os.isatty(1):  # where a bar is drawn
            os.write(1, NEW_LINE)
    with suppress(OSError):
        os.write(2, ENDED)


def _installed() -> _Handler | None:
    handlers = map(signal.getsignal, SIGNALS)
    return next((each for each in handlers if isinstance(each, _Handler)), None)


def _install(handler: _Handler | signal.Handlers) -> dict[int, Any]:
    """Has a handler get the signals that are not ignored, and returns what got them before."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _restore(before: Mapping[int, Any]) -> None:
    """Undoes :func:`_install`, SIGINT last: from then on an exception may come, as before."""
    for number in reversed(list(before)):
        signal.signal(number, before[number])
