import sys
from dataclasses import replace

import pytest
import torch

from harness.runner import executor
from harness.runner.executors import open_executor
from harness.settings import Budget, Settings
from harness.training import pack
from harness.training.messages import Evaluation, RunEnded
from harness.training.plan import Plan, Run
from harness.training.shard import Shard


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "text.txt").write_text("a quiet text of a few letters " * 60)
    return Settings(
        "rnn-tanh", "text", str(tmp_path / "text.txt"), hidden_size=4, batch_size=2, bptt_length=5,
        budget=Budget(updates=6), evaluations=3, pack_size=3,
    )  # fmt: skip


def runs_of(settings, count):
    return [
        Run(f"r{i}", (i,), replace(settings, learning_rate=0.1 * (i + 1))) for i in range(count)
    ]


def ends_of(plans):
    """Trains packs and returns how each run ended, the last time."""
    ends = {}

    def listen(messages):
        ends.update({m.run: m.state for m in messages if isinstance(m, RunEnded)})
        return set()

    executor.Inline().execute(plans, listen)
    return ends


def test_cut_keeps_order_and_size_and_separates_shapes(settings):
    runs = runs_of(settings, 4)
    other = [Run(f"w{i}", (i,), replace(settings, hidden_size=5)) for i in range(2)]
    runs, other = (
        [replace(run, id=f"a/trial/{run.id[1:]}") for run in some] for some in (runs, other)
    )
    plans = executor.cut([runs[0], other[0], *runs[1:], other[1]], Plan((runs[0],)))
    assert [[r.settings.hidden_size for r in plan.runs] for plan in plans] == [
        [4, 4, 4],
        [4],
        [5, 5],
    ]
    assert [run.id for plan in plans[:2] for run in plan.runs] == [run.id for run in runs]


def test_the_seeds_of_a_setting_share_a_pack(settings):
    ids = ["a/trial/0", "a/trial/0.1", "a/trial/1", "a/trial/1.1", "a/trial/2", "a/replicate/0"]
    runs = [replace(run, id=id) for run, id in zip(runs_of(settings, 6), ids, strict=True)]
    plans = executor.cut(runs, Plan((runs[0],)))
    assert [[run.id for run in plan.runs] for plan in plans] == [ids[:2], ids[2:5], ids[5:]]
    four = [replace(run, id=f"a/finalist/1.{j}") for j, run in enumerate(runs[:4])]
    assert [len(plan.runs) for plan in executor.cut(four, Plan((runs[0],)))] == [4]


def test_pruned_runs_leave_and_are_reported(settings):
    ends = {}

    def listen(records):
        ends.update({r.run: r.state for r in records if isinstance(r, RunEnded)})
        return (
            {"r1"} if any(isinstance(r, Evaluation) and r.run == "r1" for r in records) else set()
        )

    executor.Inline().execute([Plan(tuple(runs_of(settings, 3)))], listen)
    assert ends == {"r0": "finished", "r1": "pruned", "r2": "finished"}


def test_a_pack_that_does_not_fit_is_trained_in_smaller_ones(settings, monkeypatch):
    sizes = []

    def evaluate(resolved, shard, evaluate=pack.evaluate):
        sizes.append(len(resolved.plan.runs))
        if len(resolved.plan.runs) > 1:
            raise torch.OutOfMemoryError("full")
        return evaluate(resolved, shard)

    monkeypatch.setattr(pack, "evaluate", evaluate)
    assert ends_of([Plan(tuple(runs_of(settings, 3)))]) == dict.fromkeys(
        ["r0", "r1", "r2"], "finished"
    )
    assert set(sizes) == {3, 2, 1}


def test_a_run_that_does_not_fit_beside_others_is_trained_alone(settings, monkeypatch):
    runs, training = runs_of(settings, 4), set()

    def advance(shard, to_update, advance=Shard.advance):
        training.add(shard)
        if len(training) > 1 and shard.runs[0].id == "r0":
            raise torch.OutOfMemoryError("full")
        advance(shard, to_update)
        training.clear()

    monkeypatch.setattr(Shard, "advance", advance)
    training.add("another")  # also where the others end before it
    ends = ends_of([Plan((run,)) for run in runs])
    assert ends == dict.fromkeys(["r0", "r1", "r2", "r3"], "finished")


def test_a_single_run_that_does_not_fit_fails(settings, monkeypatch):
    def full(shard, _):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr("harness.training.shard.Shard.advance", full)
    ends = []
    executor.Inline().execute(
        [Plan(tuple(runs_of(settings, 1)))],
        lambda records: ends.extend(r for r in records if isinstance(r, RunEnded)) or set(),
    )
    assert ends[0].state == "failed" and "full" in ends[0].message


def test_a_kind_of_executor_that_there_is_not_opens_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AssertionError, match="'slurm'"):
        open_executor("slurm", "auto", tmp_path, print)
