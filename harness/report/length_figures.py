"""The figure of how far what was learned at one length carries to longer sequences."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report import drawing, lengths
from harness.report.arm_results import ArmResult
from harness.report.drawing import FAINT, MAX_TOGETHER, LabelledFigure, Look
from harness.report.hover import Point, along
from harness.report.number_texts import number
from harness.study import Study
from harness.tasks.objective import Objective

DOTS = {lengths.GUESS: (0, (1, 2)), lengths.FLOOR: (0, (1, 5))}
"""How the lines are drawn of what is known of a task."""


def of_arms(
    study: Study, results: Sequence[ArmResult], runs: pd.DataFrame
) -> LabelledFigure | None:
    """Returns what every arm scores on test over the length of its sequences.

    A line is the median of an arm's replicates, with a band over all of them; dotted are the guess
    and the best prediction that there is, where they are known. Many arms have a panel each. None:
    nothing was tested on another length.

    Args:
        study: Of one condition.
        results: Its arms.
        runs: Of that condition.
    """
    found = lengths.tested(runs)
    shown = [result for result in results if (found["arm"] == result.name).any()]
    if not shown:
        return None
    objective, looks = results[0].objective, drawing.palette(results)
    multiples = [int(each) for each in found["multiple"].unique()]
    dotted = lengths.lines(lengths.bounds(study, multiples))
    if objective.is_ratio:  # there is no 0 on its axis
        dotted = {name: each for name, each in dotted.items() if min(each.values()) > 0}
    x_label = f"time steps, as multiples of the {study.baseline.settings.bptt_length:,} of training"
    y_label = f"test {objective.axis}" + (" (log scale)" if objective.is_ratio else "")
    points: list[Point] = []
    with drawing.style():
        if len(shown) <= MAX_TOGETHER:
            figure, axes = drawing.new_figure(3.9)
            panels = [axes] * len(shown)
            axes.set(xlabel=x_label, ylabel=drawing.upright(y_label))
        else:
            figure, panels = drawing.new_panels(len(shown))
            figure.supxlabel(x_label, fontsize="medium")
            figure.supylabel(y_label, fontsize="medium")
        for axes, result in zip(panels, shown, strict=True):
            rows = found[found["arm"] == result.name]
            points += _draw(axes, result.name, rows, looks[result.name], objective)
        for axes in dict.fromkeys(panels):
            _draw_known(axes, dotted)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(multiples))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(axis="y")
            max_ticks = 8 if len(shown) <= MAX_TOGETHER else 5
            drawing.levels_on(axes.yaxis, objective, max_ticks)
        if len(shown) <= MAX_TOGETHER:
            drawing.legend_below(figure, panels[0], len(shown) + len(dotted))
        else:
            for axes, result in zip(panels, shown, strict=True):
                axes.set_title(drawing.shortened(result.name), fontsize=8, loc="left")
                axes.tick_params(labelsize=8)
    label = (
        f"Test {objective.axis} over the length of the sequences, in lengths of those of training,"
        " by arm: the median of the replicates with a band from the lowest to the highest"
        + "".join(f", and {name}" for name in dotted)
    )
    return LabelledFigure("other-lengths", label, figure, points)


def _draw(
    axes: Axes, name: str, rows: pd.DataFrame, look: Look, objective: Objective
) -> list[Point]:
    """Draws an arm and returns what is told of its points."""
    levels = rows.assign(level=objective.levels(rows["loss"].to_numpy(np.float64)))
    line = levels.groupby("multiple")["level"].agg(["min", "median", "max"])
    axes.fill_between(
        line.index, line["min"], line["max"], color=look.color, alpha=0.12, linewidth=0
    )
    (curve,) = axes.plot(line.index, line["median"], look.line, color=look.color, label=name)
    curve.set(marker=look.marker, markersize=4, linewidth=1.6)
    texts = [
        f"{name}: {number(middle)} ({number(low)} to {number(high)}) at {multiple}×"
        for multiple, low, middle, high in line.itertuples()
    ]
    return along(axes, line.index, line["median"], texts)


def _draw_known(axes: Axes, dotted: Mapping[str, Mapping[int, float]]) -> None:
    for name, values in dotted.items():
        axes.plot(
            list(values),
            list(values.values()),
            color=FAINT,
            linestyle=DOTS[name],
            linewidth=1.4,
            label=name,
        )
