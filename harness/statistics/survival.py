"""Times until something happens, where some runs end before it does.

The time is a number of updates until a task is solved. A run that has not solved it when its budget
is spent is censored: it says that the time is longer, and no more. Leaving such runs out, or taking
the budget for the time, would favour the arm that fails more often.

A run that is censored at the time of another's event was still at risk then.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Times:
    """The times of several runs.

    Attributes:
        times: When the event happened, or when the run ended without it, (n,); positive.
        happened: Whether it happened, (n,).
    """

    times: Sequence[float]
    happened: Sequence[bool]

    def __post_init__(self) -> None:
        lengths = (len(self.times), len(self.happened))
        if lengths[0] != lengths[1]:
            raise ValueError(
                "survival: as many times as events must hold, but got "
                f"times={lengths[0]}, happened={lengths[1]}. Give one of each a run."
            )
        wrong = [time for time in self.times if not 0.0 < time < math.inf]
        if wrong:
            raise ValueError(
                f"survival: 0 < time < inf must hold, but got times={wrong}. A run that never "
                "got there has the time at which it ended, and happened=False."
            )


@dataclass(frozen=True)
class Survival:
    """The share of runs to which it has not happened yet (Kaplan and Meier 1958).

    Attributes:
        times: When it happened to any run, ascending, (k,).
        shares: From each of these times on, (k,); before the first it is 1.
        num_at_risk: Runs that had neither event nor end before, (k,).
        num_events: Runs to which it happened then, (k,).
    """

    times: np.ndarray
    shares: np.ndarray
    num_at_risk: np.ndarray
    num_events: np.ndarray

    @property
    def median(self) -> float | None:
        """The first time at which it has happened to half of the runs; None where it has not."""
        # Products of fractions round: one half may come out as a little more.
        reached = np.flatnonzero(self.shares <= 0.5 + 1e-12)
        return float(self.times[reached[0]]) if len(reached) else None


@dataclass(frozen=True)
class LogRank:
    """The comparison of an arm's times with a baseline's.

    Attributes:
        statistic: Standard normal where both have the same times; positive where the arm's events
            come sooner. Its square is the usual chi-squared of one degree of freedom.
        p: Two-sided, of the normal distribution: with a handful of events it is approximate.
        observed: Events of the arm.
        expected: Those that it would have with the baseline's times and its own numbers at risk.
    """

    statistic: float
    p: float
    observed: int
    expected: float


def kaplan_meier(runs: Times) -> Survival:
    """Returns the estimate of the share to which it has not happened yet.

    >>> kaplan_meier(Times([100, 200, 300, 300], [True, True, False, False])).median
    200.0
    """
    times, happened = _arrays(runs)
    events = np.unique(times[happened])
    num_at_risk = (times >= events[:, None]).sum(axis=1)
    num_events = ((times == events[:, None]) & happened).sum(axis=1)
    shares = np.cumprod(1.0 - num_events / num_at_risk)
    return Survival(events, shares, num_at_risk, num_events)


def log_rank(arm: Times, baseline: Times) -> LogRank:
    """Returns the log-rank test of Mantel (1966) and Cox.

    >>> log_rank(Times([1, 2, 3], [True] * 3), Times([4, 4, 4], [False] * 3)).observed
    3
    """
    return stratified_log_rank([(arm, baseline)])


def stratified_log_rank(strata: Iterable[tuple[Times, Times]]) -> LogRank:
    """Returns the log-rank test within strata: runs are compared with those of their own stratum.

    A stratum is a pair of an arm's times and a baseline's: those of one seed, where both were
    trained on the same draws, or of one data set. With one run of each in a stratum, it is the sign
    test of who was sooner, in its normal form; pairs of which that is not known say nothing.
    """
    observed, expected, variance = 0, 0.0, 0.0
    for arm, baseline in strata:
        num_arm, expected_arm, variance_arm = _stratum(arm, baseline)
        observed, expected = observed + num_arm, expected + expected_arm
        variance += variance_arm
    if variance == 0.0:  # no event happened while both were at risk
        return LogRank(0.0, 1.0, observed, expected)
    statistic = (observed - expected) / math.sqrt(variance)
    p = min(1.0, 2.0 * float(special.ndtr(-abs(statistic))))
    return LogRank(statistic, p, observed, expected)


def _stratum(arm: Times, baseline: Times) -> tuple[int, float, float]:
    """Returns the arm's events, how many are expected, and their variance."""
    (own, own_happened), (other, other_happened) = _arrays(arm), _arrays(baseline)
    times, happened = np.concatenate([own, other]), np.concatenate([own_happened, other_happened])
    moments = np.unique(times[happened])[:, None]
    at_risk = (times >= moments).sum(axis=1)
    events = ((times == moments) & happened).sum(axis=1)
    share = (own >= moments).sum(axis=1) / at_risk
    # Hypergeometric: which of those at risk the events fall on.
    spread = events * share * (1.0 - share) * (at_risk - events) / np.maximum(at_risk - 1, 1)
    return int(own_happened.sum()), float((events * share).sum()), float(spread.sum())


def _arrays(runs: Times) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(runs.times, dtype=np.float64), np.asarray(runs.happened, dtype=np.bool_)
