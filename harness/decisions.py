"""Pure: what decides that one arm is better, worse, equivalent, faster or slower than the baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness import statistics
from harness.statistics import ROUNDING_NATS, Interval, SignFlip

Verdict = Literal[
    "better", "worse", "equivalent", "equivalent and lower", "equivalent and higher", "identical", "undecided"
]
SpeedVerdict = Literal["faster", "slower", "no difference shown", "not comparable"]

MAX_SEEDS = 1000  # a design that needs more is not one to plan for


@dataclass(frozen=True)
class Decision:
    """One arm against the baseline.

    Attributes:
        verdict: By :func:`decide`.
        num_pairs: Pairs whose two replicates finished or diverged.
        num_finished: Pairs whose two replicates finished: those that ``mean`` is over.
        mean: Mean difference in nats; where ``num_finished < num_pairs``, conditional on finishing. None: no pair.
        interval: 95 %, unadjusted. None: fewer than two pairs, or a diverged one.
        p: Of the paired Student test, or of the sign test where a pair diverged. None: fewer than two pairs.
        adjusted_p: ``p`` after Holm over the family.
        sign_flip: None where ``interval`` is.
        adjusted_sign_flip_p: The sign-flip p after Holm over the family.
    """

    verdict: Verdict
    num_pairs: int
    num_finished: int
    mean: float | None
    interval: Interval | None
    p: float | None
    adjusted_p: float | None
    sign_flip: SignFlip | None
    adjusted_sign_flip_p: float | None


def decide(family: Sequence[np.ndarray], *, margin: float, threshold: float = 0.05) -> list[Decision]:
    """Decides every arm of a study against its baseline.

    In this order: ``identical`` (no pair differs); ``equivalent`` (the interval of confidence 1 - 2 ``threshold``,
    90 % by default, lies within the margin: two one-sided tests), "and lower" or "and higher" where the adjusted p
    is below ``threshold`` too; ``better`` or ``worse`` (adjusted p below ``threshold``); ``undecided``. Where a pair
    diverged there is no mean to be equivalent, and the sign test decides with those pairs as losses of whoever
    diverged.

    Args:
        family: One array of paired differences (nats) per arm that is not the baseline.
        margin: Of equivalence, as a fraction of perplexity: ratios from 1/(1 + margin) to 1 + margin are equal.
        threshold: Largest family-wise error rate.

    Raises:
        ValueError: ``margin`` is negative, or ``threshold`` is not between 0 and 0.5.
    """
    if not margin >= 0.0:
        raise ValueError(f"statistics: margin >= 0 must hold, but got {margin=}. Give a fraction such as 0.01.")
    statistics.check_threshold(threshold)
    has_interval = [len(d) >= 2 and bool(np.isfinite(d).all()) for d in family]
    p_values = [_p(d) for d in family]
    flips = [statistics.sign_flip(d) if ok else None for d, ok in zip(family, has_interval, strict=True)]
    adjusted = statistics.holm(p_values)
    adjusted_flips = statistics.holm([flip.p if flip else None for flip in flips])
    decisions = []
    for i, d in enumerate(family):
        finished = d[np.isfinite(d)]
        decisions.append(
            Decision(
                verdict=_verdict(d, adjusted[i], math.log1p(margin), threshold),
                num_pairs=len(d),
                num_finished=len(finished),
                mean=float(np.mean(finished)) if len(finished) else None,
                interval=statistics.student_interval(d) if has_interval[i] else None,
                p=p_values[i],
                adjusted_p=adjusted[i],
                sign_flip=flips[i],
                adjusted_sign_flip_p=adjusted_flips[i],
            )
        )
    return decisions


def _p(differences: np.ndarray) -> float | None:
    if len(differences) < 2:
        return None
    return statistics.student_p(differences) if np.isfinite(differences).all() else statistics.sign_test(differences)


def _verdict(differences: np.ndarray, adjusted_p: float | None, margin_nats: float, threshold: float) -> Verdict:
    if adjusted_p is None:
        return "undecided"
    is_significant = adjusted_p < threshold
    if not np.isfinite(differences).all():
        if not is_significant:
            return "undecided"
        return "better" if np.sum(differences < 0) > np.sum(differences > 0) else "worse"
    if np.all(np.abs(differences) <= ROUNDING_NATS):
        return "identical"
    is_lower = float(np.mean(differences)) < 0.0
    interval = statistics.student_interval(differences, 1.0 - 2.0 * threshold)
    if interval is not None and -margin_nats < interval.low and interval.high < margin_nats:
        return "equivalent" if not is_significant else "equivalent and lower" if is_lower else "equivalent and higher"
    return "undecided" if not is_significant else "better" if is_lower else "worse"


def seeds_to_decide(
    differences: np.ndarray, *, margin: float, num_comparisons: int, threshold: float = 0.05, power: float = 0.8
) -> int | None:
    """Returns how many pairs would decide with probability ``power``, were effect and spread those seen.

    The fewer of two designs: to show the difference at Holm's worst level, ``threshold / num_comparisons``; to show
    equivalence, where the two one-sided tests fail together so rarely that their failures add (Bonferroni).
    Equal differences have no spread: their sign-flip p decides. None: more than 1000, one pair, or a diverged one.
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    spread = statistics.standard_error(differences) * math.sqrt(len(differences))
    first = len(differences) + 1
    if spread == 0.0:
        return max(first, statistics.seeds_needed(num_comparisons, threshold))
    effect, bound = abs(float(np.mean(differences))) / spread, math.log1p(margin) / spread

    def differs(n: int) -> float:
        return _one_sided_power(effect, n, threshold / num_comparisons / 2.0)

    def is_equivalent(n: int) -> float:
        sides = (_one_sided_power(bound + side, n, threshold) for side in (effect, -effect))
        return sum(sides) - 1.0

    found = [n for n in (_first(differs, power, first), _first(is_equivalent, power, first)) if n is not None]
    return min(found, default=None)


def _one_sided_power(effect: float, num_pairs: int, alpha: float) -> float:
    from statsmodels.stats.power import TTestPower

    if effect <= 0.0:
        return 0.0
    return float(TTestPower().power(effect, num_pairs, alpha, alternative="larger"))


def _first(power_of: Callable[[int], float], power: float, low: int) -> int | None:
    """The least n from ``low`` to MAX_SEEDS whose power suffices; powers grow with n, so halving finds it."""
    high = MAX_SEEDS
    if low > high or power_of(high) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Timing:
    """Seconds per update by round, and what must be equal for two runtimes to compare (engine, device, ...)."""

    seconds: Mapping[int, float]
    conditions: Mapping[str, object]


@dataclass(frozen=True)
class SpeedDecision:
    """How many times as fast as the baseline: a median over rounds with its order-statistic 95 % interval."""

    verdict: SpeedVerdict
    num_rounds: int
    ratio: float | None = None
    interval: Interval | None = None
    adjusted_p: float | None = None
    reason: str = ""


def decide_speed(baseline: Timing, arms: Sequence[Timing], *, threshold: float = 0.05) -> list[SpeedDecision]:
    """Decides ``faster`` or ``slower`` by a sign test over rounds, after Holm over the arms.

    A round times all arms one after another, so its log ratio is free of slow drift. The test assumes that rounds
    are exchangeable and no more: without a difference each arm is the faster one of a round with probability 1/2.
    """
    statistics.check_threshold(threshold)
    reasons = [_reason(baseline, arm) for arm in arms]
    logs = [np.log(_speed_ratios(baseline, arm)) for arm in arms]
    adjusted = statistics.holm(
        [None if r or not len(x) else statistics.sign_test(x) for r, x in zip(reasons, logs, strict=True)]
    )
    return [_speed_decision(x, p, r, threshold) for x, p, r in zip(logs, adjusted, reasons, strict=True)]


def _reason(baseline: Timing, arm: Timing) -> str:
    if not set(baseline.seconds) & set(arm.seconds):
        return "no round timed both"
    names = sorted(set(baseline.conditions) | set(arm.conditions))
    pairs = [(name, baseline.conditions.get(name), arm.conditions.get(name)) for name in names]
    return "; ".join(f"{name} differs ({there} and {here})" for name, there, here in pairs if there != here)


def _speed_ratios(baseline: Timing, arm: Timing) -> np.ndarray:
    rounds = sorted(set(baseline.seconds) & set(arm.seconds))
    return np.array([baseline.seconds[r] / arm.seconds[r] for r in rounds], dtype=np.float64)


def _speed_decision(logs: np.ndarray, adjusted_p: float | None, reason: str, threshold: float) -> SpeedDecision:
    if adjusted_p is None:
        return SpeedDecision("not comparable", len(logs), reason=reason)
    interval = statistics.median_interval(logs)
    verdict: SpeedVerdict = "no difference shown"
    if adjusted_p < threshold:
        verdict = "faster" if np.sum(logs > 0) > np.sum(logs < 0) else "slower"
    return SpeedDecision(
        verdict=verdict,
        num_rounds=len(logs),
        ratio=math.exp(float(np.median(logs))),
        interval=None if interval is None else Interval(math.exp(interval.low), math.exp(interval.high)),
        adjusted_p=adjusted_p,
    )
