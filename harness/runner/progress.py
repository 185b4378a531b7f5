"""What a person sees while a study runs: a bar on a terminal, a line now and then without one."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 20.0
"""Without a terminal: least time between two lines on the same stage."""


class Display:
    """Shows stages, each with a known number of updates, and single lines between them."""

    def __init__(self, console: Console):
        self.console = console
        self._bar: Progress | None = None
        self._title, self._total, self._done, self._text = "", 0, 0, ""
        self._said = self._begun = time.monotonic()

    def say(self, line: str, style: str | None = None) -> None:
        """Prints a line that stays."""
        self.console.print(
            line, style=style, highlight=False, soft_wrap=not self.console.is_terminal, markup=False
        )

    def begin(self, title: str, total: int) -> None:
        """Begins a stage of ``total`` updates."""
        self.end()
        self._title, self._total, self._done, self._text = title, max(1, total), 0, ""
        self._said = self._begun = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(16),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(
                *columns, TextColumn("{task.fields[text]}"), console=self.console, transient=True
            )
            self._task = self._bar.add_task(title, total=self._total, text="")
            self._bar.start()
        else:
            self.say(f"{title}: {total} updates")

    def advance(self, updates: int, text: str) -> None:
        """Counts updates done; ``text`` says where the latest run stands."""
        self._done += updates
        self._text = text
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, text=text)
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            left = (self._said - self._begun) * (self._total / max(1, self._done) - 1)
            self.say(f"  {self._title}: {self._done} of {self._total}, {left:.0f} s left; {text}")

    def end(self) -> None:
        """Ends the stage."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
