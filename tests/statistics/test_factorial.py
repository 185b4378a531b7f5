"""Effects of a cross against statsmodels, and their intervals against a planted truth."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from harness.statistics import inference
from harness.statistics.factorial import two_way

A, B = ("a0", "a1", "a2"), ("b0", "b1", "b2")
NUM_STUDIES = 2000
SEEDS = [str(1000 + i) for i in range(6)]


def cross(truth, seeds=SEEDS, generator=None, spreads=0.02):
    """Returns losses of the cells of ``truth`` (nats): what a seed adds to all, and their own."""
    generator = np.random.default_rng(0) if generator is None else generator
    common = generator.normal(0.0, 0.3, size=len(seeds))
    own = generator.normal(0.0, 1.0, size=(len(truth), len(seeds)))
    scale = np.broadcast_to(spreads, len(truth))
    return {
        cell: dict(zip(seeds, loss + common + scale[i] * own[i], strict=True))
        for i, (cell, loss) in enumerate(truth.items())
    }


def planted(a_levels=A, b_levels=B, a=0.2, b=0.1, both=0.07):
    """Returns the expected loss of each cell; neither factor is additive."""
    return {
        (x, y): 1.5 + a * i**2 - b * j + both * i * j
        for i, x in enumerate(a_levels)
        for j, y in enumerate(b_levels)
    }


def frame(losses):
    return pd.DataFrame(
        [(a, b, s, x) for (a, b), cell in losses.items() for s, x in cell.items()],
        columns=["a", "b", "seed", "loss"],
    )


def interval(contrast):
    return contrast.interval.low, contrast.interval.high


def test_estimates_are_those_of_least_squares_with_seed_blocks():
    losses = cross(planted())
    found = two_way(losses, A, B)
    fit = smf.ols("loss ~ C(a) * C(b) + C(seed)", frame(losses)).fit()
    for (a, b), effect in found.interactions.items():
        assert effect.mean == pytest.approx(fit.params[f"C(a)[T.{a}]:C(b)[T.{b}]"], abs=1e-9)
    for factor, effects in (("a", found.a), ("b", found.b)):
        other = "b" if factor == "a" else "a"
        for level, effect in effects.items():
            share = " + ".join(
                f"C(a)[T.{x}]:C(b)[T.{y}]/3" for x, y in found.interactions if level in (x, y)
            )
            expected = fit.t_test(f"C({factor})[T.{level}] + {share} = 0").effect[0]
            assert effect.mean == pytest.approx(expected, abs=1e-9)
            assert effect.over == (B if other == "b" else A)


def test_intervals_and_p_of_main_effects_are_those_of_least_squares_on_means_over_the_other():
    losses = cross(planted(), spreads=np.linspace(0.01, 0.1, 9))
    found, table = two_way(losses, A, B), frame(losses)
    for factor, effects in (("a", found.a), ("b", found.b)):
        means = table.groupby([factor, "seed"], as_index=False)["loss"].mean()
        for level, effect in effects.items():
            two = means[means[factor].isin([f"{factor}0", level])]
            fit = smf.ols(f"loss ~ C({factor}) + C(seed)", two).fit()
            term = f"C({factor})[T.{level}]"
            assert interval(effect) == pytest.approx(tuple(fit.conf_int().loc[term]), abs=1e-9)
            assert effect.p == pytest.approx(fit.pvalues[term], abs=1e-9)


def test_intervals_and_p_of_interactions_are_those_of_least_squares_on_differences():
    losses = cross(planted(), spreads=np.linspace(0.01, 0.1, 9))
    table = frame(losses).pivot(index=["a", "seed"], columns="b", values="loss")
    for (a, b), effect in two_way(losses, A, B).interactions.items():
        change = (table[b] - table["b0"]).rename("change").reset_index()
        two = change[change["a"].isin(["a0", a])]
        fit = smf.ols("change ~ C(a) + C(seed)", two).fit()
        assert interval(effect) == pytest.approx(
            tuple(fit.conf_int().loc[f"C(a)[T.{a}]"]), abs=1e-9
        )
        assert effect.p == pytest.approx(fit.pvalues[f"C(a)[T.{a}]"], abs=1e-9)


def test_two_by_two_is_the_analysis_of_variance_with_repeated_measures():
    losses = cross(planted(A[:2], B[:2], a=0.01, b=0.02, both=0.01))
    found = two_way(losses, A[:2], B[:2])
    expected = AnovaRM(frame(losses), "loss", "seed", within=["a", "b"]).fit().anova_table
    p = [found.a["a1"].p, found.b["b1"].p, found.interactions["a1", "b1"].p]
    assert p == pytest.approx(list(expected["Pr > F"]), abs=1e-9)
    assert [e.adjusted_p for e in found.a.values()] == [found.a["a1"].p]  # a family of one


def test_every_kind_of_effect_is_a_family_of_its_own():
    found = two_way(cross(planted(a=0.005, b=0.01, both=0.004)), A, B)
    for effects in (found.a, found.b, found.interactions):
        adjusted = inference.holm([effect.p for effect in effects.values()])
        assert [effect.adjusted_p for effect in effects.values()] == adjusted
    assert any(e.adjusted_p > e.p for e in found.interactions.values())


def test_excluded_cells_leave_out_what_needs_them_and_nothing_else():
    """Dropout acts between layers, so one layer has none of it."""
    truth = planted()
    del truth["a1", "b0"], truth["a2", "b0"], truth["a2", "b2"]
    losses = cross(truth, spreads=0.0)
    found = two_way(losses, A, B)
    assert found.interactions == {}
    assert found.a["a1"].over == ("b1", "b2") and found.a["a2"].over == ("b1",)
    assert found.b["b1"].over == ("a0",) and found.b["b2"].over == ("a0",)
    for effects, truths in ((found.a, (0.2 + 0.07 * 1.5, 0.8 + 0.14)), (found.b, (-0.1, -0.2))):
        assert [effect.mean for effect in effects.values()] == pytest.approx(truths, abs=1e-12)


def test_a_level_that_shares_no_cell_with_the_baseline_has_no_effect():
    truth = {cell: 1.0 for cell in (("a0", "b0"), ("a0", "b1"), ("a1", "b2"), ("a2", "b1"))}
    found = two_way(cross(truth), A, B)
    assert list(found.a) == ["a2"] and list(found.b) == ["b1"]


def test_what_a_diverged_run_touches_has_no_interval_and_counts_the_seeds_lost():
    losses = cross(planted())
    losses["a1", "b1"][SEEDS[0]] = math.inf
    losses["a1", "b1"][SEEDS[2]] = losses["a1", "b0"][SEEDS[2]] = math.inf
    whole, found = two_way(cross(planted()), A, B), two_way(losses, A, B)
    touched = [found.a["a1"], found.b["b1"], *(found.interactions["a1", b] for b in ("b1", "b2"))]
    assert [effect.num_lost for effect in touched] == [2, 2, 2, 1]
    for effect in touched:
        assert (effect.interval, effect.p, effect.adjusted_p) == (None, None, None)
        assert effect.num_seeds == 6 and math.isfinite(effect.mean)
    least = min((e for e in found.interactions.values() if e.p), key=lambda effect: effect.p)
    assert least.adjusted_p == pytest.approx(4 * least.p)  # those that lost seeds count still
    assert found.a["a2"].interval == whole.a["a2"].interval and found.a["a2"].num_lost == 0
    assert found.b["b2"].num_lost == 1  # a mean over a1 too, which lost a seed at b0
    kept = [losses["a1", "b2"][s] - losses["a0", "b2"][s] for s in SEEDS if s != SEEDS[2]]
    base = [losses["a1", "b0"][s] - losses["a0", "b0"][s] for s in SEEDS if s != SEEDS[2]]
    expected = np.mean(kept) - np.mean(base)  # conditional on finishing
    assert found.interactions["a1", "b2"].mean == pytest.approx(expected, abs=1e-12)


def test_every_seed_lost_leaves_no_mean():
    losses = cross(planted())
    losses["a0", "b0"] = dict.fromkeys(SEEDS, math.inf)
    found = two_way(losses, A, B)
    for effect in (*found.a.values(), *found.b.values(), *found.interactions.values()):
        assert (effect.mean, effect.interval, effect.p, effect.num_lost) == (None, None, None, 6)


def test_seeds_are_those_that_all_cells_of_a_contrast_have():
    losses = cross(planted())
    del losses["a2", "b2"][SEEDS[1]]
    losses["a1", "b0"] = dict(reversed(losses["a1", "b0"].items()))
    found, whole = two_way(losses, A, B), two_way(cross(planted()), A, B)
    assert found.interactions["a2", "b2"].num_seeds == found.a["a2"].num_seeds == 5
    assert found.a["a2"].num_lost == 0 and found.a["a2"].interval is not None
    assert interval(found.a["a1"]) == pytest.approx(interval(whole.a["a1"]), abs=1e-12)


def test_one_seed_has_a_mean_alone():
    found = two_way(cross(planted(), SEEDS[:1]), A, B)
    effect = found.interactions["a1", "b1"]
    assert effect.mean is not None and effect.num_lost == 0
    assert (effect.interval, effect.p) == (None, None)


def test_equal_cells_have_no_effect_at_all():
    losses = cross(dict.fromkeys(planted(), 1.0), spreads=0.0)
    found = two_way(losses, A, B)
    for effect in (*found.a.values(), *found.b.values(), *found.interactions.values()):
        assert effect.p == effect.adjusted_p == 1.0
        assert interval(effect) == pytest.approx((0.0, 0.0), abs=inference.ROUNDING)


def test_the_first_stage_alone_gives_the_spread():
    losses = cross(planted())
    effect = two_way(losses, A, B, first=4).interactions["a1", "b2"]
    values = sum(
        sign * np.array(list(losses[cell].values()))
        for cell, sign in {
            ("a1", "b2"): 1,
            ("a0", "b2"): -1,
            ("a1", "b0"): -1,
            ("a0", "b0"): 1,
        }.items()
    )
    half = stats.t.ppf(0.975, 3) * np.std(values[:4], ddof=1) / math.sqrt(6)
    assert interval(effect) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-9)
    assert effect.p == pytest.approx(inference.student_p(values, first=4), abs=1e-9)


def test_everything_wrong_is_said_at_once():
    losses = {("a0", "b0"): {"1": math.nan}, ("a9", "b0"): {"1": 1.0}}
    with pytest.raises(ValueError) as error:
        two_way(losses, ("a0", "a0"), ("b0",))
    for part in ("levels=['a0', 'a0']", "levels=['b0']", "cell=('a9', 'b0')", "seed='1', nan"):
        assert part in str(error.value)


def within(count, rate):
    """Whether a count of NUM_STUDIES is one that this rate gives but once in 1e4 times."""
    low, high = stats.binom.ppf([0.5e-4, 1 - 0.5e-4], NUM_STUDIES, rate)
    return low <= count <= high


def test_intervals_cover_the_planted_truth():
    """Cells of unlike spread, and one that the study excludes."""
    generator, truth = np.random.default_rng(1), planted(A, B[:2])
    del truth["a2", "b0"]
    spreads = np.array([0.01, 0.02, 0.05, 0.1, 0.03])
    expected = {"a1": 0.2 + 0.07 / 2, "a2": 0.8 + 0.14, "b1": -0.1 + 0.07 / 2, "both": 0.07}
    covered = dict.fromkeys(expected, 0)
    for _ in range(NUM_STUDIES):
        found = two_way(cross(truth, generator=generator, spreads=spreads), A, B[:2])
        effects = {**found.a, **found.b, "both": found.interactions["a1", "b1"]}
        assert effects.keys() == expected.keys()
        for name, effect in effects.items():
            low, high = interval(effect)
            covered[name] += low <= expected[name] <= high
    assert all(within(count, 0.95) for count in covered.values()), covered


def test_holm_keeps_its_level_over_the_interactions_of_an_additive_cross():
    generator, truth = np.random.default_rng(2), planted(both=0.0)
    false = sum(
        any(effect.adjusted_p < 0.05 for effect in found.interactions.values())
        for found in (two_way(cross(truth, generator=generator), A, B) for _ in range(NUM_STUDIES))
    )
    assert 0 < false <= stats.binom.ppf(1 - 1e-4, NUM_STUDIES, 0.05), false
