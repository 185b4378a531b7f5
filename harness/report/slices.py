"""Figures of the searches: every trial at its value of each tuned field, and the best of so many
trials.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness.metrics import perplexity
from harness.report import drawing
from harness.report.drawing import FAINT, MAX_TOGETHER, WIDTH_INCHES, Drawn, Look
from harness.report.searches import NEAR, Domain, Search, objective_name, searches, value_text
from harness.statistics import inference
from harness.study import Choices

HIGHEST_RATIO = 3.0
"""To the best perplexity: what is drawn above it would press the trials that matter into a line."""
TRIALS = "trials of random search"
NEAR_COLOR, OTHER_COLOR = drawing.COLORS[2], "#b8c4cc"


def slices(study: Any, trials: pd.DataFrame) -> Drawn | None:
    """Returns one panel per tuned field with every trial at its value of it. None: no trial
    finished.

    Up to ``MAX_TOGETHER`` arms: perplexity against the value. More: a row per arm, where a mark's
    kind says how near the arm's best it came.
    """
    found = searches(study, trials)
    if not any(len(each.finished) for each in found):
        return None
    space: Mapping[str, Domain] = study.tune.space
    together = len(found) <= MAX_TOGETHER
    with drawing.style():
        figure = (_by_perplexity if together else _by_arm)(study, found, space)
    label = f"Trials: {objective_name(study)} against {', '.join(space)}, by arm"
    return Drawn("hyperparameters", label, figure)


def _by_perplexity(study: Any, found: Sequence[Search], space: Mapping[str, Domain]) -> Figure:
    num_columns = min(2, len(space))
    num_rows = math.ceil(len(space) / num_columns)
    figure = Figure(figsize=(WIDTH_INCHES, 1.0 + 2.4 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel().tolist()
    looks, top = drawing.palette(study.arms), _top(found)
    for axes, (field, domain) in zip(grid, space.items(), strict=False):
        for k, search in enumerate(found):
            shift = (
                (k - (len(found) - 1) / 2) * 0.5 / len(found)
            )  # arms side by side, where values are names
            _draw_search(axes, search, field, domain, looks[search.arm], top=top, shift=shift)
        _values_on(axes, field, domain)
        drawing.perplexities_on(axes.yaxis)
        axes.grid(axis="y")
    for unused in grid[len(space) :]:
        unused.set_axis_off()
    for first in grid[::num_columns]:
        first.set_ylabel(objective_name(study))
    names = [
        Line2D(
            [], [], linestyle="", marker=looks[e.arm].marker, color=looks[e.arm].color, label=e.arm
        )
        for e in found
    ]
    rows = pd.concat([each.rows for each in found])
    num_above = int((rows["state"].isin(["finished", "pruned"]) & (rows["nats"] > top)).sum())
    num_diverged = int((rows["state"] == "diverged").sum())
    kinds = [
        _mark("o", "best of its arm", color=FAINT, markersize=11, markerfacecolor="none"),
        _mark("o", "pruned: its last value", color=FAINT, markerfacecolor="none"),
        _mark("x", f"diverged ({num_diverged}), or above ({num_above})", color=FAINT),
    ]
    figure.legend(handles=[*names, *kinds], loc="outside lower center", ncols=3)
    return figure


def _mark(marker: str, label: str, **style: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, label=label, **style)


def _top(found: Sequence[Search]) -> float:
    """The highest nats that are drawn in their place: every arm's best is."""
    bests = [each.best for each in found if each.best is not None]
    highest = max(float(each.finished["nats"].max()) for each in found if len(each.finished))
    return min(highest, max(min(bests) + math.log(HIGHEST_RATIO), *bests))


def _draw_search(
    axes: Axes, search: Search, field: str, domain: Domain, look: Look, *, top: float, shift: float
) -> None:
    ceiling = (
        perplexity(top) * 1.08
    )  # of the row of marks above the highest perplexity that has a place
    inside = search.rows["nats"] <= top
    for state, face in (("finished", look.color), ("pruned", "none")):
        rows = search.rows[(search.rows["state"] == state) & inside]
        x, y = _places(domain, search.values(rows, field), shift), np.exp(rows["nats"])
        axes.plot(
            x,
            y,
            look.marker,
            color=look.color,
            markerfacecolor=face,
            markersize=5,
            alpha=0.85,
            linestyle="",
        )
    lost = search.rows[
        (search.rows["state"] == "diverged") | (search.rows["state"].ne("failed") & ~inside)
    ]
    x = _places(domain, search.values(lost, field), shift)
    axes.plot(x, np.full(len(x), ceiling), "x", color=look.color, markersize=5, linestyle="")
    best = search.near.nsmallest(1, "nats")
    x = _places(domain, search.values(best, field), shift)
    axes.plot(
        x,
        np.exp(best["nats"]),
        "o",
        color=look.color,
        markerfacecolor="none",
        markersize=11,
        linestyle="",
    )


def _places(domain: Domain, values: Sequence[Any], shift: float) -> list[float]:
    """Where values stand on their axis: choices one beside another, with room for ``shift``."""
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


def _by_arm(study: Any, found: Sequence[Search], space: Mapping[str, Domain]) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, 1.2 + 0.27 * len(found)), layout="constrained")
    grid = figure.subplots(1, len(space), sharey=True, squeeze=False).ravel().tolist()
    for axes, (field, domain) in zip(grid, space.items(), strict=True):
        for y, search in enumerate(found):
            _draw_row(axes, search, field, domain, y)
        drawing.name_rows(axes, [each.arm for each in found])
        _values_on(axes, field, domain)
        if isinstance(domain, Choices):
            axes.set_xlabel(f"{field} (each from best to worst)")
    kinds = [
        _mark("D", "best of its arm", color="#000000"),
        _mark("o", f"within {100 * NEAR:g} % of it", color=NEAR_COLOR),
        _mark("o", "further above", color=OTHER_COLOR),
        _mark("o", "pruned", color=FAINT, markerfacecolor="none", markersize=4),
        _mark("x", "diverged", color=drawing.COLORS[4], markersize=5),
    ]
    figure.legend(
        handles=kinds, loc="outside lower center", ncols=5, columnspacing=1.0, handletextpad=0.2
    )
    return figure


def _draw_row(axes: Axes, search: Search, field: str, domain: Domain, y: int) -> None:
    rows, state = search.rows, search.rows["state"]
    x = _spread(search, field, domain)
    kinds: list[tuple[pd.DataFrame, dict[str, Any]]] = [
        (
            rows[state == "pruned"],
            {"marker": "o", "color": FAINT, "markerfacecolor": "none", "markersize": 4},
        ),
        (
            search.worse[search.worse["state"] == "finished"],
            {"marker": "o", "color": OTHER_COLOR, "markersize": 5},
        ),
        (rows[state == "diverged"], {"marker": "x", "color": drawing.COLORS[4], "markersize": 5}),
        (search.near, {"marker": "o", "color": NEAR_COLOR, "markersize": 5}),
        (search.near.nsmallest(1, "nats"), {"marker": "D", "color": "#000000", "markersize": 5}),
    ]
    near = x[search.near.index]
    if len(near) and not isinstance(domain, Choices):
        axes.plot([near.min(), near.max()], [y, y], color=NEAR_COLOR, linewidth=2)
    for marked, style in kinds:
        axes.plot(x[marked.index], np.full(len(marked), y), linestyle="", **style)


def _spread(search: Search, field: str, domain: Domain) -> pd.Series:
    """Where each trial stands on the axis; those of one choice side by side, from the best to the
    worst.
    """
    places = pd.Series(
        _places(domain, search.values(search.rows, field), 0.0),
        index=search.rows.index,
        dtype=float,
    )
    if not isinstance(domain, Choices):
        return places
    order = search.rows["nats"].groupby(places).rank(method="first", na_option="bottom")
    step = 0.7 / max(order.max(), 8.0)
    return places - 0.35 + step * (order - 0.5)


def expected_best(study: Any, trials: pd.DataFrame) -> Drawn | None:
    """Returns perplexity over the number of trials: exp of the expected best nats of so many trials
    of a random search.

    A pruned trial counts with its last value, or with the arm's worst where that is lower. None:
    another sampler, whose trials are not exchangeable, or no trial finished.
    """
    found = [each for each in searches(study, trials) if each.best is not None]
    if not found or study.tune.sampler != "random":
        return None
    looks = drawing.palette(study.arms)
    lines = {each.arm: np.exp(inference.expected_best(_final_nats(each))) for each in found}
    title = f"expected best {objective_name(study)}"
    with drawing.style():
        if len(found) <= MAX_TOGETHER:
            figure = _together(lines, looks, title)
        else:
            figure = _apart(lines, looks, title, study.baseline.name)
    label = f"What tuning bought: expected best {objective_name(study)} over the number of trials, by arm"
    return Drawn("expected-best", label, figure)


def _final_nats(search: Search) -> np.ndarray:
    """One loss a trial; failed ones are left out."""
    pruned = search.rows["state"] == "pruned"
    ended = search.rows["state"].isin(["finished", "diverged"]) & np.isfinite(search.rows["nats"])
    worst = search.rows.loc[ended, "nats"].max()
    return search.rows.loc[ended | pruned, "nats"].fillna(worst).clip(upper=worst).to_numpy()


def _together(lines: Mapping[str, np.ndarray], looks: Mapping[str, Look], title: str) -> Figure:
    figure, axes = drawing.new_figure(3.4)
    _draw_expected(axes, lines, looks)
    axes.set(xlabel=TRIALS, ylabel=title)
    drawing.legend_below(figure, axes, len(lines))
    return figure


def _apart(
    lines: Mapping[str, np.ndarray], looks: Mapping[str, Look], title: str, baseline: str
) -> Figure:
    """A panel per arm, the baseline's line in each."""
    own = Look(NEAR_COLOR, "-", "o")
    arms = [arm for arm in lines if arm != baseline]
    figure, panels = drawing.new_panels(len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        together = {name: lines[name] for name in (baseline, arm) if name in lines}
        _draw_expected(axes, together, {baseline: looks[baseline], arm: own})
        axes.set_title(arm, fontsize="small")
    figure.supxlabel(f"{TRIALS} (black: {baseline})", fontsize="medium")
    figure.supylabel(title, fontsize="medium")
    return figure


def _draw_expected(axes: Axes, lines: Mapping[str, np.ndarray], looks: Mapping[str, Look]) -> None:
    for arm, line in lines.items():
        look = looks[arm]
        axes.plot(
            np.arange(1, len(line) + 1), line, look.line, color=look.color, label=arm, linewidth=1.6
        )
    drawing.perplexities_on(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y")
