"""What a design can show: the smallest p, the smallest difference, the width of intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.preflight.design import num_comparisons
from harness.preflight.history import Spread
from harness.statistics import inference, power
from harness.study import Study
from harness.tasks.objective import Objective, objective_of

SPREADS = (0.005, 0.01, 0.02)
"""Read as margins are, and tried where no earlier pairs say how much pairs differ."""
POWER = 0.8
ANY_NUMBER = 10**9


@dataclass(frozen=True)
class Row:
    """A label, what its values are, and the values, one for each spread that is known or tried."""

    label: str
    text: str
    values: tuple[str, ...] = ()


def rows(part: Study, spread: Spread | None) -> list[Row]:
    """Returns what the design of one condition is and can show.

    Args:
        part: The study of the condition.
        spread: Of earlier pairs; None: there are none.
    """
    comparisons, baseline = num_comparisons(part), part.baseline.name
    objective = objective_of(part.measure.objective)
    if comparisons == 0:
        return [Row("compares", f"nothing: no other arm reads the text of {baseline}")]
    if spread is None:
        losses = [objective.within(margin) for margin in SPREADS]
        text = "of pairs is not known; if it is"
    else:
        losses = sorted({min(spread.nats.values()), max(spread.nats.values())})
        arms = ", smallest and largest" if len(losses) > 1 else ""
        text = f"of {spread.num_pairs} pairs of {spread.study}{arms}"
    return [
        Row("compares", f"{comparisons} arm{'s' if comparisons > 1 else ''} with {baseline}"),
        Row("pairs", _pairs(part)),
        Row("smallest p", _smallest_p(part, comparisons)),
        Row("spread", text, _amounts(objective, losses)),
        *_outlook(part, comparisons, losses),
    ]


def _pairs(part: Study) -> str:
    plan, tune = part.replicate, part.tune
    if tune is not None and part.is_repeated:
        return f"{tune.repeats} repeats, each of {tune.num_trials} trials and {plan.seeds} seeds"
    if plan.until is None:
        return f"{plan.seeds} seeds"
    half_width = objective_of(part.measure.objective).margin_text(plan.until)
    return f"{plan.seeds} seeds, then as many as ± {half_width} takes, at most {plan.at_most}"


def _smallest_p(part: Study, comparisons: int) -> str:
    threshold = part.measure.threshold
    level = f"{threshold:g}/{comparisons}" if comparisons > 1 else f"{threshold:g}"
    stage = " of the first stage" if part.replicate.until is not None else ""
    smallest_p = inference.smallest_p(part.num_pairs)
    num_needed = inference.seeds_needed(comparisons, threshold)
    units = "repeats" if part.is_repeated else "seeds"
    return f"{smallest_p:.3g} by sign flips{stage}; {level} takes {num_needed} {units}"


def _outlook(part: Study, comparisons: int, losses: Sequence[float]) -> list[Row]:
    """Returns what follows from each spread."""
    plan, threshold = part.replicate, part.measure.threshold
    objective = objective_of(part.measure.objective)
    outlook: list[Row] = []
    if plan.until is None or plan.at_most is None:
        counts = [part.num_pairs] * len(losses)
        num_first = counts[0]
        outlook.append(_detectable(part, comparisons, losses))
    else:
        num_first = plan.seeds
        half_width = objective.within(plan.until)
        wanted = [stein_seeds(spread, num_first, half_width) for spread in losses]
        counts = [min(count, plan.at_most) for count in wanted]
        widths = _half_widths(losses, counts, num_first, 0.95)
        text = f"a 95 % interval with at most {plan.at_most} seeds, of ±"
        outlook.append(Row("seeds", "that this width takes", tuple(f"{n:,}" for n in wanted)))
        outlook.append(Row("can show", text, _amounts(objective, widths)))
    if part.measure.margin > 0.0:
        confidence = 1.0 - 2.0 * threshold
        widths = _half_widths(losses, counts, num_first, confidence)
        margin = objective.margin_text(part.measure.margin)
        text = f"needs {100 * confidence:g} % intervals within ± {margin}; expect ±"
        outlook.append(Row("equivalence", text, _amounts(objective, widths)))
    return outlook


def _detectable(part: Study, comparisons: int, losses: Sequence[float]) -> Row:
    """Returns the smallest difference that the design's pairs show, for each spread."""
    count, threshold = part.num_pairs, part.measure.threshold
    objective = objective_of(part.measure.objective)
    differences = [
        power.detectable(spread, count, comparisons, threshold=threshold, power=POWER)
        for spread in losses
    ]
    return Row(
        "can show",
        f"a difference at given settings, with {100 * POWER:.0f} % power, of",
        tuple("none" if value is None else _amount(objective, value) for value in differences),
    )


def stein_seeds(spread_loss: float, first: int, half_width_loss: float) -> int:
    """Returns how many seeds a first stage of that spread would ask for, without a limit."""
    stage = np.resize([1.0, -1.0], first)
    stage *= spread_loss / np.std(stage, ddof=1)
    return power.stein_seeds([stage], half_width_nats=half_width_loss, at_most=ANY_NUMBER)


def _half_widths(
    spreads: Sequence[float], counts: Sequence[int], num_first: int, confidence: float
) -> list[float]:
    """Returns half of Student's interval for each spread of losses and its number of pairs.

    The degrees of freedom are those of ``num_first`` pairs.
    """
    if num_first < 2:
        return [math.inf for _ in spreads]
    t = float(special.stdtrit(num_first - 1, 0.5 + confidence / 2.0))
    return [t * s / math.sqrt(count) for s, count in zip(spreads, counts, strict=True)]


def _amounts(objective: Objective, losses: Sequence[float]) -> tuple[str, ...]:
    return tuple(_amount(objective, value) for value in losses)


def _amount(objective: Objective, losses: float) -> str:
    return objective.amount(losses) if math.isfinite(losses) else "any"
