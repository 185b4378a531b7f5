"""Planted answers: equal arms are rarely told apart, unequal ones as often as power says.

2,000 studies of some settings here; ``make null`` runs 20,000 of all, and the CSV that it writes is
checked here too.
"""

import csv
import dataclasses
import math

import null_studies
import numpy as np
import pytest
from null_studies import (
    FAILING,
    HEAVY,
    ONE_SIDED,
    SETTINGS,
    SPREAD_NATS,
    TOLD_APART,
    Claim,
    Equal,
    Planted,
    Sequential,
    Shaped,
    Tuned,
)

from harness.statistics import inference
from harness.statistics.decisions import Timing, decide, decide_speed, with_sign_flips

NUM_STUDIES = 2000
AT_MOST_5_PERCENT = Claim("told apart", 0.05, "at most").bounds(NUM_STUDIES)[1]


def pairs(name, num_arms=2):
    return null_studies.differences(name, (NUM_STUDIES, num_arms, 10))


@pytest.mark.parametrize(
    "setting",
    [
        *(Equal(2, 5), Equal(4, 10)),
        *(Planted(10, 0.5), Planted(10, 1.0), Planted(5, 1.5)),
        *(Tuned(1.0, 1), Tuned(1.0, 5)),
        *(Sequential(2, 0.01), Sequential(5, 0.005)),
        *(Shaped(HEAVY, 2, 5), Shaped(ONE_SIDED, 2, 10), Shaped(FAILING, 2, 10)),
    ],
    ids=repr,
)
def test_simulated_studies_keep_what_is_claimed(setting):
    assert setting in SETTINGS
    for row in null_studies.rows(setting, NUM_STUDIES):
        assert row["low"] <= row["count"] <= row["high"], row


def test_what_make_null_wrote_keeps_what_is_claimed():
    with null_studies.CSV.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    claims = [(setting, claim) for setting in SETTINGS for claim in setting.claims()]
    for row, (setting, claim) in zip(found, claims, strict=True):
        planted = {name: str(value) for name, value in dataclasses.asdict(setting).items()}
        assert {name: row[name] for name in null_studies.PLANTED if row[name]} == planted
        assert (row["study"], row["quantity"], row["relation"]) == (
            setting.kind,
            claim.quantity,
            claim.relation,
        )
        low, high = claim.bounds(null_studies.NUM_STUDIES)
        assert (
            int(row["studies"]) == null_studies.NUM_STUDIES and low <= int(row["count"]) <= high
        ), row


def test_the_inflation_without_repeats_is_what_the_protocol_says():
    assert [round(100 * Tuned(tuning, 1).claims()[0].rate) for tuning in (0.0, 0.25, 0.5, 1.0)] == [
        5,
        11,
        26,
        51,
    ]


def test_a_bound_from_below_can_be_missed():
    low, high = Claim("covers", 0.95, "at least").bounds(NUM_STUDIES)
    assert 0.9 * NUM_STUDIES < low < 0.95 * NUM_STUDIES and high == NUM_STUDIES


def test_a_skew_of_one_arm_alone_is_more_than_holm_bounds():
    family = Shaped(ONE_SIDED, 8, 10)
    assert family.counts(NUM_STUDIES)[0] > AT_MOST_5_PERCENT


def test_without_holm_these_studies_would_fail():
    count = sum(
        any(inference.student_p(d) < 0.05 for d in family) for family in pairs("uncorrected", 4)
    )
    assert count > AT_MOST_5_PERCENT


def test_the_sign_flip_test_keeps_its_level():
    count = 0
    for d in pairs("flip")[:, 0]:
        count += with_sign_flips(decide([d], margin_loss=0.0), [d])[0].sign_flip.p < 0.05
    low, high = Claim("sign flip", 50 / 1024).bounds(
        NUM_STUDIES
    )  # a multiple of 2/2^10: the largest below 0.05
    assert low <= count <= high


def test_effects_are_found_with_their_own_sign():
    decided = [decide([d + SPREAD_NATS], margin_loss=0.0)[0].verdict for d in pairs("sign")[:, 0]]
    assert decided.count("worse") > 20 * decided.count("better")


def test_a_margin_changes_nothing_for_equal_arms():
    count = sum(
        decide([d], margin_loss=math.log1p(0.01))[0].verdict in TOLD_APART
        for d in pairs("margin")[:, 0]
    )
    low, high = Claim("told apart", 0.05).bounds(NUM_STUDIES)
    assert low <= count <= high


def test_arms_at_the_margin_are_rarely_called_equivalent():
    decided = [
        decide([d + math.log1p(0.01)], margin_loss=math.log1p(0.01))[0].verdict
        for d in pairs("at margin")[:, 0]
    ]
    assert sum(verdict.startswith("equivalent") for verdict in decided) <= AT_MOST_5_PERCENT


def test_divergence_that_strikes_both_arms_alike_decides_nothing():
    rng = np.random.default_rng(7)
    seen = pairs("diverged")[:, 0]
    arm, baseline = (np.where(rng.random(seen.shape) < 0.1, np.inf, 0.0) for _ in range(2))
    with np.errstate(invalid="ignore"):
        seen = seen + arm - baseline
    assert (
        sum(decide([d], margin_loss=0.0)[0].verdict in TOLD_APART for d in seen)
        <= AT_MOST_5_PERCENT
    )


def test_equal_runtimes():
    rng, num_false = np.random.default_rng(3), 0
    for _ in range(NUM_STUDIES):
        seconds = 0.1 * rng.gamma(50.0, 1 / 50.0, size=(4, 20)) * rng.gamma(20.0, 1 / 20.0, size=20)
        base, *arms = [Timing(dict(enumerate(row.tolist())), {"engine": "cpu"}) for row in seconds]
        num_false += any(d.verdict != "no difference shown" for d in decide_speed(base, arms))
    assert num_false <= AT_MOST_5_PERCENT
