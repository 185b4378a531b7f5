"""The seeds of a trial whose pack does not fit in memory: judged and pruned as if it had."""

import gc
import time
import weakref
from dataclasses import replace

import pytest
import torch
from test_steps import listened, of_run, run_of, settings  # noqa: F401

from harness.training import checkpointing, pack
from harness.training.messages import Evaluation, RunEnded, RunStarted
from harness.training.plan import Plan
from harness.training.shard import Shard
from harness.training.steps import steps
from harness.training.together import Together

SEEDS = ("a0", "a1", "a2", "a3")


@pytest.fixture
def memory(monkeypatch):
    """Has room for two runs, of which each takes some from the moment that it is made.

    What is said of it: how many there were in every pack that had begun.
    """
    alive, sizes = weakref.WeakSet(), []

    def make(shard, *arguments, make=Shard.__init__):
        make(shard, *arguments)
        alive.add(shard)

    def advance(shard, to_update, advance=Shard.advance):
        if len(alive) > 2:
            raise torch.OutOfMemoryError("full")
        advance(shard, to_update)

    def begin(own, plan, pool=None, begin=pack.Pack.__init__):
        until = time.monotonic() + 300  # a thread that has said its last may not have left it yet
        while alive and time.monotonic() < until:
            time.sleep(0.001)
        sizes.append((len(plan.runs), len(alive)))
        begin(own, plan, pool)

    monkeypatch.setattr(Shard, "__init__", make)
    monkeypatch.setattr(Shard, "advance", advance)
    monkeypatch.setattr(pack.Pack, "__init__", begin)
    gc.collect()
    gc.disable()  # the bench searches for cycles so seldom that nothing may wait for that
    yield sizes
    gc.enable()


class Judge:
    """Prunes trial a at a point once it knows all of its seeds, as the driver does."""

    def __init__(self, update, seeds=SEEDS):
        self._update, self._seeds = update, seeds
        self._come, self._ended = {}, set()

    def __call__(self, messages):
        for message in messages:
            if isinstance(message, Evaluation):
                self._come.setdefault(message.run, []).append(message.update)
            elif isinstance(message, RunEnded):
                self._ended.add(message.run)
        if all(
            run in self._ended or self._update in self._come.get(run, ()) for run in self._seeds
        ):
            return set(self._seeds) - self._ended
        return set()


def plan_of(settings, threads, **changes):  # noqa: F811
    changes = {run: changes.get(run, {}) for run in SEEDS}
    return Plan(
        tuple(
            run_of(settings, run, judged_with="a", threads=threads, **own)
            for run, own in changes.items()
        )
    )


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("update", [6, None])
def test_seeds_in_two_packs_end_as_those_of_one(settings, request, threads, update):  # noqa: F811
    plan = plan_of(settings, threads, a1={"learning_rate": 1e38})
    whole = listened([plan], Judge(update))
    sizes = request.getfixturevalue("memory")
    split = listened([plan], Judge(update))
    assert sizes == [(4, 0), (2, 0), (2, 0)]  # no part is made while another is there
    for run in SEEDS:
        assert of_run(split, run) == of_run(whole, run)
        assert sum(isinstance(m, RunStarted) and m.run == run for ms in split for m in ms) == 1
    states = {m.run: m.state for ms in split for m in ms if isinstance(m, RunEnded)}
    others = "pruned" if update else "finished"
    assert states == {"a0": others, "a1": "diverged", "a2": others, "a3": others}


def test_what_is_judged_together_is_told_together(settings, memory):  # noqa: F811
    said = listened([plan_of(settings, 2)])
    points = [{(m.run, m.update) for m in ms if isinstance(m, Evaluation)} for ms in said]
    assert points == [{(run, update) for run in SEEDS} for update in (3, 6, 9, 12)]


def test_a_seed_that_does_not_fit_on_its_way_is_waited_for(settings, monkeypatch):  # noqa: F811
    """It alone comes again when its neighbour, which trains on meanwhile, has ended."""
    whole = listened([plan_of(settings, 2)], Judge(9))
    times = []

    def advance(shard, to_update, advance=Shard.advance):
        if shard.runs[0].id == "a1" and to_update == 9 and not times:
            times.append(to_update)
            raise torch.OutOfMemoryError("full")
        advance(shard, to_update)

    monkeypatch.setattr(Shard, "advance", advance)
    split = listened([plan_of(settings, 2)], Judge(9))
    assert times
    for run in SEEDS:
        assert of_run(split, run) == of_run(whole, run)


def test_a_seed_that_fits_nowhere_holds_nobody(settings, monkeypatch):  # noqa: F811
    def advance(shard, to_update, advance=Shard.advance):
        if shard.runs[0].id == "a1" and to_update == 9:
            raise torch.OutOfMemoryError("full")
        advance(shard, to_update)

    monkeypatch.setattr(Shard, "advance", advance)
    said = listened([plan_of(settings, 2)])
    assert {m.run: m.state for ms in said for m in ms if isinstance(m, RunEnded)} == {
        "a0": "finished", "a1": "failed", "a2": "finished", "a3": "finished",
    }  # fmt: skip


def test_one_that_is_ahead_by_its_checkpoint_is_told_with_the_others(
    settings,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    """Half of a trial had trained on when its process was killed; now the whole has room."""
    whole = listened([plan_of(settings, 2)], Judge(6))
    plan = Plan(plan_of(settings, 2).runs, checkpoint_folder=str(tmp_path / "checkpoints"))
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", -1.0)
    ahead = steps([Plan(plan.runs[:2], checkpoint_folder=plan.checkpoint_folder)])
    for _ in range(3):
        ahead.send(None)
    ahead.close()
    said = listened([plan], Judge(6))
    for run in SEEDS:
        assert of_run(said, run) == of_run(whole, run)


@pytest.mark.parametrize("num_failures", [1, 2])
def test_a_pruned_seed_that_waits_for_memory_is_not_trained_again(
    settings,  # noqa: F811
    monkeypatch,
    num_failures,
):
    """Seed a0 passed the point that is judged, then did not fit; a1 came there after it."""
    runs = plan_of(settings, 1).runs[:2]
    whole = listened([Plan(runs)], Judge(3, SEEDS[:2]))
    opened, times = [], []

    def begin(own, plan, pool=None, begin=pack.Pack.__init__):
        opened.append([run.id for run in plan.runs])
        if len(plan.runs) > 1:
            raise torch.OutOfMemoryError("full")
        begin(own, plan, pool)

    def advance(shard, to_update, advance=Shard.advance):
        if shard.runs[0].id == "a0" and to_update == 9 and len(times) < num_failures:
            times.append(to_update)
            raise torch.OutOfMemoryError("full")
        advance(shard, to_update)

    monkeypatch.setattr(pack.Pack, "__init__", begin)
    monkeypatch.setattr(Shard, "advance", advance)
    split = listened([Plan(runs)], Judge(3, SEEDS[:2]))
    for run in SEEDS[:2]:
        assert of_run(split, run) == of_run(whole, run)
        assert [m.update for m in of_run(split, run)] == [3, 3]
    assert opened == [["a0", "a1"], ["a0"], ["a1"]] and times


def test_nothing_more_is_told_of_a_pruned_seed(settings):  # noqa: F811
    said = [m for ms in listened([Plan(plan_of(settings, 1).runs[:1])]) for m in ms]
    together = Together([plan_of(settings, 1)])
    together.take([replace(m, run=run) for run in SEEDS for m in said[:2]])
    assert {m.run for m in together.give()} == set(SEEDS)
    assert {end.run for end in together.prune(SEEDS, [])} == set(SEEDS)
    together.take(said)
    assert together.give() == []


def test_a_seed_left_alone_by_a_kill_ends_where_its_trial_was_judged(
    settings,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    """The end of a0 was stored; a1 had gone on untold, and its checkpoint is of a later point."""
    runs = plan_of(settings, 1).runs[:2]
    whole = listened([Plan(runs)], Judge(3, SEEDS[:2]))
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", -1.0)
    alone = Plan(runs[1:], checkpoint_folder=str(tmp_path / "checkpoints"))
    ahead = steps([alone])
    while next(ahead)[-1].update < 9:
        pass
    ahead.close()
    resumed = listened([alone], Judge(3, ("a1",)))
    assert of_run(resumed, "a1") == of_run(whole, "a1")


def test_a_seed_alone_is_told_as_any_run(settings):  # noqa: F811
    (seed,) = plan_of(settings, 1).runs[:1]
    said, others = (listened([Plan((run,))]) for run in (seed, replace(seed, judged_with=None)))
    assert of_run(said, "a0") == of_run(others, "a0")
    assert [[type(m) for m in ms] for ms in said] == [[type(m) for m in ms] for ms in others]
