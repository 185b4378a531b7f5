"""What a design can show, in words and numbers: the smallest p, the smallest difference, the width
of intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.preflight import probe
from harness.preflight.history import Spread
from harness.statistics import inference, power
from harness.study import Study, is_repeated

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
    comparisons, baseline = probe.num_comparisons(part), part.baseline.name
    if comparisons == 0:
        return [Row("compares", f"nothing: no other arm reads the text of {baseline}")]
    found = [
        Row("compares", f"{comparisons} arm{'s' if comparisons > 1 else ''} with {baseline}"),
        Row("pairs", _pairs(part)),
        Row("smallest p", _smallest_p(part, comparisons)),
    ]
    if spread is None:
        nats, text = (
            [math.log1p(fraction) for fraction in SPREADS],
            "of pairs: no earlier ones; were it",
        )
    else:
        nats = sorted({min(spread.nats.values()), max(spread.nats.values())})
        arms = ", smallest and largest" if len(nats) > 1 else ""
        text = f"of {spread.num_pairs} pairs of {spread.study}{arms}"
    return [*found, Row("spread", text, _percents(nats)), *_outlook(part, comparisons, nats)]


def _pairs(part: Study) -> str:
    plan, tune = part.replicate, part.tune
    if tune is not None and is_repeated(part):
        return f"{tune.repeats} repeats, each of {tune.num_trials} trials and {plan.seeds} seeds"
    if plan.until is None:
        return f"{plan.seeds} seeds"
    return f"{plan.seeds} seeds, then as many as ± {percent(math.log1p(plan.until))} takes, at most {plan.at_most}"


def _smallest_p(part: Study, comparisons: int) -> str:
    threshold = part.measure.threshold
    level = f"{threshold:g}/{comparisons}" if comparisons > 1 else f"{threshold:g}"
    stage = " of the first stage" if part.replicate.until is not None else ""
    reach, needed = (
        inference.smallest_p(probe.num_pairs(part)),
        inference.seeds_needed(comparisons, threshold),
    )
    units = "repeats" if is_repeated(part) else "seeds"
    return f"{reach:.3g} by sign flips{stage}; {level} takes {needed} {units}"


def _outlook(part: Study, comparisons: int, nats: Sequence[float]) -> list[Row]:
    """Returns what follows from each spread."""
    plan, threshold = part.replicate, part.measure.threshold
    pairs = [probe.num_pairs(part)] * len(nats)
    found = []
    if plan.until is None or plan.at_most is None:
        number = probe.num_pairs(part)
        shown = [
            power.detectable(s, number, comparisons, threshold=threshold, power=POWER) for s in nats
        ]
        text = f"a difference, with {100 * POWER:.0f} % power, of"
        found.append(
            Row(
                "can show",
                text,
                tuple("none" if value is None else percent(value) for value in shown),
            )
        )
    else:
        wanted = [stein_seeds(s, plan.seeds, math.log1p(plan.until)) for s in nats]
        pairs = [min(n, plan.at_most) for n in wanted]
        found.append(Row("seeds", "that this width takes", tuple(f"{n:,}" for n in wanted)))
        widths = [_half_width(s, n, plan.seeds, 0.95) for s, n in zip(nats, pairs, strict=True)]
        found.append(
            Row(
                "can show",
                f"a 95 % interval with at most {plan.at_most} seeds, of ±",
                _percents(widths),
            )
        )
    if part.measure.margin > 0.0:
        confidence, first = (
            1.0 - 2.0 * threshold,
            plan.seeds if plan.until is not None else pairs[0],
        )
        widths = [_half_width(s, n, first, confidence) for s, n in zip(nats, pairs, strict=True)]
        text = f"needs {100 * confidence:g} % intervals within ± {percent(math.log1p(part.measure.margin))}; expect ±"
        found.append(Row("equivalence", text, _percents(widths)))
    return found


def stein_seeds(spread_nats: float, first: int, half_width_nats: float) -> int:
    """Returns how many seeds a first stage of that spread would ask for, without a limit."""
    stage = np.resize([1.0, -1.0], first)
    stage *= spread_nats / np.std(stage, ddof=1)
    return power.stein_seeds([stage], half_width_nats=half_width_nats, at_most=ANY_NUMBER)


def _half_width(spread_nats: float, num_pairs: int, first: int, confidence: float) -> float:
    """Half of Student's interval, were its spread this, with the degrees of freedom of ``first``
    pairs; in nats.
    """
    if first < 2:
        return math.inf
    return (
        float(special.stdtrit(first - 1, 0.5 + confidence / 2.0))
        * spread_nats
        / math.sqrt(num_pairs)
    )


def _percents(nats: Sequence[float]) -> tuple[str, ...]:
    return tuple(percent(value) for value in nats)


def percent(nats: float) -> str:
    """Returns a difference as a fraction of perplexity.

    >>> percent(0.00995), percent(0.0004)
    ('1 %', '0.04 %')
    """
    return f"{100.0 * math.expm1(nats):.2g} %" if math.isfinite(nats) else "any"
