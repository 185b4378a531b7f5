"""Pure: paired differences, intervals, tests and corrections. What they decide is in ``decisions``.

A difference is an arm's loss minus the baseline's, in nats, at one seed: ``exp(mean difference)`` is a ratio of
perplexities. A diverged replicate's loss is infinite, so a pair's difference is ``inf`` where the arm diverged,
``-inf`` where the baseline did, ``nan`` where both did. SciPy's special functions suffice here; statsmodels is
imported where it is used, because it takes longer to load than ``harness --help`` may last.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness import randomness

ROUNDING_NATS = 1e-12  # differences closer than this are equal: a loss of a few nats rounds at 1e-15
MAX_EXACT_FLIPS = 20  # pairs: 2^20 sums are done in milliseconds, each further pair doubles them
MONTE_CARLO_FLIPS = 100_000


@dataclass(frozen=True)
class Interval:
    """Both ends belong to it."""

    low: float
    high: float


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p of the mean under random signs; ``num_flips`` were drawn if it ``is_exact`` not, else all."""

    p: float
    is_exact: bool
    num_flips: int


def paired_differences(arm: Mapping[str, float], baseline: Mapping[str, float]) -> np.ndarray:
    """Returns arm minus baseline in nats, (pairs,), over the seeds that both have, in the order of the arm."""
    seeds = [seed for seed in arm if seed in baseline]
    a, b = (np.array([losses[seed] for seed in seeds], dtype=np.float64) for losses in (arm, baseline))
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and meant
        return a - b


def student_interval(values: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Returns the Student interval of the mean of finite ``values``, or None for fewer than two of them."""
    n = len(values)
    if n < 2:
        return None
    mean, error = float(np.mean(values)), standard_error(values)
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2)) * error
    return Interval(mean - half, mean + half)


def student_p(differences: np.ndarray) -> float:
    """Returns the two-sided p of the paired Student test on at least two finite differences.

    Without spread the test has no scale: equal pairs give 1, a constant difference the exact sign-flip p.
    """
    mean, error = float(np.mean(differences)), standard_error(differences)
    if error == 0.0:
        return 1.0 if abs(mean) <= ROUNDING_NATS else sign_flip(differences).p
    return float(2.0 * special.stdtr(len(differences) - 1, -abs(mean) / error))


def sign_flip(differences: np.ndarray) -> SignFlip:
    """Returns how often random signs give a sum at least as far from zero as the one seen.

    All 2^n sign vectors up to n = 20 pairs; beyond that 100,000 fixed draws and (count + 1) / (draws + 1), which
    keeps the level of the test (Phipson and Smyth 2010).
    """
    n = len(differences)
    seen = abs(float(np.sum(differences))) - 1e-12 * float(np.sum(np.abs(differences)))  # sums round differently
    if n <= MAX_EXACT_FLIPS:
        sums = np.zeros(1)
        for d in differences[1:]:  # the first sign is fixed: the other half of the flips mirrors these
            sums = np.concatenate([sums + d, sums - d])
        sums = sums + differences[0] if n else sums
        return SignFlip(float(np.mean(np.abs(sums) >= seen)), is_exact=True, num_flips=2**n)
    sums = np.zeros(MONTE_CARLO_FLIPS)
    for j, d in enumerate(differences):
        sums += np.where(randomness.uniform("sign-flip", j, shape=(MONTE_CARLO_FLIPS,)) < 0.5, d, -d)
    count = int(np.sum(np.abs(sums) >= seen))
    return SignFlip((count + 1) / (MONTE_CARLO_FLIPS + 1), is_exact=False, num_flips=MONTE_CARLO_FLIPS)


def sign_test(differences: np.ndarray) -> float:
    """Returns the exact two-sided binomial p of the signs (Dixon and Mood 1946); zeros and nan are ties, left out."""
    wins, losses = int(np.sum(differences < 0)), int(np.sum(differences > 0))
    return min(1.0, 2.0 * float(special.bdtr(min(wins, losses), wins + losses, 0.5))) if wins + losses else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns Holm's adjusted p-values. A missing one stays missing, but counts: the family is what was planned."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    adjusted = multipletests([1.0 if p is None else p for p in p_values], method="holm")[1]
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]


def median_interval(values: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Returns the order-statistic interval of the median, of at least ``confidence``, or None for too few values.

    The number of values below the median is binomial(n, 1/2), whatever their distribution (Thompson 1936); 95 %
    needs six of them.
    """
    n, k = len(values), 0
    while 2.0 * float(special.bdtr(k, n, 0.5)) <= 1.0 - confidence:
        k += 1
    if n == 0 or k == 0:
        return None
    ordered = np.sort(values)
    return Interval(float(ordered[k - 1]), float(ordered[n - k]))


def smallest_p(num_pairs: int) -> float:
    """Returns the smallest two-sided sign-flip p that ``num_pairs`` can reach: 2 of the 2^n sign vectors."""
    return min(1.0, 2.0 / 2.0**num_pairs)


def seeds_needed(num_comparisons: int, threshold: float = 0.05) -> int:
    """Returns the fewest paired seeds whose smallest p can pass Holm's first step.

    >>> seeds_needed(1), seeds_needed(3), seeds_needed(8)
    (6, 7, 9)

    Raises:
        ValueError: There is no comparison, or ``threshold`` is not between 0 and 0.5.
    """
    if num_comparisons < 1:
        raise ValueError(
            f"statistics: num_comparisons >= 1 must hold, but got {num_comparisons=}. Compare two arms or more."
        )
    check_threshold(threshold)
    return next(n for n in range(1, 1100) if smallest_p(n) <= threshold / num_comparisons)


def standard_error(values: np.ndarray) -> float:
    """Returns the standard error of the mean of two or more values: exactly 0 where rounding alone separates them."""
    if float(np.ptp(values)) <= ROUNDING_NATS:
        return 0.0
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def check_threshold(threshold: float) -> None:
    """Raises ValueError unless ``threshold`` can be an error rate."""
    if not 0.0 < threshold < 0.5:
        raise ValueError(f"statistics: 0 < threshold < 0.5 must hold, but got {threshold=}. Give 0.05, say.")
