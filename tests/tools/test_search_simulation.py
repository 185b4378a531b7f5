"""Planted landscapes: what the committed table says of searches holds, and comes out again.

Some settings run again here, the first studies of each; ``make search-simulation`` runs all.
"""

import csv
import dataclasses
import math

import landscapes
import numpy as np
import pytest
import search_simulation as simulation
from landscapes import (
    ACCURACIES,
    APART,
    CLIFFS,
    EQUAL_ERRORS,
    ERRORS,
    FADING,
    FIRST,
    LARGE,
    ONE_OUTSIDE,
    OUTSIDE,
    TWO_FIELDS,
    WORSE_ERRORS,
)
from scipy import stats
from search_simulation import EIGHT, FINALISTS, FOUR, MOST_FALSE, SETTINGS
from simulated_search import Search, Setting

NUM_STUDIES = 40
LEVEL = 1e-4


def table():
    with simulation.CSV.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shown_of(setting):
    """Returns the committed table's row of the same searches."""
    return table()[[each.name for each in SETTINGS].index(setting.name)]


def test_what_was_simulated_keeps_what_is_claimed():
    found = table()
    assert list(found[0]) == list(simulation.COLUMNS)
    for row, setting in zip(found, SETTINGS, strict=True):
        planted = {
            "landscape": setting.landscape.name,
            "objective": setting.landscape.judged.objective.key,
            "effect": round(setting.landscape.effect, 4),
            "fields": setting.landscape.num_fields,
            "noise": setting.noise,
            **dataclasses.asdict(setting.search),
            "cost": setting.search.cost,
            "shared": setting.is_shared,
        }
        assert {name: row[name] for name in planted} == {k: str(v) for k, v in planted.items()}
        told, wrong, num = (int(row[name]) for name in ("told_apart", "wrong", "studies"))
        claimed = simulation.claim(setting, told - wrong, wrong, num)
        assert {name: row[name] for name in claimed} == {k: str(v) for k, v in claimed.items()}
        assert num == simulation.NUM_STUDIES >= 400
        assert claimed["holds"] in (True, ""), row
        if not setting.landscape.effect:
            assert wrong == told


def test_the_interval_with_the_spread_covers_more_than_it_says():
    least = {FADING.name: 0.92, ONE_OUTSIDE.name: 0.88}
    for row in table():
        covered, num_intervals = int(row["covered"]), int(row["intervals"])
        if row["claim"] and num_intervals >= 100:
            assert covered >= least.get(row["landscape"], 0.975) * num_intervals, row


def test_every_shared_search_of_equal_arms_claims_something():
    unclaimed = {s.landscape.name for s in SETTINGS if s.is_shared and not s.claims}
    assert unclaimed == {"four times as steep"}
    assert MOST_FALSE == 0.07


def test_the_claim_can_fail():
    setting = next(s for s in SETTINGS if s.claims and not s.power)
    assert simulation.claim(setting, 0, 18, 400)["holds"]
    assert not simulation.claim(setting, 0, 21, 400)["holds"]
    planted = next(s for s in SETTINGS if s.power == 0.9)
    assert simulation.claim(planted, 371, 0, 400)["holds"]
    assert not simulation.claim(planted, 368, 0, 400)["holds"]
    bound = float(simulation.claim(setting, 0, 18, 400)["bound"])
    wanted = stats.binomtest(18, 400, alternative="less").proportion_ci(0.95).high
    assert bound == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(APART, 0.005, EIGHT),
        Setting(CLIFFS, 0.005, FINALISTS),
        Setting(FADING, 0.02, FINALISTS),
        Setting(TWO_FIELDS, 0.02, simulation.SIXTEEN_FINALISTS),
        Setting(FIRST, 0.02, FOUR),
        Setting(LARGE, 0.02, FINALISTS),
        Setting(OUTSIDE, 0.02, EIGHT),
        Setting(OUTSIDE, 0.02, Search(8, at_most=16)),
        Setting(EQUAL_ERRORS[1], 0.1, FINALISTS),
        Setting(EQUAL_ERRORS[5], 0.3, EIGHT),
        Setting(WORSE_ERRORS[2], 0.1, FINALISTS),
    ],
    ids=lambda setting: setting.name,
)
def test_the_first_studies_come_out_again(setting):
    row, shown = simulation.row(setting, NUM_STUDIES), shown_of(setting)
    for name in (
        "told_apart",
        "by_seeds_alone",
        "wrong",
        "equivalent",
        "not_comparable",
        "covered",
    ):
        # as many as a draw of these studies from all of the table's leaves room for
        drawn = stats.hypergeom(int(shown["studies"]), int(shown[name]), NUM_STUDIES)
        low, high = drawn.ppf([LEVEL / 2, 1.0 - LEVEL / 2])
        assert low <= row[name] <= high, name


def test_without_the_searchs_spread_these_landscapes_would_fail():
    for landscape in (APART, CLIFFS):
        shown = shown_of(Setting(landscape, 0.005, EIGHT))
        assert int(shown["by_seeds_alone"]) > 0.3 * int(shown["studies"])


def test_a_valley_is_what_it_says():
    valley = landscapes.Valley(at=0.5, cliff=1.0, bias=0.1, higher=0.2)
    at = float(np.exp(landscapes.MIDDLE + 0.5))
    assert valley.loss({"learning_rate": at, "forget_bias": 1.0}, 0.0) == (pytest.approx(1.7), 0.0)
    assert valley.loss({"learning_rate": at, "forget_bias": 3.0}, 0.0)[0] == pytest.approx(2.1)
    assert valley.loss({"learning_rate": 1.7 * at}, 0.0)[1] == 1.0
    left, right = (valley.loss({"learning_rate": at * np.exp(x)}, 0.0)[0] for x in (-9.0, -8.0))
    assert left - right == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize("measured", [ERRORS, ACCURACIES], ids=lambda each: each.objective.key)
def test_errors_are_as_planted_and_no_worse_than_a_guess(measured):
    noise = 0.3 * np.random.default_rng(0).normal(size=(3, 4000))
    luck = np.random.default_rng(1).uniform(size=noise.shape)
    above = np.array([[0.0], [math.log(3.0) / landscapes.STEEPNESS], [9.0]])
    losses = measured.losses(above, noise, luck)
    assert (losses[2] == measured.guess).all()
    errors = np.exp(losses[:2]) if measured is ERRORS else losses[:2]
    mean = measured.best * math.exp(0.3**2 / 2)
    assert errors.mean(axis=1) == pytest.approx([mean, 3.0 * mean], rel=0.02)


def test_the_table_of_the_page_is_the_committed_one():
    assert simulation.markdown(table()) in simulation.PAGE.read_text(encoding="utf-8")
