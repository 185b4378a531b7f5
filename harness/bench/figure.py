"""The bench as a figure a shape: a row per cell, what an update takes and what its products reach.

Needs matplotlib.
"""

import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness.bench.judge import Estimate, Results, Row, estimate
from harness.bench.record import ONE_HOT, Bench, BenchError
from harness.report.drawing import COLORS, STYLE

MARKERS = "osD^vP*Xp<d>h"
PEER_LINES = {"LSTM": "-", "GRU": "--", "RNN": ":"}


def draw(bench: Bench, path: Path) -> list[Path]:
    """Draws the training updates of every shape beside ``path``, as SVG and PNG; returns the files.

    Raises:
        BenchError: There is nothing to draw.
    """
    written = []
    for shape in bench.shapes:
        results = Results(bench, shape, "train")
        rows = [row for row in results.rows() if row.series.kind != "peer"]
        if not rows:
            continue
        with mpl.rc_context(STYLE):
            figure = _figure(results, rows)
            for ending in (".svg", ".png"):
                name = re.sub("[^A-Za-z0-9]+", "-", shape.name)
                file = path.with_name(f"{path.stem}-{name}{ending}")
                figure.savefig(file, dpi=150, metadata={"Date": None} if ending == ".svg" else None)
                written.append(file)
    if not written:
        raise BenchError(
            f"bench: must hold a cell that was measured, but {path} holds none. Measure again."
        )
    return written


def _figure(results: Results, rows: list[Row]) -> Figure:
    cells = list(dict.fromkeys(row.series.cell for row in rows))
    kinds = list(dict.fromkeys((row.series.name, row.series.pack) for row in rows))
    figure = Figure(figsize=(10.0, 2.3 + 0.34 * len(cells)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for row in rows:
        index = kinds.index((row.series.name, row.series.pack))
        y = cells.index(row.series.cell) + 0.5 * ((index + 0.5) / len(kinds) - 0.5)
        label = f"{row.series.name}, pack of {row.series.pack}"
        _dot(left, row.seconds.times(1e3), y, index, label)
        _dot(right, Estimate(row.gflops, *_speeds(row)), y, index, label)
    _lines(results, left, right)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_xlabel("ms of a run-update, log scale (left is faster)")
    right.set_xlabel("GFLOP/s of products (right is faster)")
    right.set_xlim(left=0)
    _rows(left, right, cells)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(_title(results), fontsize=10)
    return figure


def _speeds(row: Row) -> tuple[float | None, float | None]:
    """Returns the ends of the interval of GFLOP/s, from those of the seconds."""
    work, seconds = row.gflops * row.seconds.median, row.seconds
    return (
        None if seconds.high is None else work / seconds.high,
        None if seconds.low is None else work / seconds.low,
    )


def _dot(axes: Axes, value: Estimate, y: float, index: int, label: str) -> None:
    color = COLORS[(index + 1) % len(COLORS)]
    known = axes.get_legend_handles_labels()[1]  # one entry a kind
    axes.plot(
        value.median,
        y,
        MARKERS[index % len(MARKERS)],
        color=color,
        markersize=5,
        label=None if label in known else label,
    )
    if value.low is not None and value.high is not None:
        axes.plot([value.low, value.high], [y, y], color=color, linewidth=1.4)


def _lines(results: Results, left: Axes, right: Axes) -> None:
    """Draws what each torch.nn reaches at the largest pack, and the machine's peak."""
    largest = max(series.pack for series in results.series)
    for name, style in PEER_LINES.items():
        peer = results.peer(name, largest)
        if peer is not None:
            row = results.row(peer)
            for axes, value in ((left, row.seconds.median * 1e3), (right, row.gflops)):
                axes.axvline(
                    value,
                    color="#666666",
                    linestyle=style,
                    linewidth=1.1,
                    label=f"nn.{name} {ONE_HOT}",
                )
    if results.peak is not None:
        peak = estimate(results.peak.gflops).median
        right.axvline(peak, color=COLORS[0], linewidth=2.2, label="peak of the machine")


def _rows(left: Axes, right: Axes, cells: list[str]) -> None:
    left.set_yticks(range(len(cells)), cells)
    left.set_ylim(len(cells) - 0.5, -0.5)
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)


def _title(results: Results) -> str:
    facts = results.bench.made
    where = f"{facts['threads']} threads of {facts['processor']}"
    if facts["device"] != "cpu":
        where = facts["device_name"]
    return (
        f"Training updates, {results.shape}, {facts['precision']}, {where},"
        f" commit {facts['git_commit'][:12]}"
    )
