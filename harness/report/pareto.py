"""What an arm costs beside what it reaches: who is dominated by whom, and the time to a target
perplexity.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.metrics import perplexity
from harness.report import arm_results as gathering
from harness.report import drawing
from harness.report.arm_results import ArmResult, Phase
from harness.report.drawing import WIDTH_INCHES, Drawn, Look
from harness.report.sentences import number
from harness.report.tables import Section

ALONE: Phase = ("train", 1)
"""The timing of a run that trains alone."""
EQUAL = 0.01
"""Costs this fraction apart or less are equal: sizes that a budget of parameters gives differ by as
much.
"""
MOST_NAMES = 3
"""Of arms that a cell of the table names."""
LOWER, HIGHER = ("better", "equivalent and lower"), ("worse", "equivalent and higher")
"""The verdicts by which an arm's perplexity is shown to be below or above the baseline's."""


@dataclass(frozen=True)
class Cost:
    """What is set against perplexity.

    Attributes:
        of: An arm's, or None where it is not known.
        sign: 1 where less is better, -1 where more is.
        is_timed: Compares only between arms timed on the same engine, device, precision and
            threads.
    """

    name: str
    of: Callable[[ArmResult], float | None]
    sign: int
    is_timed: bool


COSTS = (
    Cost("training seconds", lambda result: result.training_seconds, 1, True),
    Cost("tokens/s", lambda result: result.tokens_per_second.get(ALONE), -1, True),
    Cost("parameters", lambda result: result.num_parameters, 1, False),
)


def unplaced(result: ArmResult) -> str:
    """Returns why an arm's mean perplexity stands beside no other's, or nothing."""
    if result.incomparable:
        return "reads another text"
    if result.num_diverged:
        return f"{result.num_diverged} of {len(result.losses)} diverged"
    return "" if result.mean is not None else "no replicate finished"


def dominators(results: Sequence[ArmResult], result: ArmResult, cost: Cost) -> list[ArmResult]:
    """Returns the arms that are no worse than ``result`` in mean perplexity and in ``cost``, and
    better in one of them.

    The lowest perplexity first. Costs within ``EQUAL`` are equal.
    """
    here = cost.of(result)
    if here is None or unplaced(result):
        return []
    found = []
    for other in results:
        there = cost.of(other)
        if there is None or unplaced(other) or other is result:
            continue
        if cost.is_timed and other.conditions[ALONE] != result.conditions[ALONE]:
            continue
        assert other.mean is not None and result.mean is not None
        gain, saving = result.mean - other.mean, cost.sign * (here - there) / here
        if gain >= 0 and saving >= -EQUAL and (gain > 0 or saving > EQUAL):
            found.append(other)
    return sorted(found, key=lambda other: other.mean or 0.0)


def is_shown(dominator: ArmResult, dominated: ArmResult, cost: Cost) -> bool:
    """Says whether the study's paired tests support it; they compare with the baseline alone."""
    if not dominator.is_baseline and not dominated.is_baseline:
        return False
    arm, verdicts, speed = (
        (dominated, HIGHER, "slower") if dominator.is_baseline else (dominator, LOWER, "faster")
    )
    if arm.decision is None or arm.decision.verdict not in verdicts:
        return False
    return not cost.is_timed or (ALONE in arm.speeds and arm.speeds[ALONE].verdict == speed)


def differing_costs(results: Sequence[ArmResult]) -> list[Cost]:
    """Returns what is known of the arms and is not equal for all; none where not one of them is
    placed.
    """
    found: list[Cost] = []
    for cost in COSTS if not all(map(unplaced, results)) else ():
        known = [
            value
            for result in results
            if result.mean is not None and (value := cost.of(result)) is not None
        ]
        if known and max(known) - min(known) > EQUAL * min(known):
            found.append(cost)
    return found


def section(study: Any, results: Sequence[ArmResult]) -> Section | None:
    """Returns a row per arm: perplexity, costs, and for each cost who dominates it.

    None: no cost differs.
    """
    costs = differing_costs(results)
    if not costs:
        return None
    verdicts = {
        cost.name: [_dominated_text(results, result, cost) for result in results] for cost in costs
    }
    if verdicts.get("tokens/s") == verdicts.get(
        "training seconds"
    ):  # as where all arms train on as many tokens
        verdicts.pop("tokens/s", None)
    rows = [
        (
            *(result.name, _perplexity_text(result)),
            *(_cost_text(cost.of(result)) for cost in costs),
            *(texts[i] for texts in verdicts.values()),
        )
        for i, result in enumerate(results)
    ]
    names = [cost.name[0].upper() + cost.name[1:] for cost in costs]
    header = ("Arm", f"{gathering.measured(study).capitalize()} (95 %)", *names)
    title = (
        f"What the perplexity costs (costs within {100 * EQUAL:g} % of each other count as equal)"
    )
    return Section(title, (*header, *(f"Dominated in {name} by" for name in verdicts)), rows)


def _dominated_text(results: Sequence[ArmResult], result: ArmResult, cost: Cost) -> str:
    reason = unplaced(result)
    if reason or cost.of(result) is None:
        return f"not placed: {reason or 'not timed'}"
    found = dominators(results, result, cost)
    shown = [other.name for other in found if is_shown(other, result, cost)]
    others = [other.name for other in found if other.name not in shown]
    texts = [
        f"{_named(names)} ({how})"
        for names, how in ((shown, "tested"), (others, "on the means"))
        if names
    ]
    return "; ".join(texts) or "none"


def _named(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:MOST_NAMES])} and {rest} more"


def _perplexity_text(result: ArmResult) -> str:
    if result.mean is None:
        return "none"
    if result.interval is None:
        return number(perplexity(result.mean))
    low, high = number(perplexity(result.interval.low)), number(perplexity(result.interval.high))
    return f"{number(perplexity(result.mean))} ({low} to {high})"


def _cost_text(cost: float | None) -> str:
    return (
        ""
        if cost is None
        else f"{cost:,.0f}"
        if isinstance(cost, int) or cost >= 1000
        else number(cost)
    )


# The figure


def figure(study: Any, results: Sequence[ArmResult]) -> Drawn | None:
    """Returns a panel per cost: mean perplexity with its 95 % interval, and a line through the
    undominated arms.

    Horizontal bars are the relative 95 % interval of the speed against the baseline's. Hollow: an
    arm of which replicates diverged, at the mean of the finished. None: no cost differs.
    """
    drawn = [result for result in results if result.mean is not None and not result.incomparable]
    costs = differing_costs(results)
    if not costs:
        return None
    looks = drawing.palette(drawn)
    with drawing.style():
        made = Figure(
            figsize=(WIDTH_INCHES, 3.2 + 0.2 * math.ceil(len(drawn) / 3)), layout="constrained"
        )
        panels = made.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for axes, cost in zip(panels, costs, strict=True):
            for result in drawn:
                _draw_arm(axes, result, cost, looks[result.name])
            _draw_front(
                axes, [result for result in drawn if not dominators(results, result, cost)], cost
            )
            _cost_on(axes, cost)
        panels[0].set_ylabel(f"{gathering.measured(study)} (95 % interval)")
        drawing.perplexities_on(panels[0].yaxis)
        drawing.legend_below(made, panels[-1], len(drawn))
    return Drawn(
        "pareto", f"Perplexity against {', '.join(cost.name for cost in costs)}, by arm", made
    )


def _draw_arm(axes: Axes, result: ArmResult, cost: Cost, look: Look) -> None:
    """An arm without this cost stays in the legend."""
    x, y = cost.of(result), perplexity(result.mean or 0.0)
    face = "white" if result.num_diverged else look.color
    name = f"{result.name} ({unplaced(result)})" if result.num_diverged else result.name
    style: dict[str, Any] = {
        "color": look.color,
        "linestyle": "",
        "marker": look.marker,
        "markerfacecolor": face,
    }
    axes.plot(
        [] if x is None else [x],
        [] if x is None else [y],
        label=name,
        markersize=6,
        zorder=3,
        **style,
    )
    if x is None:
        return
    if result.interval is not None:
        axes.plot(
            [x, x],
            np.exp([result.interval.low, result.interval.high]),
            color=look.color,
            linewidth=1.2,
        )
    speed = result.speeds.get(ALONE)
    if cost.is_timed and speed is not None and speed.ratio and speed.interval is not None:
        ends = np.array([speed.interval.low, speed.interval.high]) / speed.ratio
        axes.plot(x * ends**-cost.sign, [y, y], color=look.color, linewidth=1.2)


def _draw_front(axes: Axes, front: Sequence[ArmResult], cost: Cost) -> None:
    """Steps, since nothing is known between two arms."""
    points = [
        (cost.of(r), perplexity(r.mean or 0.0))
        for r in front
        if cost.of(r) is not None and not unplaced(r)
    ]
    ordered = sorted((x, y) for x, y in points if x is not None)
    x, y = zip(*ordered, strict=True)
    axes.step(
        x, y, where="post" if cost.sign > 0 else "pre", color=drawing.FAINT, linewidth=0.8, zorder=0
    )


def _cost_on(axes: Axes, cost: Cost) -> None:
    axes.set_xlabel(f"{cost.name}\n(a run alone)" if cost.is_timed else cost.name)
    axes.xaxis.set_major_locator(drawing.MaxNLocator(4))
    drawing.counts_on(axes.xaxis)
    axes.margins(x=0.12)
    axes.grid(axis="y")


# Time to a target


def time_to_target(
    study: Any, results: Sequence[ArmResult], curves: pd.DataFrame
) -> Section | None:
    """Returns a row per arm: replicates that reach the target perplexity, median tokens and seconds
    until they do.

    The target is the study's own, or the baseline's: 1 + margin times the median of the lowest
    perplexities of those of its replicates that trained to the end. A replicate reaches it at its
    first evaluation at or below it; one that never does is later than all others. Seconds are of a
    run alone, by the runtime phase.

    None: no replicate has a curve, or there is no target.
    """
    metric = "validation/loss" if gathering.is_held_out(study) else "train/loss"
    rows = curves[curves["phase"] == "replicate"]
    rows = rows.assign(
        loss=rows[metric].astype(float), repeat=rows["repeat"] if "repeat" in rows else 0
    )
    target, origin = _target(study, rows)
    if target is None:
        return None
    table = [
        _reaching(result, rows[rows["arm"] == result.name], math.log(target)) for result in results
    ]
    header = (
        "Arm",
        "Replicates that reach it",
        "Tokens (median)",
        "Seconds of a run alone (median)",
    )
    name = f"{metric.split('/')[0]} perplexity"
    return Section(
        f"Time to {name} {number(target)}: {origin}", (*header, "Tokens between evaluations"), table
    )


def _target(study: Any, rows: pd.DataFrame) -> tuple[float | None, str]:
    """The target perplexity and where it comes from."""
    given = getattr(study.measure, "target", None)
    if rows.empty:
        return None, ""
    if given is not None:
        return float(given), "the study's target"
    base, margin = study.baseline.name, study.measure.margin
    own = (
        rows[rows["arm"] == base].groupby(["repeat", "index"]).agg({"loss": "min", "tokens": "max"})
    )
    lowest = own.loc[own["tokens"] == own["tokens"].max(), "loss"].median()
    if not np.isfinite(lowest):
        return None, ""
    level = perplexity(float(lowest))
    return level * (
        1 + margin
    ), f"the median {number(level)} of {base}'s replicates and {100 * margin:g} %"


def _reaching(result: ArmResult, rows: pd.DataFrame, target_nats: float) -> tuple[str, ...]:
    places = ["repeat", "index"]
    first = rows[rows["loss"] <= target_nats].groupby(places)["tokens"].min()
    num_replicates = rows.groupby(places).ngroups
    steps = rows.sort_values("tokens").groupby(places)["tokens"].diff().dropna()
    rate = result.tokens_per_second.get(ALONE)
    counts = f"{len(first)} of {num_replicates}"
    step = f"{steps.median():,.0f}" if len(steps) else ""
    if 2 * len(first) <= num_replicates:
        return result.name, counts, "not half reach it", "", step
    late = np.full(num_replicates - len(first), np.inf)
    median = float(np.median(np.concatenate([first.to_numpy(dtype=float), late])))
    return (
        result.name,
        counts,
        f"{median:,.0f}",
        number(median / rate) if rate else "not timed",
        step,
    )
