"""What a search has tried, from planted frames of runs and curves."""

import math

import numpy as np
import pandas as pd
import pytest
from planted import search_of, study

from harness.report import frames
from harness.report.tried import tried
from harness.tuning.tried import TriedSetting

GUESS = math.log(30)


def run(number, draw, nats, state="finished", rate=0.1, **columns):
    return {
        "arm": "lstm",
        "phase": "trial",
        "repeat": 0,
        "index": number,
        "draw": draw,
        "state": state,
        "objective": nats,
        "params": {"learning_rate": rate, "hidden_size": 64},
        **columns,
    }


def curve(number, draw, *losses):
    return [
        {"arm": "lstm", "phase": "trial", "repeat": 0, "index": number, "draw": draw}
        | {"update": 50 * (i + 1), "validation/loss": nats, "train/loss": 9.0}
        for i, nats in enumerate(losses)
    ]


def of(rows, curves=(), num_seeds=3, **arguments):
    planned = study("lstm", "gru", tune=search_of(4, seeds=num_seeds))
    runs = frames.with_columns(pd.DataFrame(rows), frames.RUN_COLUMNS)
    return tried(planned, runs, pd.DataFrame(list(curves)), "lstm", **arguments)


def test_a_trial_is_the_mean_of_its_seeds():
    rows = [run(1, draw, nats, rate=0.2) for draw, nats in ((2, 1.3), (0, 1.1), (1, 1.2))]
    rows += [run(0, draw, 1.5) for draw in range(3)]
    assert of(rows) == [
        TriedSetting(0, {"learning_rate": 0.1}, 1.5, (1.5, 1.5, 1.5)),
        TriedSetting(1, {"learning_rate": 0.2}, pytest.approx(1.2), (1.1, 1.2, 1.3)),
    ]


def test_a_lost_seed_counts_with_a_guess():
    rows = [run(0, 0, 1.5), run(0, 1, GUESS, "diverged"), run(0, 2, GUESS, not_learned=True)]
    rows += [run(1, draw, GUESS, "diverged") for draw in range(3)]
    first, second = of(rows)
    assert first.end == "finished" and first.num_lost == 2
    assert first.nats == pytest.approx((1.5 + 2 * GUESS) / 3)
    assert second.end == "diverged" and second.num_lost == 3


@pytest.mark.parametrize("state", ["running", "failed", "killed"])
def test_a_trial_without_all_of_its_seeds_is_no_result(state):
    rows = [run(0, 0, 1.5), run(0, 1, 1.4), run(0, 2, np.nan, state), run(1, 0, 1.0)]
    assert of(rows) == []


def test_none_is_a_value_and_other_phases_repeats_and_arms_are_left_out():
    rows = [run(0, 0, 1.5), run(0, 0, 1.4, phase="finalist"), run(0, 0, 1.3, repeat=1)]
    rows += [run(1, 0, 1.2, arm="gru"), run(2, 0, 1.1, params={})]
    found = of(rows, num_seeds=1)
    assert [(each.number, each.nats, each.values["learning_rate"]) for each in found] == [
        (0, 1.5, 0.1),
        (2, 1.1, None),
    ]
    assert [each.nats for each in of(rows, num_seeds=1, repeat=1)] == [1.3]


def test_a_pruned_trial_leads_from_the_best_at_the_same_evaluation():
    """The best stood at 2.0 where the pruned one stood at 2.3, and the second best at 2.5."""
    rows = [run(0, draw, nats) for draw, nats in enumerate((1.4, 1.6))]
    rows += [run(1, draw, 1.7) for draw in range(2)]
    rows += [run(2, draw, nats, "pruned") for draw, nats in enumerate((2.2, 2.4))]
    curves = curve(0, 0, 3.0, 1.9, 1.4) + curve(0, 1, 3.0, 2.1, 1.6)
    curves += [row for draw in (0, 1) for row in curve(1, draw, 2.9, 2.5, 1.7)]
    curves += curve(2, 0, 3.0, 2.2) + curve(2, 1, 3.0, 2.4)
    *_, pruned = of(rows, curves, num_seeds=2)
    assert (pruned.end, pruned.seed_nats, pruned.nats) == ("pruned", (), pytest.approx(2.3))
    assert pruned.lead == pytest.approx(0.3)
    assert [each.lead for each in of(rows, curves, num_seeds=2)][:2] == [None, None]


def test_a_seed_that_diverged_before_counts_with_a_guess_in_the_lead():
    rows = [run(0, 0, 1.4), run(0, 1, GUESS, "diverged")]
    rows += [run(1, 0, 2.2, "pruned"), run(1, 1, GUESS, "diverged")]
    curves = curve(0, 0, 3.0, 2.0, 1.4) + curve(0, 1, 3.0) + curve(1, 0, 3.0, 2.2)
    pruned = of(rows, curves, num_seeds=2)[1]
    assert (pruned.end, pruned.num_lost) == ("pruned", 1)
    assert pruned.lead == pytest.approx((2.2 - 2.0) / 2)


def test_a_lead_that_is_not_known():
    rows = [run(0, 0, 1.4), run(1, 0, 2.2, "pruned")]
    assert of(rows, num_seeds=1)[1].lead is None  # no curves
    short = curve(0, 0, 3.0) + curve(1, 0, 3.0, 2.2)
    assert of(rows, short, num_seeds=1)[1].lead is None  # the best has none at this evaluation
    assert of(rows[1:], short, num_seeds=1)[0].lead is None  # nothing finished


def test_a_loss_that_is_not_finite_is_worse_than_any():
    rows = [run(0, 0, 1.4), run(1, 0, np.nan, "pruned")]
    pruned = of(rows, curve(0, 0, 3.0, 1.4) + curve(1, 0, 3.0, math.inf), num_seeds=1)[1]
    assert pruned.nats == math.inf and pruned.lead == math.inf


def test_without_a_search_nothing_was_tried():
    planned = study("lstm", "gru")
    assert tried(planned, pd.DataFrame(), pd.DataFrame(), "lstm") == []
