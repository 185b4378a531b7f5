"""What is to be done for a store, as it waits in memory, and how."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.store.spool import num_bytes_of


@dataclass(frozen=True)
class Doer:
    """How an operation is done.

    Attributes:
        do: Does it, given its arguments.
        is_kept: Whether it waits in the file: others are made anew by every launch.
        is_urgent: Whether it waits for nothing.
    """

    do: Callable[..., None]
    is_kept: bool = True
    is_urgent: bool = False


@dataclass
class Operation:
    """What is to be done: a name and arguments, or a function whose result is awaited."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    function: Callable[[], Any] | None = None
    result: Any = None
    done: threading.Event = field(default_factory=threading.Event)
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.num_bytes = num_bytes_of(self.arguments)
