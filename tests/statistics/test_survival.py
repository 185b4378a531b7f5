"""Times to an event: against SciPy and statsmodels, and the trial that every textbook works out."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import survdiff

from harness.statistics.survival import Times, kaplan_meier, log_rank, stratified_log_rank

# Weeks of remission of 42 patients with leukaemia (Freireich and others 1963).
TREATED = Times(
    [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35],
    [True] * 9 + [False] * 12,
)
PLACEBO = Times(
    [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], [True] * 21
)


def draws(seed, count=25, scale=1.0):
    """Whole numbers, so that some are tied; a third of them censored."""
    random = np.random.default_rng(seed)
    times = np.ceil(random.exponential(10.0 * scale, count))
    return Times(times.tolist(), (random.random(count) < 2 / 3).tolist())


def censored(runs):
    times, happened = np.asarray(runs.times), np.asarray(runs.happened)
    return stats.CensoredData(uncensored=times[happened], right=times[~happened])


def test_the_trial_of_the_textbooks():
    """Kleinbaum and Klein, "Survival analysis": chi-squared 16.793, 9 events of 19.25 expected."""
    found = log_rank(PLACEBO, TREATED)
    assert found.statistic**2 == pytest.approx(16.793, abs=5e-4) and found.statistic > 0.0
    assert (found.observed, found.expected) == (21, pytest.approx(10.749, abs=5e-4))
    assert found.p == pytest.approx(4.17e-5, abs=5e-8)
    other = log_rank(TREATED, PLACEBO)
    assert (other.observed, other.expected) == (9, pytest.approx(19.251, abs=5e-4))
    assert other.statistic == pytest.approx(-found.statistic)
    # Kaplan-Meier, as the same book tells it.
    treated = kaplan_meier(TREATED)
    assert treated.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert treated.num_at_risk.tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert treated.shares == pytest.approx(
        [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], abs=5e-5
    )
    assert (treated.median, kaplan_meier(PLACEBO).median) == (23.0, 8.0)


@pytest.mark.parametrize("seed", range(5))
def test_log_rank_equals_scipy(seed):
    arm, baseline = draws(seed), draws(seed + 100, 18, scale=2.0)
    expected = stats.logrank(censored(arm), censored(baseline))
    found = log_rank(arm, baseline)
    assert abs(found.statistic) == pytest.approx(abs(expected.statistic), rel=1e-10)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_strata_equal_statsmodels(seed):
    strata = [(draws(10 * seed + i, 9), draws(10 * seed + i + 5, 7, 1.5)) for i in range(4)]
    rows = [
        (time, happened, group, number)
        for number, pair in enumerate(strata)
        for group, runs in enumerate(pair)
        for time, happened in zip(runs.times, runs.happened, strict=True)
    ]
    times, happened, groups, numbers = map(np.array, zip(*rows, strict=True))
    squared, p = survdiff(times, happened.astype(int), groups, strata=numbers)
    found = stratified_log_rank(strata)
    assert found.statistic**2 == pytest.approx(squared, rel=1e-10)
    assert found.p == pytest.approx(p, rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_kaplan_meier_equals_scipy(seed):
    runs = draws(seed)
    expected = stats.ecdf(censored(runs)).sf
    found = kaplan_meier(runs)
    assert found.shares == pytest.approx(expected.evaluate(found.times), rel=1e-12)
    before = np.concatenate([[1.0], found.shares[:-1]])
    assert expected.evaluate(found.times - 0.5) == pytest.approx(before, rel=1e-12)


def test_pairs_are_a_sign_test_of_who_was_sooner():
    """Sooner in 6 of 8 pairs, and two of which it is not known: one tie, one censored too soon."""
    solved = [(1, 2)] * 6 + [(2, 1)] * 2
    pairs = [(Times([a], [True]), Times([b], [True])) for a, b in solved]
    pairs += [(Times([3], [True]), Times([3], [True])), (Times([4], [True]), Times([3], [False]))]
    found = stratified_log_rank(pairs)
    assert found.statistic == pytest.approx((6 - 2) / 8**0.5)
    assert found.p == pytest.approx(2.0 * stats.norm.sf(4 / 8**0.5))
    # Who ends unsolved later than the other solves is known to be slower.
    longer = (Times([5], [True]), Times([9], [False]))
    assert stratified_log_rank([*pairs, longer]).statistic == pytest.approx((7 - 2) / 9**0.5)


def test_a_median_that_is_not_reached_is_none():
    assert kaplan_meier(Times([5, 9, 9], [True, False, False])).median is None
    assert kaplan_meier(Times([5, 7, 9, 9], [True, True, False, False])).median == 7.0
    assert kaplan_meier(Times([2, 3, 5, 7, 8, 9], [True] * 6)).median == 5.0
    assert kaplan_meier(Times([9, 9], [False, False])).median is None


def test_without_an_event_nothing_is_told():
    unsolved = Times([9, 9], [False, False])
    found = log_rank(unsolved, unsolved)
    assert (found.statistic, found.p, found.observed, found.expected) == (0.0, 1.0, 0, 0.0)


def test_equal_arms_are_told_apart_as_rarely_as_promised():
    """2,000 pairs of arms with 20 runs each, most of them censored at 15."""
    random = np.random.default_rng(0)
    rejected = 0
    for _ in range(2_000):
        times = random.exponential(15.0, (2, 20))
        arm, baseline = (Times(np.minimum(t, 15.0).tolist(), (t < 15.0).tolist()) for t in times)
        rejected += log_rank(arm, baseline).p < 0.05
    assert 0.038 < rejected / 2_000 < 0.065  # 2.5 standard errors and the approximation


@pytest.mark.parametrize(
    "times, happened, message",
    [
        ([1, 2], [True], "as many times as events must hold, but got times=2, happened=1"),
        ([1, 0], [True, True], r"0 < time < inf must hold, but got times=\[0\]"),
        ([float("inf"), float("nan")], [True, True], r"but got times=\[inf, nan\]. A run that"),
    ],
)
def test_times_that_are_none(times, happened, message):
    with pytest.raises(ValueError, match=message):
        Times(times, happened)
