"""Packs beside each other: who waits for whom, who gets the threads, and that no number knows."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from recording import TapeRecorder
from wire import TIMES

import cells
from harness.engine import get
from harness.settings import Budget, Settings
from harness.training import checkpointing
from harness.training import pack as pack_module
from harness.training.crew import Crew
from harness.training.messages import Evaluation, RunEnded, RunStarted
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.saved_model import SavedModel
from harness.training.shard import Shard
from harness.training.steps import steps


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "text.txt").write_text("the time traveller and the morlocks " * 200)
    return Settings(
        "rnn-tanh", "text", str(tmp_path / "text.txt"), hidden_size=8, batch_size=4, bptt_length=5,
        budget=Budget(updates=12), evaluations=4, engine="reference", device="cpu", threads=2,
    )  # fmt: skip


def run_of(settings, name, **changes):
    judged_with = changes.pop("judged_with", None)
    return Run(name, (name,), replace(settings, **changes), judged_with)


def listened(plans, prune=lambda messages: set()):
    """Trains packs and returns what was said, list by list."""
    training, said, pruned = steps(plans), [], None
    while True:
        try:
            messages = next(training) if pruned is None else training.send(pruned)
        except StopIteration:
            return said
        said.append(messages)
        pruned = prune(messages)


def of_run(said, run):
    """Returns what was said of a run but times and its model."""
    own = [m for ms in said for m in ms if m.run == run and not isinstance(m, RunStarted)]
    told = [
        replace(m, time=0.0, metrics={k: v for k, v in m.metrics.items() if k not in TIMES})
        for m in own
    ]
    return [replace(m, model=None) if isinstance(m, RunEnded) else m for m in told]


def model_of(said, run):
    """Returns the parameters that a run ended with at its best."""
    (end,) = [m for ms in said for m in ms if m.run == run and isinstance(m, RunEnded)]
    return SavedModel.from_bytes(end.model).parameters


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_packs_beside_each_other_have_the_numbers_of_runs_alone(settings, engine):
    if get(engine).refusal(cells.find("gru"), "cpu", "float32") is not None:
        pytest.skip("no C++ compiler")
    size = {"hidden_size": 96, "batch_size": 40, "bptt_length": 35}  # worth three threads a run
    base = replace(settings, engine=engine, budget=Budget(updates=6), evaluations=3, **size)
    counts = {"rnn-tanh": 3, "gru": 2, "lstm": 1}
    plans = [
        Plan(
            tuple(
                run_of(base, f"{cell}{i}", cell=cell, learning_rate=0.2 + i, threads=3)
                for i in range(count)
            ),
            keep_models=True,
        )
        for cell, count in counts.items()
    ]
    said = listened(plans)
    for plan in plans:
        for run in plan.runs:
            single = replace(run, settings=replace(run.settings, threads=1))
            alone = listened([replace(plan, runs=(single,))])
            assert of_run(said, run.id) == of_run(alone, run.id)
            expected = model_of(alone, run.id)
            for name, values in model_of(said, run.id).items():
                assert np.array_equal(values, expected[name]), name


def test_a_run_waits_for_nobody_but_for_those_it_is_judged_with(settings, monkeypatch):
    held = threading.Event()

    def advance(shard, to_update, advance=Shard.advance):
        if shard.runs[0].id == "slow" and to_update == 3:
            assert held.wait(300)
        advance(shard, to_update)

    monkeypatch.setattr(Shard, "advance", advance)
    runs = [run_of(settings, name) for name in ("slow", "free")]
    runs += [run_of(settings, name, judged_with="t") for name in ("seed", "other")]

    def prune(messages):
        if any(isinstance(m, RunEnded) and m.run == "free" for m in messages):
            held.set()  # its neighbour is still before its first point
        return set()

    said = listened([Plan(tuple(runs))], prune)
    assert {m.run for messages in said for m in messages if isinstance(m, RunEnded)} == {
        "slow", "free", "seed", "other",
    }  # fmt: skip
    points = [[(m.run, m.update) for m in ms if isinstance(m, Evaluation)] for ms in said]
    assert [each for each in points if each[0][0] in ("seed", "other")] == [
        [("seed", update), ("other", update)] for update in (3, 6, 9, 12)
    ]


def test_a_pruned_trial_has_no_point_more_than_the_one_it_was_judged_at(settings):
    runs = [run_of(settings, name, judged_with=name[0]) for name in ("a0", "a1", "b0", "b1")]

    def prune(messages):
        is_judged = any(isinstance(m, Evaluation) and m.update == 6 for m in messages)
        return {"a0", "a1"} if is_judged and messages[0].run[0] == "a" else set()

    said = listened([Plan(tuple(runs))], prune)
    for run, updates in {"a0": [3, 6, 6], "a1": [3, 6, 6], "b0": [3, 6, 9, 12, 12]}.items():
        assert [m.update for m in of_run(said, run)] == updates
    assert {m.state for m in said[-1] if isinstance(m, RunEnded)} == {"finished"}


def test_a_run_that_goes_on_is_judged_by_its_past_first(settings, tmp_path):
    """It was killed after its checkpoint and before the driver's word: it is pruned all the same.

    A point more would be in the store of a study that was killed, and in no other.
    """
    plan = Plan((run_of(settings, "r"),), checkpoint_folder=str(tmp_path / "checkpoints"))
    killed = Pack(plan)
    first = [*killed.advance(), *killed.advance()]
    killed.save()
    killed.close()
    said = listened([plan], lambda messages: {"r"} if messages[-1].update == 6 else set())
    assert [[type(m) for m in messages] for messages in said] == [
        [RunStarted, Evaluation, Evaluation],
        [RunEnded],
    ]
    assert said[0][1:] == first[1:] and said[1][0].state == "pruned"


@pytest.mark.parametrize("ends", [{"early_stopping_patience": 1}, {"learning_rate": 1e38}])
def test_a_run_that_has_ended_is_not_trained_on_from_a_checkpoint(
    settings, tmp_path, monkeypatch, ends
):
    """A driver that dies before it has stored the end trains the run again, to the same end."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", -1.0)
    changes = {"learning_rate": 4.0, "budget": Budget(updates=60), "evaluations": 30, **ends}

    def plan(folder):
        run = run_of(settings, "r", **changes)
        return Plan((run,), checkpoint_folder=str(tmp_path / folder), version=2)

    undisturbed = of_run(listened([plan("a")]), "r")
    training = steps([plan("b")])
    messages = next(training)
    while not any(isinstance(message, RunEnded) for message in messages):
        messages = training.send(set())
    training.close()
    again = of_run(listened([plan("b")]), "r")
    assert isinstance(again[-1], RunEnded) and again[-1].update < 60
    assert again[-1] == undisturbed[-1]


def test_threads_without_a_run_of_their_own_help_another(settings, monkeypatch):
    """Of three runs on two threads the last turns have both; a pack has no more than it may."""
    given, has_ended = [], threading.Event()

    def turn(pack, shard, threads, turn=Pack.turn):
        given.append((shard.runs[0].id, threads))
        if shard.runs[0].id == "long" and shard.update:  # whoever is quicker
            assert has_ended.wait(300)
        return turn(pack, shard, threads)

    def note_end(messages):
        if any(isinstance(m, RunEnded) and m.run == "short" for m in messages):
            has_ended.set()
        return set()

    monkeypatch.setattr(Pack, "turn", turn)
    long = run_of(settings, "long", budget=Budget(updates=60), evaluations=20)
    listened([Plan((long,)), Plan((run_of(settings, "short"),))], note_end)
    assert {threads for run, threads in given if run == "short"} == {1}
    assert given[-1] == ("long", 2)
    given.clear()
    narrow = Plan(tuple(run_of(settings, f"n{i}", threads=1) for i in range(2)))
    listened([narrow, Plan((run_of(settings, "wide", threads=4),))])
    assert {threads for run, threads in given if run[0] == "n"} == {1}
    assert next(threads for run, threads in given if run == "wide") == 3


def test_a_thread_goes_on_while_what_it_has_done_is_judged(settings, monkeypatch):
    begun = {name: threading.Event() for name in ("one", "two")}

    def advance(shard, to_update, advance=Shard.advance):
        begun[shard.runs[0].id].set()
        advance(shard, to_update)

    def prune(messages):
        assert all(each.wait(300) for each in begun.values())
        return set()

    monkeypatch.setattr(Shard, "advance", advance)
    said = listened([Plan(tuple(run_of(settings, name, threads=1) for name in begun))], prune)
    assert sum(isinstance(m, RunEnded) for messages in said for m in messages) == 2


def test_a_pack_of_fewer_threads_is_not_overtaken_by_those_that_came_later(settings, monkeypatch):
    """Of two threads the first pack uses one: no turn of the second one waits before its own."""
    kept = []

    def send(crew, send=Crew._send):
        send(crew)
        first = crew._packs[0] if crew._packs else None
        waits = any(group.pack is first and group.unsent for group in crew._groups)
        trains = any(shard in crew._busy for shard in (first.shards if first else ()))
        if waits and not trains:
            kept.append(len(crew._busy) <= crew._threads)

    monkeypatch.setattr(Crew, "_send", send)
    first, second = (
        Plan(tuple(run_of(settings, f"{name}{i}", threads=threads) for i in range(count)))
        for name, threads, count in (("first", 1, 3), ("second", 2, 4))
    )
    said = listened([first, second])
    assert all(kept)
    assert sum(isinstance(m, RunEnded) for messages in said for m in messages) == 7


def have_ended(threads):
    """Waits for threads: one that begins as the others end finds no work, and ends by itself."""
    for thread in threads:
        thread.join(300)
    return not any(thread.is_alive() for thread in threads)


def test_what_no_run_may_survive_ends_the_training_and_its_threads(settings, monkeypatch):
    class Died(BaseException):
        pass

    def turn(pack, shard, threads):
        raise Died

    before = set(threading.enumerate())
    monkeypatch.setattr(Pack, "turn", turn)
    with pytest.raises(Died):
        listened([Plan((run_of(settings, "r"),))])
    assert have_ended(set(threading.enumerate()) - before)


def test_training_that_is_left_stops_at_once(settings):
    endless = replace(settings, budget=Budget(updates=100_000), evaluations=2)
    before = set(threading.enumerate())
    training = steps([Plan((run_of(endless, "r"),)), Plan((run_of(settings, "short"),))])
    assert next(training)[0].run == "short"
    assert set(threading.enumerate()) - before
    training.close()
    assert have_ended(set(threading.enumerate()) - before)


def test_no_packs_say_nothing():
    assert listened([]) == []


class Accelerator:
    """The device of a pack whose tensors lie on the CPU: it trains as on an accelerator."""

    type = "accelerator"


class Watched(TapeRecorder):
    """Records as for CUDA, and knows the threads that it was called in."""

    made = []

    def __init__(self):
        super().__init__()
        self.threads = set()
        self.made.append(self)

    def run(self, work):
        self.threads.add(threading.current_thread())
        super().run(work)

    def record(self, work):
        self.threads.add(threading.current_thread())
        return super().record(work)


@pytest.fixture
def accelerated(monkeypatch):
    """Packs of runs that are called so train as on an accelerator; their recorders."""

    def resolved(plan, resolve=pack_module.resolve):
        made = resolve(plan)
        is_ours = plan.runs[0].id.startswith("accelerated")
        return replace(made, device=Accelerator()) if is_ours else made

    def shard(runs, task, model, num_updates, device):
        recorders = {"cpu": Watched} if device.type == "accelerator" else {}
        with monkeypatch.context() as patch:
            patch.setattr("harness.training.shard.GRAPH_RECORDERS", recorders)
            return Shard(runs, task, model, num_updates, torch.device("cpu"))

    monkeypatch.setattr(pack_module, "resolve", resolved)
    monkeypatch.setattr(pack_module, "Shard", shard)
    monkeypatch.setattr(Watched, "made", [])
    return Watched.made


def test_a_pack_on_an_accelerator_has_a_thread_of_its_own(settings, accelerated):
    """What a library keeps by thread, such as cuBLAS's handle, is there when a graph is recorded.

    The threads of others, which wait for work, take none of it; it ends with its pack.
    """
    before = set(threading.enumerate())
    plans = [
        Plan(tuple(run_of(settings, f"{name}{i}", threads=4) for i in range(count)))
        for name, count in (("cpu", 4), ("accelerated", 2), ("accelerated too", 1))
    ]
    said = listened(plans)
    assert sum(isinstance(m, RunEnded) for messages in said for m in messages) == 7
    assert [len(recorder.threads) for recorder in accelerated] == [1] * 4  # updates, evaluations
    assert len(set.union(*(recorder.threads for recorder in accelerated))) == 2
    assert have_ended(set(threading.enumerate()) - before)


def test_a_pack_that_does_not_fit_an_accelerator_leaves_no_thread(
    settings, accelerated, monkeypatch
):
    """It comes again in halves; the thread that could not make it ends with it."""
    monkeypatch.setattr("harness.training.threads.END_SECONDS", 300.0)
    before, made = set(threading.enumerate()), pack_module.Shard

    def shard(runs, *others):
        if len(runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        alive.append(len(set(threading.enumerate()) - before))
        return made(runs, *others)

    alive = []
    monkeypatch.setattr(pack_module, "Shard", shard)
    said = listened([Plan(tuple(run_of(settings, f"accelerated{i}", threads=1) for i in range(2)))])
    ends = [m for messages in said for m in messages if isinstance(m, RunEnded)]
    assert [end.state.value for end in ends] == ["finished"] * 2
    assert alive == [1, 1]  # the pack's own
    assert have_ended(set(threading.enumerate()) - before)
