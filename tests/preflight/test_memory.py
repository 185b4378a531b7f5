"""What a run needs at least is counted, and told where there is less, before it is allocated."""

from types import SimpleNamespace

import pytest
import torch

from harness.preflight import memory
from harness.settings import MOST_LAYERS, MOST_UNITS, MOST_UPDATES, Budget, BudgetError, Settings
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

TEXT = SimpleNamespace(num_inputs=28, num_outputs=28, reads_tokens=True)
"""What counting asks of a text."""


def settings(**changes):
    return Settings(
        **{"cell": "lstm", "corpus": "time-machine", "hidden_size": 8, "device": "cpu", **changes}
    )


@pytest.mark.parametrize(
    "changes, rows", [({}, 3), ({"momentum": 0.9}, 4), ({"optimizer": "adam"}, 5)]
)
def test_it_is_no_more_than_what_a_pack_holds(changes, rows):
    own = settings(batch_size=2, bptt_length=4, engine="reference", **changes)
    pack = Pack(Plan((Run("lstm/replicate/0", (0,), own),), objective="train/perplexity"))
    try:
        (shard,) = pack.shards
        held = [shard._flat, shard._flat_best, shard._flat_gradients]
        held += shard.optimizer.state.values()
        assert len(held) == rows
        named = rows * pack.model.arch.num_parameters() * 4
        text = pack.task.dataset
    finally:
        pack.close()
    states = 2 * 4 * 16 * 4  # T = 4 steps of B = 2 streams of c and h, 8 units of 4 bytes each
    assert memory.needed_bytes(own, text) == named + states
    assert named <= sum(each.numel() for each in held) * 4


def test_the_largest_model_that_a_file_may_ask_for_is_priced_and_not_made():
    own = settings(hidden_size=MOST_UNITS, num_layers=MOST_LAYERS, optimizer="adam")
    line = memory.memory_fault(own, TEXT)
    assert line is not None and line.startswith("memory must suffice for one run, but it needs ")
    assert "GiB of cpu memory are free. Use a smaller hidden_size" in line


@pytest.mark.parametrize(
    "engine, device, times",
    [("cpu", "cpu", 6), ("native", "cpu", 6), ("reference", "cpu", 32)]
    + [(engine, "cuda", 16) for engine in ("cuda", "reference")],
)
def test_so_many_times_the_counted_memory_are_expected(engine, device, times, monkeypatch):
    """What was measured of a CPU says nothing of a GPU, of which more is expected."""
    monkeypatch.setattr(memory, "resolve_device", lambda name: device)
    own = settings(engine=engine)
    assert memory.expected_bytes(own, TEXT) == times * memory.needed_bytes(own, TEXT)


def test_a_small_one_fits():
    assert memory.memory_fault(settings(), TEXT) is None


def test_a_gpus_memory_is_asked_of_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2000))
    monkeypatch.setattr(memory, "resolve_device", lambda name: "cuda")
    assert "GiB of cuda memory are free" in memory.memory_fault(settings(), TEXT)


@pytest.mark.parametrize("budget", [Budget(tokens=10**13), Budget(epochs=10**6)])
def test_a_budget_of_too_many_updates_is_an_error_before_any_rate_is_made(budget):
    with pytest.raises(BudgetError, match=rf"must be {MOST_UPDATES:,} updates at most, but got"):
        budget.num_updates(updates_per_epoch=150, tokens_per_update=1120)
