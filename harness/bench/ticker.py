"""How far a bench has come, on standard error.

On a terminal one line is rewritten in place; elsewhere there is a line now and then.
"""

import time
from typing import TextIO

QUIET_SECONDS = 2.0
"""Shorter work says nothing."""
LINE_SECONDS = {True: 0.2, False: 20.0}
"""Least time between two lines, on a terminal and without one."""


class Ticker:
    """Says what is being done, and how long it will take where that is known."""

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self._last_shown = time.monotonic() + QUIET_SECONDS - LINE_SECONDS[self._terminal]
        self._width = 0
        self._begun, self._total, self._done = 0.0, 0.0, 0.0

    def begin(self, total: float, text: str = "") -> None:
        """Begins a stage of ``total`` units of work, of which ``text`` is told at once."""
        self._begun, self._total, self._done = time.monotonic(), total, 0.0
        if text:
            self._show(text)

    def advance(self, work: float, text: str) -> None:
        """Counts ``work`` done."""
        self._done += work
        spent = time.monotonic() - self._begun
        left = spent * (self._total / self._done - 1.0) if self._done else 0.0
        self.say(f"{text}, {max(0.0, left):.0f} s left")

    def say(self, text: str) -> None:
        """Shows a line, unless another one was shown a moment ago."""
        if time.monotonic() - self._last_shown < LINE_SECONDS[self._terminal]:
            return
        self._show(text)

    def _show(self, text: str) -> None:
        self._last_shown = time.monotonic()
        if self._terminal:
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Clears the line."""
        if self._width:
            self._stream.write(f"\r{'':<{self._width}}\r")
            self._stream.flush()
            self._width = 0
