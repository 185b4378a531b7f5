"""The options of the bench: the words, their defaults, and every mistake in them at once."""

import argparse
import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from harness.bench.record import KINDS, BenchError, Kind, Shape
from harness.settings import Precision

PRESETS = {
    shape.name: shape
    for shape in (
        Shape("sources", 32, 35, 256, 28),
        Shape("small", 32, 128, 64, 28),
        Shape("wide", 64, 35, 512, 28),
        Shape("words", 32, 35, 256, 1027),
    )
}
DEFAULTS = {
    "kinds": ",".join(KINDS),
    "packs": "1,4",
    "shapes": "sources",
    "rounds": "11",
    "seconds": "0.2",
}
QUICK = {
    "cells": "lstm,gru,rnn-tanh,lstm-no-output-tanh",
    "packs": "1,2",
    "shapes": "sources",
    "rounds": "6",  # the fewest that have a 95 % interval
    "seconds": "0.05",
}
"""What ``--quick`` says where nothing else is said."""
DEVICES = ("auto", "cpu", "cuda")
LISTS = ("cells", "kinds", "packs", "shapes")
MOST_TOKENS = 0x100000
"""The largest vocabulary: there are no more characters."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Options:
    """A bench to be measured.

    ``engines`` is empty where each cell takes every engine that runs it.
    """

    cells: tuple[str, ...]
    engines: tuple[str, ...]
    kinds: tuple[Kind, ...]
    packs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    rounds: int
    seconds: float
    threads: int
    device: str
    precision: str
    compile: bool
    quick: bool
    cell_files: tuple[str, ...]
    json: Path | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(
            f"bench: the words must be as --help has them, but got an error: {message}. Correct it."
        )


def parser() -> argparse.ArgumentParser:
    """Returns the words of the command.

    Values are text: :func:`checked` reads them, all mistakes at once.
    """
    arguments = _Parser(
        prog="harness bench",
        description="Measure what cells cost in training and in a forward pass, beside torch.nn, a "
        "published training loop and the plain products of this machine. All of them are measured "
        "in turn, and compared by ratios with intervals.",
        allow_abbrev=False,
    )

    def option(name: str, metavar: str, text: str, **rest: Any) -> None:
        arguments.add_argument(name, metavar=metavar, help=text, **rest)

    shapes = "; ".join(str(shape) for shape in PRESETS.values())
    option("--cells", "NAMES", "Names of cells, separated by commas. (default: all cells)")
    option(
        "--engines",
        "NAMES",
        "Names of engines, separated by commas. (default: every engine that runs the cell)",
    )
    option(
        "--kinds",
        "NAMES",
        "What is measured: engine, for the cells by our engines; peer, for torch.nn; loop, for the "
        "published loop. Separated by commas. (default: engine,peer,loop)",
    )
    option(
        "--packs",
        "SIZES",
        "Numbers of runs that are trained as one pack, separated by commas. (default: 1,4)",
    )
    option(
        "--shapes",
        "NAMES",
        f"Names of shapes, separated by commas: {shapes}. (default: sources)",
    )
    option(
        "--shape",
        "SIZES",
        "A shape of your own, such as B32,T35,H256,V28: streams, time steps, hidden size and "
        "vocabulary. The option may be repeated.",
        action="append",
    )
    option("--rounds", "COUNT", "Number of rounds over everything measured. (default: 11)")
    option("--seconds", "SECONDS", "Least length of one measurement. (default: 0.2)")
    option("--threads", "COUNT", "Number of CPU threads. (default: one for each core)")
    option("--device", "NAME", "Device: auto, cpu or cuda. (default: auto)", default="auto")
    precisions = ", ".join(get_args(Precision))
    option(
        "--precision",
        "NAME",
        f"Precision of products: {precisions}. (default: float32)",
        default="float32",
    )
    arguments.add_argument(
        "--compile",
        action="store_true",
        help="Measure the published loop under torch.compile too.",
    )
    arguments.add_argument(
        "--quick",
        action="store_true",
        help="Measure less: four cells, each on one engine, in six short rounds.",
    )
    option(
        "--file",
        "PATH",
        "Path of a Python file with cells of your own. The option may be repeated.",
        action="append",
    )
    option("--json", "FILE", "File to which every measurement is written as JSON.")
    option(
        "--from",
        "FILE",
        "JSON file whose tables are printed; nothing is measured.",
        dest="read",
    )
    option(
        "--plot",
        "FILE",
        "JSON file whose figures are drawn beside it as SVG and PNG; nothing is measured.",
    )
    return arguments


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the words, unread. ``read`` and ``plot`` name a file where nothing is to be measured.

    Raises:
        BenchError: A word is unknown, or one stands together with --from or --plot.
    """
    arguments, unknown = parser().parse_known_args(words)
    if unknown:
        known = re.findall("--[a-z]+", parser().format_usage())
        hints = "".join(_near(word.partition("=")[0], known) for word in unknown)
        raise BenchError(
            f"bench: every word must be known, but got {' '.join(unknown)!r}.{hints} See --help."
        )
    num_options = sum(word.startswith("--") for word in words)
    if (arguments.read or arguments.plot) and num_options > 1:
        raise BenchError(
            f"bench: --from and --plot must stand alone, but got {' '.join(words)!r}. Leave the"
            " rest out."
        )
    return arguments


class _Mistakes:
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

    def one(self, read: Callable[[str], Value], text: str) -> Value | None:
        """Returns the value, or None where it cannot be read."""
        return next(iter(self.each(read, [text])), None)


def checked(arguments: argparse.Namespace) -> Options:
    """Returns the options that the words ask for, the defaults filled in.

    Raises:
        BenchError: Some of them are wrong; a line for each.
    """
    import cells  # late, as all that follows: --help loads no torch
    from harness import engine
    from harness.training.execution import cpu_count, resolve_device

    def text(name: str) -> str:
        given: str | None = getattr(arguments, name)
        defaults = DEFAULTS | (QUICK if arguments.quick else {})
        return given if given is not None else defaults.get(name, "")

    mistakes = _Mistakes()
    mistakes.each(cells.load_file, arguments.file or ())
    shapes = mistakes.each(
        _preset, [] if arguments.shape and arguments.shapes is None else _names(text("shapes"))
    )
    values: dict[str, Any] = {
        "cells": tuple(
            c.name for c in mistakes.each(cells.find, _names(text("cells")) or cells.names())
        ),
        "engines": tuple(e.name for e in mistakes.each(engine.get, _names(text("engines")))),
        "kinds": tuple(mistakes.each(_one_of("kinds", KINDS), _names(text("kinds")))),
        "packs": tuple(sorted(set(mistakes.each(_count("packs"), _names(text("packs")))))),
        "shapes": tuple(dict.fromkeys(shapes + mistakes.each(own_shape, arguments.shape or ()))),
        "rounds": mistakes.one(_count("rounds"), text("rounds")),
        "seconds": mistakes.one(_seconds, text("seconds")),
        "threads": mistakes.one(_count("threads"), text("threads") or str(cpu_count())),
        "device": mistakes.one(
            lambda name: resolve_device(_one_of("device", DEVICES)(name)), arguments.device
        ),
        "json": mistakes.one(_writable, arguments.json) if arguments.json else None,
        "precision": mistakes.one(_one_of("precision", get_args(Precision)), arguments.precision),
    }
    if not mistakes.lines:
        mistakes.lines += [
            f"{name}: must name one at least, but got none." for name in LISTS if not values[name]
        ]
    if mistakes.lines:
        raise BenchError("\n".join(mistakes.lines))
    files = tuple(arguments.file or ())
    return Options(**values, compile=arguments.compile, quick=arguments.quick, cell_files=files)


def own_shape(text: str) -> Shape:
    """Returns the shape of ``B32,T35,H256,V28``.

    Raises:
        BenchError: The text is none.
    """
    sizes = {
        part[:1]: int(part[1:])
        for part in text.split(",")
        if re.fullmatch("[BTHV][1-9][0-9]{0,8}", part)
    }
    if len(sizes) != 4 or text.count(",") != 3 or not 2 <= sizes["V"] <= MOST_TOKENS:
        raise BenchError(
            f"shape: must be B streams, T time steps, H units and V tokens (2 to {MOST_TOKENS}), "
            f"but got shape={text!r}. Write --shape B32,T35,H256,V28."
        )
    return Shape(text, sizes["B"], sizes["T"], sizes["H"], sizes["V"])


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _preset(name: str) -> Shape:
    if name not in PRESETS:
        raise BenchError(
            f"shapes: must be among {', '.join(PRESETS)}, but got"
            f" shapes={name!r}.{_near(name, PRESETS)} Your own: --shape B32,T35,H256,V28."
        )
    return PRESETS[name]


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _count(where: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[1-9][0-9]{0,5}", text):
            raise BenchError(
                f"{where}: must be a whole number from 1 on, but got {where}={text!r}. Correct it."
            )
        return int(text)

    return read


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or not 0 < float(text) <= 3600:
        raise BenchError(
            f"seconds: must be a number over 0, up to 3600, but got seconds={text!r}. Write 0.2,"
            " say."
        )
    return float(text)


def _writable(text: str) -> Path:
    path = Path(text)
    home = next(folder for folder in path.absolute().parents if folder.exists())
    if (
        path.is_dir()
        or not home.is_dir()
        or not os.access(path if path.exists() else home, os.W_OK)
    ):
        raise BenchError(
            f"json: must be a file that can be written, but got json={text!r}. Name another."
        )
    return path


def _one_of(where: str, names: Sequence[str]) -> Callable[[str], str]:
    def read(name: str) -> str:
        if name not in names:
            raise BenchError(
                f"{where}: must be one of {', '.join(names)}, but got"
                f" {where}={name!r}.{_near(name, names)}"
            )
        return name

    return read
