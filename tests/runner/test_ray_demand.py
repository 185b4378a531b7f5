"""What a pack on a Ray cluster asks of a node; there is no cluster here."""

from types import SimpleNamespace

import pytest
import torch

from harness.runner import ray_executor
from harness.runner.executor import ExecutorError
from harness.runner.ray_executor import RayExecutor
from harness.settings import Budget, Settings
from harness.training.plan import Plan, Run

NODES = [{"CPU": 8.0, "GPU": 1.0, "memory": 2.0**36}]


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "text.txt").write_text("the time traveller and the morlocks " * 50)
    settings = Settings(
        "gru", "text", str(tmp_path / "text.txt"), hidden_size=8, batch_size=4, bptt_length=5,
        budget=Budget(updates=2), device="auto",
    )  # fmt: skip
    return Plan(tuple(Run(f"r{i}", (i,), settings) for i in range(3)))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_worker_trains_on_the_device_that_it_was_placed_for(plan, monkeypatch, device):
    """A worker that asked for no GPU sees those of its node all the same."""
    monkeypatch.setattr(ray_executor, "resolve_device", lambda name: device)
    monkeypatch.setattr(ray_executor, "_gpu_share", lambda num_bytes: 0.25)
    asked, demand = RayExecutor._demanded(plan, NODES)
    assert {run.settings.device for run in asked.runs} == {device}
    assert demand.num_gpus == (0.25 if device == "cuda" else 0.0)
    assert demand.num_cpus == (1 if device == "cuda" else 3)


def test_a_pack_that_no_node_has_room_for_is_refused(plan, monkeypatch):
    monkeypatch.setattr(ray_executor, "resolve_device", lambda name: "cuda")
    monkeypatch.setattr(ray_executor, "_gpu_share", lambda num_bytes: 1.0)
    with pytest.raises(ExecutorError, match="a node must have what a pack takes, 1 CPUs, 1 GPUs"):
        RayExecutor._demanded(plan, [{"CPU": 8.0, "memory": 2.0**36}])


def test_what_the_driver_has_kept_of_a_gpu_is_its_workers_before_they_start(monkeypatch):
    """It has trained an update of each arm there, to see that it can."""
    called = []
    executor = object.__new__(RayExecutor)
    executor._ray = SimpleNamespace(nodes=lambda: called.append("looks for nodes") or [])
    executor._calls = {}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: called.append("gives back"))
    executor.execute([], lambda messages: set())
    assert called == ["gives back", "looks for nodes"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    executor.execute([], lambda messages: set())
    assert called.count("gives back") == 1
