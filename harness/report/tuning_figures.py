"""The figure of the searches: trials over the tuned fields."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.report import drawing
from harness.report.drawing import FAINT, MAX_TOGETHER, WIDTH_INCHES, LabelledFigure, Look
from harness.report.hover import Point, along
from harness.report.number_texts import number
from harness.report.searches import (
    Domain,
    Search,
    objective_name,
    searches,
    space_of,
    value_text,
)
from harness.study import Choices, Study
from harness.tasks.objective import Objective
from harness.training.messages import RunState

HIGHEST_RATIO = 3.0
"""The highest ratio to the best that is shown: more would press the good trials into a line."""
OTHER_COLOR = "#868e96"
MOST_DRAWN = 500
"""The most trials of an arm that are drawn: more would hide one another."""


def trials_by_field(study: Study, trials: pd.DataFrame) -> LabelledFigure | None:
    """Returns one panel per tuned field, with every trial at its value of it.

    Up to ``MAX_TOGETHER`` arms are drawn as their number against the value; more have a row each,
    in which a mark's kind says how near the arm's best the trial came. None: no trial finished, or
    arms of several studies share no space.
    """
    by_arm = searches(study, trials)
    space, points = space_of(study, by_arm), list[Point]()
    if not space or not any(len(search.finished) for search in by_arm):
        return None
    with drawing.style():
        if len(by_arm) <= MAX_TOGETHER:
            figure = _levels(study, by_arm, space, points)
        else:
            figure = _rows(by_arm, space, drawing.palette(study.arms), points)
    label = f"Trials: {objective_name(study)} against {', '.join(space)}, by arm"
    most = max(len(search.rows) for search in by_arm)
    if most > MOST_DRAWN:
        label += f"; of an arm with more than {MOST_DRAWN} every k-th is drawn, from the best on"
    return LabelledFigure("hyperparameters", label, figure, points)


def _thinned(search: Search) -> Search:
    """Returns an arm's search with MOST_DRAWN trials at most: every k-th, from the best on."""
    if len(search.rows) <= MOST_DRAWN:
        return search
    is_own = search.rows.index.isin(search.finished.index)
    order = search.rows.assign(is_other=~is_own).sort_values(["is_other", "loss"], kind="stable")
    kept = order.index[:: math.ceil(len(order) / MOST_DRAWN)]
    return replace(search, rows=search.rows[search.rows.index.isin(kept)])


def _levels(
    study: Study,
    by_arm: Sequence[Search],
    space: Mapping[str, Domain],
    points: list[Point],
) -> Figure:
    """Returns what trials are judged by, against the value of each tuned field.

    What is told of the trials is added to ``points``.
    """
    num_columns = min(2, len(space))
    num_rows = math.ceil(len(space) / num_columns)
    figure = Figure(figsize=(WIDTH_INCHES, 1.0 + 2.4 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel().tolist()
    looks, top, objective = drawing.palette(study.arms), _top(by_arm), by_arm[0].objective
    for axes, (field, domain) in zip(grid, space.items(), strict=False):
        for k, search in enumerate(by_arm):
            # Arms stand side by side where values are names.
            shift = (k - (len(by_arm) - 1) / 2) * 0.5 / len(by_arm)
            look = looks[search.arm]
            drawn = _thinned(search)
            points += _draw_search(axes, drawn, field, domain, look, top=top, shift=shift)
        _values_on(axes, field, domain)
        drawing.levels_on(axes.yaxis, objective)
        axes.grid(axis="y")
    for unused in grid[len(space) :]:
        unused.set_axis_off()
    for first in grid[::num_columns]:
        first.set_ylabel(drawing.upright(objective_name(study)))
    figure.legend(
        handles=[*_marks_of_arms(by_arm, looks), *_marks_of_kinds(by_arm, top)],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _marks_of_arms(by_arm: Sequence[Search], looks: Mapping[str, Look]) -> list[Line2D]:
    names = [search.arm for search in by_arm]
    return [_mark(looks[name].marker, name, color=looks[name].color) for name in names]


def _marks_of_kinds(by_arm: Sequence[Search], top: float) -> list[Line2D]:
    rows = pd.concat([search.rows for search in by_arm])
    num_above = int(
        (rows["state"].isin([RunState.FINISHED, RunState.PRUNED]) & (rows["loss"] > top)).sum()
    )
    side = _worse_side(by_arm[0].objective)
    num_diverged = int((rows["state"] == RunState.DIVERGED).sum())
    ends = [f"{num_diverged} diverged"] if num_diverged else []
    ends += [f"{num_above} {side} the axis"] if num_above else []
    marks = [_mark("o", "best of its arm", color=FAINT, markersize=11, markerfacecolor="none")]
    if (rows["state"] == RunState.PRUNED).any():
        marks += [_mark("o", "pruned: its last value", color=FAINT, markerfacecolor="none")]
    return marks + ([_mark("x", ", ".join(ends), color=FAINT)] if ends else [])


def _mark(marker: str, label: str, **style: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, label=label, **style)


def _top(by_arm: Sequence[Search]) -> float:
    """Returns the highest loss that is drawn where it belongs, as every arm's best is."""
    bests = [search.best for search in by_arm if search.best is not None]
    highest = max(float(s.finished["loss"].max()) for s in by_arm if len(s.finished))
    if not by_arm[0].objective.is_ratio:
        return highest
    return min(highest, max(min(bests) + math.log(HIGHEST_RATIO), *bests))


def _draw_search(
    axes: Axes, search: Search, field: str, domain: Domain, look: Look, *, top: float, shift: float
) -> list[Point]:
    """Draws an arm's trials over one field and returns what is told of them."""
    objective = search.objective
    ceiling = _ceiling(objective, search, top)  # of the row of marks beyond all others
    inside = search.rows["loss"] <= top
    for state, face in ((RunState.FINISHED, look.color), (RunState.PRUNED, "none")):
        rows = search.rows[(search.rows["state"] == state) & inside]
        x, y = (
            _places(domain, search.values(rows, field), shift),
            objective.levels(rows["loss"].to_numpy()),
        )
        axes.plot(
            x,
            y,
            look.marker,
            color=look.color,
            markerfacecolor=face,
            markersize=5,
            linestyle="",
        )
    lost = search.rows[
        (search.rows["state"] == RunState.DIVERGED)
        | (search.rows["state"].ne(RunState.FAILED) & ~inside)
    ]
    x = _places(domain, search.values(lost, field), shift)
    axes.plot(x, np.full(len(x), ceiling), "x", color=look.color, markersize=5, linestyle="")
    best = search.near.nsmallest(1, "loss")
    x = _places(domain, search.values(best, field), shift)
    axes.plot(
        x,
        objective.levels(best["loss"].to_numpy()),
        "o",
        color=look.color,
        markerfacecolor="none",
        markersize=11,
        linestyle="",
    )
    shown = search.rows[search.rows["state"].ne(RunState.FAILED)]
    x = _places(domain, search.values(shown, field), shift)
    y = np.where(
        shown.index.isin(lost.index),
        ceiling,
        objective.levels(shown["loss"].clip(upper=top).to_numpy()),
    )
    return along(axes, x, y, _texts(search, shown, field))


def _worse_side(objective: Objective) -> str:
    return "above" if objective.better == "lower" else "below"


def _ceiling(objective: Objective, search: Search, top: float) -> float:
    """Returns where the trials stand that are worse than every number drawn."""
    if objective.is_ratio:
        return objective.level(top) * 1.08
    best = search.best
    return objective.level(top + 0.08 * (top - best if best is not None else 1.0))


def _texts(search: Search, rows: pd.DataFrame, field: str) -> list[str]:
    """Returns what is told of trials: their value of a field, and what they came to."""
    texts = []
    values = map(value_text, search.values(rows, field))
    for value, state, loss in zip(values, rows["state"], rows["loss"], strict=True):
        ended = "" if state == RunState.FINISHED else f", {state}"
        came_to = number(search.objective.level(loss)) if np.isfinite(loss) else "no number"
        texts.append(f"{search.arm}, {field} {value}: {came_to}{ended}")
    return texts


def _places(domain: Domain, values: Sequence[Any], shift: float) -> list[float]:
    """Returns where values stand on their axis: choices one beside another, moved by ``shift``."""
    if isinstance(domain, Choices):
        return [domain.choices.index(value) + shift for value in values]
    return [float(value) for value in values]


def _values_on(axes: Axes, field: str, domain: Domain) -> None:
    """Makes the horizontal axis that of a tuned field, over the whole range that was searched."""
    axes.set_xlabel(
        f"{field} (log scale)" if not isinstance(domain, Choices) and domain.log else field
    )
    if isinstance(domain, Choices):
        axes.set_xticks(
            range(len(domain.choices)), [value_text(choice) for choice in domain.choices]
        )
        axes.set_xlim(-0.6, len(domain.choices) - 0.4)
    elif domain.log:
        axes.set_xscale("log")
        axes.set_xlim(domain.low / 1.08, domain.high * 1.08)
        _ticks_on(axes.xaxis, domain.low, domain.high)
    else:
        margin = 0.03 * (domain.high - domain.low)
        axes.set_xlim(domain.low - margin, domain.high + margin)


def _ticks_on(axis: Axis, low: float, high: float) -> None:
    """Sets plain numbers at powers of ten, and between them where the range has few."""
    subs = (1.0,) if high / low > 1000 else (1.0, 3.0) if high / low > 50 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _rows(
    by_arm: Sequence[Search],
    space: Mapping[str, Domain],
    looks: Mapping[str, Look],
    points: list[Point],
) -> Figure:
    """Returns a row per arm for each tuned field; what is told of it is added to ``points``."""
    figure = Figure(figsize=(WIDTH_INCHES, 1.2 + 0.27 * len(by_arm)), layout="constrained")
    grid = figure.subplots(1, len(space), sharey=True, squeeze=False).ravel().tolist()
    for axes, (field, domain) in zip(grid, space.items(), strict=True):
        for y, search in enumerate(by_arm):
            drawn = _thinned(search)
            points += _draw_row(axes, drawn, field, domain, looks[search.arm].color, y)
        drawing.name_rows(axes, [search.arm for search in by_arm])
        _values_on(axes, field, domain)
        if isinstance(domain, Choices):
            axes.set_xlabel(f"{field} (each from best to worst)")
    objective = by_arm[0].objective
    kinds = [
        _mark("D", "best of its arm", color=FAINT),
        _mark("o", f"within {objective.margin_text(objective.near)} of it", color=FAINT),
        _mark("o", f"further {_worse_side(objective)}", color=OTHER_COLOR),
        _mark("o", "pruned", color=FAINT, markerfacecolor="none", markersize=4),
        _mark("x", "diverged", color=FAINT, markersize=5),
    ]
    figure.legend(
        handles=kinds, loc="outside lower center", ncols=5, columnspacing=1.0, handletextpad=0.2
    )
    return figure


def _draw_row(
    axes: Axes, search: Search, field: str, domain: Domain, color: str, y: int
) -> list[Point]:
    """Draws an arm's trials over one field and returns what is told of them."""
    rows, state = search.rows, search.rows["state"]
    x = _spread(search, field, domain)
    kinds: list[tuple[pd.DataFrame, dict[str, Any]]] = [
        (
            rows[state == RunState.PRUNED],
            {"marker": "o", "color": FAINT, "markerfacecolor": "none", "markersize": 4},
        ),
        (
            search.worse[search.worse["state"] == RunState.FINISHED],
            {"marker": "o", "color": OTHER_COLOR, "markersize": 5},
        ),
        (
            rows[state == RunState.DIVERGED],
            {"marker": "x", "color": FAINT, "markersize": 5},
        ),
        (search.near, {"marker": "o", "color": color, "markersize": 5}),
        (search.near.nsmallest(1, "loss"), {"marker": "D", "color": color, "markersize": 5}),
    ]
    near = x[search.near.index]
    if len(near) and not isinstance(domain, Choices):
        axes.plot([near.min(), near.max()], [y, y], color=color, linewidth=2)
    for marked, style in kinds:
        axes.plot(x[marked.index], np.full(len(marked), y), linestyle="", **style)
    return along(axes, x, np.full(len(x), y), _texts(search, rows, field))


def _spread(search: Search, field: str, domain: Domain) -> pd.Series:
    """Returns where each trial stands on the axis.

    The trials of one choice stand side by side, from the best to the worst.
    """
    positions: pd.Series = pd.Series(
        _places(domain, search.values(search.rows, field), 0.0),
        index=search.rows.index,
        dtype=float,
    )
    if not isinstance(domain, Choices):
        return positions
    order = search.rows["loss"].groupby(positions).rank(method="first", na_option="bottom")
    step = 0.7 / max(order.max(), 8.0)
    spread: pd.Series = positions - 0.35 + step * (order - 0.5)
    return spread
