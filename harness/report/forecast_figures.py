"""The figures of forecasts: what was, and what was forecast, a panel for each forecaster."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from harness.report import drawing
from harness.report.arm_results import ArmResult
from harness.report.drawing import FAINT, LabelledFigure, Look
from harness.report.hover import Point, along

MOST_POINTS = 200
"""Points of the split that are drawn: the first ones; a panel shows no more."""
MOST_COLUMNS = 3
"""Columns of a series that have a figure: the first ones."""
NAIVE = "naive"


def of_arms(results: Sequence[ArmResult], rows: pd.DataFrame) -> list[LabelledFigure]:
    """Returns a figure for each of the first columns: the naive forecast, and every arm's.

    Args:
        results: The arms.
        rows: Of one condition, the columns of ``columns.FORECAST_DTYPES`` and the ``arm``.
    """
    shown = [result for result in results if (rows["arm"] == result.name).any()]
    columns = list(dict.fromkeys(rows["column"]))[:MOST_COLUMNS] if shown else []
    looks = drawing.palette(results)
    figures = []
    for number, column in enumerate(columns, 1):
        of_column = rows[rows["column"] == column]
        of_column = of_column.assign(time=of_column["time"].str.removesuffix(".0"))
        stem = f"forecasts-{number}" if len(columns) > 1 else "forecasts"
        figures.append(_figure(stem, shown, of_column, looks))
    return figures


def _figure(
    stem: str, shown: Sequence[ArmResult], rows: pd.DataFrame, looks: dict[str, Look]
) -> LabelledFigure:
    """Returns the panels of one column of the series."""
    parts = {r.name: rows[rows["arm"] == r.name].iloc[:MOST_POINTS] for r in shown}
    first = parts[shown[0].name]
    naive = first.assign(forecast=first[NAIVE], low=np.nan, high=np.nan)
    column, ahead = str(first["column"].iloc[0]), int(first["steps_ahead"].iloc[0])
    points: list[Point] = []
    with drawing.style():
        figure, panels = drawing.new_panels(1 + len(shown), num_columns=2)
        points += _draw(panels[0], NAIVE, naive, Look(FAINT, "--", ""))
        for axes, result in zip(panels[1:], shown, strict=True):
            points += _draw(axes, result.name, parts[result.name], looks[result.name])
        steps = f"{ahead} point{'s' if ahead > 1 else ''} ahead"
        figure.suptitle(f"{column}: what was (grey), and its forecast {steps}", fontsize="medium")
        begin, end = first["time"].iloc[[0, -1]]
        figure.supxlabel(f"test, from {begin} to {end}", fontsize="medium")
    label = (
        f"Forecasts of {column} on the test split {steps}, by the naive forecast and by the first"
        " replicate of each arm, with what was"
        + (", and the interval of nine in ten" if first["low"].notna().any() else "")
    )
    return LabelledFigure(stem, label, figure, points)


def _draw(axes: Axes, name: str, rows: pd.DataFrame, look: Look) -> list[Point]:
    """Draws a forecaster's panel and returns what is told of its points."""
    at = np.arange(len(rows))
    axes.fill_between(at, rows["low"], rows["high"], color=look.color, alpha=0.18, linewidth=0)
    axes.plot(at, rows["truth"], color=FAINT, linewidth=1.0)
    axes.plot(at, rows["forecast"], look.line, color=look.color, linewidth=1.2)
    axes.set_title(drawing.shortened(name), fontsize=8, loc="left")
    axes.tick_params(labelsize=8)
    axes.set_xticks([])
    axes.grid(axis="y")
    texts = [
        f"{name}: {forecast:.4g} where it was {truth:.4g} at {time}"
        for time, truth, forecast in zip(rows["time"], rows["truth"], rows["forecast"], strict=True)
    ]
    return along(axes, at, rows["forecast"], texts)
