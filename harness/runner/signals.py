"""Ctrl-C that waits until a database call is over.

An interruption inside one leaves neither the database nor the program as it should.

Everywhere else Ctrl-C comes at once, as KeyboardInterrupt. Where a database does not answer, a
second Ctrl-C ends the process at once, as a kill would: the next run goes on from what is stored.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECOND_SECONDS = 0.5
"""A signal that comes so long after the first is a second one.

A terminal and a program such as make send theirs together.
"""


@contextmanager
def held() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back until the block is left.

    One that came meanwhile acts then, whatever ended the block.

    Only the main thread is ever interrupted, so elsewhere, and within another such block, this does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _is_holding():
        yield
        return
    came: list[int] = []
    noted = _Noted(came)
    before = [(number, signal.signal(number, noted)) for number in SIGNALS]
    try:
        yield
    finally:
        for held_back, handler in before:
            signal.signal(held_back, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def check() -> None:
    """Leaves such a block where a signal has come: for waits at which nothing is half done.

    Raises:
        KeyboardInterrupt: One has; what it does otherwise follows when the block is left.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _Noted) and handler.has_come:
        raise KeyboardInterrupt


class _Noted:
    """A handler that notes the signal and lets the program go on, until a second one comes."""

    def __init__(self, came: list[int]):
        self._came, self._time = came, 0.0

    @property
    def has_come(self) -> bool:
        """Whether a signal was noted."""
        return bool(self._came)

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self._came:
            self._came.append(number)
            self._time = now
        elif now - self._time >= SECOND_SECONDS:
            sys.stderr.write(
                "interrupted twice: ended at once; the same command goes on from what is stored\n"
            )
            sys.stderr.flush()
            os._exit(128 + number)


def _is_holding() -> bool:
    return isinstance(signal.getsignal(signal.SIGINT), _Noted)
