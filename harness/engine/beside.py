"""Work in other threads, for which a person who interrupts does not wait: it may never end.

Threads of a pool are joined even at the interpreter's end.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from harness.timing import cpu_count

R = TypeVar("R")
T = TypeVar("T")

HEARS_SECONDS = 0.5
"""So often who waits for others looks whether the person who runs this has interrupted it."""


def begin(function: Callable[[], R]) -> Future[R]:
    """Calls a function in a thread of its own; :func:`outcome` waits for what it returns."""
    answer: Future[R] = Future()
    _start(partial(_answer, answer, function))
    return answer


def outcome(answer: Future[R]) -> R:
    """Returns what a function returned, or raises what it raised, once it has ended."""
    _await([answer])
    try:
        return answer.result()
    finally:
        del answer  # else what it raised holds it, and it that: memory waits for a search of cycles


def taken(answers: "SimpleQueue[R]") -> R:
    """Returns what another thread puts next into a queue."""
    while True:
        with suppress(Empty):
            return answers.get(timeout=HEARS_SECONDS)


def side_by_side(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Returns what a function returns for each item, called in as many threads as there are cores.

    Raises:
        BaseException: What it raised for the first item for which it did.
    """
    answers: list[Future[R]] = [Future() for _ in items]
    waiting = deque(zip(answers, items, strict=True))

    def work() -> None:
        with suppress(IndexError):  # nothing is left
            while True:
                answer, item = waiting.popleft()
                _answer(answer, partial(function, item))

    for _ in range(min(cpu_count(), len(items))):
        _start(work)
    _await(answers)
    return [answer.result() for answer in answers]


def is_working() -> bool:
    """Returns whether a thread works on.

    The interpreter's end would stop it within a library of C++, which aborts the process then.
    """
    return any(thread.is_alive() for thread in list(_started))


_started = weakref.WeakSet[threading.Thread]()


def _start(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    _started.add(thread)  # before it begins: a signal may end the call that starts it
    thread.start()


def _answer(answer: Future[R], function: Callable[[], R]) -> None:
    try:
        answer.set_result(function())
    except BaseException as error:
        answer.set_exception(error)


def _await(answers: Sequence[Future[Any]]) -> None:
    # A signal that comes just before a thread begins to wait is heard when it wakes.
    while wait(answers, timeout=HEARS_SECONDS).not_done:
        pass
