"""What decides: each verdict, its precedence, divergence, few pairs, sequential designs, speed."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.statistics import inference
from harness.statistics.decisions import Timing, decide, decide_speed, with_sign_flips

UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)


def one(differences, margin=0.01, **options):
    return decide([np.asarray(differences, dtype=float)], margin=margin, **options)[0]


def flips(*family):
    family = [np.asarray(differences, dtype=float) for differences in family]
    return with_sign_flips(decide(family, margin=0.01), family)


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
    assert 0.01 < inference.student_p(weak) < 0.05
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
    assert found.interval is None
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
    assert (single.verdict, single.mean, single.interval, single.adjusted_p) == (
        "undecided",
        0.5,
        None,
        None,
    )
    assert one([0.5, 0.6]).p == pytest.approx(stats.ttest_1samp([0.5, 0.6], 0.0).pvalue)


def test_sign_flips_stand_beside_and_decide_nothing():
    seen, noise, diverged = 0.03 + 0.02 * UNIT, 0.1 * UNIT, np.append(UNIT, np.inf)
    found = flips(seen, noise, diverged, [0.5], [0.5, 0.6])
    assert [d.sign_flip for d in found[2:4]] == [None, None]  # no interval, no flips
    assert [d.adjusted_sign_flip_p for d in found[2:4]] == [None, None]
    assert found[0].sign_flip == inference.sign_flip(seen) and found[4].sign_flip.p == 0.5
    assert found[0].adjusted_sign_flip_p == pytest.approx(
        5 * found[0].sign_flip.p
    )  # Holm, over all that was planned
    assert [d.verdict for d in found] == [
        "worse",
        "undecided",
        "undecided",
        "undecided",
        "undecided",
    ]


def test_a_sequential_design_keeps_the_spread_and_the_degrees_of_freedom_of_its_first_stage():
    first, second = 0.02 * UNIT, 0.015 + np.array([0.0, 1e-4, -1e-4] * 10)
    d = np.append(first, second)
    found = one(d, 0.0, first=10)
    error = first.std(ddof=1) / math.sqrt(40)
    assert found.mean == pytest.approx(d.mean())
    assert found.p == pytest.approx(2 * stats.t.sf(d.mean() / error, 9))
    half = stats.t.ppf(0.975, 9) * error
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (d.mean() - half, d.mean() + half)
    )
    assert found.verdict == "worse"
    assert one(d, 0.02, first=10).verdict == "equivalent and higher"
    # The 90 % interval decides on equivalence with the same spread: of all pairs it is narrower,
    # and would.
    margin = math.expm1(d.mean() + 1.75 * error)
    assert (
        stats.t.ppf(0.95, 39) * d.std(ddof=1) / math.sqrt(40)
        < 1.75 * error
        < stats.t.ppf(0.95, 9) * error
    )
    assert (one(d, margin, first=10).verdict, one(d, margin).verdict) == (
        "worse",
        "equivalent and higher",
    )


def test_refuses():
    with pytest.raises(ValueError, match=r"margin >= 0 must hold, but got margin=-0.1"):
        one(UNIT, -0.1)
    with pytest.raises(ValueError, match=r"margin >= 0 must hold, but got margin=nan"):
        one(UNIT, math.nan)
    for check in (
        lambda: one(UNIT, threshold=0.0),
        lambda: decide_speed(Timing({}, {}), [], threshold=0.0),
    ):
        with pytest.raises(
            ValueError, match=r"0 < threshold < 0.5 must hold, but got threshold=0.0"
        ):
            check()


def timing(factor, engine="cpu", rounds=range(20)):
    drift = {r: 1.0 + 0.3 * math.sin(r) for r in rounds}
    return Timing(
        {r: factor * drift[r] * (1 + 0.01 * math.cos(3 * r + 1e5 * factor)) for r in rounds},
        {"engine": engine},
    )


def test_speed_verdicts():
    base = timing(1.0)
    faster, slower, same = decide_speed(base, [timing(0.8), timing(1.5), timing(1.0001)])
    assert (faster.verdict, slower.verdict, same.verdict) == (
        "faster",
        "slower",
        "no difference shown",
    )
    assert faster.ratio == pytest.approx(1.25, rel=0.02)
    assert faster.interval.low < faster.ratio < faster.interval.high
    assert faster.adjusted_p == pytest.approx(3 * 2 / 2**20)
    assert [d.num_rounds for d in (faster, slower)] == [20, 20]


def test_speed_is_holm_adjusted():
    base, six = timing(1.0, rounds=range(6)), timing(0.5, rounds=range(6))
    assert decide_speed(base, [six])[0].verdict == "faster"  # p = 2/64
    both = decide_speed(base, [six, six])
    assert [d.verdict for d in both] == ["undecided"] * 2  # 4/64 at best
    assert both[0].reason == (
        "6 rounds cannot show a difference, because even if all agreed, the Holm-adjusted p would"
        " be 0.062; 7 could"
    )


def test_speed_is_undecided_only_where_the_rounds_could_not_have_shown_it():
    base, seven = timing(1.0, rounds=range(7)), timing(0.5, rounds=range(7))
    mixed = Timing(
        {r: s * (0.5 if r % 2 else 2.0) for r, s in base.seconds.items()}, base.conditions
    )
    faster, even = decide_speed(base, [seven, mixed])
    assert (faster.verdict, even.verdict, even.reason) == (
        "faster",
        "no difference shown",
        "",
    )  # 4/128 at best
    few = Timing({r: mixed.seconds[r] for r in range(6)}, base.conditions)
    assert [d.verdict for d in decide_speed(base, [seven, few])] == [
        "faster",
        "no difference shown",
    ]  # Holm's 2nd step
    assert [d.verdict for d in decide_speed(base, [mixed, few])] == [
        "no difference shown",
        "undecided",
    ]


def test_speed_compares_like_with_like():
    found = decide_speed(
        timing(1.0),
        [timing(0.5, engine="reference"), timing(0.5, rounds=range(30, 40)), timing(0.5)],
    )
    assert [d.verdict for d in found] == ["not comparable", "not comparable", "faster"]
    assert found[0].reason == "engine differs (cpu and reference)"
    assert found[1].reason == "no round timed both"
    assert found[0].ratio is None


def test_speed_of_few_rounds_has_no_interval():
    found = decide_speed(timing(1.0, rounds=range(3)), [timing(0.5, rounds=range(3))])[0]
    assert (found.verdict, found.interval, found.num_rounds) == ("undecided", None, 3)
    one = decide_speed(timing(1.0, rounds=range(1)), [timing(0.5, rounds=range(1))])[0]
    assert one.reason.startswith("1 round cannot show a difference")
