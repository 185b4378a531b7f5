"""Figures over several corpora: worked examples, known answers, and intervals that cover."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.statistics import aggregates
from harness.statistics.aggregates import interquartile_mean, probability_of_improvement


def corpora(num_seeds=6, shift=0.0, seed=0, count=5):
    """Losses that two arms share a part of, seed by seed, at another level on every corpus."""
    rng = np.random.default_rng(seed)
    shared = [level + rng.normal(0.0, 1.0, num_seeds) for level in range(count)]
    arm, baseline = ([x + rng.normal(0.0, 1.0, num_seeds) for x in shared] for _ in range(2))
    return [x + shift for x in arm], baseline


def test_probability_of_improvement_by_hand():
    arm = [np.array([1.0, 2.0])] * 4 + [np.array([1.0, np.inf])]
    baseline = [np.array([2.0, 3.0])] * 4 + [np.array([np.inf, 0.0])]
    # Of four pairs: three lower and a tie; then 1 < inf, 1 > 0, inf = inf, inf > 0.
    assert probability_of_improvement(arm, baseline).value == pytest.approx(
        (4 * 3.5 / 4 + 1.5 / 4) / 5
    )


def test_probability_of_improvement_is_mann_whitneys():
    arm, baseline = corpora()
    expected = [stats.mannwhitneyu(b, a).statistic / 36 for a, b in zip(arm, baseline, strict=True)]
    assert probability_of_improvement(arm, baseline).value == pytest.approx(np.mean(expected))


def test_a_certain_improvement_has_a_certain_interval():
    arm, baseline = corpora(shift=-100.0)
    found = probability_of_improvement(arm, baseline)
    assert (found.value, found.interval.low, found.interval.high) == (
        1.0,
        pytest.approx(1.0),
        pytest.approx(1.0),
    )


def test_exchanging_the_arms_mirrors_the_probability():
    arm, baseline = corpora(shift=0.3)
    there, back = (
        probability_of_improvement(arm, baseline),
        probability_of_improvement(baseline, arm),
    )
    assert there.value + back.value == pytest.approx(1.0)
    # The interval's ends too, but for the one resample that a quantile without interpolation may be
    # off.
    assert there.interval.low + back.interval.high == pytest.approx(1.0, abs=0.01)


def test_interquartile_mean_leaves_a_quarter_out_on_each_side():
    strata = [np.array([0.0, 1.0, 2.0, 3.0])] * 4 + [np.array([-1e6, 1.0, 2.0, np.inf])]
    # Of 20 the five least (four 0 and -1e6) and the five largest (four 3 and inf) go: five times 1
    # and 2.
    assert interquartile_mean(strata).value == 1.5
    assert interquartile_mean([np.array([0.0, np.inf])] * 5).value == np.inf


def test_intervals_resample_seeds_within_a_corpus():
    strata = [
        np.full(4, float(level)) for level in range(5)
    ]  # without spread between seeds there is nothing to vary
    found = interquartile_mean(strata)
    assert found.interval.low == found.value == found.interval.high == 2.0


def test_every_corpus_has_draws_of_its_own(monkeypatch):
    strata, resampled = corpora(4)[0], []
    monkeypatch.setattr(aggregates, "_percentiles", resampled.append)
    interquartile_mean(strata)
    for r in range(3):
        drawn = np.sort(
            np.concatenate([x[aggregates._resamples(i, 4)[r]] for i, x in enumerate(strata)])
        )
        assert resampled[0][r] == pytest.approx(drawn[5:-5].mean())


def test_a_seeds_two_replicates_are_drawn_together(monkeypatch):
    arm, baseline = corpora()
    resampled = []
    monkeypatch.setattr(aggregates, "_percentiles", resampled.append)
    probability_of_improvement(arm, baseline)
    expected = np.zeros(3)
    for i, (a, b) in enumerate(zip(arm, baseline, strict=True)):
        for r, drawn in enumerate(aggregates._resamples(i, 6)[:3]):
            expected[r] += np.mean(a[drawn][:, None] < b[drawn]) / 5
    assert resampled[0][:3] == pytest.approx(expected)


def test_draws_are_fixed_and_even():
    arm, baseline = corpora()
    assert probability_of_improvement(arm, baseline) == probability_of_improvement(arm, baseline)
    drawn = aggregates._resamples(0, 6)
    assert drawn.shape == (2000, 6)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=6)).pvalue > 1e-4
    assert not np.array_equal(drawn, aggregates._resamples(1, 6))


def test_intervals_cover_nearly_as_often_as_they_say():
    mean = probability = 0
    for seed in range(100):
        arm, baseline = corpora(8, 0.5, seed)
        interval = interquartile_mean([a - b for a, b in zip(arm, baseline, strict=True)]).interval
        mean += interval.low <= 0.5 <= interval.high
        interval = probability_of_improvement(arm, baseline).interval
        probability += interval.low <= stats.norm.cdf(-0.5 / 2.0) <= interval.high
    low = stats.binom.ppf(1e-4, 100, 0.92)  # a percentile bootstrap of few seeds is a little narrow
    assert mean >= low and probability >= low


def test_refuses():
    arm, baseline = corpora()
    for few in (
        lambda: probability_of_improvement(arm[:4], baseline[:4]),
        lambda: interquartile_mean(arm[:4]),
    ):
        with pytest.raises(
            ValueError,
            match=r"num_corpora >= 5, .* must hold, but got num_corpora=4, num_seeds=\[6, 6",
        ):
            few()
    empty, odd = [*arm[:4], np.zeros(0)], [*arm[:4], np.append(arm[4][1:], math.nan)]
    for wrong in (empty, odd):
        with pytest.raises(
            ValueError, match=r"num_seeds >= 1 in each and no NaN must hold, but got num_corpora=5"
        ):
            interquartile_mean(wrong)
        with pytest.raises(
            ValueError, match=r"num_seeds >= 1 in each and no NaN must hold, but got num_corpora=5"
        ):
            probability_of_improvement(wrong, baseline)
    with pytest.raises(
        ValueError,
        match=r"must have the same seeds, but got \[6, 6, 6, 6, 5\] and \[6, 6, 6, 6, 6\]",
    ):
        probability_of_improvement([*arm[:4], arm[4][1:]], baseline)
    with pytest.raises(
        ValueError,
        match=r"must have the same seeds, but got \[6, 6, 6, 6, 6\] and \[6, 6, 6, 6, 6, 6\]",
    ):
        probability_of_improvement(arm, [*baseline, baseline[0]])
