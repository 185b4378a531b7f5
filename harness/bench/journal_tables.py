"""A bench with a budget as text: ours beside torch.nn, in 80 columns."""

import textwrap
from collections.abc import Iterable

from harness.bench import tables
from harness.bench.journal import DEFAULT_CELL, Failed, Figure, Journal, Kernels, Label, LeftOut
from harness.bench.judge import Estimate
from harness.bench.record import EMBEDDING, MODES
from harness.bench.tables import WIDTH

HEADER = ("", "N", "ms", "x torch.nn", "ms", "x torch.nn")
MOST_KERNELS = 5
"""So many of the slowest are printed; the file has more."""


def text(journal: Journal) -> str:
    """Returns the whole journal as text."""
    parts = [
        "\n".join(map(_wrapped, tables.machine(journal.made).splitlines())),
        _wrapped(_end(journal)),
        _wrapped(_disturbance(journal)),
        *_tables(journal),
        *map(_kernels, (line for line in journal.lines if isinstance(line, Kernels))),
        *_missing(journal),
        legend(journal),
        *map(_wrapped, dict.fromkeys(note for f in journal.figures() for note in f.notes)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _end(journal: Journal) -> str:
    if journal.seconds is None:
        return (
            "The bench was stopped before its end: the file has no last line. What was measured"
            " before is here."
        )
    return f"It took {journal.seconds:.0f} s of a budget of {float(journal.made['budget']):g} s."


def _disturbance(journal: Journal) -> str:
    figures = journal.figures()
    disturbed, total = sum(f.disturbed for f in figures), sum(len(f.seconds) for f in figures)
    return tables.disturbance_of(disturbed, total)


def _tables(journal: Journal) -> Iterable[str]:
    """Returns a table for each shape and precision, in the order in which they were measured."""
    labels = [figure.label for figure in journal.figures()]
    for shape, precision in dict.fromkeys((label.shape, label.precision) for label in labels):
        here = [label for label in labels if (label.shape, label.precision) == (shape, precision)]
        engines = list(dict.fromkeys(label.name for label in here if label.kind == "engine"))
        by = f", cells by engine {engines[0]}" if len(engines) == 1 else ""
        lines = [_row(journal, label, bool(by)) for label in dict.fromkeys(here)]
        table = tables.aligned([HEADER, *lines], {""})
        header = table.partition("\n")[0]
        middle = header.index(HEADER[3]) + len(HEADER[3])
        titles = f"{'training update':>{middle}}{'forward only':>{len(header) - middle}}"
        yield f"{shape}, {precision}{by}\n{titles}\n{table}"


def _row(journal: Journal, label: Label, has_one_engine: bool) -> list[str]:
    named = label.cell if label.kind == "engine" and has_one_engine else label.subject
    row = [named, str(label.pack)]
    for mode in MODES:
        figure = next((f for f in journal.figures() if (f.label, f.mode) == (label, mode)), None)
        row += ["", ""] if figure is None else _columns(journal, figure)
    return row


def _columns(journal: Journal, figure: Figure) -> list[str]:
    """Returns the milliseconds of a run-update, and the ratio to the form that users would take."""
    milliseconds = f"{figure.run_seconds().median * 1e3:.3g}"
    peers = journal.peers(figure)
    if not peers or peers[0] is figure:
        return [milliseconds, ""]
    mark = "" if peers[0].label.cell == figure.label.cell else "*"
    return [milliseconds, _ratio(figure.speed_over(peers[0])) + mark]


def _ratio(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return _three(value.median)
    return f"{_three(value.median)} ({_three(value.low)}-{_three(value.high)})"


def _three(value: float) -> str:
    """Returns three figures, of numbers below one fewer."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _kernels(found: Kernels) -> str:
    title = (
        f"{found.label}: {found.launches:.0f} kernels and copies a training update,"
        f" {found.microseconds:.0f} us of the device; the slowest:"
    )
    lines = [
        f"{microseconds:8.1f} us in {launches:4.0f}  {name}"[:WIDTH]
        for name, launches, microseconds in found.slowest[:MOST_KERNELS]
    ]
    return "\n".join([_wrapped(title), *lines])


def _missing(journal: Journal) -> Iterable[str]:
    """Returns what was left out and what failed, under each reason."""
    for of, word in ((Failed, "Failed"), (LeftOut, "Left out")):
        missing = [line for line in journal.lines if isinstance(line, of)]
        for reason in dict.fromkeys(line.reason for line in missing):
            labels = [line.label for line in missing if line.reason == reason]
            yield "\n".join([_wrapped(f"{word}: {reason}"), *(f"  {label}" for label in labels)])


def legend(journal: Journal) -> str:
    """Returns what the columns say and what was inside the clock."""
    on_cpu = journal.made["device"] == "cpu"
    precisions = dict.fromkeys(figure.label.precision for figure in journal.figures())
    dtypes = "; ".join(
        f"{precision} as {tables.torch_dtype(precision, on_cpu)}" for precision in precisions
    )
    peers = [figure.label for figure in journal.figures() if figure.label.kind == "peer"]
    lines = [
        "N: runs of the pack. ms: of one run's update, the pack's wall time over N; median of the"
        " repeats.",
        "x torch.nn: updates of one run a second, over those of one run of the cell's class of"
        " torch.nn at the same shape and precision: a pack of N is as fast as N runs of torch.nn in"
        " sequence where it is 1. Of several forms of torch.nn's input it is the first in the"
        f" table. *: over the class of {DEFAULT_CELL}, where the cell has none or it is not there."
        " The interval has the lowest and the highest quotient of two 95 % order-statistic"
        " intervals; subjects are measured one after the other, so drift is not in it.",
        "training update: as `harness run` trains, and for torch.nn and the loop as their users"
        " write it: gather (of ours alone), forward, loss, backward, clip, SGD. one-hot rows are"
        " made inside the clock. forward only: with the loss, of the first minibatch.",
        f"torch.nn and the loop compute {dtypes}." if dtypes else "",
    ]
    if any(label.name.endswith(EMBEDDING) for label in peers):
        lines.append(
            "embedding: nn.Embedding(V, H) before a layer of H inputs, as users of large"
            " vocabularies write it. Its arithmetic and its model are others than the cell's: a"
            " V x H table and an H x G*H product, where ours and one-hot have a V x G*H table (G"
            " is the number of gates)."
        )
    return "\n".join(map(_wrapped, filter(None, lines)))
