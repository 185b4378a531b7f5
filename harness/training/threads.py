"""Threads that train, and their end: nobody waits long for one that does not come back."""

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from harness.engine import ending

END_SECONDS = 2.0
"""So long an end waits for updates that are under way."""

_left: set[Future[Any]] = set()


class Threads(ThreadPoolExecutor):
    """A pool of threads that is left where one of them does not come back."""

    def __init__(self, count: int, initializer: Callable[..., object], *arguments: object):
        """Takes how many, and what each begins with."""
        super().__init__(count, "shard", initializer=initializer, initargs=arguments)
        self._given: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Gives work to a thread."""
        future = super().submit(function, *args, **kwargs)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def end(self) -> None:
        """Ends the threads; one that works on for END_SECONDS is left, and keeps its processor."""
        self.shutdown(wait=False, cancel_futures=True)
        working = wait(list(self._given), END_SECONDS).not_done
        _left.update(working)
        if not working:
            self.shutdown(wait=True)


def leave(exit_code: int) -> None:
    """Ends the process at once where a thread was left: the interpreter would wait for it.

    All that must be written is written by then; the standard streams are flushed here.
    """
    if all(future.done() for future in _left):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader may have gone, or the stream be closed
            stream.flush()
    ending.end_at_once(exit_code)
