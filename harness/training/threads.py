"""Threads that train, and their end: nobody waits long for one that does not come back."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from harness.engine import beside, ending

R = TypeVar("R")

END_SECONDS = 2.0
"""So long an end waits for updates that are under way."""


class Threads(ThreadPoolExecutor):
    """A pool of threads that is left where one of them does not come back."""

    def __init__(self, count: int, initializer: Callable[..., object], *arguments: object):
        """Takes how many, and what each begins with."""
        self._begun = begun = set[threading.Thread]()

        def begin() -> None:  # each adds itself: a signal may end the call that starts it
            begun.add(threading.current_thread())
            initializer(*arguments)

        super().__init__(count, "shard", initializer=begin)

    def each(self, function: Callable[..., R], *columns: Sequence[Any]) -> list[R]:
        """Returns what a function returns for each row of some columns, in their order.

        Raises:
            BaseException: What it raised for the first row for which it did.
        """
        answers = deque(self.submit(function, *row) for row in zip(*columns, strict=True))
        results = []
        try:
            while answers:
                results.append(beside.outcome(answers[0]))
                answers.popleft()
        finally:
            while answers:  # what has not begun does not begin, and what was raised holds nothing
                answers.pop().cancel()
        return results

    def end(self) -> None:
        """Ends the threads; one that works on for END_SECONDS is left, and keeps its processor.

        One that begins meanwhile finds no work.
        """
        self.shutdown(wait=False, cancel_futures=True)
        begun = list(self._begun)
        ending.left.update(begun)  # before they are waited for, which a signal may end
        latest = time.monotonic() + END_SECONDS
        for thread in begun:
            thread.join(max(0.0, latest - time.monotonic()))
            if not thread.is_alive():
                ending.left.discard(thread)
