"""What a number of paired seeds can show, and how many seeds it takes to show something.

Differences are normal here, with the spread (standard deviation, nats) of an earlier study or a
first stage, and Holm's worst level is meant: an arm whose p is the smallest of ``num_comparisons``
must pass ``threshold`` divided by their number.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import special

from harness.statistics import inference

MAX_SEEDS = 1000
"""A study that needs more seeds is not one to plan for."""


def power_of(
    difference_nats: float,
    spread_nats: float,
    num_pairs: int,
    num_comparisons: int = 1,
    *,
    threshold: float = 0.05,
) -> float:
    """Returns the probability that the paired Student test finds a true difference.

    The level is Holm's worst one.

    Raises:
        ValueError: ``threshold`` is not between 0 and 0.5.
    """
    inference.check_threshold(threshold)
    if num_pairs < 2:
        return 0.0
    level = threshold / num_comparisons
    if spread_nats == 0.0:  # the sign flips decide, as in statistics.student_p
        return float(difference_nats != 0.0 and inference.smallest_p(num_pairs) < level)
    effect = abs(difference_nats) / spread_nats
    right = _tail("larger", effect, num_pairs, level / 2.0)
    return right + _tail("smaller", effect, num_pairs, level / 2.0)


def detectable(
    spread_nats: float,
    num_pairs: int,
    num_comparisons: int = 1,
    *,
    threshold: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Returns the smallest true difference, in nats, that is found with probability ``power``.

    The level is Holm's worst one. None: no difference is found so often, because there are fewer
    than two pairs, or too few to show one that has no spread.

    Raises:
        ValueError: ``threshold`` is not between 0 and 0.5, or ``power`` not between ``threshold``
            and 1.
    """
    from scipy import optimize  # late: it takes longer to load than most commands may last

    inference.check_threshold(threshold)
    if not threshold < power < 1.0:
        raise ValueError(
            f"power: {threshold=} < power < 1 must hold, but got {power=}. Give power=0.8, say."
        )
    if spread_nats == 0.0:
        is_enough = power_of(1.0, 0.0, num_pairs, num_comparisons, threshold=threshold) == 1.0
        return 0.0 if is_enough else None
    if num_pairs < 2:
        return None

    def excess(effect: float) -> float:
        return power_of(effect, 1.0, num_pairs, num_comparisons, threshold=threshold) - power

    high = 1.0
    while excess(high) < 0.0:
        high *= 2.0
    return float(optimize.brentq(excess, 0.0, high)) * spread_nats


def stein_seeds(
    first_stage: Sequence[np.ndarray],
    *,
    half_width_nats: float,
    at_most: int,
    confidence: float = 0.95,
) -> int:
    """Returns how many pairs every comparison gets in all, by Stein's two-stage rule (1945).

    n = ceil(t^2 s^2 / half_width^2), with s of the first stage and t of its degrees of freedom,
    makes the interval of ``statistics.student_interval(..., first=...)`` no wider than wanted; here
    the maximum over comparisons, at least the first stage's size and at most ``at_most``. The
    interval covers as it says although n depends on the data, cut short or not: see ``statistics``.
    A comparison asks for no more pairs where its first stage has no spread, fewer than two pairs,
    or one that diverged, which leaves no interval to narrow.

    Args:
        first_stage: One array of paired differences (nats) per arm that is not the baseline.
        half_width_nats: Of the interval: ``math.log1p(0.005)`` for half a percent of a ratio.
        at_most: Limit on the answer.
        confidence: Of the interval.

    Raises:
        ValueError: ``half_width_nats`` is not positive, or ``at_most`` less than the first stage's
            size.
    """
    size = max((len(differences) for differences in first_stage), default=0)
    if not half_width_nats > 0.0 or at_most < size:
        raise ValueError(
            f"power: half_width_nats > 0 and at_most >= {size}, the first stage's size, must hold,"
            f" but got {half_width_nats=}, {at_most=}. Allow a wider interval, or more seeds."
        )
    wanted = [size]
    for differences in first_stage:
        if len(differences) >= 2 and np.isfinite(differences).all():
            quantile = float(special.stdtrit(len(differences) - 1, 0.5 + confidence / 2))
            ratio = quantile * inference.spread(differences) / half_width_nats
            wanted.append(math.ceil(ratio**2))
    return min(max(wanted), at_most)


def seeds_to_decide(
    differences: np.ndarray,
    *,
    margin_loss: float,
    num_comparisons: int,
    threshold: float = 0.05,
    power: float = 0.8,
    added: float = 0.0,
    first: int | None = None,
) -> int | None:
    """Returns how many pairs would decide with probability ``power``.

    Effect and spread are taken to be those seen. It is the fewer of two numbers: to show the
    difference at Holm's worst level, ``threshold / num_comparisons``; to show equivalence, where
    the two one-sided tests fail together so rarely that their failures add (Bonferroni). Equal
    differences have no spread: their sign-flip p decides. None: more than 1000, one pair, a
    diverged one, or no number of pairs would.

    Args:
        differences: Of the pairs so far, in nats.
        margin_loss: Of equivalence, as a difference of losses.
        num_comparisons: Of the family.
        threshold: Largest family-wise error rate.
        power: The probability.
        added: k S in nats, by which ``decisions.widened`` widens an interval: no number of pairs
            makes it less. The mean is then taken to be normal with the spread seen.
        first: Pairs of a sequential design's first stage, see ``inference``, whose spread and
            degrees of freedom every number of pairs keeps; likewise. None: there are no stages.
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    spread = inference.standard_error(differences, first=first) * math.sqrt(len(differences))
    least = len(differences) + 1
    if spread == 0.0 and abs(float(np.mean(differences))) <= added:
        return None
    if spread == 0.0:
        return max(least, inference.seeds_needed(num_comparisons, threshold))
    effect, bound = abs(float(np.mean(differences))) / spread, margin_loss / spread

    def differs(n: int) -> float:
        level = threshold / num_comparisons / 2.0
        by_seeds = (
            clears(effect, n, level, 0.0)
            if first
            else power_of(effect, 1.0, n, num_comparisons, threshold=threshold)
        )
        return min(by_seeds, clears(effect, n, threshold / 2.0, added)) if added else by_seeds

    def is_equivalent(n: int) -> float:
        def reach(gap: float) -> float:
            if added or first:
                return clears(gap, n, threshold, added)
            return _tail("larger", gap, n, threshold)

        return reach(bound + effect) + reach(bound - effect) - 1.0

    def clears(gap: float, n: int, level: float, added: float) -> float:
        quantile = float(special.stdtrit((first or n) - 1, 1.0 - level))
        half = math.hypot(quantile / math.sqrt(n), added / spread)
        return float(special.ndtr((gap - half) * math.sqrt(n)))

    numbers = [_first(differs, power, least), _first(is_equivalent, power, least)]
    return min((n for n in numbers if n is not None), default=None)


def _tail(side: Literal["larger", "smaller"], effect: float, num_pairs: int, level: float) -> float:
    """Returns the probability that Student's statistic passes its critical value on one side.

    A test holds it to statsmodels' ``TTestPower``, which takes two seconds to load. SciPy's
    noncentral t is NaN where a tail underflows: the power is then one on the side that ``effect``
    leads to, to within 1e-200, and nothing on the other.
    """
    degrees, shift = num_pairs - 1, effect * math.sqrt(num_pairs)
    critical = float(special.stdtrit(degrees, level))
    if side == "smaller":
        power = float(special.nctdtr(degrees, shift, critical))
    else:
        power = 1.0 - float(special.nctdtr(degrees, shift, -critical))
    return power if math.isfinite(power) else float(side == "larger" and effect > 0.0)


def _first(reached: Callable[[int], float], power: float, low: int) -> int | None:
    """Returns the least n from ``low`` to MAX_SEEDS whose power suffices, or None.

    Powers grow with n, so halving finds it.
    """
    high = MAX_SEEDS
    if low > high or reached(high) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle + 1, high)
    return low
