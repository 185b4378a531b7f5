"""How many seeds a first stage asks for, with arms that never end it and with other texts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import BASE, UNIT, of_arms, pair, run_rows, search_of, study, trial_rows

from harness.report import frames, stages
from harness.statistics import power
from harness.study import Replicate

STAGED = Replicate(10, until=0.008, at_most=60)


def stage(planned, rows):
    return stages.num_seeds(planned, frames.with_columns(pd.DataFrame(rows), frames.RUN_COLUMNS))


def test_a_first_stage_asks_for_as_many_seeds_as_its_spread_needs():
    planned = study("lstm", "gru", replicate=STAGED)
    wanted = power.stein_seeds([0.02 * UNIT], half_width_nats=np.log1p(0.008), at_most=60)
    assert 10 < wanted < 60
    assert stage(planned, pair(0.03, 0.02)) == wanted
    assert stage(planned, pair(0.03, 0.02)[:-1]) == 10  # not before all of it has ended


@pytest.mark.parametrize(
    "rows",
    [
        run_rows("rnn-tanh", BASE[:3], states=["failed"] * 3),
        trial_rows("rnn-tanh", [np.nan] * 3, states=["failed"] * 3),
    ],
    ids=["replicates", "trials"],
)
def test_an_arm_that_is_given_up_holds_nobody_back(rows):
    searched = search_of(3)
    planned = study("lstm", "gru", "rnn-tanh", replicate=STAGED, tune=searched)
    known = pair(0.03, 0.02) + [
        row for arm in ("lstm", "gru") for row in trial_rows(arm, [1.5, 1.4, 1.6])
    ]
    assert stage(planned, known) == 10
    assert (
        stage(planned, known + rows)
        == stage(study("lstm", "gru", replicate=STAGED), pair(0.03, 0.02))
        > 10
    )


def test_an_arm_of_another_text_asks_for_no_seeds():
    planned = study("lstm", "gru", "other", replicate=STAGED)
    *arms, other = planned.arms
    other = replace(other, settings=replace(other.settings, corpus="python-docs"))
    planned = of_arms(*arms, other, replicate=STAGED)
    wild = run_rows("other", BASE + 1.0 + UNIT)
    assert stage(planned, pair(0.03, 0.02) + wild) == stage(
        study("lstm", "gru", replicate=STAGED), pair(0.03, 0.02)
    )
