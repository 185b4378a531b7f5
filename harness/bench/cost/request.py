"""The options of ``harness cost`` as they are given, and as they are once all are found right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench.options import DEVICES, MOST_TOKENS, Rounds
from harness.bench.record import BenchError, Shape
from harness.bench.values import Mistakes, count, drawable, names, one_of, seconds, writable
from harness.settings import MOST_TOKENS as MOST_STREAMS
from harness.settings import MOST_UNITS, Precision


@dataclass(frozen=True)
class Asked:
    """The options as texts, each with its default."""

    cells: Sequence[str]
    hidden: str = "64,128,256"
    engine: str = "auto"
    batch_size: str = "32"
    bptt_length: str = "35"
    num_tokens: str = "28"
    large_batch: str = "512"
    rounds: str = "7"
    seconds: str = "0.1"
    threads: str | None = None
    device: str = "auto"
    files: Sequence[str] = ()
    json: str | None = None
    plot: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request(Rounds):
    """What is to be measured.

    Attributes:
        cells: Their names, each once.
        hidden_sizes: The smallest first.
        engine: ``auto`` takes for each cell the one that training takes.
        batch_size: B of updates and passes.
        bptt_length: T.
        num_tokens: V.
        large_batch: B of the large batch.
        json: Where the JSON goes; None: nowhere.
        plot: Where the figure goes; None: nowhere.
    """

    cells: tuple[str, ...]
    hidden_sizes: tuple[int, ...]
    engine: str
    batch_size: int
    bptt_length: int
    num_tokens: int
    large_batch: int
    json: Path | None
    plot: Path | None
    precision: Precision = "float32"

    def shape(self, hidden_size: int, *, large: bool = False) -> Shape:
        """Returns the sizes of an update, or of a pass of the large batch."""
        batch = self.large_batch if large else self.batch_size
        name = f"{'large' if large else 'batch'}-{hidden_size}"
        return Shape(name, batch, self.bptt_length, hidden_size, self.num_tokens)


def checked(asked: Asked) -> Request:
    """Returns what the options ask for.

    Raises:
        BenchError: Some of them are wrong; a line for each.
    """
    from harness import engine  # late, as all that follows: --help loads no torch
    from harness.timing import cpu_count
    from harness.training.execution import resolve_device

    mistakes = Mistakes()
    found = mistakes.cells(asked.files, asked.cells)
    engines = ("auto", *(each.name for each in engine.ENGINES))
    values: dict[str, Any] = {
        "cells": tuple(dict.fromkeys(cell.name for cell in found)),
        "hidden_sizes": tuple(
            sorted(set(mistakes.each(_at_most("hidden", MOST_UNITS), names(asked.hidden))))
        ),
        "engine": mistakes.one(one_of("engine", engines), asked.engine),
        "batch_size": mistakes.one(_at_most("batch_size", MOST_STREAMS), asked.batch_size),
        "bptt_length": mistakes.one(_at_most("bptt_length", MOST_STREAMS), asked.bptt_length),
        "num_tokens": mistakes.one(_at_most("num_tokens", MOST_TOKENS, 2), asked.num_tokens),
        "large_batch": mistakes.one(_at_most("large_batch", MOST_STREAMS), asked.large_batch),
        "rounds": mistakes.one(count("rounds"), asked.rounds),
        "seconds": mistakes.one(seconds("seconds"), asked.seconds),
        "threads": mistakes.one(count("threads"), asked.threads or str(cpu_count())),
        "device": mistakes.one(
            lambda name: resolve_device(one_of("device", DEVICES)(name)), asked.device
        ),
        "json": mistakes.one(writable("json"), asked.json) if asked.json else None,
        "plot": mistakes.one(drawable, asked.plot) if asked.plot else None,
    }
    if not asked.cells:
        mistakes.lines.append(
            "cost: must be given a cell at least, or --study, but got neither. "
            "`harness cells` lists the cells."
        )
    if not names(asked.hidden):
        mistakes.lines.append("hidden: must name a size at least, but got none.")
    if values["engine"] not in (None, "auto") and values["device"] is not None:
        chosen = engine.get(values["engine"])
        for cell in found:
            refusal = chosen.refusal(cell, values["device"], Request.precision)
            if refusal is not None:
                mistakes.lines.append(
                    f"engine: must run {cell.name}, but got engine={chosen.name!r}: {refusal}. "
                    "Leave --engine out."
                )
    if mistakes.lines:
        raise BenchError("\n".join(mistakes.lines))
    return Request(**values, cell_files=tuple(asked.files))


def _at_most(where: str, most: int, least: int = 1) -> Any:
    """Returns what reads a whole number between two limits."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise BenchError(
                f"{where}: must be a whole number from {least} to {most}, but got "
                f"{where}={text!r}. Correct it."
            )
        return int(text)

    return read
