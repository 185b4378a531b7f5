"""What decides: each verdict, its precedence, divergence, few pairs, power, speed."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from harness import decisions, statistics
from harness.decisions import Timing, decide, decide_speed, seeds_to_decide

UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)


def one(differences, margin=0.01, **options):
    return decide([np.asarray(differences, dtype=float)], margin=margin, **options)[0]


@pytest.mark.parametrize(
    "mean, spread, margin, verdict",
    [
        (0.03, 0.02, 0.01, "worse"),
        (-0.03, 0.02, 0.01, "better"),
        (0.005, 0.02, 0.01, "undecided"),
        (0.0, 0.01, 0.01, "equivalent"),
        (0.004, 0.003, 0.01, "equivalent and higher"),
        (-0.004, 0.003, 0.01, "equivalent and lower"),
        (-0.004, 0.003, 0.0, "better"),
        (0.0, 0.0, 0.01, "identical"),
        (0.03, 0.0, 0.01, "worse"),
        (0.003, 0.0, 0.01, "equivalent and higher"),
    ],
)
def test_verdicts(mean, spread, margin, verdict):
    found = one(mean + spread * UNIT, margin)
    assert found.verdict == verdict
    assert math.isfinite(found.p) and math.isfinite(found.adjusted_p)


@pytest.mark.parametrize("seed", range(40))
def test_equivalence_is_two_one_sided_tests(seed):
    rng = np.random.default_rng(seed)
    arm, baseline = rng.normal(1.4, 0.01, 8), rng.normal(1.4, 0.01, 8)
    bound = math.log1p(0.01)
    p = ttost_paired(arm, baseline, -bound, bound)[0]
    assert one(arm - baseline).verdict.startswith("equivalent") == (p < 0.05)


def test_holm_decides_over_the_family():
    weak = 0.02 * (0.8 * UNIT / UNIT.std(ddof=1) + 1 / math.sqrt(10) * 2.0)  # p is about 0.03 alone
    assert 0.01 < statistics.student_p(weak) < 0.05
    assert one(weak).verdict == "worse"
    noise = 0.1 * UNIT
    found = decide([weak, noise, noise], margin=0.01)
    assert [d.verdict for d in found] == ["undecided"] * 3
    assert found[0].adjusted_p == pytest.approx(3 * found[0].p)


def test_diverged_pairs_are_losses():
    d = 0.02 + 0.01 * UNIT
    d[:2] = np.inf
    found = one(np.abs(d))
    assert (found.verdict, found.num_pairs, found.num_finished) == ("worse", 10, 8)
    assert found.interval is None and found.sign_flip is None
    assert found.p == stats.binomtest(0, 10).pvalue
    assert found.mean == pytest.approx(np.abs(d[2:]).mean())
    assert one(-np.abs(d)).verdict == "better"  # the baseline diverged
    assert one([np.inf, np.inf, -0.1, -0.1]).verdict == "undecided"
    assert one([np.nan] * 10).verdict == "undecided"  # both diverged, always


def test_a_diverged_arm_is_never_equivalent():
    assert one([0.0] * 9 + [np.inf]).verdict == "undecided"


def test_few_pairs():
    none, single = one([]), one([0.5])
    assert (none.verdict, none.num_pairs, none.mean, none.p) == ("undecided", 0, None, None)
    assert (single.verdict, single.mean, single.interval, single.adjusted_p) == ("undecided", 0.5, None, None)
    two = one([0.5, 0.6])
    assert two.p == pytest.approx(stats.ttest_1samp([0.5, 0.6], 0.0).pvalue)
    assert two.sign_flip.p == 0.5


def test_refuses():
    with pytest.raises(ValueError, match=r"margin >= 0 must hold, but got margin=-0.1"):
        one(UNIT, -0.1)
    with pytest.raises(ValueError, match=r"margin >= 0 must hold, but got margin=nan"):
        one(UNIT, math.nan)
    for check in (lambda: one(UNIT, threshold=0.0), lambda: decide_speed(Timing({}, {}), [], threshold=0.0)):
        with pytest.raises(ValueError, match=r"0 < threshold < 0.5 must hold, but got threshold=0.0"):
            check()


@pytest.mark.parametrize("num_comparisons", [1, 4])
def test_seeds_to_show_a_difference_are_those_of_statsmodels(num_comparisons):
    d = 0.5 * 0.1 + 0.1 * UNIT
    alpha = 0.05 / num_comparisons
    expected = math.ceil(TTestPower().solve_power(0.5, None, alpha, 0.8))
    assert seeds_to_decide(d, margin=0.0, num_comparisons=num_comparisons) == expected


def test_seeds_to_show_equivalence_by_simulation():
    d = 0.003 + 0.02 * UNIT
    n = seeds_to_decide(d, margin=0.01, num_comparisons=1)
    assert n < seeds_to_decide(d, margin=0.0, num_comparisons=1)
    bound, rng = math.log1p(0.01), np.random.default_rng(0)
    x = rng.normal(0.003, 0.02, size=(4000, n))
    half = stats.t.ppf(0.95, n - 1) * x.std(axis=1, ddof=1) / math.sqrt(n)
    shown = int(((x.mean(axis=1) - half > -bound) & (x.mean(axis=1) + half < bound)).sum())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 4000, 0.8)
    assert low <= shown <= high + 0.01 * 4000  # a whole number of seeds gives a little more than 80 %


def test_seeds_to_decide_knows_its_limits():
    options = {"margin": 0.0, "num_comparisons": 1}
    assert seeds_to_decide(0.001 + UNIT, **options) is None  # more than MAX_SEEDS
    assert seeds_to_decide(np.array([0.1]), **options) is None
    assert seeds_to_decide(np.array([0.1, np.inf]), **options) is None
    assert seeds_to_decide(np.full(3, 0.1), **options) == 6  # no spread: the smallest p that six signs reach
    assert seeds_to_decide(100 + UNIT, **options) == len(UNIT) + 1  # decided already: one more changes nothing
    assert decisions.MAX_SEEDS == 1000


def timing(factor, engine="cpu", rounds=range(20)):
    drift = {r: 1.0 + 0.3 * math.sin(r) for r in rounds}
    return Timing(
        {r: factor * drift[r] * (1 + 0.01 * math.cos(3 * r + 1e5 * factor)) for r in rounds}, {"engine": engine}
    )


def test_speed_verdicts():
    base = timing(1.0)
    faster, slower, same = decide_speed(base, [timing(0.8), timing(1.5), timing(1.0001)])
    assert (faster.verdict, slower.verdict, same.verdict) == ("faster", "slower", "no difference shown")
    assert faster.ratio == pytest.approx(1.25, rel=0.02)
    assert faster.interval.low < faster.ratio < faster.interval.high
    assert faster.adjusted_p == pytest.approx(3 * 2 / 2**20)
    assert [d.num_rounds for d in (faster, slower)] == [20, 20]


def test_speed_is_holm_adjusted():
    base, six = timing(1.0, rounds=range(6)), timing(0.5, rounds=range(6))
    assert decide_speed(base, [six])[0].verdict == "faster"  # p = 2/64
    assert [d.verdict for d in decide_speed(base, [six, six])] == ["no difference shown"] * 2


def test_speed_compares_like_with_like():
    found = decide_speed(timing(1.0), [timing(0.5, engine="reference"), timing(0.5, rounds=range(30, 40)), timing(0.5)])
    assert [d.verdict for d in found] == ["not comparable", "not comparable", "faster"]
    assert found[0].reason == "engine differs (cpu and reference)"
    assert found[1].reason == "no round timed both"
    assert found[0].ratio is None


def test_speed_of_few_rounds_has_no_interval():
    found = decide_speed(timing(1.0, rounds=range(3)), [timing(0.5, rounds=range(3))])[0]
    assert (found.verdict, found.interval, found.num_rounds) == ("no difference shown", None, 3)
