"""Power against statsmodels and simulation, the smallest difference, Stein's rule by example."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.statistics import decisions, inference, power
from harness.statistics.power import detectable, power_of, seeds_to_decide, stein_seeds

UNIT = np.array([-1.5, -1.2, -0.6, -0.3, -0.1, 0.2, 0.3, 0.7, 1.0, 1.5])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)


@pytest.mark.parametrize("num_comparisons", [1, 4])
def test_seeds_to_show_a_difference_are_those_of_statsmodels(num_comparisons):
    d = 0.5 * 0.1 + 0.1 * UNIT
    alpha = 0.05 / num_comparisons
    expected = math.ceil(TTestPower().solve_power(0.5, None, alpha, 0.8))
    assert seeds_to_decide(d, margin_loss=0.0, num_comparisons=num_comparisons) == expected


def test_seeds_to_show_equivalence_by_simulation():
    d = 0.003 + 0.02 * UNIT
    n = seeds_to_decide(d, margin_loss=math.log1p(0.01), num_comparisons=1)
    assert n < seeds_to_decide(d, margin_loss=0.0, num_comparisons=1)
    bound, rng = math.log1p(0.01), np.random.default_rng(0)
    x = rng.normal(0.003, 0.02, size=(4000, n))
    half = stats.t.ppf(0.95, n - 1) * x.std(axis=1, ddof=1) / math.sqrt(n)
    shown = int(((x.mean(axis=1) - half > -bound) & (x.mean(axis=1) + half < bound)).sum())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 4000, 0.8)
    # A whole number of seeds gives a little more than 80 %.
    assert low <= shown <= high + 0.01 * 4000


def test_seeds_to_decide_knows_its_limits():
    options = {"margin_loss": 0.0, "num_comparisons": 1}
    assert seeds_to_decide(0.001 + UNIT, **options) is None  # more than MAX_SEEDS
    assert seeds_to_decide(np.array([0.1]), **options) is None
    assert seeds_to_decide(np.array([0.1, np.inf]), **options) is None
    # Without spread the smallest p decides, which six signs reach.
    assert seeds_to_decide(np.full(3, 0.1), **options) == 6
    # What is decided already stays so with one pair more.
    assert seeds_to_decide(100 + UNIT, **options) == len(UNIT) + 1
    assert power.MAX_SEEDS == 1000


@pytest.mark.parametrize(
    "mean, margin, added, verdict",
    [(0.02, 0.0, 0.012, "worse"), (0.001, 0.02, 0.012, "equivalent")],
)
def test_seeds_that_decide_beside_a_spread_of_the_search_by_simulation(
    mean, margin, added, verdict
):
    """Through ``decide``: about four of five studies of so many seeds have this verdict."""
    seen = mean + 0.02 * UNIT
    n = seeds_to_decide(seen, margin_loss=math.log1p(margin), num_comparisons=1, added=added)
    assert n > seeds_to_decide(seen, margin_loss=math.log1p(margin), num_comparisons=1)
    draws = np.random.default_rng(0).normal(mean, 0.02, size=(1500, n))
    spread = added / decisions.SEARCH_FACTOR
    decided = [
        decisions.decide([x], margin_loss=math.log1p(margin), spreads=[spread])[0].verdict
        for x in draws
    ]
    shown = sum(found.startswith(verdict) for found in decided)
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 1500, 0.8)
    # A whole number of seeds gives a little more than 80 %, and means are not quite normal.
    assert low - 0.02 * 1500 <= shown <= high + 0.03 * 1500


@pytest.mark.parametrize(
    "mean, margin, verdict", [(0.012, 0.0, "worse"), (0.0, 0.02, "equivalent")]
)
def test_seeds_that_decide_a_sequential_design_keep_its_first_stage_by_simulation(
    mean, margin, verdict
):
    options = {"margin_loss": math.log1p(margin), "num_comparisons": 1}
    later = mean + np.random.default_rng(1).normal(0.0, 0.001, 20)  # narrower by chance
    seen = np.append(mean + 0.02 * UNIT, later - later.mean() + mean)
    n = seeds_to_decide(seen[: len(UNIT)], first=len(UNIT), **options)
    assert seeds_to_decide(seen, first=len(UNIT), **options) == max(n, len(seen) + 1)
    draws = np.random.default_rng(0).normal(mean, 0.02, size=(1500, n))
    stage = draws[:, : len(UNIT)]  # whose spread is what it was
    means = stage.mean(axis=1, keepdims=True)
    stage[:] = means + (stage - means) * 0.02 / stage.std(axis=1, ddof=1, keepdims=True)
    decided = [
        decisions.decide([x], margin_loss=options["margin_loss"], first=len(UNIT))[0].verdict
        for x in draws
    ]
    shown = sum(found.startswith(verdict) for found in decided)
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 1500, 0.8)
    # A whole number of seeds gives a little more than 80 %.
    assert low <= shown <= high + 0.02 * 1500


def test_no_number_of_seeds_decides_what_the_search_leaves_open():
    options = {"margin_loss": 0.0, "num_comparisons": 1}
    assert seeds_to_decide(0.02 + 0.01 * UNIT, added=0.0201, **options) is None
    assert seeds_to_decide(np.full(3, 0.02), added=0.0201, **options) is None
    assert seeds_to_decide(np.full(3, 0.02), added=0.01, **options) == 6


@pytest.mark.parametrize("side", ["larger", "smaller"])
@pytest.mark.parametrize("effect", [-0.3, 0.0, 0.01, 0.5, 2.3])
def test_a_tail_is_that_of_statsmodels_to_the_last_bit(side, effect):
    for num_pairs in (2, 5, 10, 40, 1000):
        for level in (0.05, 0.025, 0.05 / 7):
            theirs = float(TTestPower().power(effect, num_pairs, level, alternative=side))
            if math.isfinite(theirs):
                assert power._tail(side, effect, num_pairs, level) == theirs


@pytest.mark.parametrize("num_pairs, num_comparisons", [(2, 1), (5, 3), (10, 1), (40, 7)])
@pytest.mark.parametrize("effect", [0.0, 0.3, -1.0])
def test_power_is_that_of_statsmodels_at_holms_worst_level(effect, num_pairs, num_comparisons):
    expected = TTestPower().power(abs(effect), num_pairs, 0.05 / num_comparisons)
    assert power_of(effect * 0.02, 0.02, num_pairs, num_comparisons) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize(
    "num_pairs, effect, level", [(10, 13.50993521198028, 0.05), (40, 1.0, 0.00625)]
)
def test_power_is_a_number_where_the_library_had_none_before_0_15(num_pairs, effect, level):
    found = power_of(effect, 1.0, num_pairs, threshold=level)
    library = TTestPower().power(effect, num_pairs, level)
    assert math.isnan(library) or library == pytest.approx(found, abs=1e-9)
    t = np.random.default_rng(0).normal(effect, 1.0, size=(2000, num_pairs))
    p = stats.ttest_1samp(t, 0.0, axis=1).pvalue
    assert found == pytest.approx(np.mean(p < level), abs=0.01)


@pytest.mark.parametrize(
    "num_pairs, num_comparisons, threshold",
    [(2, 19, 0.01), (3, 1, 0.05), (5, 7, 0.05), (50, 3, 0.1)],
)
def test_the_detectable_difference_has_the_power_asked_for(num_pairs, num_comparisons, threshold):
    for wanted in (0.5, 0.8, 0.99):
        least = detectable(0.02, num_pairs, num_comparisons, threshold=threshold, power=wanted)
        reached = power_of(least, 0.02, num_pairs, num_comparisons, threshold=threshold)
        assert reached == pytest.approx(wanted, abs=1e-8)  # SciPy 1.14 has 3e-9


def test_the_detectable_difference_by_the_tables():
    # Cohen (1988), table 2.4.1: two-sided 0.05, power 0.8; a paired effect of 0.5 spreads takes 34
    # pairs.
    assert 33 < detectable(1.0, 34) * 68 < 34


def test_numbers_of_pairs_that_cannot_show_anything():
    assert detectable(0.02, 1) is None and power_of(1.0, 0.02, 1) == 0.0
    assert detectable(0.0, 5) is None and power_of(1.0, 0.0, 5) == 0.0  # 2/2^5 > 0.05
    assert (
        detectable(0.0, 6) == 0.0 and power_of(1e-9, 0.0, 6) == 1.0 and power_of(0.0, 0.0, 6) == 0.0
    )
    assert detectable(0.0, 6, 2) is None


def test_power_refuses():
    for plan in (
        lambda: power_of(1.0, 1.0, 9, threshold=0.5),
        lambda: detectable(1.0, 9, threshold=0.5),
    ):
        with pytest.raises(
            ValueError, match=r"0 < threshold < 0.5 must hold, but got threshold=0.5"
        ):
            plan()
    for wanted in (0.05, 1.0):
        rule = rf"threshold=0.05 < power < 1 must hold, but got power={wanted}"
        with pytest.raises(ValueError, match=rule):
            detectable(1.0, 9, power=wanted)


def test_steins_rule_by_hand():
    # t(9, 0.975) = 2.262157: n = (2.262157 x 0.01 / 0.005)^2 = 20.47.
    assert stein_seeds([0.01 * UNIT], half_width_nats=0.005, at_most=40) == 21
    # t(9, 0.95) = 1.833113: 13.44.
    assert stein_seeds([7.0 + 0.01 * UNIT], half_width_nats=0.005, at_most=40, confidence=0.9) == 14
    assert stein_seeds([0.01 * UNIT[:2]], half_width_nats=0.005, at_most=40) == math.ceil(
        (12.706205 * 0.01 * np.std(UNIT[:2], ddof=1) / 0.005) ** 2
    )


def test_steins_rule_takes_the_widest_comparison_between_its_limits():
    family = [0.001 * UNIT, 0.01 * UNIT, 0.002 * UNIT]
    assert stein_seeds(family, half_width_nats=0.005, at_most=40) == 21
    assert stein_seeds(family, half_width_nats=0.005, at_most=15) == 15
    assert stein_seeds(family, half_width_nats=1e-9, at_most=40) == 40
    assert (
        stein_seeds(family[:1], half_width_nats=0.005, at_most=40) == 10
    )  # never fewer than there are
    assert stein_seeds([UNIT[:9], np.zeros(10)], half_width_nats=100.0, at_most=40) == 10


def test_what_has_no_spread_or_no_interval_asks_for_no_more():
    diverged, both = np.append(UNIT[:9], np.inf), np.append(UNIT[:9], np.nan)
    for family in ([np.full(10, 0.1)], [diverged], [both], [UNIT[:1], np.zeros(10)]):
        assert stein_seeds(family, half_width_nats=1e-3, at_most=40) == 10
    assert stein_seeds([diverged, 0.01 * UNIT], half_width_nats=0.005, at_most=40) == 21
    assert stein_seeds([], half_width_nats=0.005, at_most=40) == 0


@pytest.mark.parametrize("half_width, at_most", [(0.0, 40), (math.nan, 40), (0.005, 9)])
def test_steins_rule_refuses(half_width, at_most):
    rule = r"half_width_nats > 0 and at_most >= 10, the first stage's size, must hold, but got "
    rule += "half_width_nats="
    with pytest.raises(ValueError, match=rule + rf"{half_width}, at_most={at_most}"):
        stein_seeds([UNIT], half_width_nats=half_width, at_most=at_most)


def test_steins_interval_is_as_narrow_as_was_asked():
    for seed in range(50):
        d = np.random.default_rng(seed).normal(0.0, 0.01, size=1000)
        n = stein_seeds([d[:10]], half_width_nats=0.005, at_most=1000)
        interval = inference.student_interval(d[:n], first=10)
        half = (interval.high - interval.low) / 2.0
        assert half <= 0.005 and (
            n == 10 or half * math.sqrt(n / (n - 1)) > 0.005
        )  # one pair fewer is too few
