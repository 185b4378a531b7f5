"""Ctrl-C that waits until a database call is over.

An interruption inside one leaves neither the database nor the program as it should.

Everywhere else Ctrl-C comes at once, as KeyboardInterrupt.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    before = [(number, signal.signal(number, _Noted(came))) for number in SIGNALS]
    try:
        yield
    finally:
        for held_back, handler in before:
            signal.signal(held_back, handler)
        for number in came[:1]:
            signal.raise_signal(number)


class _Noted:
    """A handler that notes the signal and lets the program go on."""

    def __init__(self, came: list[int]):
        self._came = came

    def __call__(self, number: int, frame: object) -> None:
        self._came.append(number)


def _is_holding() -> bool:
    return isinstance(signal.getsignal(signal.SIGINT), _Noted)
