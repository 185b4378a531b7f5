"""Costs beside perplexity, on planted results: who dominates whom, by which evidence, and the time
to a target.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.report import cost_figures, pareto
from harness.report.arm_results import ArmResult
from harness.report.pareto import COSTS, NOT_SHOWN, SHOWN, UNTESTED
from harness.report.timings import ALONE
from harness.settings import Settings
from harness.statistics.decisions import Decision, SpeedDecision
from harness.statistics.inference import Interval
from harness.tasks.objective import PERPLEXITY

SECONDS, RATE, PARAMETERS = COSTS
HERE = "engine cpu on device cpu, float32, threads: 2"


def arm(
    name, mean, seconds=10.0, parameters=1000, *, verdict=None, speed=None, diverged=0, **changes
):
    """A result of ten replicates at perplexity ``mean``; ``verdict`` None: the baseline."""
    is_timed = seconds is not None
    decision = (
        None
        if verdict is None
        else Decision(verdict, 10, 10 - diverged, 0.1, Interval(0.0, 0.2), 0.01, 0.01)
    )
    nats = math.log(mean)
    values = {
        **{
            "name": name,
            "is_baseline": verdict is None,
            "objective": PERPLEXITY,
            "readings": {},
            "num_failed": 0,
            "num_planned": 10,
        },
        **{
            "losses": {str(1000 + j): math.inf if j < diverged else nats for j in range(10)},
            "mean": nats,
        },
        **{
            "interval": None if diverged else Interval(nats - 0.01, nats + 0.01),
            "differences": np.zeros(10),
        },
        **{
            "decision": decision,
            "seeds_to_decide": None,
            "incomparable": "",
            "num_states": 2,
            "hidden_size": 16,
        },
        **{"speeds": {ALONE: SpeedDecision(speed, 20, 1.25, Interval(1.0, 1.5))} if speed else {}},
        **{
            "tokens_per_second": {ALONE: 1e6 / seconds} if is_timed else {},
            "conditions": {ALONE: HERE},
        },
        **{
            "num_parameters": parameters,
            "flops_per_token": 10,
            "tokens": 10_000,
            "training_seconds": seconds,
        },
        **{"trials": pd.DataFrame(), "finalists": pd.DataFrame(), "params": {}, "samples": []},
        **{
            "is_open": False,
            "open": [],
            "excuses": [],
            "search_spread": None,
            "shares_search": True,
            "fall": None,
            "divergence": None,
            "lost_runs": None,
        },
        **{"num_not_learned": 0, "searched_updates": 0, "replicate_updates": ()},
    }
    return ArmResult(**{**values, **changes})


def study(target=None, split="holdout"):
    baseline = SimpleNamespace(
        name="lstm", settings=Settings(cell="lstm", corpus="time-machine", split=split)
    )
    measure = SimpleNamespace(objective="validation/perplexity", margin=0.01, target=target)
    return SimpleNamespace(baseline=baseline, measure=measure)


def names(results, result, cost):
    return [other.name for other in pareto.dominators(results, result, cost)]


def test_lower_perplexity_at_no_higher_cost_dominates():
    lstm, gru = arm("lstm", 4.0, 10.0), arm("gru", 4.2, 8.0, verdict="worse")
    slow, same = (
        arm("slow", 4.1, 10.0, verdict="worse"),
        arm("same", 4.0, 10.0, verdict="identical"),
    )
    results = [lstm, gru, slow, same]
    assert [names(results, result, SECONDS) for result in results] == [[], [], ["lstm", "same"], []]
    assert [names(results, result, RATE) for result in results] == [[], [], ["lstm", "same"], []]


def test_costs_within_one_percent_are_equal():
    results = [
        arm("lstm", 4.0, parameters=1000),
        arm("gru", 4.0, parameters=991),
        arm("rnn", 4.0, parameters=989),
    ]
    assert [names(results, result, PARAMETERS) for result in results] == [["rnn"], [], []]
    assert names([arm("lstm", 3.9, parameters=1009), results[0]], results[0], PARAMETERS) == [
        "lstm"
    ]


def test_who_diverged_reads_another_text_or_ran_elsewhere_neither_dominates_nor_is_dominated():
    lstm, good = arm("lstm", 4.0), arm("gru", 3.0, 5.0, 10, verdict="better")
    for changes in ({"diverged": 1}, {"incomparable": "corpus differs"}):
        other = arm("rnn", 3.0, 5.0, verdict="undecided", **changes)
        assert (
            names([lstm, other], lstm, SECONDS) == [] and names([good, other], other, SECONDS) == []
        )
    failed = replace(good, mean=None, losses={})
    assert (
        names([lstm, failed], lstm, SECONDS) == [] and names([lstm, failed], failed, SECONDS) == []
    )
    assert pareto.unplaced(failed) == "no replicate finished"
    elsewhere = arm("gru", 3.0, 5.0, 10, verdict="better", conditions={ALONE: "native on cpu"})
    assert names([lstm, elsewhere], lstm, SECONDS) == [] and names(
        [lstm, elsewhere], lstm, PARAMETERS
    ) == ["gru"]


@pytest.mark.parametrize(
    ("verdict", "speed", "cost", "shown"),
    [
        ("better", "faster", SECONDS, SHOWN),
        ("better", "no difference shown", SECONDS, NOT_SHOWN),
        ("better", "not comparable", SECONDS, UNTESTED),
        ("better", None, SECONDS, UNTESTED),
        ("equivalent and lower", "faster", RATE, SHOWN),
        ("undecided", "faster", SECONDS, NOT_SHOWN),
        ("better", None, PARAMETERS, SHOWN),
        ("undecided", None, PARAMETERS, NOT_SHOWN),
        ("not comparable", None, PARAMETERS, UNTESTED),
    ],
)
def test_that_the_baseline_is_dominated_is_shown_by_the_paired_tests_alone(
    verdict, speed, cost, shown
):
    lstm, gru = arm("lstm", 4.0), arm("gru", 3.9, verdict=verdict, speed=speed)
    assert pareto.evidence(gru, lstm, cost) == shown
    opposite = {
        "better": "worse",
        "equivalent and lower": "equivalent and higher",
        "faster": "slower",
    }
    worse = arm(
        "gru", 4.1, verdict=opposite.get(verdict, verdict), speed=opposite.get(speed, speed)
    )
    assert pareto.evidence(lstm, worse, cost) == shown
    # No test compares two arms that are not the baseline.
    assert pareto.evidence(gru, worse, cost) == UNTESTED


def test_the_table():
    results = [
        arm("lstm", 4.0, 10.0, 1000),
        arm("gru", 4.5, 12.5, 1500, verdict="worse", speed="slower"),
        arm("rnn", 4.6, 20.0, 500, verdict="undecided", speed="slower"),
        arm("mgu", 3.0, None, 2000, verdict="better", diverged=2),
        arm("min-gru", 4.7, None, 500, verdict="worse"),
    ]
    table = pareto.section(study(), results)
    assert (
        table.title == "What the perplexity costs (costs within 1 % of each other count as equal)"
    )
    assert table.header == (
        *("Arm", "Perplexity (test), 95 %", "Training seconds", "Tokens/s", "Parameters"),
        *("Dominated in training seconds by", "Dominated in parameters by"),
    )
    for word in ("Shown", "By the means, not shown", "By the means, untested"):
        assert f"{word}: " in table.note
    assert table.rows == [
        ("lstm", "4.000 (3.960 to 4.040)", "10.00", "100,000", "1,000", "none", "none"),
        (
            "gru",
            "4.500 (4.455 to 4.545)",
            "12.50",
            "80,000",
            "1,500",
            "lstm (shown)",
            "lstm (shown)",
        ),
        (
            "rnn",
            "4.600 (4.554 to 4.646)",
            "20.00",
            "50,000",
            "500",
            "lstm (by the means, not shown); gru (by the means, untested)",
            "none",
        ),
        ("mgu", "3.000", "", "", "2,000", *["not placed: 2 of 10 diverged"] * 2),
        (
            "min-gru",
            "4.700 (4.653 to 4.747)",
            "",
            "",
            "500",
            "not placed: not timed",
            "rnn (by the means, untested)",
        ),
    ]


def test_a_long_list_is_cut_and_tokens_per_second_have_a_column_where_they_say_something_else():
    better = [arm(f"cell-{i}", 4.0 + 0.1 * i, verdict="worse") for i in range(5)]
    last = arm("last", 9.0, 20.0, verdict="worse", tokens_per_second={ALONE: 9e5})
    table = pareto.section(study(), [arm("lstm", 3.9), *better, last])
    assert table.header[-2:] == (
        "Dominated in training seconds by",
        "Dominated in tokens/s by",
    )  # parameters are equal
    better_ones = "lstm, cell-0, cell-1 and 3 more (by the means, untested)"
    assert table.rows[-1][-2:] == (better_ones, "none")


def test_where_no_cost_differs_there_is_nothing_to_set_against_perplexity():
    for results in (
        [arm("lstm", 4.0, None), arm("gru", 3.0, None, verdict="better")],
        [arm("lstm", 4.0, diverged=1), arm("gru", 3.0, 5.0, verdict="better", diverged=3)],
    ):
        assert (
            pareto.section(study(), results) is None
            and cost_figures.level_against_costs(study(), results) is None
        )


def test_the_figure_has_a_panel_for_each_cost_and_steps_along_the_front():
    results = [
        arm("lstm", 4.0, 10.0, 1000),
        arm("gru", 5.0, 5.0, 500, verdict="worse", speed="faster"),
        arm("rnn", 6.0, 20.0, 800, verdict="worse", speed="slower"),
        arm("mgu", 3.0, 10.0, 1000, verdict="undecided", diverged=4),
    ]
    drawn = cost_figures.level_against_costs(study(), results)
    seconds, rate, parameters = drawn.figure.axes
    assert [axes.get_xlabel().split("\n")[0] for axes in drawn.figure.axes] == [
        cost.name for cost in COSTS
    ]
    for axes, front in ((seconds, [5.0, 10.0]), (rate, [1e5, 2e5]), (parameters, [500, 1000])):
        steps = next(line for line in axes.get_lines() if line.get_drawstyle().startswith("steps"))
        assert list(steps.get_xdata()) == front
    bars = [
        line
        for line in seconds.get_lines()
        if len(line.get_xdata()) == 2 and len(set(line.get_ydata())) == 1
    ]
    assert [list(np.round(line.get_xdata(), 3)) for line in bars] == [[6.25, 4.167], [25.0, 16.667]]
    assert "mgu (4 of 10 diverged)" in [
        text.get_text() for text in drawn.figure.legends[0].get_texts()
    ]
    drawn.figure.draw_without_rendering()


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
        ("rnn", "1 of 2", "not half reach it", "", "1,000"),
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
