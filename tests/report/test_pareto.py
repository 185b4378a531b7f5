"""Costs beside perplexity, on planted results: who dominates whom, and by which evidence."""

from dataclasses import replace

import numpy as np
import pytest
from planted_arms import arm, study

from harness.report import cost_figures, pareto
from harness.report.pareto import COSTS, NOT_SHOWN, SHOWN, UNTESTED
from harness.report.timings import ALONE

SECONDS, RATE, PARAMETERS = COSTS


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
