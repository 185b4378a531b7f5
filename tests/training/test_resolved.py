"""What a plan comes to on this machine: points, budgets, and what cannot be trained."""

from dataclasses import replace

import pytest
import torch
from small_packs import plan_of

from harness import engine
from harness.data import DataError
from harness.settings import Budget, SampleRequest
from harness.training.execution import resolve_device
from harness.training.pack import Pack
from harness.training.plan import PlanError
from harness.training.resolved import evaluation_points


@pytest.mark.parametrize(
    "evaluations, num_updates, expected",
    [
        (4, 20, [5, 10, 15, 20]),
        (3, 10, [3, 7, 10]),
        (20, 5, [1, 2, 3, 4, 5]),
        (1, 9, [9]),
        ("epoch", 24, [8, 16, 24]),
        ("epoch", 20, [8, 16, 20]),
        ("epoch", 5, [5]),
    ],
)
def test_evaluation_points(settings, evaluations, num_updates, expected):
    assert evaluation_points(replace(settings, evaluations=evaluations), num_updates, 8) == expected


@pytest.mark.parametrize("num_updates", range(1, 60))
def test_evaluation_points_are_distinct_and_end_with_the_budget(settings, num_updates):
    points = evaluation_points(replace(settings, evaluations=20), num_updates, 8)
    assert points == sorted(set(points)) and points[0] >= 1 and points[-1] == num_updates
    assert len(points) == min(20, num_updates)


@pytest.mark.parametrize(
    "budget, per_epoch", [(Budget(tokens=20 * 15 + 14), 0), (Budget(epochs=2), 2)]
)
def test_budgets_convert_exactly(settings, budget, per_epoch):
    pack = Pack(plan_of(replace(settings, budget=budget)))
    assert pack.num_updates == (per_epoch * pack.task.updates_per_epoch or 20)
    pack.close()


@pytest.mark.parametrize(
    "changes, objective, rule",
    [
        (
            {},
            "test/perplexity",
            "objective: must be train/perplexity, or .* but got objective='test/perplexity'",
        ),
        (
            {"split": "none"},
            "validation/perplexity",
            "Write objective: train/perplexity where split is none",
        ),
    ],
)
def test_an_objective_needs_its_split(settings, changes, objective, rule):
    with pytest.raises(PlanError, match=rule):
        Pack(plan_of(replace(settings, **changes), objective=objective))


def test_a_device_that_is_not_there(settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(
        PlanError,
        match="device: must be on this machine, but got device='cuda' and torch sees none",
    ):
        Pack(plan_of(replace(settings, device="cuda")))


def test_an_engine_that_does_not_run_the_cell(settings):
    rule = "engine: must run the cell, but got engine='native': torch.nn has no lstm-peephole. "
    rule += "Use auto."
    with pytest.raises(engine.EngineError, match=rule):
        Pack(plan_of(replace(settings, engine="native", cell="lstm-peephole")))


def test_a_learned_start_has_no_logarithm(settings):
    logarithmic = replace(settings, engine="scan-log", cell="min-gru")
    Pack(plan_of(logarithmic)).close()
    with pytest.raises(engine.EngineError, match="engine='scan-log': a learned start may fall"):
        Pack(plan_of(replace(logarithmic, learned_start=True)))


def test_samples_that_cannot_be_written_are_refused_before_training(settings):
    with pytest.raises(DataError, match="samples: 'The': text: every character must be among"):
        Pack(plan_of(settings, samples=SampleRequest(("the", "The"))))
