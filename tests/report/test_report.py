"""The report on planted frames: its remarks, its conditions, and every way in which data may be
short.
"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import (
    BASE,
    UNIT,
    across,
    build,
    full,
    pair,
    run_rows,
    search_of,
    study,
    timing_rows,
    trial_rows,
    two_conditions,
    under,
)

from harness.statistics import inference
from harness.study import Arm, Measure, Replicate


def test_an_arm_timed_under_two_conditions_compares_with_none():
    mixed = timing_rows("gru", 0.1, rounds=10) + [
        {**row, "round": row["round"] + 10, "threads": 1}
        for row in timing_rows("gru", 0.1, rounds=10)
    ]
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + mixed)
    assert built.sentences[0].endswith("does not compare: threads differs (2 and 1 and 2 in gru).")
    assert "| threads differs (2 and 1 and 2 in gru) |" in built.markdown()


def test_training_perplexity_is_named_as_such():
    rows = [{**row, "objective": row["test/loss"], "test/loss": np.nan} for row in pair(0.03, 0.02)]
    built = build(study("lstm", "gru", split="none"), rows)
    assert built.warnings[0] == "train/perplexity: running training perplexity, no held-out number."
    assert ". Its running training perplexity is 1.030 times that of lstm" in built.sentences[0]
    assert built.answer == "Compared with lstm in running training perplexity, gru is worse."
    assert "| Perplexity (training, running), 95 % |" in built.markdown()


def test_arms_of_different_text_do_not_compare():
    planned = study("lstm", "gru", "words")
    words = replace(planned.arms[2].settings, token="word")
    planned = replace(planned, arms=(*planned.arms[:2], Arm("words", words, False)))
    built = build(planned, pair(0.03, 0.02) + run_rows("words", BASE + 3))
    assert "words and lstm do not compare: token differs (char and word)." in built.sentences[1]
    assert built.table["verdict"].tolist() == ["baseline", "worse", "not comparable"]
    assert (
        built.results[1].decision.adjusted_p == built.results[1].decision.p
    )  # it is not one of the family
    assert built.table["bits_per_character"].notna().tolist() == [True, True, False]
    assert built.answer.endswith("gru is worse, and words is not comparable.")


def test_pairs_are_by_seed():
    """Five seeds in common, in another order and under other indices."""
    rows = run_rows("lstm", BASE) + run_rows("gru", BASE[5:][::-1] + 0.03)
    for row, seed in zip(rows[10:], range(1009, 1004, -1), strict=True):
        row["seed"] = str(seed)
    result = build(study("lstm", "gru"), rows).results[1]
    np.testing.assert_allclose(result.differences, np.full(5, 0.03))


def test_failed_and_blank_replicates_enter_no_figure():
    rows = run_rows("lstm", BASE) + run_rows(
        "gru", BASE + 0.03, states=["failed"] * 2 + ["finished"] * 8
    )
    rows[12]["test/loss"] = np.nan
    built = build(study("lstm", "gru"), rows)
    assert built.results[1].decision.num_pairs == 7
    assert built.warnings == [
        "gru: 2 of 10 replicates failed and enter no figure.",
        "gru: 1 finished replicates have no test/loss and enter no figure.",
    ]
    assert "7 of 10, 2 failed" in built.markdown()


def test_warnings():
    rows = pair(0.03, 0.02)
    rows[-1]["params"] = {"learning_rate": 0.6}
    timings = timing_rows("lstm", 0.1) + timing_rows("gru", 0.1, busy=True)
    built = build(
        study("lstm", "gru"),
        rows,
        timings,
        warnings=["gru: learning_rate at the edge of its range."],
    )
    assert built.warnings == [
        "gru: learning_rate at the edge of its range.",
        "gru: its replicates were trained at different tuned values.",
        "the machine was busy in 20 of 40 timings: 20 of gru's.",
    ]
    assert "; in training speed, measured on a busy machine, gru " in built.answer
    assert ", measured on a busy machine." in built.sentences[-1]


def test_a_speed_is_qualified_by_nothing_where_half_of_its_rounds_were_quiet():
    rows = timing_rows("gru", 0.1)
    rows = [row | {"busy": row["round"] < 10} for row in rows]
    built = build(study("lstm", "gru"), pair(0.03, 0.02), timing_rows("lstm", 0.1) + rows)
    assert "; in training speed, gru " in built.answer
    assert "on a busy machine" not in "".join(built.sentences)


def test_tests_that_disagree_are_a_warning():
    planned = study("lstm", "gru", replicate=Replicate(4))
    differences = np.array([0.030, 0.031, 0.029, 0.030])
    built = build(planned, run_rows("lstm", BASE[:4]) + run_rows("gru", BASE[:4] + differences))
    assert built.table.loc[1, "verdict"] == "worse"
    assert re.fullmatch(
        r"gru: the tests disagree at 0\.05: Student's Holm-adjusted p is \S+, the sign-flip test's"
        r" 0\.125 \(4 pairs"
        r" cannot go below 0\.125 before adjustment\)\.",
        built.warnings[0],
    )


def test_incomplete_studies_say_what_is_missing():
    planned = study("lstm", "gru", tune=search_of(3), measure=Measure())
    rows = run_rows("lstm", BASE) + run_rows(
        "gru", BASE + 0.1, states=["finished"] * 8 + ["running", "pruned"]
    )
    built = build(planned, rows + trial_rows("lstm", [1.5, 1.4, 1.6]), timing_rows("lstm", 0.1))
    assert built.missing == [
        "gru: 0 of 3 trials ended.",
        "gru: replicates are missing for the seeds 1008, 1009.",
        "gru: its runtime has not been measured.",
    ]
    assert built.answer == (
        "The study is incomplete. So far, compared with lstm in test perplexity, gru is worse."
    )
    assert built.table["tokens"].tolist() == [20_000_015, 20_000_000]
    for text in (built.markdown(), built.note(), built.html()):
        assert "replicates are missing for the seeds 1008, 1009." in text


def test_missing_baseline():
    built = build(study("lstm", "gru"), run_rows("gru", BASE))
    assert built.sentences == ["gru has no result beside lstm yet: no seed has ended in both."]
    assert built.answer.endswith(" compared with lstm in test perplexity, gru has no result yet.")
    assert "| lstm | baseline | none |" in built.markdown()


def test_an_arm_alone():
    assert (
        build(study("lstm"), run_rows("lstm", BASE)).answer
        == "There is nothing to compare with lstm."
    )


def test_each_condition_has_its_own_verdict():
    built = two_conditions()
    assert built.answer == (
        "Compared with lstm in test perplexity: under time-machine, gru is worse; in training"
        " speed, gru is faster. Under docs, gru is better; in training speed, gru is faster."
    )
    assert built.sentences[0].startswith(
        "gru is worse than lstm on time-machine, at the settings given. "
    )
    assert built.sentences[1].startswith(
        "gru is better than lstm under docs (on python-docs), at the settings given. "
    )
    assert [part.title for part in built.conditions] == ["time-machine", "docs"]
    assert built.table[["condition", "arm", "verdict"]].to_numpy().tolist() == [
        ["time-machine", "lstm", "baseline"],
        ["time-machine", "gru", "worse"],
        ["docs", "lstm", "baseline"],
        ["docs", "gru", "better"],
    ]
    assert (
        "| gru | worse 1.030 (1.016 to 1.045) | better 0.970 (0.957 to 0.984) |" in built.markdown()
    )
    assert "Over all" not in built.markdown()  # two are too few to speak of together


def test_warnings_stand_beside_their_condition():
    built = two_conditions()
    assert built.remarks == ["the machine slept."]
    assert [part.warnings for part in built.conditions] == [[], ["gru: learning_rate at the edge."]]
    assert built.warnings == ["the machine slept.", "docs: gru: learning_rate at the edge."]


def test_conditions_that_agree_are_one_sentence():
    planned = across(study("lstm", "gru"), a="time-machine", b="python-docs")
    built = build(planned, under("a", pair(0.03, 0.02)) + under("b", pair(0.04, 0.02)))
    assert built.answer == (
        "Compared with lstm in test perplexity, under each of 2 conditions, gru is worse."
    )


def test_a_condition_without_runs_is_missing():
    planned = across(study("lstm", "gru"), a="time-machine", b="python-docs")
    built = build(planned, under("a", pair(0.03, 0.02)))
    assert built.answer == (
        "The study is incomplete. So far, compared with lstm in test perplexity: under a, gru is"
        " worse. Under b, no replicate has ended yet."
    )
    assert built.missing[0].startswith("b: lstm: replicates are missing for the seeds 1000, 1001")
    for text in (built.markdown(), built.html(), built.csv(), built.latex(), built.note()):
        assert "gru" in text


def test_five_conditions_have_a_figure_together():
    names, texts = (
        "abcde",
        ("time-machine", "time-machine-2019", "time-machine-2022", "lyrics-2019", "python-docs"),
    )
    planned = across(study("lstm", "gru"), **dict(zip(names, texts, strict=True)))
    rows = [row for name in names for row in under(name, pair(-0.03, 0.001))]
    (line,) = re.findall(
        r"### Over all 5 conditions\n\n.*\n.*\n(.*)\n", build(planned, rows).markdown()
    )
    assert (
        "Percentile intervals of a bootstrap that draws seeds within every condition: they say"
        " nothing of other texts." in build(planned, rows).markdown()
    )
    cells = line.strip("| ").split(" | ")
    assert cells[0] == "gru" and cells[2].startswith("0.9705 (0.970")
    chance = np.mean((BASE - 0.03 + 0.001 * UNIT)[:, None] < BASE)
    assert float(cells[1].split()[0]) == pytest.approx(chance, abs=0.005)
    recipes = across(
        study("lstm", "gru"), **dict.fromkeys(names, "time-machine")
    )  # five of them are not five texts
    assert "Over all" not in build(recipes, rows).markdown()
    without = [row for row in rows if (row["condition"], row["arm"]) != ("e", "gru")]
    assert "Over all" not in build(planned, without).markdown()


def test_numbers_of_the_table():
    table, losses = full().table, BASE + 0.03 + 0.02 * UNIT
    interval, paired = (
        inference.student_interval(losses),
        inference.student_interval(0.03 + 0.02 * UNIT),
    )
    row = table.iloc[1]
    assert row["perplexity"] == pytest.approx(np.exp(losses.mean()))
    assert (row["perplexity_low"], row["perplexity_high"]) == pytest.approx(
        (np.exp(interval.low), np.exp(interval.high))
    )
    assert row["bits_per_character"] == pytest.approx(losses.mean() / np.log(2))
    assert row["bits_difference"] == pytest.approx(0.03 / np.log(2))
    assert (row["bits_difference_low"], row["bits_difference_high"]) == pytest.approx(
        (paired.low / np.log(2), paired.high / np.log(2))
    )
    rate = 1120 / 0.1 * 1.1
    assert row["train_pack_1_tokens_per_second"] == pytest.approx(rate, rel=0.02)
    assert row["training_seconds"] == pytest.approx(2_000_000 / rate, rel=0.02)
    assert row[["hidden_size", "num_parameters", "flops_per_token"]].tolist() == [
        256,
        300_000,
        600_000,
    ]


def test_an_older_export_has_no_conditions_and_no_repeats():
    rows = pd.DataFrame(pair(0.03, 0.02))
    assert not {"condition", "repeat", "hidden_size", "git_commit"} & set(rows)
    assert build(study("lstm", "gru"), rows.to_dict("records")).table["verdict"].tolist() == [
        "baseline",
        "worse",
    ]
