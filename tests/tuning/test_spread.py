"""The search's own spread, against what searches with other shifts really come to."""

import math

import numpy as np
import pytest

from harness.study import Choices, Range
from harness.tuning import design, spread
from harness.tuning.spread import search_spread
from harness.tuning.tried import TriedSetting

RATE = Range(0.003, 0.1, log=True)
SPACE = {"learning_rate": RATE}
FIELDS = ["learning_rate"]
GUESSING = 3.4


def valley(values, best, steepness=0.25):
    return 1.5 + steepness * math.log(values["learning_rate"] / best) ** 2


def searched(loss, points, noise=0.0, rng=None, num_seeds=1):
    rng = rng or np.random.default_rng(0)
    tried = []
    for number, values in enumerate(points):
        seeds = loss(values) + noise * rng.normal(size=num_seeds)
        seeds = np.where(np.isfinite(seeds), seeds, GUESSING)
        num_lost = int(np.sum(seeds == GUESSING))
        end = "diverged" if num_lost == num_seeds else "finished"
        nats = float(seeds.mean())
        tried.append(
            TriedSetting(number, values, nats, tuple(seeds.tolist()), end, num_lost=num_lost)
        )
    return tried


def spread_of(arm, baseline, space=SPACE, fields=FIELDS, noise=0.0, **options):
    """Returns S where the replicates of both arms vary by exactly ``noise``."""
    again = [1.5 - noise, 1.5, 1.5 + noise]
    return search_spread(arm, baseline, space, fields, fields, replicates=(again, again), **options)


@pytest.mark.parametrize("num_points", [4, 8])
@pytest.mark.parametrize("bests", [(0.02, 0.02), (0.02, 0.027), (0.012, 0.03)])
@pytest.mark.parametrize("steepness", [(0.25, 0.25), (0.25, 0.5)])
def test_it_is_what_other_shifts_come_to(num_points, bests, steepness):
    def losses(shift):
        points = design.points(SPACE, (shift, "design", ""), num_points)
        return [
            [valley(values, best, steep) for values in points]
            for best, steep in zip(bests, steepness, strict=True)
        ]

    truth = [min(ours) - min(theirs) for ours, theirs in map(losses, range(400))]
    wanted = math.sqrt(np.mean(np.square(truth)))
    found = []
    for shift in range(20):
        points = design.points(SPACE, (shift, "design", ""), num_points)
        tried = [
            searched(lambda v, best=best, steep=steep: valley(v, best, steep), points)
            for best, steep in zip(bests, steepness, strict=True)
        ]
        found.append(spread_of(*tried))
    # A spline through four points of a steep valley is coarse, and errs to the safe side.
    most = 1.25 if num_points == 8 else 2.6
    assert 0.75 * wanted <= np.median(found) <= most * wanted + 1e-6


def test_equal_surfaces_without_noise_have_none():
    points = design.points(SPACE, (0, "design", ""), 8)
    tried = searched(lambda values: valley(values, 0.02), points)
    assert spread_of(tried, tried) == 0.0


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_on_a_plain_it_is_the_noise_of_two_lowest_means(num_seeds):
    points = design.points(SPACE, (0, "design", ""), 8)
    tried = searched(lambda values: 1.5, points, num_seeds=num_seeds)
    draws = np.random.default_rng(1).normal(size=(2, 20_000, 8)).min(axis=2)
    wanted = 0.02 / math.sqrt(num_seeds) * np.std(draws[0] - draws[1])
    if num_seeds == 1:
        assert spread_of(tried, tried, noise=0.02) == pytest.approx(wanted, rel=0.2)
    else:  # the seeds of trials have a say too, and say that there is no noise
        assert spread_of(tried, tried, noise=0.02) < 0.5 * wanted
        noisy = searched(lambda values: 1.5, points, 0.02, num_seeds=num_seeds)
        assert 0.5 * wanted < spread_of(noisy, noisy, noise=0.02) < 3.0 * wanted


def test_finalists_make_it_less():
    points = design.points(SPACE, (0, "design", ""), 8)
    tried = searched(lambda values: valley(values, 0.02), points)
    plain = spread_of(tried, tried, noise=0.03)
    assert spread_of(tried, tried, noise=0.03, finalists=3, finalist_seeds=5) < 0.6 * plain
    assert spread_of(tried, tried, noise=0.03, finalists=1, finalist_seeds=5) == plain


def test_more_points_make_it_less():
    found = []
    for count in (4, 8, 16):
        points = design.points(SPACE, (0, "design", ""), count)
        tried = [searched(lambda v, best=best: valley(v, best), points) for best in (0.02, 0.027)]
        found.append(spread_of(*tried))
    assert found[0] > 3.0 * found[1] > 9.0 * found[2] > 0.0


def test_a_cliff_that_may_lie_anywhere_between_two_points_counts():
    points = design.points(SPACE, (0, "design", ""), 8)

    def to_the_cliff(values):
        return math.inf if values["learning_rate"] > 0.03 else valley(values, 0.05)

    tried = searched(to_the_cliff, points)
    assert {each.end for each in tried} == {"finished", "diverged"}
    gap = math.log(0.1 / 0.003) / 8  # the loss falls by this much from the last but one point
    fall = valley({"learning_rate": 0.03 * math.exp(-gap)}, 0.05) - valley(
        {"learning_rate": 0.03}, 0.05
    )
    assert 0.3 * fall < spread_of(tried, tried) < 1.5 * fall


@pytest.mark.parametrize("num_points", [8, 16])
def test_it_hangs_on_no_last_digit_where_many_settings_are_lost(num_points):
    def end(values):
        return math.inf if values["learning_rate"] > 0.02 else valley(values, 0.02)

    found = []
    for factor in (1.0, 1.0 + 1e-13, 1.0 - 1e-13, 1.0 + 3e-13):
        points = design.points(SPACE, (1, "design", ""), num_points)
        moved = [{"learning_rate": values["learning_rate"] * factor} for values in points]
        whole = searched(lambda values: valley(values, 0.02), moved)
        found.append(spread_of(searched(end, moved), whole, noise=0.01))
    assert found == pytest.approx([found[0]] * len(found), rel=1e-6)


def test_a_setting_that_loses_some_of_its_seeds_may_have_lost_none():
    points = design.points(SPACE, (0, "design", ""), 8)
    tried = searched(lambda values: valley(values, 0.03), points, num_seeds=3)
    lucky = spread_of(tried, tried)
    best = min(tried, key=lambda each: each.nats)
    seeds = (*best.seed_nats[:2], GUESSING)
    unlucky = TriedSetting(best.number, best.values, sum(seeds) / 3, seeds, num_lost=1)
    tried[tried.index(best)] = unlucky
    assert lucky < 1e-12 and spread_of(tried, tried) > 0.02


def test_settings_almost_at_one_place_are_one():
    points = design.points(SPACE, (0, "design", ""), 8)
    points += [{"learning_rate": 0.0201}, {"learning_rate": 0.0200}, {"learning_rate": 0.02001}]
    rng = np.random.default_rng(3)
    tried = [searched(lambda v: valley(v, 0.02), points, 0.01, rng) for _ in range(2)]
    assert 0.003 < spread_of(*tried, noise=0.01) < 0.03


def test_a_field_without_an_effect_changes_little():
    space = {**SPACE, "forget_bias": Range(0.0, 2.0)}
    points = design.points(space, (0, "design", ""), 16)
    tried = [searched(lambda v, best=best: valley(v, best), points) for best in (0.02, 0.027)]
    two = spread_of(*tried, space=space, fields=list(space))
    one = [searched(lambda v, best=best: valley(v, best), points) for best in (0.02, 0.027)]
    assert two < 4.0 * spread_of(*one) + 0.01


def bowl(values, best):
    return valley(values, best, 0.1) + 0.05 * (values["forget_bias"] - 1.0) ** 2


def searched_often(num_trials, noise, seed):
    """Returns the trials of two arms over two fields, whose best rates lie apart."""
    space = {**SPACE, "forget_bias": Range(0.0, 2.0)}
    points = design.points(space, (seed, "design", ""), num_trials)
    rng = np.random.default_rng(seed)
    tried = [
        searched(lambda v, best=best: bowl(v, best), points, noise, rng) for best in (0.015, 0.02)
    ]
    return tried, space


def test_neighbours_taken_together_agree_with_every_setting_on_its_own(monkeypatch):
    tried, space = searched_often(256, 0.02, seed=1)
    exact = spread_of(*tried, space=space, fields=list(space), noise=0.02)
    monkeypatch.setattr(spread, "MOST", 64)
    thinned = spread_of(*tried, space=space, fields=list(space), noise=0.02)
    noise_of_s = 1 / math.sqrt(2 * spread.NUM_SHIFTS)  # of the standard deviation of so many
    assert thinned != exact
    # Means of four have half the noise, which an exact surface takes for slopes.
    assert 0.6 * exact < thinned < (1 + 4 * noise_of_s) * exact


def test_of_a_thousand_trials_it_is_no_less_than_what_other_shifts_come_to():
    noise = 0.02
    tried, space = searched_often(1_000, noise, seed=2)
    rng, truth = np.random.default_rng(3), []
    sequence = design.sobol(2, 1_000)
    low, high = math.log(RATE.low), math.log(RATE.high)
    for _ in range(200):
        shift = (rng.random((1, 1, 2)) * 2.0**design.BITS).astype(np.uint64)
        bias, rate = design.shifted(sequence, shift)[0].T  # in the order of their names
        basin = 1.5 + 0.05 * (2.0 * bias - 1.0) ** 2
        arms = [
            basin + 0.1 * (low + (high - low) * rate - math.log(best)) ** 2
            for best in (0.015, 0.02)
        ]
        ours, theirs = ((arm + noise * rng.normal(size=len(arm))).min() for arm in arms)
        truth.append(ours - theirs)
    found = spread_of(*tried, space=space, fields=list(space), noise=noise)
    assert np.std(truth) < found < 2.0 * np.std(truth)


def test_thousands_of_trials_of_few_choices_are_as_many_places():
    space = {
        "optimizer": Choices(("sgd", "adam", "adamw")),
        "learned_start": Choices((True, False)),
    }
    points = design.points(space, (0, "design", ""), 1_200)
    worth = {"sgd": 1.6, "adam": 1.5, "adamw": 1.7}
    tried = searched(lambda v: worth[v["optimizer"]] + 0.3 * v["learned_start"], points)
    assert spread_of(tried, tried, space=space, fields=list(space)) == 0.0
    at = spread._places(space, sorted(space), tried)
    places, means = spread._thinned(at, np.array([each.nats for each in tried]))
    assert len(places) == 6 and sorted(means.round(9)) == [1.5, 1.6, 1.7, 1.8, 1.9, 2.0]


def test_choices_whole_numbers_and_fields_that_do_not_act():
    space = {
        "learning_rate": RATE,
        "optimizer": Choices(("sgd", "adam", "adamw")),
        "clip_norm": Choices((0.25, 1.0, None)),
        "num_layers": Range(1, 3),
        "learned_start": Choices((True, False)),
    }
    points = design.points(space, (0, "design", ""), 24)
    tried = searched(lambda values: valley(values, 0.02) + 0.1 * values["num_layers"], points)
    assert 0.0 <= spread_of(tried, tried, space=space, fields=list(space)) < 0.1
    again = (1.5, 1.51)
    found = search_spread(tried, tried, space, [], ["learning_rate"], replicates=(again, again))
    assert found is not None and math.isfinite(found)
    assert search_spread(tried, tried, space, [], [], replicates=(again, again)) < 0.05


def test_a_grid_of_numbers_might_have_been_another_one():
    grid = {"learning_rate": Choices(tuple(np.geomspace(0.003, 0.1, 4).tolist()))}
    points = design.grid(grid, (0, "design", ""))
    tried = [searched(lambda v, best=best: valley(v, best), points) for best in (0.02, 0.027)]
    assert spread_of(*tried, space=grid) > 0.005


@pytest.mark.parametrize("num_finished, is_known", [(0, False), (2, False), (3, True)])
def test_it_is_not_known_of_too_few_settings(num_finished, is_known):
    points = design.points(SPACE, (0, "design", ""), 8)
    whole = searched(lambda values: valley(values, 0.02), points)
    lost = searched(lambda values: math.inf, points)
    few = whole[:num_finished] + lost[num_finished:]
    assert (spread_of(few, whole) is not None) == is_known
    assert (spread_of(whole, few) is not None) == is_known
    assert spread_of([], whole) is None


def test_it_is_not_known_where_nothing_tells_the_noise():
    points = design.points(SPACE, (0, "design", ""), 8)
    single = searched(lambda values: valley(values, 0.02), points)
    assert search_spread(single, single, SPACE, FIELDS, FIELDS) is None
    again = ([1.5, math.inf], [1.5, 1.51])
    assert search_spread(single, single, SPACE, FIELDS, FIELDS, replicates=again) is None
    several = searched(lambda values: valley(values, 0.02), points, 0.01, num_seeds=3)
    assert search_spread(several, several, SPACE, FIELDS, FIELDS) is not None


def test_pruned_settings_are_left_out_and_draws_are_fixed():
    points = design.points(SPACE, (0, "design", ""), 8)
    tried = searched(lambda values: valley(values, 0.02), points)
    pruned = [*tried[:-1], TriedSetting(7, points[7], 2.0, (), "pruned", 0.5)]
    found = spread_of(pruned, tried, noise=0.01)
    spread._designs.cache_clear()
    spread._noise.cache_clear()
    assert found == spread_of(pruned, tried, noise=0.01)
