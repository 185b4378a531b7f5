"""What a design can show: the smallest p, the smallest difference, the width of intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.preflight.design import num_comparisons
from harness.preflight.history import Spread
from harness.statistics import inference, power
from harness.study import Study, is_repeated, num_pairs

SPREADS = (0.005, 0.01, 0.02)
"""Fractions of perplexity, tried where no earlier pairs say how much pairs differ."""
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
    if comparisons == 0:
        return [Row("compares", f"nothing: no other arm reads the text of {baseline}")]
    if spread is None:
        nats = [math.log1p(fraction) for fraction in SPREADS]
        text = "of pairs is not known; if it is"
    else:
        nats = sorted({min(spread.nats.values()), max(spread.nats.values())})
        arms = ", smallest and largest" if len(nats) > 1 else ""
        text = f"of {spread.num_pairs} pairs of {spread.study}{arms}"
    return [
        Row("compares", f"{comparisons} arm{'s' if comparisons > 1 else ''} with {baseline}"),
        Row("pairs", _pairs(part)),
        Row("smallest p", _smallest_p(part, comparisons)),
        Row("spread", text, _percents(nats)),
        *_outlook(part, comparisons, nats),
    ]


def _pairs(part: Study) -> str:
    plan, tune = part.replicate, part.tune
    if tune is not None and is_repeated(part):
        return f"{tune.repeats} repeats, each of {tune.num_trials} trials and {plan.seeds} seeds"
    if plan.until is None:
        return f"{plan.seeds} seeds"
    half_width = percent(math.log1p(plan.until))
    return f"{plan.seeds} seeds, then as many as ± {half_width} takes, at most {plan.at_most}"


def _smallest_p(part: Study, comparisons: int) -> str:
    threshold = part.measure.threshold
    level = f"{threshold:g}/{comparisons}" if comparisons > 1 else f"{threshold:g}"
    stage = " of the first stage" if part.replicate.until is not None else ""
    smallest_p = inference.smallest_p(num_pairs(part))
    num_needed = inference.seeds_needed(comparisons, threshold)
    units = "repeats" if is_repeated(part) else "seeds"
    return f"{smallest_p:.3g} by sign flips{stage}; {level} takes {num_needed} {units}"


def _outlook(part: Study, comparisons: int, nats: Sequence[float]) -> list[Row]:
    """Returns what follows from each spread."""
    plan, threshold = part.replicate, part.measure.threshold
    outlook: list[Row] = []
    if plan.until is None or plan.at_most is None:
        counts = [num_pairs(part)] * len(nats)
        num_first = counts[0]
        outlook.append(_detectable(num_first, comparisons, threshold, nats))
    else:
        num_first = plan.seeds
        wanted = [stein_seeds(s, num_first, math.log1p(plan.until)) for s in nats]
        counts = [min(count, plan.at_most) for count in wanted]
        widths = _half_widths(nats, counts, num_first, 0.95)
        text = f"a 95 % interval with at most {plan.at_most} seeds, of ±"
        outlook.append(Row("seeds", "that this width takes", tuple(f"{n:,}" for n in wanted)))
        outlook.append(Row("can show", text, _percents(widths)))
    if part.measure.margin > 0.0:
        confidence = 1.0 - 2.0 * threshold
        widths = _half_widths(nats, counts, num_first, confidence)
        margin = percent(math.log1p(part.measure.margin))
        text = f"needs {100 * confidence:g} % intervals within ± {margin}; expect ±"
        outlook.append(Row("equivalence", text, _percents(widths)))
    return outlook


def _detectable(count: int, comparisons: int, threshold: float, nats: Sequence[float]) -> Row:
    """Returns the smallest difference that ``count`` pairs show, for each spread."""
    differences = [
        power.detectable(s, count, comparisons, threshold=threshold, power=POWER) for s in nats
    ]
    return Row(
        "can show",
        f"a difference at given settings, with {100 * POWER:.0f} % power, of",
        tuple("none" if value is None else percent(value) for value in differences),
    )


def stein_seeds(spread_nats: float, first: int, half_width_nats: float) -> int:
    """Returns how many seeds a first stage of that spread would ask for, without a limit."""
    stage = np.resize([1.0, -1.0], first)
    stage *= spread_nats / np.std(stage, ddof=1)
    return power.stein_seeds([stage], half_width_nats=half_width_nats, at_most=ANY_NUMBER)


def _half_widths(
    spreads_nats: Sequence[float], counts: Sequence[int], num_first: int, confidence: float
) -> list[float]:
    """Returns half of Student's interval for each spread and its number of pairs, in nats.

    The degrees of freedom are those of ``num_first`` pairs.
    """
    if num_first < 2:
        return [math.inf for _ in spreads_nats]
    t = float(special.stdtrit(num_first - 1, 0.5 + confidence / 2.0))
    return [t * s / math.sqrt(count) for s, count in zip(spreads_nats, counts, strict=True)]


def _percents(nats: Sequence[float]) -> tuple[str, ...]:
    return tuple(percent(value) for value in nats)


def percent(nats: float) -> str:
    """Returns a difference as a fraction of perplexity.

    >>> percent(0.00995), percent(0.0004)
    ('1 %', '0.04 %')
    """
    return f"{100.0 * math.expm1(nats):.2g} %" if math.isfinite(nats) else "any"
