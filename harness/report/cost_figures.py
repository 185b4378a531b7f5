"""The figures of what the arms cost: the objective against costs, and times as fast."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.report import cost_tables, drawing, measure
from harness.report.arm_results import ArmResult
from harness.report.drawing import FAINT, MARKERS, WIDTH_INCHES, LabelledFigure, Look
from harness.report.hover import Point
from harness.report.number_texts import number
from harness.report.pareto import Cost, differing_costs, dominators, unplaced
from harness.report.sentences import phase_text, speed_text
from harness.report.timings import ALONE, Timed
from harness.study import Study
from harness.tasks.objective import Objective

# The objective against costs


def level_against_costs(study: Study, results: Sequence[ArmResult]) -> LabelledFigure | None:
    """Returns a panel per cost: the arms' numbers, and a line through the undominated arms.

    A number is that of the mean loss with its 95 % interval. Horizontal bars are the relative
    95 % interval of the speed against the baseline's. A hollow mark is an arm of which replicates
    diverged, at the mean of the finished ones. None: no cost differs.
    """
    shown = [result for result in results if result.mean is not None and not result.incomparable]
    costs = differing_costs(results)
    if not costs:
        return None
    objective = results[0].objective
    looks, points = drawing.palette(results), list[Point]()
    with drawing.style():
        height = 3.2 + 0.2 * math.ceil(len(shown) / 3)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for axes, cost in zip(panels, costs, strict=True):
            for result in shown:
                points += _draw_arm(axes, result, cost, looks[result.name])
            front = [result for result in shown if not dominators(results, result, cost)]
            _draw_front(axes, front, cost)
            _cost_on(axes, cost)
        panels[0].set_ylabel(f"{measure.measured(study)}{_unit(objective)}\n(95 % interval)")
        drawing.levels_on(panels[0].yaxis, objective)
        drawing.legend_below(figure, panels[-1], len(shown))
    label = (
        f"{objective.title} against {', '.join(cost.name for cost in costs)}, by arm; a line leads "
        "along the arms that none dominates"
    )
    return LabelledFigure("pareto", label, figure, points)


def _draw_arm(axes: Axes, result: ArmResult, cost: Cost, look: Look) -> list[Point]:
    """Draws an arm's mark and returns what is told of it; one without this cost has no mark.

    It stays in the legend.
    """
    x, y = cost.of(result), result.objective.level(result.mean or 0.0)
    face = "white" if result.num_diverged else look.color
    name = f"{result.name} ({unplaced(result)})" if result.num_diverged else result.name
    style: dict[str, Any] = {
        "color": look.color,
        "linestyle": "",
        "marker": look.marker,
        "markerfacecolor": face,
    }
    points = [] if x is None else [(x, y)]
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        label=name,
        markersize=6,
        zorder=3,
        **style,
    )
    if x is None:
        return []
    if result.interval is not None:
        ends = result.objective.levels(np.array([result.interval.low, result.interval.high]))
        axes.plot([x, x], ends, color=look.color, linewidth=1.2)
    speed = result.speeds.get(ALONE)
    if cost.is_timed and speed is not None and speed.ratio and speed.interval is not None:
        ends = np.array([speed.interval.low, speed.interval.high]) / speed.ratio
        axes.plot(x * ends**-cost.sign, [y, y], color=look.color, linewidth=1.2)
    return [
        Point(axes, x, y, f"{name}: {result.objective.name} {number(y)} at {number(x)} {cost.name}")
    ]


def _draw_front(axes: Axes, front: Sequence[ArmResult], cost: Cost) -> None:
    """Draws steps, since nothing is known between two arms."""
    placed = [(cost.of(r), r.objective.level(r.mean or 0.0)) for r in front if not unplaced(r)]
    x, y = zip(*sorted((x, y) for x, y in placed if x is not None), strict=True)
    axes.step(x, y, where="post" if cost.sign > 0 else "pre", color=FAINT, linewidth=0.8, zorder=0)


def _unit(objective: Objective) -> str:
    return f" in {objective.unit}" if objective.unit else ""


def _cost_on(axes: Axes, cost: Cost) -> None:
    axes.set_xlabel(f"{cost.name}\n(a run alone)" if cost.is_timed else cost.name)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    drawing.counts_on(axes.xaxis)
    axes.margins(x=0.12)
    axes.grid(axis="y")


# Times as fast


def speeds(results: Sequence[ArmResult], baseline: str) -> LabelledFigure | None:
    """Returns how many times as fast as the baseline each arm is.

    There is a row per arm, and in it a mark per mode and pack. None: no arm has a runtime that
    compares.
    """
    timed = [
        result
        for result in results
        if any(speed.ratio is not None for speed in result.speeds.values())
    ]
    if not timed:
        return None
    phases, looks, points = cost_tables.phases_of(timed), drawing.palette(results), list[Point]()
    with drawing.style():
        rows_of_legend = (len(phases) + 1) // 2
        figure, axes = drawing.new_figure(
            1.1 + drawing.row_inches(len(timed)) * len(timed) + 0.2 * rows_of_legend
        )
        axes.axvline(1.0, color=FAINT, linewidth=0.8)
        for k, phase in enumerate(phases):
            offset, mark = 0.16 * (k - (len(phases) - 1) / 2), _mark_of(phases, phase)
            points += _draw_phase(axes, timed, looks, phase, offset=offset, mark=mark)
        drawing.name_rows(axes, [result.name for result in timed])
        axes.set_xlabel(f"times as fast as {drawing.shortened(baseline)} (right is faster)")
        handles = [
            Line2D([], [], color=FAINT, label=phase_text(phase), **_mark_of(phases, phase))
            for phase in phases
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    label = f"Runtime: times as fast as {baseline} by arm, medians over rounds with 95 % intervals"
    return LabelledFigure("speeds", label, figure, points)


def _mark_of(phases: Sequence[Timed], phase: Timed) -> dict[str, Any]:
    """Returns the mark of what was timed: filled for training, a shape for each size of a pack."""
    packs = sorted({pack for _, pack in phases})
    style: dict[str, Any] = {"marker": MARKERS[(packs.index(phase[1]) + 1) % len(MARKERS)]}
    return style if phase[0] == "train" else {**style, "markerfacecolor": "white"}


def _draw_phase(
    axes: Axes,
    results: Sequence[ArmResult],
    looks: Mapping[str, Look],
    phase: Timed,
    *,
    offset: float,
    mark: Mapping[str, Any],
) -> list[Point]:
    """Draws one mode and pack of all arms, and returns what is told of them."""
    points = []
    for y, result in enumerate(results):
        speed, color = result.speeds.get(phase), looks[result.name].color
        if speed is None or speed.ratio is None:
            continue
        if speed.interval is not None:
            ends = [speed.interval.low, speed.interval.high]
            axes.plot(ends, [y + offset] * 2, color=color, linewidth=1.6)
        axes.plot(speed.ratio, y + offset, linestyle="", color=color, markersize=5, **mark)
        text = f"{result.name}, {phase_text(phase)}: {speed.verdict} {speed_text(speed)}"
        points.append(Point(axes, speed.ratio, y + offset, text))
    return points
