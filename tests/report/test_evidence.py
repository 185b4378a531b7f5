"""What searches do to a verdict: every form of the report of planted studies of version 2."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from planted import (
    BASE,
    across,
    build,
    curve_rows,
    measuring,
    run_rows,
    search_of,
    study,
    timing_rows,
    trial_rows,
    under,
)
from planted_searches import FALLING, U_SHAPE, of, pair, printed, searched

from harness.statistics import decisions
from harness.study import Choices, Range, Replicate

SMALL = measuring(margin=0.001)
OPEN_OUTLOOK = "A wider range, or more trials (at_most), would tell"


def test_an_open_search_is_not_comparable_in_every_form():
    built = of(lstm=FALLING)
    assert built.sentences == [
        "gru is not comparable with lstm on this text, at the settings that one search found:"
        " lstm's best learning rate, 1, is the largest that it tried. Its test perplexity is 1.350"
        " times that of lstm (95 % interval 1.331 to 1.369, unadjusted; 10 paired seeds). A"
        " wider range, or more trials (at_most), would tell."
    ]
    assert built.answer == "Compared with lstm in test perplexity, gru is not comparable."
    assert built.results[1].decision.adjusted_p is None
    (row,) = [row for row in csv.DictReader(io.StringIO(built.csv())) if row["arm"] == "gru"]
    assert row["verdict"] == "not comparable" and row["p_holm"] == ""
    for text in (built.markdown(), built.note(), built.html(), built.latex(), printed(built, True)):
        assert "not comparable" in text
        for verdict in ("is worse", "gru is better", "worse than"):
            assert verdict not in text
    reason = "lstm's best learning rate, 1, is the largest that it tried."
    assert printed(built).count(f"Not comparable: {reason}\n{OPEN_OUTLOOK}.\n") == 1
    for text in (built.markdown(), built.note(), " ".join(built.html().split())):
        assert "the largest that it tried" in text
    assert built.figures  # with a mark for it


def test_the_reasons_of_all_arms_stand_in_one_line():
    text = " ".join(printed(of(lstm=FALLING, gru=FALLING)).split())
    reasons = [
        f"{arm}'s best learning rate, 1, is the largest that it tried" for arm in ("gru", "lstm")
    ]
    assert f"Not comparable: {'; '.join(reasons)}. {OPEN_OUTLOOK}." in text
    assert text.count("Not comparable:") == 1


def test_the_open_arm_may_be_either_and_may_be_both():
    assert of(gru=FALLING).not_comparable == [
        "gru's best learning rate, 1, is the largest that it tried."
    ]
    (both,) = of(FALLING, FALLING[::-1]).not_comparable
    assert both.startswith("gru's best learning rate, 0.001, is the smallest that it tried; lstm's")
    assert of(FALLING[::-1]).not_comparable == [
        "lstm's best learning rate, 0.001, is the smallest that it tried."
    ]


def test_a_setting_at_the_end_that_is_as_good_as_the_best_leaves_the_search_open():
    nats = [1.9, 1.8, 1.7, 1.4, 1.45, 1.405]
    assert of(lstm=nats).not_comparable == [
        "lstm may be as good at the largest learning rate that it tried, 1, as at its best, 0.0631."
    ]


def test_bracketed_and_flat_searches_compare():
    flat = [1.4] * 6
    for lstm, gru in ((U_SHAPE, U_SHAPE), (flat, U_SHAPE), (flat, flat)):
        built = of(lstm, gru)
        assert not built.not_comparable and built.results[1].decision.verdict == "worse"


def test_an_end_that_is_accepted_or_natural_is_said_and_compares():
    space = {"learning_rate": Range(0.001, 1.0, log=True, edge="accept")}
    built = of(lstm=FALLING, tune=search_of(6, space=space))
    assert not built.not_comparable
    assert (
        ". At an end of what was tried: lstm's best learning rate, 1, is the largest that it tried,"
        " which the study accepts." in built.sentences[0]
    )
    space = {"dropout": Choices((0.0, 0.2, 0.4))}
    rows = pair(0.3, 0.02)
    for arm in ("lstm", "gru"):
        for row, value in zip(trial_rows(arm, [1.4, 1.5, 1.6]), (0.0, 0.2, 0.4), strict=True):
            rows.append({**row, "params": {"dropout": value}})
    planned = searched("lstm", "gru", tune=search_of(3, space=space))
    arms = tuple(replace(arm, searched=("dropout",)) for arm in planned.arms)
    built = build(replace(planned, arms=arms), rows)
    assert not built.not_comparable
    assert (
        "gru's best dropout, 0, is the smallest that it tried, where the field itself ends; lstm's"
        in built.sentences[0]
    )


def test_an_arm_of_which_no_trial_could_be_trained_is_not_comparable():
    rows = trial_rows("lstm", U_SHAPE) + trial_rows("gru", [3.4] * 6, ["diverged"] * 6)
    rows += run_rows("lstm", BASE) + run_rows("gru", BASE, states=["diverged"] * 10)
    built = build(searched("lstm", "gru"), rows)
    assert built.not_comparable == ["none of gru's trials ended better than a guess."]
    assert "gru is not comparable; more runs were lost in the search of gru." in built.answer
    assert "There are 10 paired seeds. No pair finished." in built.sentences[0]


def test_a_study_of_version_1_keeps_its_verdict():
    rows = trial_rows("lstm", FALLING) + trial_rows("gru", U_SHAPE) + pair(0.3, 0.02)
    built = build(searched("lstm", "gru", version=1), rows)
    assert built.results[1].decision.verdict == "worse" and not built.not_comparable
    assert "Spread of the search" not in built.markdown()
    assert "search's own spread" not in built.sentences[0]


def test_a_verdict_needs_more_than_the_searches_own_spread():
    """The arms' landscapes differ in place and not in depth."""
    shifted = [1.75, 1.5, 1.42, 1.4, 1.6, 1.9]
    close = of(gru=shifted, mean=0.02, measure=SMALL)
    (result,) = close.results[1:]
    spread = result.search_spread
    assert spread > 0.0 and result.decision.adjusted_p < 0.05
    if decisions.SEARCH_FACTOR * spread < 0.02:
        pytest.fail("the planted landscapes have too small a spread for this test")
    assert result.decision.verdict == "undecided"
    assert "The search's own spread is " in close.sentences[0]
    assert (
        ". More seeds should not decide it: a difference must exceed 2.5 times the search's own"
        " spread, and this one does not. More" in close.sentences[0]
    )
    far = of(gru=shifted, mean=10 * decisions.SEARCH_FACTOR * spread, measure=SMALL)
    assert far.results[1].decision.verdict == "worse"


def test_the_spread_of_the_search_stands_beside_the_interval_of_the_seeds():
    built = of(gru=[1.75, 1.5, 1.42, 1.4, 1.6, 1.9])
    decision, spread = built.results[1].decision, built.results[1].search_spread
    factor = decisions.SEARCH_FACTOR
    half = math.hypot((decision.interval.high - decision.interval.low) / 2, factor * spread)
    low, high = math.exp(0.3 - half), math.exp(0.3 + half)
    row = built.table.iloc[1]
    assert row["search_spread"] == spread
    assert row[["ratio_low_with_search", "ratio_high_with_search"]].tolist() == pytest.approx(
        [low, high]
    )
    assert f"; with it the interval is {low:.3f} to {high:.3f}." in built.sentences[0]
    assert "| Ratio (95 %) | Spread of the search | Ratio with that spread (95 %) |" in (
        built.markdown()
    )
    assert f"| {low:.3f} to {high:.3f} |" in built.markdown()
    assert f"({low:.3f}-{high:.3f})" in printed(built)
    assert "with the search" in printed(built)
    assert f"k = {factor:g}, and a verdict needs it" in built.markdown()


def test_repeats_hold_the_spread_already_and_more_than_half_of_them_have_to_be_open():
    def rows(num_open):
        found = []
        for repeat in range(5):
            lstm = FALLING if repeat < num_open else U_SHAPE
            trials = trial_rows("lstm", lstm) + trial_rows("gru", U_SHAPE)
            level = 1.4 + 0.01 * repeat
            runs = run_rows("lstm", [level, level + 0.02], objective=level)
            runs += run_rows("gru", [level + 0.3, level + 0.3 + 0.01 * level], objective=level)
            runs[1]["objective"] = runs[3]["objective"] = level + 0.02
            found += [{**row, "repeat": repeat} for row in trials + runs]
        return found

    planned = searched("lstm", "gru", tune=search_of(6, repeats=5), replicate=Replicate(2))
    two = build(planned, rows(2))
    assert two.results[1].decision.verdict == "worse" and two.results[1].decision.num_pairs == 5
    assert "% , which the repeats hold already" not in two.sentences[0]
    assert "which the repeats hold already" in two.sentences[0]
    assert two.results[1].decision.wide is None and two.results[1].search_spread is not None
    three = build(planned, rows(3))
    assert three.not_comparable == [
        "lstm's best learning rate, 1, is the largest that it tried in 3 of 5 repeats."
    ]
    assert three.results[1].decision.num_pairs == 5  # none is dropped


def test_an_open_arm_keeps_its_place_in_the_family_and_leaves_the_stages():
    planned = searched("lstm", "gru", "rnn", replicate=Replicate(10, until=0.008, at_most=60))
    rows = trial_rows("lstm", U_SHAPE) + trial_rows("gru", U_SHAPE) + pair(0.3, 0.02)
    wild = run_rows("rnn", BASE + 0.5 * np.sin(np.arange(10)))
    opened = build(planned, rows + trial_rows("rnn", FALLING) + wild)
    alone = build(replace(planned, arms=planned.arms[:2]), rows)
    gru, rnn = opened.results[1:]
    assert rnn.decision.verdict == "not comparable"
    assert gru.decision.adjusted_p == pytest.approx(2 * alone.results[1].decision.p)
    assert opened.missing == [line for line in opened.missing if "replicates are missing" in line]
    seeds = [line.count(",") for line in opened.missing]
    assert seeds[:2] == [line.count(",") for line in alone.missing]


def test_under_several_conditions_the_pooled_figure_is_not_comparable_if_one_is():
    names = ("time-machine", "time-machine-2019", "time-machine-2022", "lyrics-2019", "python-docs")
    planned = across(searched("lstm", "gru"), **dict(zip("abcde", names, strict=True)))
    rows = []
    for name in planned.conditions:
        lstm = FALLING if name == "c" else U_SHAPE
        trials = trial_rows("lstm", lstm) + trial_rows("gru", U_SHAPE)
        rows += under(name, trials + pair(0.3, 0.02))
    built = build(planned, rows)
    assert "| gru | not comparable | not comparable |" in built.markdown()
    assert built.not_comparable == [
        "c: lstm's best learning rate, 1, is the largest that it tried."
    ]
    verdicts = built.table[built.table["arm"] == "gru"]["verdict"].tolist()
    assert verdicts == ["worse", "worse", "not comparable", "worse", "worse"]


def test_an_open_arm_dominates_nobody():
    rows = trial_rows("lstm", FALLING) + trial_rows("gru", U_SHAPE) + pair(0.3, 0.02)
    timings = timing_rows("lstm", 0.1) + timing_rows("gru", 0.05)
    text = build(searched("lstm", "gru"), rows, timings).markdown()
    assert "| not placed: its search is open |" in text and "(tested)" not in text


def test_more_trials_are_missing_while_a_search_is_open_and_may_go_on():
    space = {"learning_rate": Range(0.001, 1.0, log=True, widen=(0.0001, 10.0))}
    planned = searched("lstm", "gru", tune=search_of(6, space=space, at_most=12))
    rows = trial_rows("lstm", FALLING) + trial_rows("gru", U_SHAPE) + pair(0.3, 0.02)
    built = build(planned, rows)
    assert built.missing == [f"{arm}: 6 of 10 trials ended." for arm in ("lstm", "gru")]
    more = [{**row, "index": 6 + i} for i, row in enumerate(trial_rows("lstm", [1.5]))]
    more[0]["params"] = {"learning_rate": 3.0}
    assert build(planned, rows + more).missing == [
        "lstm: 7 of 10 trials ended.",
        "gru: 6 of 10 trials ended.",
    ]
    spent = searched("lstm", "gru", tune=search_of(6, space=space, at_most=6))
    assert not build(spent, rows).missing


def test_finalists_are_missing_by_their_runs_and_are_no_trials():
    planned = searched("lstm", "gru", tune=search_of(6, finalists=2, finalist_seeds=3))
    rows = trial_rows("lstm", U_SHAPE) + trial_rows("gru", U_SHAPE) + pair(0.3, 0.02)
    row = trial_rows("lstm", U_SHAPE)[3]
    finalists = [{**row, "phase": "finalist", "draw": draw} for draw in range(3)]
    built = build(planned, rows + finalists)
    assert built.missing == [
        "lstm: 3 of 6 runs of finalists ended.",
        "gru: 0 of 6 runs of finalists ended.",
    ]
    ends = built.conditions[0].ends
    assert ends.header == (
        "Arm",
        "Trials finished",
        "Finalist runs finished",
        "Replicates finished",
    )
    assert [row[1:] for row in ends.rows] == [("6", "3", "10"), ("6", "", "10")]


def test_several_seeds_of_a_trial_are_one_trial_in_every_table():
    planned = searched("lstm", "gru", tune=search_of(6, seeds=3))
    rows = pair(0.3, 0.02)
    for arm in ("lstm", "gru"):
        for row in trial_rows(arm, U_SHAPE):
            rows += [
                {**row, "draw": draw, "objective": row["objective"] + shift, "tokens": 1120}
                for draw, shift in enumerate((-0.01, 0.0, 0.01))
            ]
    built = build(planned, rows)
    assert not built.missing
    assert [row[1] for row in built.conditions[0].ends.rows] == ["6", "6"]
    (bought,) = [s for s in built.conditions[0].tuning if s.title.startswith("What tuning bought")]
    assert bought.rows[0][1] == "6 finished"
    assert bought.rows[0][4] == f"{math.exp(1.4):.3f}"
    assert built.table["searched_updates"].tolist() == [18, 18]  # 32 streams of 35 steps
    one_less = build(planned, rows[:-1])
    assert one_less.missing == ["gru: 5 of 6 trials ended."]


def test_what_did_not_learn_is_named_and_counted():
    rows = run_rows("lstm", BASE)
    rows += run_rows("gru", np.where(np.arange(10) < 2, 3.4, BASE), not_learned=False)
    for row in rows[10:12]:
        row["not_learned"] = True
    built = build(study("lstm", "gru", version=2), rows)
    assert built.warnings == [
        "gru: 2 of 10 replicates learned nothing: they count with the loss of a guess."
    ]
    assert "| 10 of 10, 2 not learned |" in built.markdown()
    assert "| Arm | Replicates finished | Replicates not learned |" in built.markdown()
    assert "| gru | 8 | 2 |" in built.markdown()
    assert built.table["not_learned"].tolist() == [0, 2]


@pytest.mark.parametrize("pruned_at", [4.0, 2.0])
def test_an_arm_that_learned_nothing_at_any_setting_is_said_to_have(pruned_at):
    """The verdict's rule is as it was: a search that found nothing says little of another."""
    guess, has_learned = math.log(26), pruned_at < math.log(26)
    tried = trial_rows("gru", [*[guess] * 5, pruned_at], [*["finished"] * 5, "pruned"])
    rows = trial_rows("lstm", U_SHAPE) + run_rows("lstm", BASE)
    rows += [{**row, "not_learned": row["state"] == "finished" or None} for row in tried]
    rows += run_rows("gru", [guess] * 10, not_learned=True)
    built = build(searched("lstm", "gru"), rows)
    (sentence,), (lstm, gru) = built.sentences, built.results
    assert gru.learned_nothing is (not has_learned) and not lstm.learned_nothing
    assert ("It learned nothing at any setting tried." in sentence) is (not has_learned)
    assert ("; gru learned nothing at any setting tried" in built.answer) is (not has_learned)


def test_a_run_that_got_worse_again_has_a_note():
    rows = run_rows("lstm", BASE, **{"final/loss": 1.5})
    rows += run_rows("gru", BASE + 0.3)
    for row in rows:
        row["objective"] = row["validation/loss"]
    for row in rows[10:]:
        row["final/loss"] = row["objective"] + 1.4
    built = build(study("lstm", "gru"), rows)
    assert "| ended 1.4 nats above its best |" in built.markdown()
    assert built.table["nats_above_best"].iloc[1] == pytest.approx(1.4)
    quiet = [{**row, "final/loss": row["objective"] + 0.01} for row in rows]
    assert "above its best" not in build(study("lstm", "gru"), quiet).markdown()


def test_what_was_pruned_counts_as_it_stood_beside_the_best():
    """The largest rate was pruned. It was far behind, or nobody knows how far."""
    states = ["finished"] * 5 + ["pruned"]
    rows = trial_rows("gru", U_SHAPE) + trial_rows("lstm", [1.9, 1.6, 1.5, 1.45, 1.4, 2.5], states)
    rows += pair(0.3, 0.02)
    curves = [
        {**row, "phase": "trial", "index": index, "draw": 0}
        for index, level in ((4, 1.4), (5, 2.3))
        for row in curve_rows("lstm", level, num_updates=5, replicates=1)
    ]
    known = build(searched("lstm", "gru"), rows, curves=curves)
    assert not known.not_comparable
    assert build(searched("lstm", "gru"), rows).not_comparable == [
        "lstm may be as good at the largest learning rate that it tried, 1, as at its best, 0.251."
    ]
