"""Plans travel as JSON; what no worker could train is refused with its rule, value and remedy."""

import json
import math
from dataclasses import replace

import pytest

from harness.settings import (
    Budget,
    BudgetError,
    SampleRequest,
    Settings,
    from_dict,
    problems_of,
    to_dict,
)
from harness.training.plan import Plan, PlanError, Run, plans_from_json, plans_to_json

SETTINGS = Settings(
    cell="lstm", corpus="text", path="a.txt", hidden_size=8, budget=Budget(tokens=1000)
)
RUN = Run("a/1", (7, "trial", 3), SETTINGS)


def test_a_plan_survives_json():
    other = replace(RUN, id="b", settings=replace(SETTINGS, learning_rate=0.25, clip_norm=None))
    samples = SampleRequest(("time", "travel"), 7, 0.5)
    plan = Plan((RUN, other), "train/perplexity", False, samples, ("mine.py",), "checkpoints")
    assert Plan.from_json(plan.to_json()) == plan
    assert plans_from_json(plans_to_json([plan, Plan((RUN,))])) == [plan, Plan((RUN,))]
    assert plans_from_json(plan.to_json()) == [plan]
    assert plan.settings is SETTINGS


def test_a_plan_that_names_no_version_is_of_version_1():
    values = json.loads(Plan((RUN,), version=2).to_json())
    assert Plan.from_json(json.dumps(values)).version == values.pop("version") == 2
    assert Plan.from_json(json.dumps(values)) == Plan((RUN,)) == Plan((RUN,), version=1)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_a_plan_of_an_unknown_version_is_refused(version):
    rule = f"plan: version must be one of 1, 2, but got version={version!r}. Update the bench"
    with pytest.raises(PlanError, match=rule):
        Plan((RUN,), version=version)


@pytest.mark.parametrize("budget", [Budget(updates=3), Budget(epochs=2), Budget(seconds=1.5)])
def test_settings_survive_plain_values(budget):
    settings = replace(SETTINGS, budget=budget, evaluations="epoch")
    assert from_dict(json.loads(json.dumps(to_dict(settings)))) == settings


def test_a_plan_has_runs():
    with pytest.raises(PlanError, match=r"runs must hold one run at least, but got runs=\(\)"):
        Plan(())


def test_run_ids_are_distinct():
    with pytest.raises(PlanError, match=r"run ids must be distinct, but got ids=\['a/1', 'a/1'\]"):
        Plan((RUN, RUN))


def test_runs_of_a_pack_share_their_shapes():
    other = Run("b", (1,), replace(SETTINGS, hidden_size=9, batch_size=2, learning_rate=3.0))
    rule = "must agree in batch_size, hidden_size, but b differs from a/1. "
    rule += "Only initial_scale, chrono_steps, dropout, "
    with pytest.raises(PlanError, match=rule):
        Plan((RUN, other))


def test_runs_of_a_pack_agree_in_what_is_written_only_where_it_is_set():
    several = Run("b", (1,), replace(SETTINGS, bidirectional=True))
    for runs, last in (((RUN, several), "b"), ((several, RUN), "a/1")):
        with pytest.raises(PlanError, match=f"must agree in bidirectional, but {last} differs"):
            Plan(runs)


def test_what_a_sound_run_has_too_is_not_looked_at_again_and_all_else_is():
    for changes in ({"hidden_size": 0}, {"budget": Budget(updates=0)}, {"momentum": True}):
        wrong = replace(SETTINGS, **changes)
        assert problems_of(wrong, SETTINGS) == problems_of(wrong) != []
        with pytest.raises(PlanError, match=f"^b: {next(iter(changes))}: must be "):
            Plan((RUN, Run("b", (1,), wrong)))


@pytest.mark.parametrize(
    "text, rule",
    [
        ("{", "must be JSON, but got Expecting property name"),
        ("3", "must be what `harness plan` writes"),
        ('"text"', "must be what `harness plan` writes"),
        ("{}", "KeyError"),
        ('{"runs": [3], "samples": {}}', "TypeError"),
        ('{"runs": [{"id": "a", "seed": [1], "settings": 3}]}', "AttributeError"),
        (
            '{"runs": [{"id": "a", "seed": [1], "settings": {"cell": "lstm", "colour": 1}}]}',
            "colour",
        ),
    ],
)
def test_a_text_that_is_no_plan_is_refused(text, rule):
    with pytest.raises(PlanError, match=rule):
        plans_from_json(text)
    with pytest.raises(PlanError, match=rule):
        Plan.from_json(text)


@pytest.mark.parametrize(
    "changes, rule",
    [
        (
            {"schedule": "cosin"},
            "schedule: must be .* but got schedule='cosin'",
        ),
        ({"optimizer": "lion"}, "optimizer: must be .* but got optimizer='lion'"),
        (
            {"initialization": "xavier"},
            "initialization: must be .* but got initialization='xavier'",
        ),
        ({"precision": "fp8"}, "precision: must be .* but got precision='fp8'"),
        ({"device": "tpu"}, "device: must be .* but got device='tpu'"),
        ({"hidden_size": 8.0}, r"hidden_size: must be int \| None, but got hidden_size=8.0"),
        ({"batch_size": True}, "batch_size: must be int, but got batch_size=True"),
        ({"batch_size": 0}, "batch_size: must be >= 1, but got batch_size=0"),
        ({"dropout": 1.0}, "dropout: must be < 1, but got dropout=1.0"),
        ({"learning_rate": 0}, "learning_rate: must be > 0, but got learning_rate=0"),
        ({"learning_rate": math.nan}, "learning_rate: must be float, but got learning_rate=nan"),
        ({"biases": 3}, "biases: must be <= 2, but got biases=3"),
        ({"evaluations": "day"}, "evaluations: must be .* but got evaluations='day'"),
        ({"budget": Budget()}, r"budget: must be one positive number of .* but got \{\}"),
        ({"budget": Budget(updates=0)}, r"budget: .* but got \{'updates': 0\}"),
        (
            {"budget": Budget(updates=1, epochs=1)},
            r"budget: .* but got \{'updates': 1, 'epochs': 1\}",
        ),
        ({"budget": 3}, "budget: must be Budget, but got budget=3"),
        ({"paths": 3}, r"paths: must be Paths \| None, but got paths=3"),
    ],
)
def test_settings_outside_their_table_are_refused(changes, rule):
    with pytest.raises(PlanError, match=f"a/1: {rule}"):
        Plan((replace(RUN, settings=replace(SETTINGS, **changes)),))


def test_all_problems_of_all_runs_are_told_at_once():
    wrong = replace(SETTINGS, schedule="x", momentum=-1.0)
    with pytest.raises(PlanError) as caught:
        Plan((Run("a", (1,), wrong), Run("b", (2,), replace(SETTINGS, biases=0))))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[:2] for line in lines] == [
        ["a", " momentum"],
        ["a", " schedule"],
        ["b", " biases"],
    ]
    assert problems_of(SETTINGS) == []


@pytest.mark.parametrize(
    "budget, updates",
    [
        (Budget(updates=9), 9),
        (Budget(tokens=1000), 10),
        (Budget(tokens=99), 1),
        (Budget(epochs=3), 21),
    ],
)
def test_budgets_convert_to_updates(budget, updates):
    assert budget.num_updates(updates_per_epoch=7, tokens_per_update=100) == updates


def test_seconds_need_a_measurement():
    with pytest.raises(
        BudgetError, match="must be in updates, tokens or epochs here, but got seconds=2.5. Measure"
    ):
        Budget(seconds=2.5).num_updates(updates_per_epoch=7, tokens_per_update=100)


def test_a_plan_names_temperatures_only_where_they_are_asked_for():
    plan = Plan((RUN,), samples=SampleRequest(("time",), temperatures=(0, 0.7)))
    assert Plan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["samples"]["temperatures"] == [0, 0.7]
    assert "temperatures" not in json.loads(Plan((RUN,)).to_json())["samples"]
