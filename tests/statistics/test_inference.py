"""Intervals and tests against SciPy, statsmodels and worked examples."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.statistics import inference


def draws(n, seed=0, mean=0.3):
    return np.random.default_rng(seed).normal(mean, 1.0, size=n)


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_student_equals_scipy(n):
    arm, baseline = draws(n, 1), draws(n, 2, mean=0.0)
    expected = stats.ttest_rel(arm, baseline)
    interval = inference.student_interval(arm - baseline, 0.9)
    assert inference.student_p(arm - baseline) == pytest.approx(expected.pvalue, rel=1e-10)
    assert (interval.low, interval.high) == pytest.approx(
        tuple(expected.confidence_interval(0.9)), rel=1e-10
    )


@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_sign_flip_equals_scipy(n):
    d = draws(n, n)
    expected = stats.permutation_test(
        (d, np.zeros(n)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    found = inference.sign_flip(d)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert (found.is_exact, found.num_flips) == (True, 2**n)


def test_sign_flip_counts_ties_however_they_round():
    assert (
        inference.sign_flip(np.array([0.1, 0.2, 0.3])).p == 0.25
    )  # 0.1 + 0.2 + 0.3 and its mirror
    assert (
        inference.sign_flip(np.array([0.1, 0.2, -0.3])).p == 1.0
    )  # the sum seen is 0 but for rounding


@pytest.mark.parametrize("n", [1, 5, 6, 10, 20])
def test_smallest_p_is_reached_when_all_signs_agree(n):
    assert (
        inference.sign_flip(np.linspace(1.0, 2.0, n)).p
        == inference.smallest_p(n)
        == min(1.0, 2.0 / 2**n)
    )


def test_sign_flip_of_many_pairs_is_monte_carlo_and_says_so():
    d = draws(25, 3, mean=0.2)
    found = inference.sign_flip(d)
    assert (found.is_exact, found.num_flips) == (False, inference.MONTE_CARLO_FLIPS)
    assert found == inference.sign_flip(d)  # fixed draws
    assert found.p == pytest.approx(inference.student_p(d), abs=0.01)
    assert inference.sign_flip(np.full(25, 1.0)).p == 1 / (
        inference.MONTE_CARLO_FLIPS + 1
    )  # never 0


def test_monte_carlo_agrees_with_the_exact_test(monkeypatch):
    d = draws(12, 4)
    exact = inference.sign_flip(d).p
    monkeypatch.setattr(inference, "MAX_EXACT_FLIPS", 11)
    drawn = inference.sign_flip(d)
    error = np.sqrt(exact * (1 - exact) / drawn.num_flips)
    assert not drawn.is_exact
    assert abs(drawn.p - exact) < 5 * error


@pytest.mark.parametrize("wins, losses", [(0, 6), (3, 7), (5, 5), (10, 0), (1, 0)])
def test_sign_test_equals_scipy(wins, losses):
    d = np.array([-0.1] * wins + [np.inf] * losses)  # a diverged replicate loses like any other
    expected = stats.binomtest(wins, wins + losses, 0.5).pvalue
    assert inference.sign_test(np.append(d, [0.0, np.nan])) == pytest.approx(expected, rel=1e-12)


def test_sign_test_of_ties_alone():
    assert inference.sign_test(np.array([0.0, np.nan])) == 1.0


def test_holm_on_a_published_example():
    # The table of Wikipedia's "Holm-Bonferroni method": 0.01, 0.04, 0.03, 0.005; by hand 4 x 0.005,
    # 3 x 0.01, 2 x 0.03, 0.04, made monotone: at 0.05 the first and the last are rejected and the
    # others are not.
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(5)
    for size in range(1, 9):
        p = rng.random(size) ** 4
        p[rng.integers(size)] = p[0]  # ties
        assert inference.holm(p.tolist()) == pytest.approx(
            multipletests(p, method="holm")[1].tolist(), rel=1e-12
        )


def test_holm_counts_missing_p_values():
    assert inference.holm([0.01, None, None]) == [pytest.approx(0.03), None, None]
    assert inference.holm([]) == []


def test_paired_differences_pair_by_seed_and_mark_divergence():
    arm = {"1": 2.0, "2": np.inf, "3": 1.0, "4": np.inf, "9": 1.0}
    baseline = {"3": np.inf, "2": 1.0, "1": 1.5, "4": np.inf, "7": 1.0}
    np.testing.assert_array_equal(
        inference.paired_differences(arm, baseline), [0.5, np.inf, -np.inf, np.nan]
    )
    assert len(inference.paired_differences(arm, {})) == 0


def test_no_spread():
    assert inference.student_p(np.zeros(10)) == 1.0
    assert inference.student_p(np.full(10, 0.1)) == inference.smallest_p(10)
    assert inference.standard_error(np.array([0.1 + 0.2, 0.3])) == 0.0
    interval = inference.student_interval(np.full(3, 0.1))
    assert (interval.low, interval.high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_a_first_stage_gives_the_spread_and_the_degrees_of_freedom():
    d = np.append(draws(10, 1), draws(30, 2, mean=0.0) / 3.0)
    error = d[:10].std(ddof=1) / math.sqrt(40)
    assert inference.standard_error(d, first=10) == pytest.approx(error)
    assert inference.student_p(d, first=10) == pytest.approx(
        2 * stats.t.sf(abs(d.mean()) / error, 9)
    )
    interval = inference.student_interval(d, 0.9, first=10)
    half = stats.t.ppf(0.95, 9) * error
    assert (interval.low, interval.high) == pytest.approx((d.mean() - half, d.mean() + half))
    for whole in (40, 100):  # a first stage that is all there is
        assert inference.student_p(d, first=whole) == inference.student_p(d)
        assert inference.student_interval(d, first=whole) == inference.student_interval(d)


def test_a_first_stage_without_spread_has_no_scale():
    d = np.append(np.full(5, 0.1), draws(5))
    assert inference.student_p(d, first=5) == inference.student_p(d) > 0.0
    assert inference.student_interval(d, first=5) == inference.student_interval(d)
    assert inference.student_p(np.full(10, 0.1), first=5) == inference.smallest_p(10)


def test_expected_best_by_enumeration():
    values = [3.0, 1.0, 2.0, 2.0]
    found = inference.expected_best(np.array(values))
    for n in range(1, 5):
        assert found[n - 1] == pytest.approx(
            np.mean([min(draw) for draw in itertools.product(values, repeat=n)])
        )


def test_expected_best_of_some_numbers_of_trials_is_that_of_all():
    values, counts = draws(60), np.array([1, 7, 60])
    found = inference.expected_best(values, counts)
    assert np.allclose(found, inference.expected_best(values)[counts - 1], rtol=1e-12)


def test_expected_best_of_many_is_the_best():
    found = inference.expected_best(draws(500))
    assert found[0] == pytest.approx(draws(500).mean()) and np.all(np.diff(found) < 0.0)
    assert draws(500).min() < found[-1] < np.sort(draws(500))[2]


@pytest.mark.parametrize("values", [[], [1.0, np.inf], [np.nan]])
def test_expected_best_refuses(values):
    with pytest.raises(ValueError, match=r"one finite value or more must hold, but got values=\["):
        inference.expected_best(np.array(values))


def test_one_value_has_no_interval():
    assert inference.student_interval(np.array([1.0])) is None
    assert inference.student_interval(np.array([])) is None


def test_median_interval_by_the_table():
    # The 95 % intervals of the median in Conover's table: n = 6 (1st, 6th), 10 (2nd, 9th), 20 (6th,
    # 15th).
    for n, low, high in ((6, 1, 6), (10, 2, 9), (20, 6, 15)):
        found = inference.median_interval(
            np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
        )
        assert (found.low, found.high) == (low, high)
        assert stats.binom.cdf(low - 1, n, 0.5) <= 0.025 < stats.binom.cdf(low, n, 0.5)
    assert inference.median_interval(np.arange(5.0)) is None
    assert inference.median_interval(np.array([])) is None


def test_seeds_needed():
    assert [inference.seeds_needed(k) for k in (1, 3, 8)] == [6, 7, 9]
    for k in range(1, 30):
        n = inference.seeds_needed(k, 0.01)
        assert inference.smallest_p(n) <= 0.01 / k < inference.smallest_p(n - 1)


def test_seeds_needed_refuses():
    with pytest.raises(
        ValueError, match=r"num_comparisons >= 1 must hold, but got num_comparisons=0"
    ):
        inference.seeds_needed(0)
    with pytest.raises(ValueError, match=r"0 < threshold < 0.5 must hold, but got threshold=0.5"):
        inference.seeds_needed(1, 0.5)


def test_import_is_light():
    heavy = {"statsmodels", "pandas", "matplotlib", "scipy.stats", "scipy.optimize", "torch"}
    code = (
        "import sys; import numpy as np\n"
        "from harness.statistics import aggregates, decisions, inference, power\n"
        "differences = np.array([0.01, -0.02, 0.03])\n"
        "decisions.decide([differences], margin_loss=0.01)\n"
        "power.seeds_to_decide(differences, margin_loss=0.01, num_comparisons=1)\n"
        f"print({heavy!r} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("set()\n", "")


@pytest.mark.parametrize("num_pairs", [1023, 1024, 100_000])
def test_any_number_of_seeds_has_a_smallest_p(num_pairs):
    assert 0.0 <= inference.smallest_p(num_pairs) <= 1e-300
