"""Paired differences, intervals, tests and corrections.

``decisions`` decides by them, ``power`` plans with them.

A difference is an arm's loss minus the baseline's at one seed; what a reader is shown of it is the
objective's: on the scale of ratios, such as perplexity's, ``exp(mean difference)``. A diverged
replicate's loss is infinite, so a pair's difference is ``inf`` where the arm diverged, ``-inf``
where the baseline did, ``nan`` where both did. SciPy's special functions suffice here; more of
SciPy would take seconds to load.

``first`` is the number of pairs of a sequential design's first stage (Stein 1945): the mean is then
over all pairs, the spread is the first stage's, with ``first`` - 1 degrees of freedom. For normal
differences that is exact, whatever limit cut the number of pairs short, because that number depends
on the first stage's spread alone, of which the mean is independent; and it stays exact where the
number is a maximum over several arms, because a mean vector is independent of the covariances. A
first stage without any spread has no scale: then it is that of all pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness import randomness

ROUNDING = 1e-12
"""Differences closer than this are equal: a loss of order 1 rounds at 1e-15."""
MAX_EXACT_FLIPS = 20
"""Pairs: 2^20 sums are done in milliseconds, and each further pair doubles them."""
MONTE_CARLO_FLIPS = 100_000
"""Random sign vectors, where there are more pairs."""


@dataclass(frozen=True)
class Interval:
    """An interval to which both ends belong."""

    low: float
    high: float


@dataclass(frozen=True)
class SignFlip:
    """The two-sided p of the mean under random signs.

    ``num_flips`` counts the sign vectors: all there are where the test ``is_exact``, else those
    that were drawn.
    """

    p: float
    is_exact: bool
    num_flips: int


def paired_differences(arm: Mapping[str, float], baseline: Mapping[str, float]) -> np.ndarray:
    """Returns arm minus baseline, (pairs,), over the seeds that both have.

    The seeds are in the order that the arm has them in.
    """
    seeds = [seed for seed in arm if seed in baseline]
    a, b = (
        np.array([losses[seed] for seed in seeds], dtype=np.float64) for losses in (arm, baseline)
    )
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and meant
        return a - b


def student_interval(
    values: np.ndarray, confidence: float = 0.95, *, first: int | None = None
) -> Interval | None:
    """Returns the Student interval of the mean of finite ``values``, or None for fewer than two."""
    if len(values) < 2:
        return None
    mean, degrees = float(np.mean(values)), len(_scale(values, first)) - 1
    half = float(special.stdtrit(degrees, 0.5 + confidence / 2)) * standard_error(
        values, first=first
    )
    return Interval(mean - half, mean + half)


def student_p(differences: np.ndarray, *, first: int | None = None) -> float:
    """Returns the two-sided p of the paired Student test on at least two finite differences.

    Without spread the test has no scale: equal pairs give 1, a constant difference the exact
    sign-flip p.
    """
    mean, error = float(np.mean(differences)), standard_error(differences, first=first)
    if error == 0.0:
        return 1.0 if abs(mean) <= ROUNDING else sign_flip(differences).p
    return float(2.0 * special.stdtr(len(_scale(differences, first)) - 1, -abs(mean) / error))


def sign_flip(differences: np.ndarray) -> SignFlip:
    """Returns how often random signs give a sum at least as far from zero as the one seen.

    All 2^n sign vectors up to n = 20 pairs; beyond that 100,000 fixed draws and (count + 1) /
    (draws + 1), which keeps the level of the test (Phipson and Smyth 2010).
    """
    n = len(differences)
    rounding = 1e-12 * float(np.sum(np.abs(differences)))  # sums round differently
    seen = abs(float(np.sum(differences))) - rounding
    if n <= MAX_EXACT_FLIPS:
        sums = np.zeros(1)
        for d in differences[1:]:  # the first sign is fixed: the other half mirrors these flips
            sums = np.concatenate([sums + d, sums - d])
        sums = sums + differences[0] if n else sums
        return SignFlip(float(np.mean(np.abs(sums) >= seen)), is_exact=True, num_flips=2**n)
    sums = np.zeros(MONTE_CARLO_FLIPS)
    for j, d in enumerate(differences):
        draws = randomness.uniform("sign-flip", j, shape=(MONTE_CARLO_FLIPS,))
        sums += np.where(draws < 0.5, d, -d)
    count = int(np.sum(np.abs(sums) >= seen))
    return SignFlip(
        (count + 1) / (MONTE_CARLO_FLIPS + 1), is_exact=False, num_flips=MONTE_CARLO_FLIPS
    )


def sign_test(differences: np.ndarray) -> float:
    """Returns the exact two-sided binomial p of the signs (Dixon and Mood 1946).

    Zeros and nan are ties and are left out.
    """
    wins, losses = int(np.sum(differences < 0)), int(np.sum(differences > 0))
    if wins + losses == 0:
        return 1.0
    return min(1.0, 2.0 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns Holm's adjusted p-values (1979).

    A missing one stays missing, but counts: the family was planned. A test holds the numbers to
    statsmodels' ``multipletests``, which is not called here because it collects garbage at every
    call, for 50 ms.
    """
    values = np.array([1.0 if p is None else p for p in p_values])
    order, adjusted = np.argsort(values, kind="stable"), np.empty(len(values))
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted[order] = np.maximum.accumulate(scaled).clip(max=1.0)
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]


def median_interval(values: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Returns the order-statistic interval of the median, or None for too few values.

    Its confidence is at least ``confidence``: the number of values below the median is binomial(n,
    1/2), whatever their distribution (Thompson 1936); 95 % needs six of them.
    """
    n, k = len(values), 0
    while 2.0 * float(special.bdtr(k, n, 0.5)) <= 1.0 - confidence:
        k += 1
    if n == 0 or k == 0:
        return None
    ordered = np.sort(values)
    return Interval(float(ordered[k - 1]), float(ordered[n - k]))


def smallest_p(num_pairs: int) -> float:
    """Returns the smallest two-sided sign-flip p of ``num_pairs``: 2 of the 2^n sign vectors."""
    # Not 2 / 2^n: from 1,024 pairs on 2^n is larger than every float.
    return min(1.0, math.ldexp(2.0, -num_pairs))


def seeds_needed(num_comparisons: int, threshold: float = 0.05) -> int:
    """Returns the fewest paired seeds whose smallest p can pass Holm's first step.

    >>> seeds_needed(1), seeds_needed(3), seeds_needed(8)
    (6, 7, 9)

    Raises:
        ValueError: There is no comparison, or ``threshold`` is not between 0 and 0.5.
    """
    if num_comparisons < 1:
        raise ValueError(
            f"statistics: num_comparisons >= 1 must hold, but got {num_comparisons=}."
            " Compare two arms or more."
        )
    check_threshold(threshold)
    return next(n for n in range(1, 1100) if smallest_p(n) <= threshold / num_comparisons)


def spread(values: np.ndarray) -> float:
    """Returns the standard deviation of two or more values.

    It is exactly 0 where rounding alone separates them.
    """
    return 0.0 if float(np.ptp(values)) <= ROUNDING else float(np.std(values, ddof=1))


def standard_error(values: np.ndarray, *, first: int | None = None) -> float:
    """Returns the standard error of the mean of two or more values.

    It is exactly 0 where they have no :func:`spread`.
    """
    return spread(_scale(values, first)) / math.sqrt(len(values))


def _scale(values: np.ndarray, first: int | None) -> np.ndarray:
    """Returns the values that the spread is of."""
    return values if first is None or spread(values[:first]) == 0.0 else values[:first]


def expected_best(values: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns the expected best of 1, 2, ..., N trials of a random search, (N,).

    ``counts``, (C,), are other numbers of trials, and the result is then (C,). It is in the unit of
    ``values``, (N,). The expectation is the exact one of the minimum of n
    draws with replacement from the N values (Dodge et al. 2019, "Show Your Work"): all n exceed the
    k-th smallest with probability ((N - k)/N)^n. It assumes that trials are exchangeable, which
    those of a search that learns from its trials are not.

    Raises:
        ValueError: There is no value, or one is not finite.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(
            "statistics: one finite value or more must hold, but got"
            f" values={np.asarray(values).tolist()}. Leave failed trials out, and give a diverged"
            " one its loss of a guess."
        )
    num_values = len(values)
    if counts is None:
        counts = np.arange(1, num_values + 1)
    exceeds = (np.arange(num_values, -1, -1) / num_values) ** counts[:, None]
    best: np.ndarray = -np.diff(exceeds, axis=1) @ np.sort(values)
    return best


def check_threshold(threshold: float) -> None:
    """Raises ValueError unless ``threshold`` can be an error rate."""
    if not 0.0 < threshold < 0.5:
        raise ValueError(
            f"statistics: 0 < threshold < 0.5 must hold, but got {threshold=}. Give 0.05, say."
        )
