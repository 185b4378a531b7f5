"""What a report tells of the searches, on planted trials: sentences to the letter, tables cell by
cell, figures.
"""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from harness.report import expected_best, hyperparameters, tuning_figures
from harness.report.searches import searches
from harness.statistics import inference
from harness.study import Choices, Range, Tune

RATE = {"learning_rate": Range(0.001, 1.0, log=True)}


def study(*names, space=None, sampler="tpe", baseline=0, version=1):
    arms = tuple(
        SimpleNamespace(name=name, is_baseline=i == baseline) for i, name in enumerate(names)
    )
    tune = Tune(
        space=space or RATE, trials=8, batch=4, sampler=sampler, pruner="median", search_seed=0
    )
    measure = SimpleNamespace(objective="validation/perplexity", margin=0.01)
    return SimpleNamespace(
        arms=arms, baseline=arms[baseline], tune=tune, measure=measure, version=version
    )


def trials(arm, *ends, field="learning_rate", repeat=0):
    """Rows of (value, perplexity) pairs, finished, or of (value, perplexity, state)."""
    return [
        {
            **{
                "arm": arm,
                "phase": "trial",
                "repeat": repeat,
                "index": i,
                "objective": math.log(end[1]),
                "not_learned": None,
            },
            **{"state": end[2] if len(end) > 2 else "finished", "params": {field: end[0]}},
        }
        for i, end in enumerate(ends)
    ]


def frame(*rows):
    return pd.DataFrame([row for part in rows for row in part])


LSTM = trials(
    "lstm", (0.002, 8.0), (0.004, 4.19), (0.006, 4.0), (0.0084, 4.199), (0.5, 30.0, "diverged")
)
GRU = trials("gru", (0.1, 5.0), (0.01, 3.0, "pruned"), (0.9, 9.0))
NONE = trials("rnn", (0.3, 27.0, "diverged"), (0.3, 9.0, "pruned"), (0.3, 9.0, "failed"))


def test_sentence_of_a_logarithmic_range():
    assert hyperparameters.sensitivity(study("lstm", "gru", "rnn"), frame(LSTM, GRU, NONE)) == [
        "learning_rate, searched from 0.001 to 1 (a factor of 1,000): the finished trials within 5"
        " % of their arm's"
        " best validation perplexity are 3 of lstm's 4, within a factor of 2.1: 0.004 to 0.0084"
        " (nearest worse trials:"
        " 0.002 below, 0.5 above); only one of gru's 2, at 0.1 (nearest worse trials: none below,"
        " 0.9 above); none of"
        " rnn's, of which none finished. This describes the trials that the sampler tpe chose, and"
        " is not a test."
    ]


def test_points_that_all_arms_share_are_no_samplers_choice():
    rows = frame(trials("lstm", (0.1, 4.0), (0.2, 4.5)))
    (line,) = hyperparameters.sensitivity(study("lstm", version=2), rows)
    assert line.endswith("This describes the trials that were made, and is not a test.")


def test_five_percent_belong_to_what_is_near():
    near = searches(
        study("lstm"), frame(trials("lstm", (0.1, 4.0), (0.2, 4.0 * 1.0499), (0.3, 4.0 * 1.0501)))
    )[0].near
    assert [params["learning_rate"] for params in near["params"]] == [0.1, 0.2]


def test_sentences_of_a_range_and_of_choices():
    space = {"dropout": Range(0.0, 0.5), "clip_norm": Choices((None, 0.25, 1.0))}
    rows = trials("lstm", (0.1, 4.0), (0.3, 4.1), (0.5, 9.0), field="dropout")
    for row, clip_norm in zip(rows, (0.25, None, 1.0), strict=True):
        row["params"] |= (
            {} if clip_norm is None else {"clip_norm": clip_norm}
        )  # an export leaves out what is none
    first, second = hyperparameters.sensitivity(
        study("lstm", space=space, sampler="random"), frame(rows)
    )
    assert first.startswith("dropout, searched from 0 to 0.5: ")
    assert "2 of lstm's 3, from 0.1 to 0.3 (nearest worse trials: none below, 0.5 above)." in first
    assert (
        "clip_norm, searched among none, 0.25 and 1: " in second
        and "2 of lstm's 3, at none and 0.25." in second
    )
    assert second.endswith(
        "This describes the trials that the sampler random chose, in which the other tuned fields"
        " vary too, and is not"
        " a test."
    )


NAMES = ("a", "b", "c", "d", "e")
SPREADS = {"a": 2.0, "b": 1.2, "c": 7.9, "d": 3.0, "e": 1.0}


def many():
    return frame(*(trials(n, (0.01, 4.0), (0.01 * SPREADS[n], 4.1)) for n in NAMES))


def test_many_arms_get_a_table_and_the_sentence_tells_the_ends():
    found = hyperparameters.sensitivity(study(*NAMES), many())[0]
    assert "are 2 of a's 2, within a factor of 2.0: " in found
    assert "; the narrowest of the others, 2 of e's 2, at 0.01 " in found
    assert "; the widest, 2 of c's 2, within a factor of 7.9: 0.01 to 0.079 " in found
    assert "b's" not in found and "d's" not in found
    table = hyperparameters.sensitivity_section(study(*NAMES), many())
    assert table.header == (
        "Arm",
        "Best validation perplexity",
        "Finished trials within 5 %",
        "learning_rate",
    )
    beyond = "(nearest worse trials: none below, none above)"
    assert table.rows[1] == ("b", "4.000", "2 of 2", f"factor of 1.20: 0.01 to 0.012 {beyond}")
    assert table.rows[4] == ("e", "4.000", "2 of 2", f"0.01 {beyond}")
    assert hyperparameters.sensitivity_section(study("lstm", "gru"), frame(LSTM, GRU)) is None


def test_what_tuning_bought():
    table = hyperparameters.bought(study("lstm", "gru", "rnn"), frame(LSTM, GRU, NONE))
    assert (table.title, table.note) == (
        "What tuning bought: validation perplexity of the trials",
        "",
    )
    assert table.rows == [
        ("lstm", "4 finished, 1 diverged", "8.000", "4.194", "4.000", "0.500"),
        ("gru", "2 finished, 1 pruned", "5.000", "6.708", "5.000", "1.000"),
        ("rnn", "1 diverged, 1 pruned, 1 failed", "diverged", "none", "none", ""),
    ]


def test_a_trial_that_learned_nothing_is_not_counted_among_the_finished():
    rows = trials("lstm", (0.1, 9.0), (0.2, 4.0), (0.9, 28.0))
    rows[2]["not_learned"] = True
    table = hyperparameters.bought(study("lstm"), frame(rows))
    ended = "2 finished, 1 not learned"
    assert table.rows == [("lstm", ended, "9.000", "6.000", "4.000", "0.444")]


@pytest.mark.parametrize("later", [4.0, 28.0])
def test_a_first_trial_that_learned_nothing_has_gained_nothing_to_measure_from(later):
    rows = trials("lstm", (0.1, 28.0), (0.2, later))
    rows[0]["not_learned"], rows[1]["not_learned"] = True, later == 28.0
    (row,) = hyperparameters.bought(study("lstm"), frame(rows)).rows
    best = "none" if later == 28.0 else "4.000"
    assert row[2:] == ("not learned", best, best, "")


def test_what_tuning_bought_is_a_mean_over_repeats():
    first, second = (
        trials("lstm", (0.1, 9.0), (0.2, 4.0)),
        trials("lstm", (0.1, 4.0), (0.2, 1.0), repeat=1),
    )
    third = trials("lstm", (0.1, 27.0, "diverged"), (0.2, 2.0), repeat=2)
    table = hyperparameters.bought(study("lstm"), frame(first, second))
    assert table.rows[0][2:] == ("6.000", "4.000", "2.000", "0.333")
    assert "means over the repeats" in table.note
    table = hyperparameters.bought(study("lstm"), frame(first, second, third))
    assert table.rows[0][2:] == ("6.000 (2 of 3 finished)", "4.000", "2.000", "0.333")


def test_importances_in_percent():
    table = hyperparameters.importance_section(
        {"lstm": {"learning_rate": 0.873, "dropout": 0.127}, "gru": {}}
    )
    assert table.header == ("Arm", "learning_rate", "dropout")
    assert table.rows == [("lstm", "87 %", "13 %"), ("gru", "too few trials", "too few trials")]
    assert hyperparameters.importance_section({"lstm": {}, "gru": {}}) is None


def test_nothing_tuned_and_nothing_ended_say_nothing():
    untuned = SimpleNamespace(**{**vars(study("lstm")), "tune": None})
    empty = frame(LSTM).iloc[:0]
    for asked, rows in ((untuned, frame(LSTM)), (study("lstm"), empty)):
        assert hyperparameters.sensitivity(asked, rows) == []
        assert (
            hyperparameters.sensitivity_section(asked, rows) is None
            and hyperparameters.bought(asked, rows) is None
        )
        assert (
            tuning_figures.trials_by_field(asked, rows) is None
            and expected_best.expected_best(asked, rows) is None
        )
    assert tuning_figures.trials_by_field(study("rnn"), frame(NONE)) is None


def texts(drawn):
    return [text.get_text() for legend in drawn.figure.legends for text in legend.get_texts()]


def marks(axes):
    """Every drawn (x, y) by marker and whether it is hollow."""
    found = {}
    for line in axes.get_lines():
        key = (line.get_marker(), line.get_markerfacecolor() == "none", line.get_markersize())
        found.setdefault(key, []).extend(
            zip(line.get_xdata(), np.round(line.get_ydata(), 3), strict=True)
        )
    return found


def test_slices_of_few_arms_draw_every_trial():
    drawn = tuning_figures.trials_by_field(study("lstm", "gru", "rnn"), frame(LSTM, GRU, NONE))
    assert texts(drawn)[:3] == ["lstm", "gru", "rnn"]
    assert texts(drawn)[-1] == "2 diverged"
    axes = drawn.figure.axes[0]
    found = marks(axes)
    assert axes.get_xscale() == "log" and axes.get_xlim()[0] < 0.001 and axes.get_xlim()[1] > 1.0
    assert found["D", False, 5.0] == [(0.002, 8.0), (0.004, 4.19), (0.006, 4.0), (0.0084, 4.199)]
    assert found["o", False, 5.0] == [(0.1, 5.0), (0.9, 9.0)] and found["o", True, 5.0] == [
        (0.01, 3.0)
    ]
    assert found["o", True, 11.0] == [(0.006, 4.0), (0.1, 5.0)]  # the rings of the best
    assert {x for x, _ in found["x", False, 5.0]} == {0.5, 0.3}
    assert all(y > 9.0 for _, y in found["x", False, 5.0])


def test_of_thousands_of_trials_a_figure_draws_the_best_and_every_kth():
    ends = [(0.01 + i / 2_000, 4.0 + abs(i - 700) / 1_000) for i in range(1_200)]
    rows = frame(trials("lstm", *ends), trials("gru", (0.1, 5.0), (0.9, 9.0)))
    drawn = tuning_figures.trials_by_field(study("lstm", "gru"), rows)
    found = marks(drawn.figure.axes[0])
    assert len(found["D", False, 5.0]) == 400  # of lstm every third
    assert found["o", True, 11.0] == [(0.36, 4.0), (0.1, 5.0)]
    assert drawn.label.endswith(
        "of an arm with more than 500 every k-th is drawn, from the best on"
    )
    assert "k-th" not in tuning_figures.trials_by_field(study("gru"), rows[-2:]).label


def test_a_trial_far_above_does_not_press_the_others_together():
    rows = trials("lstm", (0.1, 4.0), (0.2, 5.0), (0.3, 400.0), (0.4, math.exp(300.0), "pruned"))
    drawn = tuning_figures.trials_by_field(study("lstm"), frame(rows))
    assert drawn.figure.axes[0].get_ylim()[1] < 20.0
    assert texts(drawn)[-1] == "2 above the axis"


def test_slices_of_many_arms_have_a_row_each():
    names = [f"cell-{i}" for i in range(20)]
    space = {**RATE, "clip_norm": Choices((0.25, 1.0))}
    rows = [
        trials(
            n, (0.01, 9.0), (0.1, 4.0), (0.12, 4.1), (0.9, 9.0, "diverged"), (0.5, 9.0, "pruned")
        )
        for n in names
    ]
    for row in (row for part in rows for row in part):
        row["params"]["clip_norm"] = 1.0 if row["index"] else 0.25
    drawn = tuning_figures.trials_by_field(study(*names, space=space), frame(*rows))
    rates, clips = drawn.figure.axes
    assert [label.get_text() for label in rates.get_yticklabels()] == names
    found = marks(rates)
    assert found["D", False, 5.0] == [(0.1, y) for y in range(20)]
    assert found["x", False, 5.0] == [(0.9, y) for y in range(20)]
    assert found["o", True, 4.0] == [(0.5, y) for y in range(20)]
    best, near = (marks(clips)[key][0][0] for key in (("D", False, 5.0), ("x", False, 5.0)))
    assert 0.5 < best < near < 1.5  # side by side, the best first
    drawn.figure.draw_without_rendering()  # a layout that does not fit warns: an error here


@pytest.mark.parametrize("num_arms", [2, 9])
def test_expected_best_of_random_search(num_arms):
    names = [f"cell-{i}" for i in range(num_arms)]
    ends = [(0.1, 9.0), (0.2, 4.0), (0.3, 4.0, "failed"), (0.4, 1e6, "pruned")]
    rows = frame(*(trials(name, *ends) for name in names))
    drawn = expected_best.expected_best(study(*names, sampler="random"), rows)
    line = drawn.figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [
        1,
        2,
        3,
    ]  # the failed one is no trial; the pruned one is as bad as the worst
    nine, four = math.log(9.0), math.log(4.0)
    assert np.allclose(
        np.log(line.get_ydata()), [four + (nine - four) * (2 / 3) ** n for n in (1, 2, 3)]
    )
    assert expected_best.expected_best(study(*names), rows) is None


def test_a_line_of_thousands_of_trials_has_few_points_and_both_ends():
    losses = np.random.default_rng(0).uniform(1.0, 3.0, 1_500)
    rows = frame(trials("lstm", *((0.1, math.exp(loss)) for loss in losses)))
    drawn = expected_best.expected_best(study("lstm", sampler="random"), rows)
    counts, levels = drawn.figure.axes[0].get_lines()[0].get_data()
    exact = inference.expected_best(losses)
    assert drawn.figure.axes[0].get_xscale() == "log"
    assert list(counts[:3]) == [1, 2, 3] and counts[-1] == 1_500 and len(counts) <= 200
    assert np.allclose(np.log(levels), exact[counts - 1])


# What every value came to


def tried(arm, *ends):
    """Rows of (value, perplexity, seconds, text)."""
    return [
        {
            **row,
            "seconds": end[2],
            "tokens": 1000.0,
            "samples": [{"prefix": "the ", "text": f"the {end[3]}"}],
        }
        for row, end in zip(trials(arm, *(end[:2] for end in ends)), ends, strict=True)
    ]


def test_a_row_per_value_tried_with_running_time_and_a_sample():
    rows = frame(
        tried("lstm", (0.3, 4.0, 2.0, "cat"), (0.1, 5.0, 4.0, "x" * 90)),
        tried("gru", (0.2, 6.0, 0.5, "")),
    )
    (table,) = hyperparameters.values_tried(study("lstm", "gru"), rows)
    assert table.header == (
        *("Arm", "learning_rate", "Trials", "Perplexity (validation)"),
        *("Seconds of a run", "Tokens/s", "Sample"),
    )
    assert table.rows == [
        ("lstm", "0.1", "1", "5.000", "4.000", "250", "the " + "x" * 55 + "…"),
        ("lstm", "0.3", "1", "4.000", "2.000", "500", "the cat"),
        ("gru", "0.2", "1", "6.000", "0.500", "2,000", "the "),
    ]


def test_values_that_were_tried_more_than_once_show_their_best_and_how_others_ended():
    space = {"clip_norm": Choices((None, 1.0, 0.25))}
    ends = [(1.0, 6.0), (1.0, 5.0), (None, 4.5, "pruned"), (0.25, 9.0, "diverged")]
    rows = frame(trials("lstm", *ends, field="clip_norm"))
    (table,) = hyperparameters.values_tried(study("lstm", space=space), rows)
    assert table.header == ("Arm", "clip_norm", "Trials", "Perplexity (validation)")
    assert table.rows == [
        ("lstm", "none", "1", "pruned at 4.500"),
        ("lstm", "1", "2", "5.000"),
        ("lstm", "0.25", "1", "diverged"),
    ]


def test_of_many_values_neighbours_share_a_row_that_shows_the_best_of_them():
    ends = [(0.001 * (i + 1), 9.0 - 0.001 * i) for i in range(450)]
    rows = frame(trials("lstm", *reversed(ends)), trials("gru", (0.2, 6.0)))
    (table,) = hyperparameters.values_tried(study("lstm", "gru"), rows)
    assert table.title.endswith("; of more than 100 values neighbours share a row")
    lstm = [row for row in table.rows if row[0] == "lstm"]
    assert len(lstm) == 100 and sum(int(row[2]) for row in lstm) == 450
    assert lstm[0] == ("lstm", "0.001 to 0.005", "5", "8.996")
    assert lstm[-1] == ("lstm", "0.447 to 0.45", "4", "8.551")
    assert table.rows[-1] == ("gru", "0.2", "1", "6.000")
    (table,) = hyperparameters.values_tried(study("lstm"), frame(trials("lstm", *ends[:100])))
    assert len(table.rows) == 100 and table.title.endswith("not a test")


def test_every_tuned_field_has_a_table_of_its_own():
    space = {"dropout": Range(0.0, 0.5), "clip_norm": Choices((0.25, 1.0))}
    rows = trials("lstm", (0.3, 4.0), (0.1, 5.0), field="dropout")
    for row, clip_norm in zip(rows, (1.0, 0.25), strict=True):
        row["params"]["clip_norm"] = clip_norm
    tables = hyperparameters.values_tried(study("lstm", space=space), frame(rows))
    assert [[row[1] for row in table.rows] for table in tables] == [["0.1", "0.3"], ["0.25", "1"]]


def test_a_range_that_grew_is_told_and_drawn_as_wide_as_it_became():
    space = {"learning_rate": Range(0.01, 0.1, log=True, widen=(0.001, 1.0))}
    rows = frame(trials("lstm", (0.02, 5.0), (0.1, 4.0), (0.5, 3.0)))
    planned = study("lstm", space=space)
    assert hyperparameters.sensitivity(planned, rows)[0].startswith(
        "learning_rate, searched from 0.01 to 1 (a factor of 100): "
    )
    figure = tuning_figures.trials_by_field(planned, rows).figure
    low, high = figure.axes[0].get_xlim()
    assert low < 0.02 and high > 0.5
