"""What decides: each verdict, its precedence, divergence, few pairs, sequential designs, speed."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.statistics import decisions, inference
from harness.statistics.decisions import Timing, decide, decide_speed, with_sign_flips

UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)


def one(differences, margin=0.01, **options):
    return decide(
        [np.asarray(differences, dtype=float)], margin_loss=math.log1p(margin), **options
    )[0]


def flips(*family):
    family = [np.asarray(differences, dtype=float) for differences in family]
    return with_sign_flips(decide(family, margin_loss=math.log1p(0.01)), family)


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
    found = decide([weak, noise, noise], margin_loss=math.log1p(0.01))
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
    with pytest.raises(ValueError, match=r"margin_loss >= 0 must hold, but got margin_loss=-0.1"):
        one(UNIT, -0.1)
    with pytest.raises(ValueError, match=r"margin_loss >= 0 must hold, but got margin_loss=nan"):
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


@pytest.mark.parametrize(("num_busy", "is_disturbed"), [(0, False), (10, False), (11, True)])
def test_a_speed_is_disturbed_where_most_of_its_rounds_were(num_busy, is_disturbed):
    for busy in (frozenset(range(num_busy)), frozenset(range(100, 120))):
        base = replace(timing(1.0), busy=busy)
        (found,) = decide_speed(base, [replace(timing(0.8), busy=frozenset(range(num_busy)))])
        assert (found.verdict, found.is_disturbed) == ("faster", is_disturbed)


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


# What a search adds


@pytest.mark.parametrize("mean, spread", [(0.03, 0.02), (-0.004, 0.003), (0.0, 0.01), (0.03, 0.0)])
def test_a_search_without_spread_changes_no_bit(mean, spread):
    family = [mean + spread * UNIT, 0.01 * UNIT, np.append(UNIT, np.inf), np.zeros(10)]
    plain = decide(family, margin_loss=math.log1p(0.01))
    still = decide(
        family, margin_loss=math.log1p(0.01), spreads=[0.0] * 4, incomparable=[False] * 4
    )
    assert [d.verdict for d in still] == [d.verdict for d in plain]
    for one_, other in zip(plain, still, strict=True):
        assert dataclasses.replace(other, spread=None, wide=None) == one_
        assert other.wide == other.interval and other.spread == 0.0


def test_a_difference_must_exceed_the_seeds_and_the_search_together():
    half = stats.t.ppf(0.975, 9) * 0.01 / math.sqrt(10)
    search = 0.02
    needed = math.hypot(half, decisions.SEARCH_FACTOR * search)
    for mean, verdict in ((1.001 * needed, "worse"), (0.999 * needed, "undecided")):
        found = one(mean + 0.01 * UNIT, 0.0, spreads=[search])
        assert found.verdict == verdict
        assert one(-mean - 0.01 * UNIT, 0.0, spreads=[search]).verdict == verdict.replace(
            "worse", "better"
        )
        assert (found.wide.low, found.wide.high) == pytest.approx((mean - needed, mean + needed))
        assert found.interval == one(mean + 0.01 * UNIT, 0.0).interval
        assert found.spread == search
    assert one(0.999 * needed + 0.01 * UNIT, 0.0).verdict == "worse"  # by the seeds alone


def test_holm_still_decides_where_the_search_has_a_spread():
    weak = 0.02 * (0.8 * UNIT / UNIT.std(ddof=1) + 1 / math.sqrt(10) * 2.0)
    found = decide([weak, 0.1 * UNIT, 0.1 * UNIT], margin_loss=0.0, spreads=[1e-9] * 3)
    assert found[0].wide.low > 0.0 and found[0].verdict == "undecided"


def test_equivalence_must_bear_the_search_too():
    half = stats.t.ppf(0.95, 9) * 0.005 / math.sqrt(10)
    room = math.log1p(0.01)
    search = math.sqrt(room**2 - half**2) / decisions.SEARCH_FACTOR
    assert one(0.005 * UNIT, spreads=[0.999 * search]).verdict == "equivalent"
    assert one(0.005 * UNIT, spreads=[1.001 * search]).verdict == "undecided"
    lower = one(-0.004 + 0.001 * UNIT, spreads=[0.0001])
    assert lower.verdict == "equivalent and lower"


def test_an_unknown_spread_allows_no_verdict_but_identical():
    for differences in (0.3 + 0.01 * UNIT, 0.001 * UNIT, [np.inf] * 10):
        found = one(differences, spreads=[None])
        assert (found.verdict, found.spread, found.wide) == ("undecided", None, None)
    assert one([0.0] * 10, spreads=[None]).verdict == "identical"
    assert one([0.0] * 10, spreads=[0.3]).verdict == "identical"


@pytest.mark.parametrize(
    "finite, num_lost, verdict",
    [
        (
            0.2,
            3,
            "worse",
        ),  # all pairs point one way, and further than the search may have sent them
        (0.01, 3, "undecided"),  # seven may be the search's
        (0.01, 9, "worse"),  # one of ten
        (-0.2, 9, "worse"),
        (-0.2, 3, "undecided"),
        (0.01, 1, "undecided"),  # nine may be the search's: they do not tell the arms apart
    ],
)
def test_divergence_must_bear_the_search_too(finite, num_lost, verdict):
    differences = np.full(10, finite)
    differences[:num_lost] = np.inf
    assert one(differences, spreads=[0.02]).verdict == verdict
    assert one(-differences, spreads=[0.02]).verdict == verdict.replace("worse", "better")


def test_two_lost_runs_say_nothing_beside_a_spread():
    assert one([np.nan] * 4 + [np.inf] * 6, spreads=[0.02]).verdict == "worse"
    assert one([np.nan] * 5 + [np.inf] * 5, spreads=[0.02]).verdict == "undecided"


def test_not_comparable_precedes_every_verdict():
    family = [
        *(0.3 + 0.01 * UNIT, -0.3 + 0.01 * UNIT, 0.001 * UNIT, np.zeros(10)),
        *(np.full(10, np.inf), np.array([0.1]), np.zeros(0)),
    ]
    found = decide(family, margin_loss=math.log1p(0.01), spreads=[0.0] * 7, incomparable=[True] * 7)
    assert {d.verdict for d in found} == {"not comparable"}
    assert {(d.p, d.adjusted_p) for d in found} == {(None, None)}
    assert found[0].mean == pytest.approx(0.3) and found[0].interval is not None
    flipped = with_sign_flips(found, family)
    assert {(d.sign_flip, d.adjusted_sign_flip_p) for d in flipped} == {(None, None)}


def test_what_is_not_comparable_counts_as_p_1_among_as_many_comparisons():
    family = [0.02 + 0.02 * UNIT, 0.3 + 0.01 * UNIT, 0.025 + 0.02 * UNIT]
    found = decide(family, margin_loss=0.0, incomparable=[False, True, False])
    p = [inference.student_p(family[0]), 1.0, inference.student_p(family[2])]
    assert [found[0].adjusted_p, found[2].adjusted_p] == pytest.approx(
        [inference.holm(p)[0], inference.holm(p)[2]]
    )
    assert found[2].adjusted_p == pytest.approx(3 * p[2])


def test_a_sequential_design_widens_its_own_interval():
    d = np.append(0.02 * UNIT, 0.015 + np.array([0.0, 1e-4, -1e-4] * 10))
    plain, found = one(d, 0.0, first=10), one(d, 0.0, first=10, spreads=[0.001])
    assert found.interval == plain.interval
    assert found.wide == decisions.widened(plain.interval, 0.001)


@pytest.mark.parametrize(
    "options",
    [
        {"spreads": [0.1, 0.1]},
        {"spreads": [-0.1]},
        {"spreads": [math.nan]},
        {"incomparable": [True, False]},
    ],
)
def test_refuses_what_is_not_one_per_arm(options):
    with pytest.raises(ValueError, match="spreads >= 0 and incomparable, one of each per arm"):
        one(UNIT, **options)
