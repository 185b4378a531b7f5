"""The figures of the verdicts: what each arm's pairs come to, under one condition or several."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from harness.report import drawing, measure, sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.drawing import FAINT, GRID, LabelledFigure, Look
from harness.report.hover import Point, along
from harness.statistics.inference import Interval
from harness.study import Study
from harness.tasks.objective import Objective, objective_of

WIDTH_INCHES = 5.4
"""Narrower than other figures: it stands beside the answer, and fills a phone."""
LABEL_CHARACTERS = 56
"""Of a line below the axis."""
FAR = 0.6
"""How far beyond all intervals a pair is drawn in its place, as a part of their whole width."""
MAX_ROWS = 24
"""The most rows of several conditions: more do not fit a screen."""


@dataclass(frozen=True)
class Terms:
    """What is compared.

    Attributes:
        baseline: The name of the arm that the others are compared with.
        margin: That of equivalence.
        unit: What one pair is, a seed or a repeat.
        measured: What the numbers are called.
        objective: What they are.
    """

    baseline: str
    margin: float
    unit: str
    measured: str
    objective: Objective

    @staticmethod
    def of(study: Study) -> "Terms":
        """Returns the terms of a study."""
        margin, unit = study.measure.margin, measure.unit(study)
        objective = objective_of(study.measure.objective)
        return Terms(study.baseline.name, margin, unit, measure.measured(study), objective)


def paired_differences(results: Sequence[ArmResult], terms: Terms) -> LabelledFigure | None:
    """Returns one row per arm: each pair's ratio or difference as a dot, and their mean.

    The mean has its 95 % interval, with a thin line where the spread of the search makes it wider,
    and the margin is shaded. None: no arm has a finished pair.
    """
    rows = [(_row_name(result), result) for result in results if _has_mean(result)]
    absent = [result.name for result in results if _has_lost_all(result)]
    return _drawn("paired-differences", rows, absent, drawing.palette(results), terms)


def by_condition(
    conditions: Sequence[tuple[str, Sequence[ArmResult]]], terms: Terms
) -> LabelledFigure | None:
    """Returns one row per condition and arm, as :func:`paired_differences` draws them.

    None: no arm has a finished pair, or there are more than ``MAX_ROWS``.
    """
    names = {result.name for _, results in conditions for result in results}
    rows = [
        (title if len(names) == 2 else f"{title}\n{_row_name(result)}", result)
        for title, results in conditions
        for result in results
        if _has_mean(result)
    ]
    if len(rows) > MAX_ROWS:
        return None
    absent = [
        f"{result.name} under {title}"
        for title, results in conditions
        for result in results
        if _has_lost_all(result)
    ]
    looks = drawing.palette(conditions[0][1])
    return _drawn("paired-differences-by-condition", rows, absent, looks, terms)


def _has_mean(result: ArmResult) -> bool:
    return result.decision is not None and result.decision.mean is not None


def _has_lost_all(result: ArmResult) -> bool:
    return result.decision is not None and result.decision.num_pairs > 0 and not _has_mean(result)


def _drawn(
    name: str,
    rows: Sequence[tuple[str, ArmResult]],
    absent: Sequence[str],
    looks: Mapping[str, Look],
    terms: Terms,
) -> LabelledFigure | None:
    if not rows:
        return None
    points: list[Point] = []
    unit, baseline, objective = terms.unit, terms.baseline, terms.objective
    with drawing.style():
        height = 0.9 + drawing.row_inches(len(rows)) * len(rows)
        figure, axes = drawing.new_figure(height, WIDTH_INCHES)
        axes.axvspan(*objective.margin_ends(terms.margin), color=GRID, alpha=0.6, linewidth=0)
        axes.axvline(objective.no_difference, color=FAINT, linewidth=0.8)
        ends = _ends([result for _, result in rows], objective, terms.margin)
        for y, (_, result) in enumerate(rows):
            verdict = sentences.word(result)
            word = verdict.split(" ")[0]
            marker = drawing.VERDICT_MARKERS[word]
            points += _draw_row(axes, y, result, looks[result.name].color, marker, ends, unit)
            word = verdict if word == "not" else word
            axes.text(1.01, y, word, color=FAINT, va="center", transform=axes.get_yaxis_transform())
        drawing.name_rows(axes, [text for text, _ in rows])
        axes.set_xlim(ends)
        compared = textwrap.fill(f"{_compared(terms)}, same {unit}", LABEL_CHARACTERS)
        axes.set_xlabel(
            f"{compared}\n({_better_side(objective)} is better; "
            f"shaded: {objective.margin_text(terms.margin)})"
        )
    is_wide = any(r.decision is not None and r.decision.wide is not None for _, r in rows)
    label = (
        f"Paired differences: {_what(objective)} {baseline} by {unit}, with means and"
        f" 95 % intervals{', thin with the spread of the search too' if is_wide else ''}"
    )
    if absent:
        label += f"; not drawn: {sentences.listed(absent)}, of which no pair finished"
    return LabelledFigure(name, label, figure, points)


def _ends(results: Sequence[ArmResult], objective: Objective, margin: float) -> tuple[float, float]:
    """Returns the ends of the axis: all means and intervals are within, and the pairs near them."""
    kept, pairs = [*objective.margin_ends(margin)], list[float]()
    for result in results:
        decision = result.decision
        assert decision is not None and decision.mean is not None
        kept.append(objective.difference(decision.mean))
        for interval in (decision.wide, decision.interval):
            kept += _both_ends(objective, interval).tolist() if interval is not None else []
        pairs += _pairs(result).tolist()
    beyond = FAR * (max(kept) - min(kept))
    low, high = (
        max(min(kept) - beyond, min(kept + pairs)),
        min(max(kept) + beyond, max(kept + pairs)),
    )
    room = 0.03 * (high - low)
    return low - room, high + room


def _draw_row(
    axes: Axes,
    y: int,
    result: ArmResult,
    color: str,
    marker: str,
    ends: tuple[float, float],
    unit: str,
) -> list[Point]:
    """Draws an arm's pairs and their mean, and returns what is told of them.

    A pair that is beyond the ends of the axis is an arrow there.
    """
    decision = result.decision
    assert decision is not None and decision.mean is not None
    objective, ratios = result.objective, _pairs(result)
    spread = np.arange(len(ratios)) * 0.618 % 1.0  # even, so that neighbours are seen
    heights, places = y + 0.16 + 0.2 * spread, np.clip(ratios, *ends)
    kinds = (("o", places == ratios), ("<", ratios < ends[0]), (">", ratios > ends[1]))
    for shape, chosen in kinds:
        dots = axes.plot(places[chosen], heights[chosen], shape, color=color)
        size = 3.0 if shape == "o" else 6.0
        dots[0].set(markersize=size, markeredgewidth=0, clip_on=shape == "o")
    mean = objective.difference(decision.mean)
    axes.plot(mean, y, marker, color=color, markersize=6.5)
    for interval, width in ((decision.wide, 0.8), (decision.interval, 2.0)):
        if interval is not None:
            axes.plot(_both_ends(objective, interval), [y, y], color=color, linewidth=width)
    text = f"{result.name}: {sentences.word(result)} {tables.decided_text(result)}"
    texts = [f"{result.name}, one {unit}: {ratio:{objective.sign}.4f}" for ratio in ratios]
    return [Point(axes, mean, y, text), *along(axes, places, heights, texts)]


def _pairs(result: ArmResult) -> np.ndarray:
    """Returns the ratio or the difference of every pair that finished."""
    return result.objective.differences(result.differences[np.isfinite(result.differences)])


def _both_ends(objective: Objective, interval: Interval) -> np.ndarray:
    return objective.differences(np.array([interval.low, interval.high]))


def _compared(terms: Terms) -> str:
    baseline = drawing.shortened(terms.baseline)
    if terms.objective.is_ratio:
        return f"{terms.measured} as a multiple of {baseline}'s"
    unit = f" ({terms.objective.unit})" if terms.objective.unit else ""
    return f"{terms.measured} minus {baseline}'s{unit}"


def _what(objective: Objective) -> str:
    if objective.is_ratio:
        return f"ratio of {objective.plural} to"
    return f"difference in {objective.name} from"


def _better_side(objective: Objective) -> str:
    return "left" if objective.better == "lower" else "right"


def _row_name(result: ArmResult) -> str:
    return (
        f"{result.name}\n({result.num_diverged} diverged)" if result.num_diverged else result.name
    )
