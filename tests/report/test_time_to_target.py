"""The time that planted curves take to a perplexity."""

import math

import pandas as pd
import pytest
from planted_arms import arm, study
from scipy import stats

from harness.report import pareto


def runs_of(curves, **states):
    """The replicates of curves as they ended, or as ``states`` say of an arm, one a replicate."""
    places = curves[["arm", "phase", "repeat", "index"]].drop_duplicates()
    rows = [{**row, "state": "finished"} for row in places.to_dict("records")]
    rows = [row for row in rows if row["arm"] not in states]
    for name, ends in states.items():
        place = {"arm": name, "phase": "replicate", "repeat": 0}
        rows += [{**place, "index": i, "state": end} for i, end in enumerate(ends)]
    return pd.DataFrame(rows, columns=["arm", "phase", "repeat", "index", "state"])


def time_to_target(study, results, curves, **states):
    return pareto.time_to_target(study, results, curves, runs_of(curves, **states))


def curve(name, index, losses, repeat=0):
    place = {"arm": name, "phase": "replicate", "index": index, "repeat": repeat}
    return [
        {
            **place,
            "update": 10 * (k + 1),
            "tokens": 1000 * (k + 1),
            "validation/loss": math.log(x),
            "train/loss": 0.0,
        }
        for k, x in enumerate(losses)
    ]


CURVES = pd.DataFrame(
    [
        *curve("lstm", 0, [8.0, 5.0, 4.0, 4.2]),
        *curve("lstm", 1, [8.0, 4.5, 4.04, 4.0]),
        *curve("lstm", 2, [9.0, 1.0]),  # cut short: it says nothing of where the baseline ends
        *curve("gru", 0, [4.0, 3.0, 3.0, 3.0]),
        *curve("gru", 1, [9.0, 4.0, 3.0, 3.0]),
        *curve("rnn", 0, [9.0, 4.0, 9.0, 9.0]),
        *curve("rnn", 1, [9.0, 9.0, 9.0, 9.0]),
    ]
)


def test_time_to_the_baselines_perplexity():
    results = [
        arm("lstm", 4.0),
        arm("gru", 3.0, None, verdict="better"),
        arm("rnn", 9.0, verdict="worse"),
    ]
    table = time_to_target(study(), results, CURVES)
    assert (
        table.title
        == "Time to validation perplexity 4.040: the median 4.000 of lstm's replicates at their"
        " best and 1 %"
    )
    assert table.header[-1] == "Tokens between evaluations"
    assert table.rows == [
        ("lstm", "3 of 3", "3,000", "0.030", "1,000"),
        ("gru", "2 of 2", "1,500", "not timed", "1,000"),
        ("rnn", "1 of 2", "only half reach it", "", "1,000"),
    ]


def test_time_to_the_studys_own_target():
    table = time_to_target(study(target=4.0), [arm("lstm", 4.0)], CURVES)
    assert table.title == "Time to validation perplexity 4.000: the study's target"
    assert table.rows == [("lstm", "3 of 3", "3,000", "0.030", "1,000", "30", "")]
    table = time_to_target(study(target=0.5, split="none"), [arm("lstm", 4.0)], CURVES)
    assert table.title.startswith("Time to train perplexity") and table.rows[0][1] == "0 of 3"
    assert time_to_target(study(target=4.0), [arm("lstm", 4.0)], CURVES[:0]) is None
    assert time_to_target(study(), [arm("lstm", 4.0)], CURVES[CURVES["arm"] != "lstm"]) is None


def test_an_evaluation_that_diverged_reaches_nothing():
    curves = pd.DataFrame(curve("lstm", 0, [4.0, math.inf]) + curve("lstm", 1, [math.nan, 4.0]))
    table = time_to_target(study(target=4.0), [arm("lstm", 4.0)], curves)
    assert table.rows == [("lstm", "2 of 2", "1,500", "0.015", "1,000", "10", "")]


def test_the_updates_to_a_target_that_was_named_before_are_compared_by_a_log_rank_test():
    ends = {"lstm": [[9.0, 4.0, 1.0], [9.0, 9.0, 4.0], [9.0, 9.0, 9.0]], "gru": [[4.0], [4.0, 1.0]]}
    curves = pd.DataFrame(
        [row for name, own in ends.items() for i, e in enumerate(own) for row in curve(name, i, e)]
    )
    arms = [arm("lstm", 4.0), arm("gru", 4.0)]
    table = time_to_target(study(target=4.0), arms, curves)
    assert table.header[-2:] == (
        "Updates (Kaplan-Meier median)",
        "p of the log-rank test, unadjusted",
    )
    expected = stats.logrank(
        stats.CensoredData(uncensored=[10, 10]),
        stats.CensoredData(uncensored=[20, 30], right=[30]),
    )
    (_, *_, median, empty), (_, *_, sooner, p) = table.rows
    assert (median, empty, sooner) == ("30", "", "10")
    assert float(p) == pytest.approx(expected.pvalue, abs=0.005)


TEN = ["diverged"] * 9 + ["finished"]


@pytest.mark.parametrize("num_evaluated", [9, 4, 0])
def test_who_diverges_early_is_later_than_all_others(num_evaluated):
    """At its end or before it is evaluated at all, it does not leave those at risk."""
    early = [row for i in range(num_evaluated) for row in curve("gru", i, [9.0])]
    solved = curve("gru", 9, [9.0] * 19 + [4.0])
    base = [row for i in range(10) for row in curve("lstm", i, [9.0] * 9 + [4.0] * 11)]
    curves = pd.DataFrame([*base, *early, *solved])
    arms = [arm("lstm", 4.0), arm("gru", 4.0, diverged=9)]
    _, row = time_to_target(study(target=4.0), arms, curves, gru=TEN).rows
    assert row[1:3] == ("1 of 10", "not half reach it") and row[5] == "not half reach it"
    expected = stats.logrank(
        stats.CensoredData(uncensored=[200], right=[200] * 9),
        stats.CensoredData(uncensored=[100] * 10),
    )
    assert row[6] == "< 0.001" and expected.pvalue < 0.001


def test_who_gives_up_is_later_than_all_others_and_who_is_under_way_is_not():
    """Patience ends a run that does not get better: that says more than its few updates do."""
    curves = pd.DataFrame(
        [
            *curve("lstm", 0, [9.0, 9.0, 9.0, 4.0]),
            *curve("gru", 0, [9.0, 9.0, 4.0]),
            *curve("gru", 1, [9.0]),
        ]
    )
    arms = [arm("lstm", 4.0), arm("gru", 4.0)]
    rows = {}
    for end in ("finished", "running"):
        states = {"gru": ["finished", end]}
        (_, rows[end]) = time_to_target(study(target=4.0), arms, curves, **states).rows
    assert [row[1] for row in rows.values()] == ["1 of 2"] * 2
    p = {
        end: stats.logrank(
            stats.CensoredData(uncensored=[30], right=[last]), stats.CensoredData(uncensored=[40])
        ).pvalue
        for end, last in (("finished", 40), ("running", 10))
    }
    for end, row in rows.items():
        assert float(row[6]) == pytest.approx(p[end], abs=0.005)


def test_an_arm_that_has_no_curve_at_all_is_told():
    curves = pd.DataFrame([row for i in range(2) for row in curve("lstm", i, [4.0])])
    arms = [arm("lstm", 4.0), arm("gru", 4.0, diverged=2)]
    _, row = time_to_target(study(target=4.0), arms, curves, gru=["diverged"] * 2).rows
    assert row[:6] == ("gru", "0 of 2", "not half reach it", "", "", "not half reach it")
    expected = stats.logrank(
        stats.CensoredData(uncensored=[], right=[10, 10]), stats.CensoredData(uncensored=[10, 10])
    )
    assert float(row[6]) == pytest.approx(expected.pvalue, abs=0.005)
