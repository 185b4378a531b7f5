"""The figures of what is compared, along training: learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.arm_results import ArmResult
from harness.report.drawing import (
    MAX_TOGETHER,
    LabelledFigure,
    Look,
    counts_on,
    legend_below,
    levels_on,
    new_figure,
    new_panels,
    palette,
    short_count,
    shortened,
    style,
    upright,
)
from harness.report.hover import Point, along
from harness.report.number_texts import number
from harness.report.timings import ALONE
from harness.tasks.objective import Objective, split_of
from harness.training.messages import RunState

HIGHEST = float(np.log(1e5))
"""The highest loss that is drawn by its exp: that of a diverging run may be any number."""
MAX_POINTS = 200
"""The most points of a curve: the width of a figure shows no more."""
FAR_ABOVE = 3.0
"""The top of a figure, as a multiple of the ratio that half of the arms stay below."""


def learning_curves(
    results: Sequence[ArmResult], curves: pd.DataFrame, metric: str
) -> list[LabelledFigure]:
    """Returns what is compared, over tokens and over seconds, by arm.

    A line is the median of an arm's replicates, with a band over all of them. A replicate that
    diverged is above every other from there on; a line is drawn as far as all others have come.
    Seconds are those of a run alone, by the measured tokens per second; where an arm was not timed,
    those of the training itself, which a pack of runs shares. Empty: there is nothing to draw.

    Args:
        results: The arms.
        curves: ``frames.CURVE_COLUMNS``, and the ``state`` of each row's run.
        metric: The column that is drawn, a loss.
    """
    rows = curves[curves["phase"] == "replicate"]
    by_arm = {str(name): group for name, group in rows.groupby("arm", sort=False)}
    objective = results[0].objective
    lines = {r.name: _curve(objective, by_arm[r.name], metric) for r in results if r.name in by_arm}
    lines = {name: line for name, line in lines.items() if len(line)}
    if not lines:
        return []
    shown, looks = [result for result in results if result.name in lines], palette(results)
    what = f"{split_of(metric)} {objective.axis}"
    rates = {r.name: r.tokens_per_second[ALONE] for r in shown if ALONE in r.tokens_per_second}
    seconds = "seconds of training, as the packs took"
    if len(rates) == len(shown):
        seconds = "seconds of training a run alone, by its measured speed"
        lines = {
            name: line.assign(seconds=line["tokens"] / rates[name]) for name, line in lines.items()
        }
    figures = []
    for column, label in (("tokens", "tokens seen"), ("seconds", seconds)):
        over = {name: (line[column], line) for name, line in lines.items()}
        points: list[Point] = []
        figure = _curves_figure(shown, looks, over, points, label, what)
        text = (
            f"Learning curves: {what} over {column} by arm, the median of the replicates with a"
            " band from the lowest to the highest"
        )
        figures.append(LabelledFigure(f"learning-curves-{column}", text, figure, points))
    return figures


def _curve(objective: Objective, rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns low, median and high number by update, at MAX_POINTS at most, the last kept."""
    losses = rows.pivot(index="update", columns=["repeat", "index"], values=metric).astype(float)
    ends = rows.drop_duplicates(["repeat", "index"]).set_index(["repeat", "index"])["state"]
    diverged = losses.columns[(ends.reindex(losses.columns) == RunState.DIVERGED).to_numpy()]
    losses[diverged] = losses[diverged].fillna(np.inf)
    losses = losses.dropna()
    highest = HIGHEST if objective.is_ratio else np.inf
    values = objective.levels(np.minimum(losses.to_numpy(), highest))
    limit = float(objective.levels(np.array(highest)))
    means = rows.groupby("update")[["tokens", "time_seconds"]].mean().loc[losses.index]
    line = pd.DataFrame({"tokens": means["tokens"], "seconds": means["time_seconds"]}).assign(
        low=values.min(axis=1, initial=np.inf),
        middle=np.median(values, axis=1),
        high=values.max(axis=1, initial=-np.inf),
    )
    if not (line[["low", "high"]] != limit).any(axis=None):
        return line[:0]
    line["middle"] = line["middle"].where(line["middle"] != limit)
    kept = np.unique(np.linspace(0, len(line) - 1, min(len(line), MAX_POINTS)).round().astype(int))
    return line.iloc[kept]


Lines = Mapping[str, tuple[pd.Series, pd.DataFrame]]
"""Arm -> the horizontal values of its curve, and the frame of :func:`_curve`."""


def _curves_figure(
    results: Sequence[ArmResult],
    looks: Mapping[str, Look],
    lines: Lines,
    points: list[Point],
    label: str,
    what: str,
) -> Figure:
    """Returns the curves of the arms; what is told of them is added to ``points``."""
    unit, objective = label.partition(" ")[0], results[0].objective
    with style():
        if len(results) <= MAX_TOGETHER:
            figure, axes = new_figure(3.9)
            for result in results:
                x, line = lines[result.name]
                _draw_curve(axes, x, line, looks[result.name], name=result.name)
                points += _points_of_curve(axes, result.name, x, line, unit)
            axes.set(xlabel=label, ylabel=upright(_scaled(what, objective)))
            legend_below(figure, axes, len(results))
            panels = [axes]
        else:
            figure, panels = _panels(results, looks, lines, points, unit)
            figure.supxlabel(label, fontsize="medium")
            figure.supylabel(_scaled(what, objective), fontsize="medium")
        top = _top([line for _, line in lines.values()])
        for axes in panels:
            if objective.is_ratio:
                axes.set_yscale("log")
                axes.set_ylim(0.95 * min(line["low"].min() for _, line in lines.values()), top)
            levels_on(axes.yaxis, objective, max_ticks=8 if len(panels) == 1 else 5)
            counts_on(axes.xaxis)
            axes.grid(axis="y")
        return figure


def _scaled(what: str, objective: Objective) -> str:
    return f"{what} (log scale)" if objective.is_ratio else what


def _top(lines: Sequence[pd.DataFrame]) -> float:
    """Returns the highest number that a figure of ratios shows.

    It is that of all medians, unless some arms are far above the others.
    """
    tops = sorted(float(line["middle"].fillna(line["low"]).max()) for line in lines)
    return min(1.15 * tops[-1], FAR_ABOVE * tops[(len(tops) - 1) // 2])


def _panels(
    results: Sequence[ArmResult],
    looks: Mapping[str, Look],
    lines: Lines,
    points: list[Point],
    unit: str,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a panel for each of many arms, the baseline's curve in every panel."""
    base = next((result.name for result in results if result.is_baseline), None)
    others = [result.name for result in results if result.name != base]
    figure, panels = new_panels(len(others))
    for axes, name in zip(panels, others, strict=True):
        if base is not None:
            _draw_curve(axes, *lines[base], looks[base])
        _draw_curve(axes, *lines[name], looks[name])
        points += _points_of_curve(axes, name, *lines[name], unit)
        axes.set_title(shortened(name), fontsize=8, loc="left")
        axes.tick_params(labelsize=8)
    if base is not None:
        figure.suptitle(f"in every panel: {base}, the baseline", fontsize="medium")
    return figure, panels


def _points_of_curve(
    axes: Axes, name: str, x: pd.Series, line: pd.DataFrame, unit: str
) -> list[Point]:
    texts = [
        f"{name}: {number(middle)} ({number(low)} to {number(high)}) at {short_count(at)} {unit}"
        for at, low, middle, high in zip(x, line["low"], line["middle"], line["high"], strict=True)
    ]
    return along(axes, x, line["middle"], texts)


def _draw_curve(
    axes: Axes, x: pd.Series, line: pd.DataFrame, look: Look, name: str | None = None
) -> None:
    axes.fill_between(x, line["low"], line["high"], color=look.color, alpha=0.18, linewidth=0)
    (curve,) = axes.plot(x, line["middle"], look.line, color=look.color, label=name, linewidth=1.6)
    curve.set(marker=look.marker, markersize=4, markevery=max(1, len(line) // 8))
