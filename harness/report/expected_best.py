"""The figure of what tuning bought: the best of so many trials of a random search."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report import drawing
from harness.report.drawing import MAX_TOGETHER, LabelledFigure, Look
from harness.report.hover import Point, along
from harness.report.number_texts import number
from harness.report.searches import Search, objective_name, searches
from harness.statistics import inference
from harness.study import Study
from harness.tasks.objective import Objective
from harness.training.messages import RunState

MAX_POINTS = 200
"""The most points of a line: the width of a figure shows no more."""
Line = tuple[np.ndarray, np.ndarray]
"""Numbers of trials, and what the best of them is expected to come to, (points,) each."""


def expected_best(study: Study, trials: pd.DataFrame) -> LabelledFigure | None:
    """Returns the expected best number over the number of trials of a random search.

    It is that of the expected best loss. A pruned trial counts with its last value, or with the
    arm's worst where that is lower. None: there is another sampler, whose trials are not
    exchangeable, or no trial finished.
    """
    by_arm = [search for search in searches(study, trials) if search.best is not None]
    if not by_arm or study.tune is None or study.tune.sampler != "random":
        return None
    looks, objective = drawing.palette(study.arms), by_arm[0].objective
    lines = {search.arm: _expected_levels(search) for search in by_arm}
    title, points = f"expected best {objective_name(study)}", list[Point]()
    with drawing.style():
        if len(by_arm) <= MAX_TOGETHER:
            figure = _together(objective, lines, looks, title, points)
        else:
            figure = _apart(objective, lines, looks, title, study.baseline.name, points)
    label = (
        f"What tuning bought: expected best {objective_name(study)} over the number of trials, by"
        " arm"
    )
    return LabelledFigure("expected-best", label, figure, points)


def _expected_levels(search: Search) -> Line:
    """Returns an arm's line, of MAX_POINTS points at most: more of them where it falls."""
    losses = _final_losses(search)
    counts = np.unique(np.geomspace(1, len(losses), MAX_POINTS).round().astype(int))
    if len(losses) <= MAX_POINTS:
        counts = np.arange(1, len(losses) + 1)
    return counts, search.objective.levels(inference.expected_best(losses, counts))


def _final_losses(search: Search) -> np.ndarray:
    """Returns one loss per trial, (trials,); failed trials are left out."""
    pruned = search.rows["state"] == RunState.PRUNED
    ended = search.rows["state"].isin([RunState.FINISHED, RunState.DIVERGED]) & np.isfinite(
        search.rows["loss"]
    )
    worst = search.rows.loc[ended, "loss"].max()
    losses = search.rows.loc[ended | pruned, "loss"].fillna(worst).clip(upper=worst)
    return np.asarray(losses, dtype=np.float64)


def _together(
    objective: Objective,
    lines: Mapping[str, Line],
    looks: Mapping[str, Look],
    title: str,
    points: list[Point],
) -> Figure:
    figure, axes = drawing.new_figure(3.4)
    points += _draw_expected(axes, objective, lines, looks)
    axes.set(xlabel=_trials(lines), ylabel=drawing.upright(title))
    drawing.legend_below(figure, axes, len(lines))
    return figure


def _apart(
    objective: Objective,
    lines: Mapping[str, Line],
    looks: Mapping[str, Look],
    title: str,
    baseline: str,
    points: list[Point],
) -> Figure:
    """Returns a panel per arm, with the baseline's line in each."""
    arms = [arm for arm in lines if arm != baseline]
    figure, panels = drawing.new_panels(len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        together = {name: lines[name] for name in (baseline, arm) if name in lines}
        points += _draw_expected(axes, objective, together, looks)
        axes.set_title(arm, fontsize="small")
    figure.supxlabel(f"{_trials(lines)} (in every panel: {baseline})", fontsize="medium")
    figure.supylabel(title, fontsize="medium")
    return figure


def _is_long(lines: Mapping[str, Line]) -> bool:
    """Returns whether the lines fall within the first few of all trials, which log scale shows."""
    return any(int(trials[-1]) > MAX_POINTS for trials, _ in lines.values())


def _trials(lines: Mapping[str, Line]) -> str:
    return "trials of random search" + (" (log scale)" if _is_long(lines) else "")


def _draw_expected(
    axes: Axes,
    objective: Objective,
    lines: Mapping[str, Line],
    looks: Mapping[str, Look],
) -> list[Point]:
    """Draws the arms' lines and returns what is told of them."""
    points = []
    for arm, (trials, line) in lines.items():
        look = looks[arm]
        axes.plot(trials, line, look.line, color=look.color, label=arm, linewidth=1.6)
        texts = [
            f"{arm}: {number(best)} after {k} trials" for k, best in zip(trials, line, strict=True)
        ]
        points += along(axes, trials, line, texts)
    drawing.levels_on(axes.yaxis, objective)
    if _is_long(lines):
        axes.set_xscale("log")
        drawing.counts_on(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y")
    return points
