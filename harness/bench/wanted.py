"""What a bench with a budget measures, the most wanted first."""

from dataclasses import dataclass, replace
from typing import Any

import cells
from harness.bench.journal import Label
from harness.bench.options import Named, Options, own_shape
from harness.bench.record import PREBUILT, Shape
from harness.bench.subjects import input_forms, loop_forms

BASE = own_shape("B32,T35,H256,V28")
NARROW = own_shape("B32,T35,H64,V28")
WIDE = own_shape("B32,T35,H1024,V28")
WORDS = own_shape("B32,T35,H256,V10000")
LONG = own_shape("B16,T1024,H768,V28")
"""The shape of published figures of one kernel for all time steps, those of FlashRNN."""
PACKS = (1, 16)
"""The packs of every row."""
ANY_ENGINE = "auto"
"""The name of the engine that training takes, before it is known."""


@dataclass(frozen=True)
class Row:
    """A cell at a shape in a precision."""

    cell: str
    shape: Shape
    precision: str


WANTED = (
    Row("lstm", BASE, "float32"),
    Row("lstm", BASE, "tf32"),
    Row("lstm", BASE, "bf16"),
    Row("gru", BASE, "tf32"),
    Row("rnn-tanh", BASE, "tf32"),
    Row("gru", NARROW, "tf32"),
    Row("rnn-tanh", NARROW, "tf32"),
    Row("lstm", WIDE, "tf32"),
    Row("lstm", WIDE, "float32"),
    Row("lstm", WORDS, "tf32"),
    Row("lstm", WORDS, "float32"),
    Row("lstm-layer-norm", BASE, "tf32"),
    Row("gru-reset-before", BASE, "tf32"),
    Row("indrnn", BASE, "tf32"),
    Row("nas", BASE, "tf32"),
    Row("lstm-mogrifier", BASE, "tf32"),
    Row("lstm", LONG, "bf16"),
)


def labels(options: Options) -> list[Label]:
    """Returns all subjects in the order in which they are measured.

    Each row has torch.nn first, so that the ratios to it are known at once, then our engines. The
    published loops come last, since they are the slowest.
    """
    rows = narrowed(WANTED, options.named)
    found = []
    for row in rows:
        found += [*_peers(row), *_engines(row, options)]
    found += [_label(row, "loop", form, 1) for row in rows for form in loop_forms(options)]
    return [label for label in found if label.kind in options.kinds]


def narrowed(rows: tuple[Row, ...], named: Named) -> list[Row]:
    """Returns the rows of the named cells, at the named shapes and in the named precisions.

    A cell that has no row takes the place of the cell in every row, so that any can be measured.
    """
    kept = [row for row in rows if row.cell in named.cells or not named.cells]
    there = {row.cell for row in rows}
    kept += [replace(row, cell=name) for name in named.cells if name not in there for row in rows]
    return list(
        dict.fromkeys(
            Row(row.cell, shape, precision)
            for row in kept
            for shape in named.shapes or (row.shape,)
            for precision in named.precisions or (row.precision,)
        )
    )


def _peers(row: Row) -> list[Label]:
    """Returns the cell's class of torch.nn in one run, as its users write it.

    A pack of N would be N of them in sequence, which take N times as long.
    """
    reference = cells.find(row.cell).reference
    if reference is None:
        return []
    forms = [form for form in input_forms(row.shape) if form != PREBUILT]
    return [_label(row, "peer", f"nn.{reference[0]} {form}", 1) for form in forms]


def _engines(row: Row, options: Options) -> list[Label]:
    names, packs = options.engines or (ANY_ENGINE,), options.named.packs or PACKS
    return [_label(row, "engine", name, pack) for pack in packs for name in names]


def _label(row: Row, kind: Any, name: str, pack: int) -> Label:
    return Label(kind, name, row.cell, row.shape.name, row.precision, pack)
