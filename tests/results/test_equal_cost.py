"""Which arm is cheapest at an equal number, on planted curves and from a store."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
from stored import cli

from harness.results import equal_cost
from harness.results.equal_cost import EqualCostError
from harness.store.locations import Locations


def curves(arm, *replicates):
    """Rows of losses, a list per replicate, an evaluation every 1,000 tokens and 10 s of a pack."""
    return [
        {"arm": arm, "phase": "replicate", "index": j, "update": k, "tokens": 1000.0 * k}
        | {"time_seconds": 10.0 * k, "validation/loss": loss, "train/loss": loss}
        for j, losses in enumerate(replicates)
        for k, loss in enumerate(losses, 1)
    ]


def condition(*arms, timed=True, **states):
    """The report on arms of (name, seconds of 1,120 tokens, losses of each replicate)."""
    rows, timings, told = [], [], []
    for name, seconds, replicates in arms:
        finals = [min(losses) for losses in replicates]
        rows += planted.run_rows(name, finals, states=states.get(name), flops_per_token=100)
        told += curves(name, *replicates)
        timings += planted.timing_rows(name, seconds) if timed or name == arms[0][0] else []
    planned = planted.study(*(name for name, *_ in arms))
    (only,) = planted.build(planned, rows, timings, told).conditions
    return only


FAST, SLOW = 1.0, 2.0
BASE = [[2.0, 1.5, 1.0, 0.9], [2.1, 1.4, 1.1, 0.8], [2.0, 1.0, 1.1, 1.0]]
WORST = [[3.0, 2.0, 1.5, 1.2], [3.0, 2.0, 1.0, 1.1], [3.0, 2.0, 1.5, 1.3]]


def seconds_of(report, arm, tokens):
    (result,) = [result for result in report.results if result.name == arm]
    return tokens / result.tokens_per_second["train", 1]


def test_the_worst_arms_number_is_reached_first_by_the_cheapest():
    report = condition(("lstm", FAST, BASE), ("rnn", FAST, WORST))
    costs = equal_cost.costs_of(report)
    # rnn's lowest are 1.2, 1.0 and 1.3: two of three came down to 1.2.
    assert costs.target == pytest.approx(math.exp(1.2)) and costs.split == "validation"
    lstm, rnn = costs.arms
    assert lstm.final == pytest.approx(math.exp(0.9)) and rnn.final == costs.target
    assert [arm.num_reached for arm in costs.arms] == [3, 2]
    assert lstm.tokens == 3000  # after 3, 3 and 2 evaluations
    assert rnn.tokens == 4000  # after 4, 3 and never
    assert lstm.seconds == seconds_of(report, "lstm", 3000)
    assert (lstm.lowest_seconds, lstm.highest_seconds) == (
        seconds_of(report, "lstm", 2000),
        lstm.seconds,
    )
    assert lstm.seconds_between == pytest.approx(seconds_of(report, "lstm", 1000))
    assert lstm.flops == 3 * 100 * 3000
    assert costs.cheapest is lstm and lstm.ratio is None
    pairs = np.log([4 / 3, 3 / 3]) + math.log(seconds_of(report, "rnn", 1) / lstm.seconds * 3000)
    assert rnn.ratio == pytest.approx(math.exp(pairs.mean()))
    assert costs.answer.startswith("At validation perplexity 3.320, which rnn comes down to, lstm")
    assert "rnn cannot be told apart from it." in costs.answer  # two pairs show nothing


def test_an_arm_that_is_twice_as_slow_on_equal_curves_costs_twice_as_much():
    report = condition(("lstm", SLOW, BASE), ("gru", FAST, BASE))
    costs = equal_cost.costs_of(report)
    lstm, gru = costs.arms
    exact = seconds_of(report, "lstm", 1.0) / seconds_of(report, "gru", 1.0)
    assert exact == pytest.approx(2.0, rel=0.01) and costs.cheapest is gru
    assert lstm.ratio == pytest.approx(exact)
    assert lstm.interval == pytest.approx((exact, exact))
    assert costs.answer.endswith("gru is cheapest, after 33.8 s.".replace(
        "33.8", equal_cost.number(gru.seconds)))  # fmt: skip
    assert costs.section.rows[1][3] == equal_cost.number(gru.seconds)
    assert costs.section.title == "Seconds of a run alone, by its measured speed"


def test_arms_that_never_reach_the_target_are_said_to():
    costs = equal_cost.costs_of(
        condition(("lstm", FAST, BASE), ("rnn", FAST, WORST)), target=math.exp(0.95)
    )
    lstm, rnn = costs.arms
    assert lstm.seconds is not None and rnn.seconds is None and rnn.num_reached == 0
    assert "which was asked for, lstm is cheapest" in costs.answer
    assert costs.answer.endswith("rnn reaches it in no more than half of the replicates.")
    assert costs.section.rows[1][:4] == ("rnn", "3.320", "0/3", "never")
    nobody = equal_cost.costs_of(condition(("lstm", FAST, BASE)), target=1.0)
    assert nobody.cheapest is None and "no arm is cheapest" in nobody.answer


def test_exactly_half_of_the_replicates_are_too_few_and_are_not_called_less():
    half = [[3.0, 1.0], [3.0, 1.0], [3.0, 2.0], [3.0, 2.0]]
    told = equal_cost.costs_of(condition(("lstm", FAST, BASE), ("rnn", FAST, half)), target=3.0)
    assert [arm.num_reached for arm in told.arms] == [3, 2]
    assert told.answer.endswith("rnn reaches it in no more than half of the replicates.")
    alone = equal_cost.costs_of(condition(("rnn", FAST, half)), target=3.0)
    assert alone.answer.endswith(
        "no arm is cheapest: no more than half of the replicates of any arm reach it."
    )


def test_a_replicate_that_diverged_reached_what_it_did_and_ends_nowhere():
    cut = [[2.0, 1.2], [2.0], [3.0, 2.0, 1.0, 0.7]]
    states = ["diverged", "diverged", "finished"]
    report = condition(("lstm", FAST, BASE), ("wild", FAST, cut), wild=states)
    lstm, wild = equal_cost.costs_of(report).arms
    assert wild.final is None and wild.num_replicates == 3  # most of them diverged
    assert equal_cost.costs_of(report).target == lstm.final
    none = condition(("lstm", FAST, BASE), ("wild", FAST, cut), wild=["diverged"] * 3)
    _, wild = equal_cost.costs_of(none).arms
    assert wild.left_out == "no replicate finished"
    assert equal_cost.costs_of(none).section.rows[1][3] == "left out: no replicate finished"


def test_a_replicate_that_diverged_before_an_evaluation_is_one_that_ended():
    states = ["finished", "finished", "finished", "diverged"]
    rows = planted.run_rows("lstm", [1.0] * 4, states=states)
    (report,) = planted.build(planted.study("lstm"), rows, curves=curves("lstm", *BASE)).conditions
    (lstm,) = equal_cost.costs_of(report).arms
    assert (lstm.num_reached, lstm.num_replicates) == (3, 4)
    # The four come down to 0.8, 0.9, 1.0 and nothing: more than half of them to 1.0.
    assert lstm.final == pytest.approx(math.exp(1.0))


def test_repeats_with_a_replicate_each_that_diverged_have_replicates_that_finished():
    states = ["finished", "finished", "diverged"]
    rows = planted.run_rows("lstm", [1.0] * 3, states=states)
    asked = planted.study("lstm", tune=planted.search_of(repeats=3), replicate=planted.Replicate(3))
    (report,) = planted.build(
        asked,
        [{**row, "repeat": k} for k in range(3) for row in rows],
        curves=[{**row, "repeat": k} for k in range(3) for row in curves("lstm", *BASE)],
    ).conditions
    (lstm,) = equal_cost.costs_of(report).arms
    assert lstm.left_out == "" and lstm.num_replicates == 9


def test_arms_that_were_not_timed_are_told_in_the_packs_seconds():
    report = condition(("lstm", FAST, BASE), ("rnn", FAST, WORST), timed=False)
    costs = equal_cost.costs_of(report)
    assert costs.clock.startswith("Seconds as the packs took")
    assert [arm.seconds for arm in costs.arms] == [30.0, 40.0]


def test_what_cannot_be_reached_or_has_not_run_is_refused():
    with pytest.raises(EqualCostError, match="target: must be a perplexity that can be, but got"):
        equal_cost.costs_of(condition(("lstm", FAST, BASE)), target=0.0)
    assert equal_cost.costs_of(condition(("lstm", FAST, BASE), lstm=["running"] * 3)) is None


RUN_IT = "must have replicates that finished, but got none of 'small'. Run it."
DIVERGED = "half or more of its replicates diverged"


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"lstm": ["running"] * 3}, RUN_IT),
        ({"lstm": ["diverged", "diverged", "finished"]}, f"of each arm {DIVERGED}."),
        ({"lstm": ["diverged", "finished"]}, f"of each arm {DIVERGED}."),
        ({"lstm": ["diverged"] * 3}, f"of each arm {DIVERGED}."),
        (
            {"lstm": ["diverged"] * 3, "rnn": ["running"] * 3},
            f"of each arm {DIVERGED} or no replicate finished.",
        ),
    ],
)
def test_a_study_without_a_cost_is_told_why(states, told):
    arms = [(name, FAST, BASE[: len(each)]) for name, each in states.items()]
    report = condition(*arms, **states)
    assert equal_cost.costs_of(report) is None
    assert told in equal_cost._no_cost("small", [report], Locations(Path(".")))


def test_an_open_search_is_why_a_study_has_no_cost():
    ran = condition(("lstm", FAST, BASE))
    report = replace(ran, results=[replace(result, is_open=True) for result in ran.results])
    assert equal_cost.costs_of(report) is None
    told = equal_cost._no_cost("small", [report], Locations(Path(".")))
    assert "got none of 'small': of each arm its search is open." in told


def test_a_stored_study_is_told_printed_written_and_drawn(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    files = ("--json", tmp_path / "new" / "a.json", "--plot", tmp_path / "a.svg")
    words = ("cost", "--study", "small", "--folder", store)
    code, out, err = cli(monkeypatch, capsys, *words, *files)
    assert code == 0, err
    assert "is cheapest, after" in " ".join(out.split()) and str(tmp_path / "a.svg") in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
    (told,) = json.loads((tmp_path / "new" / "a.json").read_text())["conditions"]
    assert [arm["name"] for arm in told["arms"]] == ["narrow", "wide"]
    assert told["target"] == max(arm["final"] for arm in told["arms"])
    for arm in told["arms"]:
        assert arm["num_replicates"] == 5 and 2 * arm["num_reached"] > 5
        assert arm["seconds"] > 0 and len(arm["curve"]) == 4
    assert "wide" in (tmp_path / "a.svg").read_text()
    code, _, err = cli(monkeypatch, capsys, *words, "lstm", "--hidden", 8)
    assert code == 2 and "cost: CELL, --hidden must not stand beside --study." in err
    code, _, err = cli(monkeypatch, capsys, "cost", "lstm", "--target", 3)
    assert code == 2 and "cost: --target must not stand without --study." in err
    code, _, err = cli(monkeypatch, capsys, *words, "--target", 0)
    assert code == 2 and "target: must be a perplexity that can be, but got target=0.0" in err
