"""Runs that searches lose at shared settings, held to SciPy's exact binomial test."""

from types import SimpleNamespace

import planted
import pytest
from scipy import stats

from harness.report.lost_runs import lost_runs
from harness.study import Choices, Range
from harness.tuning.tried import TriedSetting

TUNE = SimpleNamespace(
    space={"learning_rate": Range(0.01, 1.0, log=True)}, num_trials=8, sampler="sobol"
)


def settings(losses, *, pruned=()):
    """Returns a trial of three seeds for every number of seeds that it lost."""
    return [
        TriedSetting(
            number=number,
            values={"learning_rate": 0.1},
            nats=2.0,
            seed_nats=() if number in pruned else (2.0, 2.0, 2.0),
            end="pruned" if number in pruned else "diverged" if lost == 3 else "finished",
            num_lost=lost,
        )
        for number, lost in enumerate(losses)
    ]


def test_settings_are_what_is_tested_since_seeds_of_one_are_not_independent():
    tried = {
        "lstm": [settings([0, 0, 1, 0, 0, 0, 0, 0])],
        "bare": [settings([3, 2, 1, 1, 3, 3, 3, 2])],
        "gru": [settings([0, 0, 0, 0, 0, 0, 0, 3])],
        "other": [settings([3] * 8)],
    }
    found = lost_runs(TUNE, tried, "lstm", ["other"])
    bare, gru = found["bare"], found["gru"]
    assert (bare.num_settings, bare.num_runs, bare.num_arm, bare.num_baseline) == (8, 24, 18, 1)
    assert (bare.num_more, bare.num_fewer) == (7, 0)
    assert bare.p == pytest.approx(stats.binomtest(0, 7, 0.5).pvalue)
    assert bare.adjusted_p == pytest.approx(3 * bare.p)  # all arms are in the family
    assert (gru.num_more, gru.num_fewer, gru.p) == (1, 1, 1.0)
    assert found["other"].p is None


def test_trials_that_came_later_or_were_ended_early_do_not_count():
    """Which those are hangs on how the arm does."""
    tried = {
        "lstm": [settings([0] * 12, pruned=[2])],
        "bare": [settings([3] * 12, pruned=[3])],
    }
    assert lost_runs(TUNE, tried, "lstm", [])["bare"].num_settings == 6
    grid = SimpleNamespace(
        space={"learning_rate": Choices((0.1, 0.2)), "clip_norm": Choices((None, 1.0))},
        num_trials=12,
        sampler="grid",
    )
    assert lost_runs(grid, tried, "lstm", [])["bare"].num_settings == 10


def test_settings_of_all_repeats_count():
    tried = {"lstm": [settings([0] * 8)] * 2, "bare": [settings([1] * 8), settings([0] * 8)]}
    found = lost_runs(TUNE, tried, "lstm", [])["bare"]
    assert (found.num_settings, found.num_more, found.num_fewer) == (16, 8, 0)


def test_where_nothing_was_lost_there_is_nothing_to_tell():
    tried = {"lstm": [settings([0] * 8)], "bare": [settings([0] * 8)]}
    assert lost_runs(TUNE, tried, "lstm", []) == {}


def searched(num_lost):
    """Returns a report of two arms of whose eight trials gru loses so many."""
    rates = [1.9, 1.7, 1.5, 1.42, 1.4, 1.42, 1.6, 1.8]
    rows = planted.trial_rows("lstm", rates) + planted.pair(0.0, 0.02)
    for number, row in enumerate(planted.trial_rows("gru", rates)):
        is_lost = number < num_lost
        rows.append({**row, "objective": 3.4, "not_learned": True} if is_lost else row)
    tune = planted.search_of(8, sampler="sobol", at_most=8)
    return planted.build(planted.study("lstm", "gru", version=2, tune=tune), rows)


def test_answer_and_sentence_say_it_where_it_is_significant():
    built = searched(7)
    assert "; more runs were lost in the search of gru" in built.answer
    (sentence,) = built.sentences
    assert (
        "At the 8 settings that both tried with the same seeds, 7 of its 8 runs diverged or learned"
        " nothing, and 0 of lstm's: more at 7 settings, fewer at 0 (sign test, Holm-adjusted p ="
        " 0.016)." in sentence
    )
    assert "| gru | 7 of 8 | 0 of 8 | 7 of 8 | 0 of 8 | 0.016 |" in built.markdown()
    assert built.table["p_holm_lost_runs"].tolist()[1:] == [pytest.approx(2 * 0.5**7)]


def test_a_few_lost_runs_are_in_the_table_alone():
    built = searched(3)
    assert "| gru | 3 of 8 | 0 of 8 | 3 of 8 | 0 of 8 | 0.25 |" in built.markdown()
    assert "were lost" not in built.answer and "settings that both tried" not in built.sentences[0]
    assert "settings that all arms tried" not in searched(0).markdown()
