"""The figure of what the states of trained runs are like, arms side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report import drawing, states
from harness.report.arm_results import ArmResult
from harness.report.drawing import WIDTH_INCHES, LabelledFigure, Look
from harness.report.hover import Point, along
from harness.store.columns import ALL_STATES
from harness.training.state_statistics import SATURATION

SMALLEST = 1e-12
"""The smallest gradient norm that is drawn: a logarithmic axis has no 0."""
NAMES = {"rms": "root mean square", "percentile_99": "99th percentile", "saturated": "saturated"}
"""Quantity -> what it is called."""


def of_arms(results: Sequence[ArmResult], rows: pd.DataFrame) -> LabelledFigure | None:
    """Returns size and saturation of every state, and the gradient by time steps back.

    A mark is the median over the replicates, a line goes from the lowest to the highest. None:
    nothing was measured.

    Args:
        results: The arms.
        rows: Of one condition, the columns of ``columns.STATE_DTYPES``.
    """
    shown = [result for result in results if (rows["arm"] == result.name).any()]
    if not shown:
        return None
    looks, places, points = drawing.palette(results), states.places(rows), list[Point]()
    with drawing.style():
        height = 3.4 + drawing.row_inches(len(places) * len(shown)) * len(places)
        height += 0.14 * len(places) * len(shown)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(height - 3.0, 3.0))
        size, saturation = (figure.add_subplot(grid[0, i]) for i in (0, 1))
        points += _draw_sizes(size, shown, rows, looks)
        points += _draw_rows(saturation, shown, rows, looks, "saturated", filled=True)
        saturation.set_xlabel(f"share of units with |tanh| > {SATURATION:g}")
        saturation.set_xlim(-0.02, 1.02)
        saturation.set_yticklabels([])
        points += _draw_gradients(figure.add_subplot(grid[1, :]), shown, rows, looks)
        drawing.legend_below(figure, figure.axes[-1], len(shown))
    label = (
        "States of the replicates at their best, by arm: root mean square (filled) and 99th"
        " percentile (hollow) of every state, the share that tanh saturates, and the gradient of"
        " the last time step's loss by time steps back; the median of the replicates with a band"
        " from the lowest to the highest"
    )
    return LabelledFigure("states", label, figure, points)


def _draw_sizes(
    axes: Axes, shown: Sequence[ArmResult], rows: pd.DataFrame, looks: Mapping[str, Look]
) -> list[Point]:
    points = _draw_rows(axes, shown, rows, looks, "rms", filled=True)
    points += _draw_rows(axes, shown, rows, looks, "percentile_99", filled=False)
    drawing.log_on(axes.xaxis, 4)
    axes.grid(axis="x")
    axes.set_xlabel("size of a unit: root mean square, 99 %")
    return points


def _draw_rows(
    axes: Axes,
    shown: Sequence[ArmResult],
    rows: pd.DataFrame,
    looks: Mapping[str, Look],
    quantity: str,
    *,
    filled: bool,
) -> list[Point]:
    """Draws a row per state, in it a mark per arm, and returns what is told of them."""
    places, points = states.places(rows), []
    labels = [states.label(rows, *place) for place in places]
    drawing.name_rows(axes, labels)
    for y, (layer, state) in enumerate(places):
        for k, result in enumerate(shown):
            found = states.of_place(rows, result.name, layer, state)
            values = found.loc[found["quantity"] == quantity, "value"].to_numpy(dtype=np.float64)
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            look, place = looks[result.name], y + 0.6 * ((k + 0.5) / len(shown) - 0.5)
            axes.plot([values.min(), values.max()], [place] * 2, color=look.color, linewidth=1.4)
            face = look.color if filled else "white"
            axes.plot(
                np.median(values),
                place,
                look.marker,
                color=look.color,
                markerfacecolor=face,
                markersize=5,
            )
            name = NAMES[quantity]
            text = f"{result.name}, {labels[y]}: {name} {_range_text(values)}"
            points.append(Point(axes, float(np.median(values)), place, text))
    return points


def _range_text(values: np.ndarray) -> str:
    return f"{np.median(values):.3g} ({values.min():.3g} to {values.max():.3g})"


def _draw_gradients(
    axes: Axes, shown: Sequence[ArmResult], rows: pd.DataFrame, looks: Mapping[str, Look]
) -> list[Point]:
    points = []
    whole = rows[rows["state"] == ALL_STATES]
    for result in shown:
        norms = states.gradient(whole[whole["arm"] == result.name]).clip(lower=SMALLEST)
        look = looks[result.name]
        axes.fill_between(
            norms.index,
            norms.min(axis=1),
            norms.max(axis=1),
            color=look.color,
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(
            norms.index,
            norms.median(axis=1),
            look.line,
            color=look.color,
            label=result.name,
            marker=look.marker,
            markersize=4,
            markevery=max(1, len(norms) // 8),
        )
        texts = [
            f"{result.name}: {_range_text(row)} at {step} time steps back"
            for step, row in zip(norms.index, norms.to_numpy(), strict=True)
        ]
        points += along(axes, norms.index, norms.median(axis=1), texts)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="time steps back", ylabel="norm of the gradient")
    axes.grid(axis="y")
    return points
