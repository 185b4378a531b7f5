"""One figure over several corpora, where there are enough of them for it to mean something.

Both figures and their intervals are those of Agarwal et al. (2021, "Deep Reinforcement Learning at
the Edge of the Statistical Precipice"). The intervals are stratified percentile bootstraps: seeds
are drawn with replacement within every corpus, an arm's and the baseline's together, because they
are paired. So they tell how the figure would vary with other seeds on these corpora, and nothing of
other corpora.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness import randomness
from harness.statistics.inference import Interval

MIN_STRATA = 5
"""Of fewer corpora each has its own verdict: a mean over them would hide more than it tells."""
RESAMPLES = 2_000
"""Number of bootstrap samples."""


@dataclass(frozen=True)
class Estimate:
    """A figure over all corpora with its 95 % interval."""

    value: float
    interval: Interval


def probability_of_improvement(
    arm: Sequence[np.ndarray], baseline: Sequence[np.ndarray]
) -> Estimate:
    """Returns the probability that a replicate of the arm has a lower loss than the baseline's.

    It is a mean over corpora. All pairs of two replicates of a corpus count, not those of one seed
    alone; equal losses, and two that diverged, count half. The bootstrap keeps a seed's two
    replicates together.

    Args:
        arm: Losses per corpus, (seeds,) each, infinite where a replicate diverged.
        baseline: Losses of the same corpora and seeds, in the same order.

    Raises:
        ValueError: There are fewer than five corpora, or one has no seed, a NaN or other seeds in
            the two arguments.
    """
    _check(
        [len(losses) for losses in arm], any(np.isnan(losses).any() for losses in (*arm, *baseline))
    )
    if [len(losses) for losses in arm] != [len(losses) for losses in baseline]:
        raise ValueError(
            "aggregates: an arm and the baseline must have the same seeds, but got"
            f" {[len(losses) for losses in arm]} and {[len(losses) for losses in baseline]} of"
            " them. Leave seeds out that one of the two lacks."
        )
    values, resampled = [], np.zeros(RESAMPLES)
    for i, (a, b) in enumerate(zip(arm, baseline, strict=True)):
        wins = (a[:, None] < b) + 0.5 * (a[:, None] == b)
        counts = _counts(i, len(a))
        values.append(float(np.mean(wins)))
        resampled += np.einsum("ri,ij,rj->r", counts, wins, counts, optimize=True) / len(a) ** 2
    return Estimate(float(np.mean(values)), _percentiles(resampled / len(arm)))


def interquartile_mean(differences: Sequence[np.ndarray]) -> Estimate:
    """Returns the mean of the middle half of all paired differences, in their unit.

    The differences of all corpora and seeds are taken together. The mean is less at the mercy of
    one corpus or one seed than the plain mean is, and more precise than the median. It is infinite
    where the middle half holds a pair that diverged (NaN where it holds one of an arm's and one of
    the baseline's). Pairs of which both diverged say nothing: leave them out.

    Args:
        differences: Arm minus baseline per corpus, (seeds,) each.

    Raises:
        ValueError: There are fewer than five corpora, or one has no pair, or a NaN.
    """
    from scipy import stats

    _check(
        [len(stratum) for stratum in differences],
        any(np.isnan(stratum).any() for stratum in differences),
    )
    resampled = np.concatenate(
        [d[_resamples(i, len(d))] for i, d in enumerate(differences)], axis=1
    )
    with np.errstate(invalid="ignore"):
        means = stats.trim_mean(resampled, 0.25, axis=1)
        value = float(stats.trim_mean(np.concatenate(differences), 0.25))
    return Estimate(value, _percentiles(means))


@functools.lru_cache(maxsize=64)
def _resamples(stratum: int, count: int) -> np.ndarray:
    """Returns seeds of a corpus drawn with replacement, (resamples, count), alike for every arm."""
    return (randomness.uniform("bootstrap", stratum, shape=(RESAMPLES, count)) * count).astype(
        np.intp
    )


@functools.lru_cache(maxsize=64)
def _counts(stratum: int, count: int) -> np.ndarray:
    """Returns how often each seed was drawn, (resamples, count)."""
    resamples = _resamples(stratum, count)
    return np.stack([np.sum(resamples == seed, axis=1) for seed in range(count)], axis=1).astype(
        np.float64
    )


def _percentiles(resampled: np.ndarray, confidence: float = 0.95) -> Interval:
    """Returns the percentile interval.

    Between two resamples it takes one of them: a mean of a finite and an infinite one would tell
    nothing.
    """
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))


def _check(num_seeds: Sequence[int], has_nan: bool) -> None:
    if len(num_seeds) < MIN_STRATA or min(num_seeds) == 0 or has_nan:
        raise ValueError(
            f"aggregates: num_corpora >= {MIN_STRATA}, num_seeds >= 1 in each and no NaN must hold,"
            f" but got num_corpora={len(num_seeds)}, num_seeds={list(num_seeds)}, {has_nan=}."
            " Show every corpus on its own."
        )
