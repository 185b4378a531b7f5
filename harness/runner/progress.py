"""What a person sees while a study runs.

On a terminal that is one bar for the whole study, in a notebook one line that changes, and
elsewhere a line now and then.
"""

import html
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from harness.store import signals, terminal
from harness.store.address import without_passwords

LINE_SECONDS = 20.0
"""Without a terminal: least time between two lines on the same stage."""
BAR_SECONDS = 0.1
"""On a terminal: least time between two drawings of the bar."""
NOTEBOOK_SECONDS = 0.5
"""In a notebook: least time between two changes of the line."""
NOTEBOOK_COLUMNS = 80
"""In a notebook: the width of what is printed; for the 115 that rich takes, many are too narrow."""
BAR_WIDTH = 12


def _printing(method: Callable[..., None]) -> Callable[..., None]:
    """Has Ctrl-C wait until a method has printed, and a study outlive the terminal that shows it.

    A console that is interrupted within a line prints no more.
    """

    @wraps(method)
    def prints(self: "Display", *args: Any, **kwargs: Any) -> None:
        with signals.held():
            try:
                method(self, *args, **kwargs)
            except OSError as error:
                if not terminal.is_gone(error, self.console.file):
                    raise
                terminal.silence(self.console.file)
                self.console.quiet = True

    return prints


class Display:
    """Shows how far a study has come, stage by stage, and single lines between the stages."""

    def __init__(self, console: Console):
        self.console = console
        self._bar: Progress | None = None
        self._set_line: Callable[[str, float], None] | None = None
        self._title, self._text = "", ""
        self._done, self._total = 0, 1
        self._trained = _Count()
        self._stage = _Count()
        self._is_training = False
        self._said = self._begun = time.monotonic()
        self._best: dict[str, tuple[float, str]] = {}

    @_printing
    def say(self, line: str, style: str | None = None) -> None:
        """Prints a line that stays; passwords of addresses in it are left out."""
        self.console.print(
            without_passwords(line),
            style=style,
            highlight=False,
            soft_wrap=not (self.console.is_terminal or self.console.is_jupyter),
            markup=False,
        )

    @contextmanager
    def stage(
        self, title: str, total: int, remaining: int | None = None, what: str = "updates"
    ) -> Iterator[None]:
        """Shows a stage until the block is left; its arguments are those of :meth:`begin`.

        Ctrl-C may come while its bar is drawn for the first time, which has hidden the cursor.
        """
        try:
            self.begin(title, total, remaining, what)
            yield
        finally:
            self.end()

    @_printing
    def begin(
        self, title: str, total: int, remaining: int | None = None, what: str = "updates"
    ) -> None:
        """Begins a stage.

        Args:
            title: Its phase, its runs and its arms.
            total: How many updates it has, or of ``what`` else.
            remaining: The updates that the study lacks in all, this stage's included: the bar is
                then of the whole study. None for a stage with a count of its own.
            what: What is counted.
        """
        self.end()
        self._is_training = remaining is not None
        self._done = self._trained.done if self._is_training else 0
        self._total = max(1, self._done + max(total, remaining or 0))
        self._title, self._text, self._stage = title, "", _Count()
        self._said = self._begun = time.monotonic()
        if self.console.is_terminal:
            self._bar = _bar(self.console)
            self._task = self._bar.add_task(title, total=self._total, count="", left="", text="")
            self._show()
            self._bar.start()
        elif self.console.is_jupyter:
            self._set_line = self._set_line or _notebook_line()  # one for the whole study
            self._show()
        else:
            all_of_it = "" if self._total == total else f", {self._total:,} in the study"
            self.say(f"{title}: {total:,} {what}{all_of_it}")

    @_printing
    def advance(
        self,
        updates: int,
        text: str,
        *,
        arm: str = "",
        condition: str = "",
        loss: float = math.nan,
        level: str = "",
    ) -> None:
        """Counts updates done.

        Args:
            updates: Their number.
            text: Where the latest run stands.
            arm: Whose run it is.
            condition: Under which it is; losses of two conditions are not compared.
            loss: Its last, NaN where it has none.
            level: The number that the loss is shown as.
        """
        self._done += updates
        self._stage.done += updates
        if loss < self._best.get(condition, (math.inf, ""))[0]:
            self._best[condition] = loss, f"best {level} {arm}"
        best = self._best.get(condition) if arm else None
        self._text = f"{best[1]}; {text}" if best else text
        now = time.monotonic()
        if now - self._said > self._least_seconds():
            self._said = now
            self._show()

    def _least_seconds(self) -> float:
        """Returns the least time between two showings."""
        if self._bar is not None:
            return BAR_SECONDS
        return NOTEBOOK_SECONDS if self._set_line else LINE_SECONDS

    @_printing
    def end(self) -> None:
        """Ends the stage."""
        if self._bar is not None:
            self._show()
            bar, self._bar = self._bar, None
            bar.stop()
        if self._set_line is not None:
            self._show()
        if self._is_training:
            self._trained.add(self._stage.done, time.monotonic() - self._begun)
        self._is_training = False

    def _show(self) -> None:
        """Shows where the stage and the study stand."""
        left = duration(self._seconds_left())
        if self._bar is not None:
            count = f"{_short(self._done)}/{_short(self._total)}"
            self._bar.update(
                self._task,
                completed=self._done,
                count=count,
                left=f"{left} left" if left else "",
                text=self._text,
                refresh=True,
            )
            return
        time_left = f", {left} left" if left else ""
        line = f"{self._title}: {self._done:,} of {self._total:,}{time_left}"
        line += f"; {self._text}" if self._text else ""
        if self._set_line is not None:
            self._set_line(line, self._done / self._total)
        else:
            self.say(f"  {line}")

    def _seconds_left(self) -> float:
        """Returns the seconds that the rest takes at the pace so far; NaN where nothing is known
        of it, or is left.
        """
        if self._done >= self._total:
            return math.nan
        done, seconds = self._stage.done, time.monotonic() - self._begun
        if self._is_training:
            done, seconds = done + self._trained.done, seconds + self._trained.seconds
        return seconds * max(0, self._total - self._done) / done if done else math.nan


class _Count:
    """What was done, and how long it took."""

    def __init__(self) -> None:
        self.done, self.seconds = 0, 0.0

    def add(self, done: int, seconds: float) -> None:
        self.done += done
        self.seconds += seconds


def duration(seconds: float) -> str:
    """Returns a duration in two units at most; empty where it is not known.

    >>> [duration(seconds) for seconds in (0.2, 59, 90, 3700, 200_000, math.nan)]
    ['0 s', '59 s', '1 min 30 s', '1 h 01 min', '2 d 07 h', '']
    """
    if not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


def _bar(console: Console) -> Progress:
    """Returns the bar: where the line is too narrow, the text at its end is what is shortened."""
    whole, rest = Column(no_wrap=True), Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[text]}", markup=False, table_column=rest),
        console=console,
        auto_refresh=False,  # a thread of its own would meet a closed terminal where nobody looks
        transient=True,
        expand=True,
    )


def _short(count: int) -> str:
    """Returns a count in six characters at most.

    >>> [_short(count) for count in (9_999, 123_456, 98_765_432)]
    ['9999', '123k', '98.8M']
    """
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size and count >= 100_000:
            return f"{count / size:.3g}{unit}"
    return str(count)


def screen() -> Console:
    """Returns what prints on standard output, or in the cell of a notebook.

    In a notebook tables are as wide as in a narrow terminal, unless ``JUPYTER_COLUMNS`` says
    otherwise, and no library tells of a widget that nothing here shows.
    """
    console = Console()
    if console.is_jupyter:
        if "JUPYTER_COLUMNS" not in os.environ:
            console.width = NOTEBOOK_COLUMNS
        _load_bars_of_libraries()
    return console


def _load_bars_of_libraries() -> None:
    """Loads tqdm before Optuna and MLflow do, without its warning where there is no ipywidgets."""
    if "tqdm.auto" not in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")
            import tqdm.auto  # noqa: F401


def _notebook_line() -> Callable[[str, float], None]:
    """Shows a line in a notebook, and returns what changes it and how far its bar has come.

    It needs no widget: the notebook's own page draws the bar, and breaks what is too long.
    """
    from IPython.display import display  # a notebook has it; nothing else needs it

    handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def change(line: str, share: float) -> None:
        page = (
            f'<div style="white-space: pre-wrap"><progress value="{share:.4f}"></progress> '
            f"{html.escape(line)}</div>"
        )
        handle.update({"text/plain": line, "text/html": page}, raw=True)

    return change
