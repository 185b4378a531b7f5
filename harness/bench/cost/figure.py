"""The costs over the hidden size, and the machine's roofline. Needs matplotlib."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.bench.cost.record import CellCost, Costs, Quantity
from harness.report.drawing import COLORS, MARKERS, STYLE

ROOF_COLOR = "#666666"


def draw(costs: Costs, path: Path) -> Path:
    """Draws the costs into a file and returns it; its ending says the format."""
    with mpl.rc_context(STYLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure(costs).savefig(path, dpi=150, metadata=metadata)
    return path


def figure(costs: Costs) -> Figure:
    """Returns four panels: updates, tokens of one stream, the large batch, the roofline."""
    drawn = Figure(figsize=(10.0, 8.0), layout="constrained")
    ((update, token), (large, roofline)) = drawn.subplots(2, 2)
    names = list(dict.fromkeys(cell.cell for cell in costs.cells))
    for index, name in enumerate(names):
        cells = [cell for cell in costs.cells if cell.cell == name and cell.problem is None]
        look = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}
        _line(update, cells, [_scaled(cell, "update", 1e3) for cell in cells], name, look)
        _line(token, cells, [_scaled(cell, "token", 1e6) for cell in cells], name, look)
        _line(large, cells, [costs.tokens_per_second(cell) for cell in cells], name, look)
        _limits((update, token, large), costs, cells, look["color"])
    _roofline(roofline, costs, names)
    update.set_ylabel("ms of a training update")
    token.set_ylabel("us from one token to the next, one stream")
    large.set_ylabel(f"tokens/s, forward passes of {costs.large_batch} streams")
    for axes in (update, token, large):
        _over_hidden_sizes(axes, costs)
    handles, labels = update.get_legend_handles_labels()
    handles.append(Line2D([], [], color=ROOF_COLOR, linestyle=":"))
    drawn.legend(handles, [*labels, "at the machine's peaks"], loc="outside lower center", ncols=4)
    facts = costs.made
    where = facts["device_name"] if facts["device"] != "cpu" else facts["processor"]
    drawn.suptitle(
        f"B = {costs.batch_size}, T = {costs.bptt_length}, V = {costs.num_tokens}, "
        f"{facts['precision']}, {facts['threads']} threads of {where}",
        fontsize=10,
    )
    return drawn


def _scaled(cell: CellCost, quantity: Quantity, factor: float) -> float | None:
    seconds = cell.seconds(quantity)
    return None if seconds is None else seconds * factor


def _line(
    axes: Axes,
    cells: list[CellCost],
    values: list[float | None],
    name: str,
    look: dict[str, Any],
) -> None:
    sizes = [cell.hidden_size for cell in cells]
    heights = [float("nan") if value is None else value for value in values]
    axes.plot(sizes, heights, label=name, **look)


def _limits(
    panels: tuple[Axes, Axes, Axes], costs: Costs, cells: list[CellCost], color: str
) -> None:
    """Draws beside a cell's measurements what the machine would take at its peaks."""
    every, one = costs.roofs[-1], costs.roofs[0]
    tokens = costs.batch_size * costs.bptt_length
    arithmetic = [cell.flops_per_token / one.peak / 1e3 for cell in cells]
    reading = [1e6 * min(cell.reading_seconds) for cell in cells]
    limits = (
        [tokens * cell.training_flops_per_token / every.peak / 1e6 for cell in cells],
        list(map(max, arithmetic, reading)),
        [1e9 * every.peak / cell.flops_per_token for cell in cells],
    )
    for axes, heights in zip(panels, limits, strict=True):
        axes.plot([cell.hidden_size for cell in cells], heights, ":", color=color, linewidth=1.0)


def _roofline(axes: Axes, costs: Costs, names: list[str]) -> None:
    """Draws what each size reaches over its FLOPs a byte, under the machine's roofs."""
    intensities = [1.0]
    for cell in costs.cells:
        index = names.index(cell.cell)
        places: tuple[tuple[Quantity, float], ...] = (
            ("token", cell.flops_per_token / cell.token_bytes),
            ("update", cell.training_flops_per_token / cell.training_bytes),
            ("large", cell.flops_per_token / cell.large_bytes),
        )
        for quantity, intensity in places:
            reached = costs.gflops(cell, quantity)
            if reached is None:
                continue
            intensities.append(intensity)
            color = COLORS[index % len(COLORS)]
            axes.plot(
                intensity,
                reached,
                MARKERS[index % len(MARKERS)],
                color=color,
                markerfacecolor="none" if quantity == "token" else color,
                markersize=5,
            )
    _roofs(axes, costs, min(intensities) / 3, max(intensities) * 3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOPs a byte; hollow: one token")
    axes.set_ylabel("GFLOP/s of products")
    axes.grid(linewidth=0.6)


def _roofs(axes: Axes, costs: Costs, low: float, high: float) -> None:
    """Draws the peak and the bandwidths of one thread and of all."""
    told = []
    for roof, style in zip(costs.roofs, ("--", "-")[-len(costs.roofs) :], strict=True):
        for bandwidth in (roof.memory, roof.cache):
            knee = min(max(roof.peak / bandwidth, low), high)
            heights = [min(roof.peak, x * bandwidth) for x in (low, knee, high)]
            axes.plot([low, knee, high], heights, style, color=ROOF_COLOR, linewidth=1.2)
        words = "thread" if roof.threads == 1 else "threads"
        told.append(
            f"{roof.threads} {words}: {roof.peak:.0f} GFLOP/s, memory {roof.memory:.0f} GB/s, "
            f"cache {roof.cache:.0f} GB/s"
        )
    axes.set_title("\n".join(reversed(told)), fontsize=8)


def _over_hidden_sizes(axes: Axes, costs: Costs) -> None:
    sizes = sorted({cell.hidden_size for cell in costs.cells})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel("hidden size")
    axes.grid(linewidth=0.6)
