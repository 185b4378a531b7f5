"""Planted answers: equal arms are not told apart more often than said, unequal ones are as often as power says."""

import gc
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.decisions import Timing, decide, decide_speed

NUM_STUDIES, NUM_SEEDS, SPREAD = 2000, 10, 0.02
FALSE = ("better", "worse", "equivalent and lower", "equivalent and higher")


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """statsmodels' multipletests collects garbage at every call: 50 ms each, 2,000 studies a test."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def bounds(rate, level=1e-4):
    """The counts that a binomial of this rate leaves with probability ``level``."""
    return stats.binom.ppf([level / 2, 1 - level / 2], NUM_STUDIES, rate)


def studies(num_arms, name, effects=None):
    """Families of paired differences: every arm's losses have a seed's part in common with the baseline's."""
    rng = np.random.default_rng([num_arms, *name.encode()])
    own = rng.normal(0.0, SPREAD / math.sqrt(2.0), size=(NUM_STUDIES, num_arms, NUM_SEEDS))
    losses = 1.4 + rng.normal(0.0, 0.05, size=(NUM_STUDIES, 1, NUM_SEEDS)) + own
    losses[:, 1:] += np.zeros(num_arms - 1)[:, None] if effects is None else np.asarray(effects)[:, None]
    return losses[:, 1:] - losses[:, :1]


@pytest.mark.parametrize("margin", [0.0, 0.01])
def test_two_equal_arms(margin):
    verdicts = [decide(list(family), margin=margin)[0].verdict for family in studies(2, "two")]
    low, high = bounds(0.05)
    assert low <= sum(verdict in FALSE for verdict in verdicts) <= high


def test_holm_keeps_the_family_wise_rate_of_four_equal_arms():
    families = [decide(list(family), margin=0.0) for family in studies(4, "four")]
    num_false = sum(any(decision.verdict in FALSE for decision in family) for family in families)
    num_uncorrected = sum(any(decision.p < 0.05 for decision in family) for family in families)
    assert num_false <= bounds(0.05)[1]
    assert num_uncorrected > bounds(0.05)[1]  # the correction is needed: without it these studies fail


def test_the_sign_flip_test_keeps_its_level():
    count = sum(decide(list(family), margin=0.0)[0].sign_flip.p < 0.05 for family in studies(2, "flip"))
    low, high = bounds(50 / 1024)  # p is a multiple of 2/2^10: the largest below 0.05
    assert low <= count <= high


@pytest.mark.parametrize("effect", [0.5, 1.0, 1.5])
def test_unequal_arms_are_found_as_often_as_the_power_says(effect):
    power = TTestPower().power(effect, NUM_SEEDS, 0.05)
    decided = [decide(list(f), margin=0.0)[0].verdict for f in studies(2, "power", [effect * SPREAD])]
    low, high = bounds(power)
    assert low <= decided.count("worse") + decided.count("better") <= high
    assert decided.count("worse") > 20 * decided.count("better")


def test_the_interval_covers():
    decided = [decide(list(f), margin=0.0)[0] for f in studies(2, "interval", [0.01])]
    low, high = bounds(0.95)
    assert low <= sum(d.interval.low <= 0.01 <= d.interval.high for d in decided) <= high


def test_arms_at_the_margin_are_rarely_called_equivalent():
    margin = 0.01
    decided = [decide(list(f), margin=margin)[0] for f in studies(2, "margin", [math.log1p(margin)])]
    assert sum(d.verdict.startswith("equivalent") for d in decided) <= bounds(0.05)[1]


def test_divergence_that_strikes_both_arms_alike_decides_nothing():
    rng = np.random.default_rng(7)
    families = studies(2, "diverged")
    arm, baseline = (np.where(rng.random(families.shape) < 0.1, np.inf, 0.0) for _ in range(2))
    with np.errstate(invalid="ignore"):
        families = families + arm - baseline
    count = sum(decide(list(family), margin=0.0)[0].verdict in FALSE for family in families)
    assert count <= bounds(0.05)[1]


def test_equal_runtimes():
    rng, num_false = np.random.default_rng(3), 0
    for _ in range(NUM_STUDIES):
        seconds = 0.1 * rng.gamma(50.0, 1 / 50.0, size=(4, 20)) * rng.gamma(20.0, 1 / 20.0, size=20)
        base, *arms = [Timing(dict(enumerate(row.tolist())), {"engine": "cpu"}) for row in seconds]
        num_false += any(d.verdict != "no difference shown" for d in decide_speed(base, arms))
    assert num_false <= bounds(0.05)[1]
