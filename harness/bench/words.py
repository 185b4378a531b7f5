"""The words of the bench's command, and what ``--help`` says of them."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

from harness.bench.options import PRESETS
from harness.bench.record import BenchError
from harness.bench.values import near
from harness.settings import Precision


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(
            f"bench: the words must be as --help has them, but got an error: {message}. Correct it."
        )


def parser() -> argparse.ArgumentParser:
    """Returns the words of the command.

    Values are text: :func:`harness.bench.options.checked` reads them, all mistakes at once.
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
    option(
        "--rounds",
        "COUNT",
        "Number of rounds over everything measured. (default: 11; with --budget: 6 repeats)",
    )
    option(
        "--seconds",
        "SECONDS",
        "Least length of one measurement. (default: 0.2; with --budget: 0.05)",
    )
    option(
        "--budget",
        "SECONDS",
        "Measure one subject after the other, the most wanted first, each alone in memory, and "
        "leave out what no longer fits this many seconds. There is a list of what is wanted: "
        "cells beside their class of torch.nn, each at a shape and in a precision. --cells keeps "
        "the rows of these cells; a cell that has none takes the place of every row's. --shapes, "
        "--shape, --packs and --precision take the places of what the rows have. --json has a "
        "line for each figure as soon as it is known, so the file can be read whatever ends the "
        "process.",
    )
    option("--threads", "COUNT", "Number of CPU threads. (default: one for each core)")
    option("--device", "NAME", "Device: auto, cpu or cuda. (default: auto)", default="auto")
    precisions = ", ".join(get_args(Precision))
    option(
        "--precision",
        "NAME",
        f"Precision of products: {precisions}. (default: float32)",
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
    arguments.add_argument(
        "--module",
        action="store_true",
        help="Measure harness.Recurrent beside modules of torch.nn, and of torchrecurrent where "
        "it is installed, with vectors as inputs, at batches of 32, 1 and 256.",
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
