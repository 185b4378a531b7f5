"""What a plan comes to on this machine: points, budgets, and what cannot be trained."""

import re
from dataclasses import replace

import pytest
import torch
from small_packs import plan_of

from harness import engine
from harness.data import DataError
from harness.settings import Budget, SampleRequest
from harness.training.execution import passed_over, resolve_device
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
    rule = "device: must be on this machine, but got device='cuda' and torch can use none: "
    for built, why in (
        (None, "it is built without CUDA"),
        ("12.8", "it needs a GPU and a driver for CUDA 12.8"),
    ):
        monkeypatch.setattr(torch.version, "cuda", built)
        with pytest.raises(PlanError, match=re.escape(f"{rule}{why}. Use auto or cpu.")):
            Pack(plan_of(replace(settings, device="cuda")))


@pytest.mark.parametrize(
    ("code", "capability", "device"),
    [
        (["sm_75", "sm_80", "sm_90", "compute_90"], (9, 0), "cuda"),
        (["sm_75", "sm_80"], (8, 9), "cuda"),  # of one generation, from its first on
        (["sm_80", "sm_120"], (12, 1), "cuda"),
        (["sm_75", "compute_90"], (10, 0), "cuda"),  # the driver compiles it
        (["sm_70", "sm_75", "sm_80", "compute_120"], (6, 0), "cpu"),
        (["sm_80", "sm_86"], (9, 0), "cpu"),
        (["sm_86"], (8, 0), "cpu"),
        (["gfx90a", "gfx942"], (9, 4), "cuda"),  # AMD's have other names
    ],
)
def test_a_gpu_that_torch_has_no_code_for_is_none(settings, monkeypatch, code, capability, device):
    """Such a GPU is seen, and no kernel runs on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: code)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *device: "NVIDIA X")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2000))
    assert resolve_device("auto") == device
    if device == "cuda":
        assert resolve_device("cuda") == "cuda"
        return
    major, minor = capability
    why = f"it has code for {', '.join(code)}, and NVIDIA X has compute capability {major}.{minor}"
    with pytest.raises(PlanError, match=re.escape(f"torch can use none: {why}. Use")):
        resolve_device("cuda")
    pack = Pack(plan_of(replace(settings, device="auto", engine="reference")))
    assert pack.notes == (f"device: auto is cpu, since torch can use no GPU: {why}",)
    pack.close()


HINTS = "\nCUDA kernel errors might be asynchronously reported at some other API call."


@pytest.mark.parametrize("failing", ["get_device_capability", "mem_get_info"])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError(f"CUDA error: device is busy or unavailable{HINTS}"),
         "CUDA error: device is busy or unavailable"),
        (torch.OutOfMemoryError(f"CUDA error: out of memory{HINTS}"), "CUDA error: out of memory"),
        (torch.cuda.DeferredCudaCallError(f"CUDA call failed lazily{HINTS}"),
         "CUDA call failed lazily"),
        (RuntimeError(), "RuntimeError"),
    ],
)  # fmt: skip
def test_a_gpu_that_answers_with_an_error_is_told_in_a_line(monkeypatch, failing, error, cause):
    """It may be held by another program for a while: ``auto`` does not go on without it."""

    def fail():
        raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, failing, fail)
    rule = (
        f"device: the GPU must answer, but got error={cause!r}. See what nvidia-smi says of it, "
        "free it or start its driver anew, or use cpu."
    )
    for call in (resolve_device, passed_over):
        with pytest.raises(PlanError, match=f"^{re.escape(rule)}$"):
            call("auto")
    with pytest.raises(PlanError, match=re.escape(rule)):
        resolve_device("cuda")
    assert (resolve_device("cpu"), passed_over("cpu")) == ("cpu", [])


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
