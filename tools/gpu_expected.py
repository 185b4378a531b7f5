"""What was expected of a GPU before there was one, beside what ``make gpu`` measured there.

It reads the figures of a folder that ``tools/gpu_run.py`` wrote, whole or not.
"""

import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.bench.journal import DEFAULT_CELL, Figure, Journal, Label, from_text
from harness.bench.record import Mode
from harness.bench.wanted import BASE, LONG, NARROW, WIDE

FILES = {"gpu": ("bench.jsonl",), "persistent": ("persistent.jsonl", "persistent-long.jsonl")}
"""Engine -> the files of its figures, with those of torch.nn beside them."""
LAUNCHES = Path(__file__).resolve().parents[1] / "studies" / "bench" / "gpu" / "launches.json"
"""Counted by ``tools/gpu_launches.py``."""
NOT_MEASURED = "not measured"
Quantity = Literal["x nn", "ms", "x lstm"]
SPEED: Quantity = "x nn"
MILLISECONDS: Quantity = "ms"
SCALED: Quantity = "x lstm"
LEGEND = (
    "B32, T35, V28 where nothing else is said. x nn: updates of one run a second, over those of "
    "the cell's class of torch.nn. ms: of an update of the whole pack. x lstm: the time over that "
    "of lstm, each over the launches of its update."
)
WIDTH = 80
HEADER = ("", "", "predicted", "wanted", "measured")


@dataclass(frozen=True)
class Expected:
    """One figure.

    Attributes:
        engine: Whose.
        cell: Which.
        shape: As the bench names it.
        precision: Of products.
        quantity: Of what the numbers are.
        predicted: By counting, before anything was launched; empty where nothing was.
        wanted: What the project asks for; empty where it asks for nothing.
        pack: Runs.
        mode: A training update or the forward pass.
        name: Of a class of torch.nn, where that is what is measured.
    """

    engine: str
    cell: str
    shape: str
    precision: str
    quantity: Quantity
    predicted: str = ""
    wanted: str = ""
    pack: int = 1
    mode: Mode = "train"
    name: str | None = None

    def __str__(self) -> str:
        runs = f"{self.pack} " if self.pack > 1 else ""
        subject = f"{self.cell} {self.engine}" if self.name is None else self.name.split()[0]
        shape = self.shape.removeprefix("B32,T35,").removesuffix(",V28")
        forward = ", forward" if self.mode == "forward" else ""
        return f"{runs}{subject} {shape}, {self.precision}{forward}"


def _today() -> list[Expected]:
    """Returns what is expected of a product and a pointwise kernel for each time step."""
    both = ("tf32", "float32")
    base = [("gpu", "lstm", BASE.name, precision) for precision in both]
    found = [Expected(*row, SPEED, "0.9", ">= 1.0") for row in base]
    found += [Expected(*row, SPEED, "", ">= 1.0", mode="forward") for row in base]
    found += [
        Expected("gpu", cell, shape.name, "tf32", SPEED, "", ">= 0.8")
        for cell in ("gru", "rnn-tanh")
        for shape in (BASE, NARROW)
    ]
    found += [
        Expected(*row, SPEED, "6 to 11", wanted, pack=16)
        for row, wanted in zip(base, (">= 10", ""), strict=True)
    ]
    found += [
        Expected("gpu", "lstm", WIDE.name, precision, SPEED, "", ">= 0.9") for precision in both
    ]
    others = ("lstm-layer-norm", "gru-reset-before", "indrnn", "nas", "lstm-mogrifier")
    found += [Expected("gpu", cell, BASE.name, "tf32", SCALED, "", "<= 1.3") for cell in others]
    return found


def _one_kernel() -> list[Expected]:
    """Returns what is expected of one kernel a direction."""

    def row(
        cell: str,
        precision: str,
        quantity: Quantity,
        predicted: str,
        wanted: str = "",
        pack: int = 1,
        name: str | None = None,
    ) -> Expected:
        told = precision, quantity, predicted, wanted, pack
        return Expected("persistent", cell, BASE.name, *told, name=name)

    return [
        row("lstm", "float32", MILLISECONDS, "0.65 to 0.80", name="nn.LSTM one-hot"),
        row("lstm", "float32", MILLISECONDS, "0.15 to 0.25"),
        row("lstm", "float32", SPEED, "", ">= 1.5"),
        row("lstm", "tf32", SPEED, "", ">= 1.5"),
        row("gru", "tf32", SPEED, "", ">= 1.0"),
        row("rnn-tanh", "tf32", SPEED, "", ">= 1.0"),
        row("lstm", "float32", MILLISECONDS, "0.57 to 0.95", pack=16),
        row("lstm", "float32", SPEED, "14 to 30", ">= 10", pack=16),
        row("lstm", "tf32", MILLISECONDS, "0.26 to 0.43", pack=16),
        row("lstm", "tf32", SPEED, "14 to 30", ">= 15", pack=16),
    ]


EXPECTED = (
    *_today(),
    *_one_kernel(),
    Expected("gpu", "lstm", LONG.name, "bf16", MILLISECONDS, name="nn.LSTM one-hot"),
    Expected("gpu", "lstm", LONG.name, "bf16", MILLISECONDS),
    Expected("persistent", "lstm", LONG.name, "bf16", MILLISECONDS),
)
PUBLISHED = (
    f"At {LONG.name} FlashRNN's authors published, for forward and backward alone in float16 on an "
    "H100: cuDNN 5.19 ms, their fused kernel 13.6 ms. Here an update has the read-out, the loss "
    "and the optimizer besides, in bfloat16."
)


def measured(wanted: Expected, journal: Journal) -> str:
    """Returns the figure as it was measured, if it was."""
    figure = _figure(wanted, journal)
    if figure is None:
        return NOT_MEASURED
    if wanted.quantity == MILLISECONDS:
        return f"{figure.run_seconds().median * figure.label.pack * 1e3:.3g}"
    if wanted.quantity == SCALED:
        return _scaled(figure, journal)
    peers = journal.peers(figure)
    if not peers or peers[0].label.cell != wanted.cell:
        return NOT_MEASURED
    return f"{figure.speed_over(peers[0]).median:.2f}"


def _figure(wanted: Expected, journal: Journal) -> Figure | None:
    kind: Literal["peer", "engine"] = "engine" if wanted.name is None else "peer"
    label = Label(
        kind, wanted.name or wanted.engine, wanted.cell, wanted.shape, wanted.precision, wanted.pack
    )
    found = (f for f in journal.figures() if (f.label, f.mode) == (label, wanted.mode))
    return next(found, None)


def _scaled(figure: Figure, journal: Journal) -> str:
    """Returns time over lstm's, each over what its update launches."""
    ours = figure.label
    theirs = replace(ours, cell=DEFAULT_CELL)
    there = {f.label: f for f in journal.figures() if f.mode == figure.mode}
    if theirs not in there:
        return NOT_MEASURED
    rows = json.loads(LAUNCHES.read_text(encoding="utf-8"))["updates"]
    launches = {row["cell"]: row["all"] for row in rows if _is_counted(row, ours)}
    each = [there[of].run_seconds().median / launches[of.cell] for of in (ours, theirs)]
    return f"{each[0] / each[1]:.2f}"


def _is_counted(row: dict[str, Any], label: Label) -> bool:
    """Returns whether a row counts such updates; those in tf32 launch what those in float32 do."""
    precision = "float32" if label.precision == "tf32" else label.precision
    kind = row["engine"], row["shape"], row["precision"]
    return kind == (label.name, label.shape, precision)


def text(folder: Path) -> str:
    """Returns a table of what was expected beside what the files of a folder hold."""
    journals = {engine: [_journal(folder / name) for name in FILES[engine]] for engine in FILES}
    lines = [HEADER]
    for wanted in EXPECTED:
        found = {measured(wanted, journal) for journal in journals[wanted.engine]} - {NOT_MEASURED}
        numbers = wanted.predicted, wanted.wanted, found.pop() if found else NOT_MEASURED
        lines.append((str(wanted), wanted.quantity, *numbers))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*rows, "", textwrap.fill(LEGEND, WIDTH), textwrap.fill(PUBLISHED, WIDTH)])


def _journal(path: Path) -> Journal:
    return from_text(path.read_text(encoding="utf-8")) if path.exists() else Journal({})


def main(words: Sequence[str]) -> int:
    """Prints the table of the folder that is named and returns the exit code."""
    print(text(Path(words[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
