"""The options of the bench: their defaults, and every mistake in them at once."""

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from harness.bench.record import KINDS, BenchError, Kind, Shape
from harness.bench.values import Mistakes, count, names, near, one_of, seconds, writable
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
    "precision": "float32",
    "shapes": "sources",
    "rounds": "11",
    "seconds": "0.2",
}
BUDGETED = {"rounds": "6", "seconds": "0.05"}
"""What ``--budget`` says where nothing else is said."""
QUICK = {
    "cells": "lstm,gru,rnn-tanh,lstm-no-output-tanh",
    "packs": "1,2",
    "shapes": "sources",
    "rounds": "6",  # the fewest that have a 95 % interval
    "seconds": "0.05",
}
"""What ``--quick`` says where nothing else is said."""
MODULE = {"cells": "lstm,gru,lstm-peephole", "rounds": "11", "seconds": "0.2"}
"""What ``--module`` says where nothing else is said."""
MODULE_SHAPES = tuple(Shape(f"batch {size}", size, 35, 256, 28) for size in (32, 1, 256))
"""The shapes of ``--module``: vectors of H enter, so that V has no meaning."""
DEVICES = ("auto", "cpu", "cuda")
LISTS = ("cells", "kinds", "packs", "shapes")
MOST_TOKENS = 0x100000
"""The largest vocabulary: there are no more characters."""


@dataclass(frozen=True)
class Named:
    """What a person named, and so wants of the list of a bench with a budget.

    A column of which nothing was named is empty.
    """

    cells: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    packs: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is trained.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: Of products.
        threads: Of a CPU.
        cell_files: Files of users' own cells.
    """

    device: str
    precision: str
    threads: int
    cell_files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rounds(Place):
    """Where, and for how long, something is measured.

    Attributes:
        rounds: How many repeats of everything.
        seconds: The least length of a repeat.
    """

    rounds: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """A bench to be measured.

    ``engines`` is empty where each cell takes every engine that runs it. ``budget`` is None where
    all is measured in rounds.
    """

    cells: tuple[str, ...]
    engines: tuple[str, ...]
    kinds: tuple[Kind, ...]
    packs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    compile: bool
    quick: bool
    json: Path | None
    budget: float | None
    named: Named


def checked(arguments: argparse.Namespace) -> Options:
    """Returns the options that the words ask for, the defaults filled in.

    Raises:
        BenchError: Some of them are wrong; a line for each.
    """
    import cells  # late, as all that follows: --help loads no torch
    from harness import engine
    from harness.timing import cpu_count
    from harness.training.execution import resolve_device

    def text(name: str) -> str:
        given: str | None = getattr(arguments, name)
        defaults = DEFAULTS | (QUICK if arguments.quick else {})
        defaults |= {} if arguments.budget is None else BUDGETED
        defaults |= MODULE if arguments.module else {}
        return given if given is not None else defaults.get(name, "")

    mistakes = Mistakes()
    mistakes.each(cells.load_file, arguments.file or ())
    shapes = mistakes.each(
        _preset, [] if arguments.shape and arguments.shapes is None else names(text("shapes"))
    )
    if arguments.module and not (arguments.shape or arguments.shapes):
        shapes = list(MODULE_SHAPES)
    values: dict[str, Any] = {
        "cells": tuple(
            c.name for c in mistakes.each(cells.find, names(text("cells")) or cells.names())
        ),
        "engines": tuple(e.name for e in mistakes.each(engine.get, names(text("engines")))),
        "kinds": tuple(mistakes.each(one_of("kinds", KINDS), names(text("kinds")))),
        "packs": tuple(sorted(set(mistakes.each(count("packs"), names(text("packs")))))),
        "shapes": tuple(dict.fromkeys(shapes + mistakes.each(own_shape, arguments.shape or ()))),
        "rounds": mistakes.one(count("rounds"), text("rounds")),
        "seconds": mistakes.one(seconds("seconds"), text("seconds")),
        "budget": None
        if arguments.budget is None
        else mistakes.one(seconds("budget"), arguments.budget),
        "threads": mistakes.one(count("threads"), text("threads") or str(cpu_count())),
        "device": mistakes.one(
            lambda name: resolve_device(one_of("device", DEVICES)(name)), arguments.device
        ),
        "json": mistakes.one(writable("json"), arguments.json) if arguments.json else None,
        "precision": mistakes.one(one_of("precision", get_args(Precision)), text("precision")),
    }
    if arguments.budget is not None and arguments.quick:
        mistakes.lines.append(
            "bench: --budget and --quick must not stand together, but both do. Leave out --quick:"
            " a budget says how much is measured."
        )
    mistakes.lines += _module_mistakes(arguments)
    if not mistakes.lines:
        mistakes.lines += [
            f"{name}: must name one at least, but got none." for name in LISTS if not values[name]
        ]
    if mistakes.lines:
        raise BenchError("\n".join(mistakes.lines))
    return Options(
        **values,
        compile=arguments.compile,
        quick=arguments.quick,
        cell_files=tuple(arguments.file or ()),
        named=_named(arguments, values),
    )


def _module_mistakes(arguments: argparse.Namespace) -> list[str]:
    """Returns the options that mean nothing beside --module, a line each."""
    others = ("engines", "kinds", "packs", "budget", "quick", "compile")
    given = [name for name in others if arguments.module and getattr(arguments, name)]
    return [
        f"bench: --module and --{name} must not stand together, but both do. Leave out --{name}."
        for name in given
    ]


def _named(arguments: argparse.Namespace, values: dict[str, Any]) -> Named:
    """Returns those of the values that are no defaults; a shape is called by its sizes."""
    shapes = tuple(replace(shape, name=shape.sizes) for shape in values["shapes"])
    return Named(
        values["cells"] if arguments.cells else (),
        shapes if arguments.shapes or arguments.shape else (),
        values["packs"] if arguments.packs else (),
        (values["precision"],) if arguments.precision else (),
    )


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


def _preset(name: str) -> Shape:
    if name not in PRESETS:
        raise BenchError(
            f"shapes: must be among {', '.join(PRESETS)}, but got"
            f" shapes={name!r}.{near(name, PRESETS)} Your own: --shape B32,T35,H256,V28."
        )
    return PRESETS[name]
