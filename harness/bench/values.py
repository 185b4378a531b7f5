"""Values that options are given as text: how each kind is read, and every mistake told at once."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from cells import Cell, registry
from harness.bench.record import BenchError

Value = TypeVar("Value")
FIGURES = (".svg", ".png", ".pdf")
"""The endings of files that a figure can be written to."""


class Mistakes:
    """Reads values and keeps what is wrong with them, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def each(self, read: Callable[[str], Value], texts: Iterable[str]) -> list[Value]:
        """Returns those of the values that can be read."""
        values = []
        for text in texts:
            try:
                values.append(read(text))
            except ValueError as error:
                self.lines.append(str(error))
        return values

    def cells(self, files: Iterable[str], names: Iterable[str]) -> list[type[Cell]]:
        """Returns the cells of these names that are known, once ``files`` have been read.

        Where a file could not be, a name may be that of a cell in it, and is no mistake of its own.
        """
        num_before = len(self.lines)
        self.each(registry.load_file, files)
        is_all_read = len(self.lines) == num_before
        found = []
        for name in names:
            try:
                found.append(registry.find(name))
            except registry.UnknownCell as error:
                if is_all_read:
                    self.lines.append(f"{error} A cell of your own needs its file: --file FILE.")
        return found

    def one(self, read: Callable[[str], Value], text: str) -> Value | None:
        """Returns the value, or None where it cannot be read."""
        return next(iter(self.each(read, [text])), None)


def names(text: str) -> list[str]:
    """Returns the words of a list that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def near(name: str, names: Iterable[str]) -> str:
    """Returns a hint at the name that may have been meant, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {found[0]}?" if found else ""


def count(where: str) -> Callable[[str], int]:
    """Returns what reads a whole number from 1 on; ``where`` is the option's name."""

    def read(text: str) -> int:
        if not re.fullmatch("[1-9][0-9]{0,5}", text):
            raise BenchError(
                f"{where}: must be a whole number from 1 on, but got {where}={text!r}. Correct it."
            )
        return int(text)

    return read


def seconds(where: str) -> Callable[[str], float]:
    """Returns what reads a length of time up to an hour."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or not 0 < float(text) <= 3600:
            raise BenchError(
                f"{where}: must be a number over 0, up to 3600, but got {where}={text!r}. Write"
                f" {'0.2' if where == 'seconds' else '200'}, say."
            )
        return float(text)

    return read


def writable(where: str) -> Callable[[str], Path]:
    """Returns what reads the path of a file that can be written."""

    def read(text: str) -> Path:
        path = Path(text)
        home = next(folder for folder in path.absolute().parents if folder.exists())
        if (
            path.is_dir()
            or not home.is_dir()
            or not os.access(path if path.exists() else home, os.W_OK)
        ):
            raise BenchError(
                f"{where}: must be a file that can be written, but got {where}={text!r}. Name"
                " another."
            )
        return path

    return read


def drawable(text: str) -> Path:
    """Returns the path of a figure's file.

    Raises:
        BenchError: It is of no format that figures have, or cannot be written.
    """
    if Path(text).suffix.lower() not in FIGURES:
        raise BenchError(
            f"plot: must end in {', '.join(FIGURES)}, but got plot={text!r}. Name another file."
        )
    return writable("plot")(text)


def one_of(where: str, names: Sequence[str]) -> Callable[[str], str]:
    """Returns what reads one of several names."""

    def read(name: str) -> str:
        if name not in names:
            raise BenchError(
                f"{where}: must be one of {', '.join(names)}, but got"
                f" {where}={name!r}.{near(name, names)}"
            )
        return name

    return read
