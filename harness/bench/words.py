"""The words of the bench's command, and what ``--help`` says of them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from harness.bench.options import PRESETS
from harness.bench.record import BenchError
from harness.bench.values import near
from harness.settings import Precision

DESCRIPTION = (
    "Measure what cells cost in training and in a forward pass, beside torch.nn, a published "
    "training loop and the plain products of this machine. All of them are measured in turn, and "
    "compared by ratios with intervals."
)


@dataclass(frozen=True)
class Option:
    """An option of the command; ``metavar`` is empty where it takes no value."""

    name: str
    metavar: str
    help: str
    rest: dict[str, Any]


def _option(name: str, metavar: str, help: str, **rest: Any) -> Option:
    return Option(name, metavar, help, rest)


OPTIONS = (
    _option("--cells", "NAMES", "Names of cells, separated by commas. (default: all cells)"),
    _option(
        "--engines",
        "NAMES",
        "Names of engines, separated by commas. (default: every engine that runs the cell)",
    ),
    _option(
        "--kinds",
        "NAMES",
        "What is measured: engine, for the cells by our engines; peer, for torch.nn; loop, for the "
        "published loop. Separated by commas. (default: engine,peer,loop)",
    ),
    _option(
        "--packs",
        "SIZES",
        "Numbers of runs that are trained as one pack, separated by commas. (default: 1,4)",
    ),
    _option(
        "--shapes",
        "NAMES",
        f"Names of shapes, separated by commas: {'; '.join(map(str, PRESETS.values()))}. "
        "(default: sources)",
    ),
    _option(
        "--shape",
        "SIZES",
        "A shape of your own, such as B32,T35,H256,V28: streams, time steps, hidden size and "
        "vocabulary. The option may be repeated.",
        action="append",
    ),
    _option(
        "--rounds",
        "COUNT",
        "Number of rounds over everything measured. (default: 11; with --budget: 6 repeats)",
    ),
    _option(
        "--seconds",
        "SECONDS",
        "Least length of one measurement. (default: 0.2; with --budget: 0.05)",
    ),
    _option(
        "--budget",
        "SECONDS",
        "Measure one subject after the other, the most wanted first, each alone in memory, and "
        "leave out what no longer fits this many seconds. There is a list of what is wanted: "
        "cells beside their class of torch.nn, each at a shape and in a precision. --cells keeps "
        "the rows of these cells; a cell that has none takes the place of every row's. --shapes, "
        "--shape, --packs and --precision take the places of what the rows have. --json has a "
        "line for each figure as soon as it is known, so the file can be read whatever ends the "
        "process.",
    ),
    _option("--threads", "COUNT", "Number of CPU threads. (default: one for each core)"),
    _option("--device", "NAME", "Device: auto, cpu or cuda. (default: auto)", default="auto"),
    _option(
        "--precision",
        "NAME",
        f"Precision of products: {', '.join(get_args(Precision))}. (default: float32)",
    ),
    _option(
        "--compile",
        "",
        "Measure the published loop under torch.compile too.",
        action="store_true",
    ),
    _option(
        "--quick",
        "",
        "Measure less, in six short rounds: each cell on one engine, in packs of 1 and 2, beside "
        "its published loop, its class of torch.nn and nn.LSTM. Without --cells there are four.",
        action="store_true",
    ),
    _option(
        "--module",
        "",
        "Measure harness.Recurrent beside modules of torch.nn, and of torchrecurrent where "
        "it is installed, with vectors as inputs, at batches of 32, 1 and 256.",
        action="store_true",
    ),
    _option(
        "--file",
        "PATH",
        "Path of a Python file with cells of your own. The option may be repeated.",
        action="append",
    ),
    _option("--json", "FILE", "File to which every measurement is written as JSON."),
    _option(
        "--from",
        "FILE",
        "JSON file whose tables are printed; nothing is measured.",
        dest="read",
    ),
    _option(
        "--plot",
        "FILE",
        "JSON file whose figures are drawn beside it as SVG and PNG; nothing is measured.",
    ),
)
"""All options, in the order of the help."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(
            f"bench: the words must be as --help has them, but got an error: {message}. Correct it."
        )


def parser() -> argparse.ArgumentParser:
    """Returns the words of the command.

    Values are text: :func:`harness.bench.options.checked` reads them, all mistakes at once.
    """
    arguments = _Parser(prog="harness bench", description=DESCRIPTION, allow_abbrev=False)
    for option in OPTIONS:
        value: dict[str, Any] = {"metavar": option.metavar} if option.metavar else {}
        arguments.add_argument(option.name, help=option.help, **value, **option.rest)
    return arguments


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the words, unread. ``read`` and ``plot`` name a file where nothing is to be measured.

    Raises:
        BenchError: A word is unknown, or one stands together with --from or --plot.
    """
    arguments, unknown = parser().parse_known_args(words)
    if unknown:
        known = [option.name for option in OPTIONS]
        hints = "".join(near(word.partition("=")[0], known) for word in unknown)
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
