"""Counts the seconds that are spent in an object."""

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class Timed(Protocol):
    """An object that counts the wall seconds spent in it."""

    seconds: float


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Timed)


def timed(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Adds a public method's seconds to its object's; public methods do not call one another."""

    @functools.wraps(method)
    def counted(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        start = perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.seconds += perf_counter() - start

    return counted
