"""A pack's records are what they say: points, budgets, perplexities, best parameters, and the ends
of runs.
"""

import json
import math
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from wire import info_of, kind_of, update_of

from harness import engine, timing
from harness.data import DataError
from harness.model.network import Model
from harness.settings import Budget, SampleRequest, Settings
from harness.training import checkpoint
from harness.training.execution import out_of_memory, resolve_device
from harness.training.messages import RunEnded, RunState
from harness.training.pack import Pack
from harness.training.plan import Plan, PlanError, Run
from harness.training.resolved import evaluation_points
from harness.training.shard import Shard
from harness.training.steps import train


@pytest.fixture
def settings(text):
    return Settings(
        cell="lstm",
        corpus="text",
        path=text,
        hidden_size=7,
        batch_size=3,
        bptt_length=5,
        budget=Budget(updates=20),
        evaluations=4,
        engine="reference",
        device="cpu",
        threads=2,
        precision="float64",
    )


def plan_of(settings, *changes, **plan):
    changes = changes or ({},)
    runs = tuple(
        Run(f"r{i}", (i,), replace(settings, **change)) for i, change in enumerate(changes)
    )
    return Plan(runs, **plan)


def records_of(plan):
    return [record for records in train(plan) for record in records]


def kept(records, kind, run="r0"):
    return [r for r in records if kind_of(r) == kind and r.run == run]


# Points and budgets.


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


# Records.


def test_records_tell_starts_then_points_then_ends(settings):
    records = records_of(plan_of(settings, {}, {"learning_rate": 0.3}))
    for run in ("r0", "r1"):
        mine = [r for r in records if r.run == run]
        assert [(kind_of(r), update_of(r)) for r in mine] == [
            ("start", 0),
            *(("evaluation", update) for update in (5, 10, 15, 20)),
            ("end", 20),
        ]
    info = info_of(records[0])
    assert (info["engine"], info["device"], info["precision"], info["threads"]) == (
        "reference",
        "cpu",
        "float64",
        2,
    )
    assert (info["pack_size"], info["num_updates"], info["hidden_size"], info["notes"]) == (
        2,
        20,
        7,
        [],
    )
    assert len(info["corpus_fingerprint"]) == 64
    assert [r.metrics["tokens"] for r in kept(records, "evaluation")] == [75.0, 150.0, 225.0, 300.0]
    assert [r.update for r in kept(records, "end", "r1")] == [20]


def test_auto_says_which_engines_were_passed_over_and_why(settings, monkeypatch):
    monkeypatch.setattr(engine.get("cpu"), "refusal", lambda *_: "of this test")
    given = replace(settings, cell="lstm-peephole", engine="auto", budget=Budget(updates=1))
    records = records_of(plan_of(given))
    assert info_of(records[0])["engine"] == "reference"
    assert "engine cpu: not used, of this test" in info_of(records[0])["notes"]


def test_the_training_perplexity_of_an_epoch_equals_a_plain_loop(settings):
    """exp(sum of token losses / tokens), each minibatch taken before its update, through torch.nn
    and torch.optim.
    """
    settings = replace(
        settings, budget=Budget(epochs=2), evaluations="epoch", clip_norm=0.5, learning_rate=2.0
    )
    plan = plan_of(settings)
    pack = Pack(plan)
    start = {name: p.detach()[0].clone() for name, p in pack.shards[0].parameters.items()}
    task, records = pack.task, []
    while new := pack.advance():
        records += new
    pack.close()
    lstm, readout = (
        torch.nn.LSTM(task.num_inputs, 7).double(),
        torch.nn.Linear(7, task.num_outputs).double(),
    )
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(start["layer0.W"].t())
        lstm.weight_hh_l0.copy_(start["layer0.R"].t())
        lstm.bias_ih_l0.copy_(start["layer0.b"])
        lstm.bias_hh_l0.zero_()
        readout.weight.copy_(start["readout.W"].t())
        readout.bias.copy_(start["readout.b"])
    lstm.bias_hh_l0.requires_grad_(False)
    trained = [*(p for p in lstm.parameters() if p.requires_grad), *readout.parameters()]
    optimizer = torch.optim.SGD(trained, lr=2.0)
    tokens, norms = torch.from_numpy(task.dataset.splits["train"]).long(), []
    for epoch, record in enumerate(kept(records, "evaluation")):
        state, nats, count, norms = None, 0.0, 0, []
        for starts in task.epoch([(0,)], epoch)[0][:, 0]:
            at = starts + torch.arange(5).view(-1, 1)
            one_hot = torch.nn.functional.one_hot(tokens[at], task.num_inputs).double()
            outputs, state = lstm(one_hot, state)
            state = tuple(s.detach() for s in state)
            loss = torch.nn.functional.cross_entropy(
                readout(outputs).flatten(0, 1), tokens[at + 1].flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 0.5)))
            optimizer.step()
            nats, count = nats + 15 * loss.item(), count + 15
        # clip_grad_norm_ adds 1e-6 to the norm, about 1: every step is a millionth shorter than the
        # bench's.
        assert record.metrics["train/perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
        assert record.metrics["train/loss"] == pytest.approx(nats / count, rel=1e-5)
        assert record.metrics["train/gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-4)
        assert record.metrics["train/clipped_fraction"] == pytest.approx(
            np.mean(np.array(norms) > 0.5)
        )


def test_tokens_per_second_are_a_runs_own_tokens_over_the_time_of_its_updates(
    settings, monkeypatch
):
    """By a clock that goes on by 10 ms an update, and stands still otherwise."""
    now, mark = 1000.0, timing.Clock.mark

    def marked(clock):
        nonlocal now
        now += 0.01
        mark(clock)

    monkeypatch.setattr(timing.Clock, "mark", marked)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for updates in (60, 120):
        only = replace(settings, budget=Budget(updates=updates), evaluations=1)
        with closing(Pack(plan_of(only))) as pack:
            (record,) = kept(pack.advance(), "evaluation")
        # The first mark is before the first update.
        assert record.metrics["tokens_per_second"] == pytest.approx(15 / 0.01, rel=2 / updates)
        for name in ("update_seconds_p50", "update_seconds_p90"):
            assert record.metrics[name] == pytest.approx(0.01)


# Selection.


def overfitting(settings):
    """Settings whose validation loss falls and rises again."""
    rates = {"learning_rate": 3.0, "clip_norm": 1.0, "budget": Budget(updates=25), "evaluations": 5}
    return replace(settings, **rates, momentum=0.95)


def test_the_best_parameters_are_those_of_the_lowest_validation_and_test_is_read_there(settings):
    plan = plan_of(overfitting(settings), samples=SampleRequest(("the",), 9, every=2))
    pack, snapshots, records = Pack(plan), {}, []
    shard = pack.shards[0]
    while new := pack.advance():
        records += new
        snapshots[shard.update] = {name: p.detach().clone() for name, p in shard.parameters.items()}
    pack.close()
    losses = {r.update: r.metrics["validation/loss"] for r in kept(records, "evaluation")}
    best = min(losses, key=losses.get)
    assert best < 25  # or the test would not tell the best from the last
    (end,) = kept(records, "end")
    assert info_of(end)["state"] == "finished"
    assert end.metrics["objective"] == losses[best] and end.metrics["best_update"] == best
    assert all(torch.equal(shard.best[name], p) for name, p in snapshots[best].items())
    with torch.no_grad():
        assert end.metrics["test/loss"] != shard.evaluate("test")[0][0]
        for name, value in snapshots[best].items():
            shard.parameters[name].copy_(value)
        assert end.metrics["test/loss"] == shard.evaluate("test")[0][0]
        expected = pack.task.samples(pack.model, snapshots[best], plan.samples, (0,))
        on_the_way = {
            u: pack.task.samples(pack.model, snapshots[u], plan.samples, (0,)) for u in (10, 20)
        }
    assert info_of(end)["samples"] == expected and len(expected[0]["text"]) == 12
    written = {
        r.update: info_of(r)["samples"]
        for r in kept(records, "evaluation")
        if "samples" in info_of(r)
    }
    assert written == {
        u: [{**sample, "update": u} for sample in found] for u, found in on_the_way.items()
    }
    assert not any(
        name.startswith("test/") for r in kept(records, "evaluation") for name in r.metrics
    )


def test_the_test_split_is_read_only_where_the_plan_says_so(settings):
    (end,) = kept(records_of(plan_of(settings, read_test=False)), "end")
    assert not any(name.startswith("test/") for name in end.metrics)


@pytest.mark.parametrize("split", ["none", "holdout"])
def test_a_training_objective_is_the_last_evaluations(settings, split):
    settings = replace(overfitting(settings), split=split)
    pack = Pack(plan_of(settings, objective="train/perplexity"))
    shard, records = pack.shards[0], []
    while new := pack.advance():
        records += new
    pack.close()
    (end,) = kept(records, "end")
    points = kept(records, "evaluation")
    assert ("validation/loss" in points[0].metrics) == (split == "holdout")
    assert end.metrics["objective"] == points[-1].metrics["train/loss"]
    assert end.metrics["best_update"] == 25
    assert all(torch.equal(shard.best[name], p) for name, p in shard.parameters.items())


# Ends.


def test_a_run_that_raises_fails_and_its_neighbours_go_on(settings, monkeypatch):
    whole = Shard.advance

    def advance(self, to_update):
        whole(self, to_update)
        if self.runs[0].id == "r1" and to_update == 10:
            raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Shard, "advance", advance)
    records = records_of(plan_of(settings, {}, {}, {}))
    (end,) = kept(records, "end", "r1")
    assert (end.update, set(end.metrics)) == (10, {"tokens", "seconds"})
    expected = {
        "state": "failed",
        "message": "RuntimeError: the disk is on fire",
        "out_of_memory": False,
        "refused": False,
    }
    assert info_of(end) == expected
    assert len(kept(records, "evaluation", "r1")) == 1
    for run in ("r0", "r2"):
        assert len(kept(records, "evaluation", run)) == 4
        assert info_of(kept(records, "end", run)[0])["state"] == "finished"


@pytest.mark.parametrize(
    "error, memory",
    [
        (MemoryError("m"), True),
        (torch.OutOfMemoryError("m"), True),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("shape"), False),
    ],
)
@pytest.mark.parametrize("method", ["advance", "evaluate", "samples"])
def test_a_failure_anywhere_says_whether_memory_was_the_cause(
    settings, monkeypatch, method, error, memory
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(Shard, method, fail)
    (end,) = kept(records_of(plan_of(settings)), "end")
    assert info_of(end)["state"] == "failed" and info_of(end)["out_of_memory"] is memory
    assert info_of(end)["message"] == f"{type(error).__name__}: {error}"


def test_memory_that_a_processor_cannot_give_is_told_as_such():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)


WILD = {"learning_rate": 1e4, "clip_norm": None}
"""Losses stay finite and far above that of guessing."""


@pytest.fixture
def drawn_letters(tmp_path, settings):
    """Settings that learn how often each letter is drawn, and then the training text by heart."""
    letters = np.random.default_rng(0).choice(list("abcdefgh"), 600, p=[0.3] + [0.1] * 7)
    path = tmp_path / "letters.txt"
    path.write_text("".join(letters))
    shape = {"path": str(path), "hidden_size": 32, "batch_size": 4, "bptt_length": 16}
    rates = {"optimizer": "adam", "learning_rate": 0.05, "precision": "float32"}
    return replace(settings, **shape, **rates, budget=Budget(updates=120), evaluations=12)


def ended(records, run="r0"):
    (end,) = kept(records, "end", run)
    return end


def losses_of(records, split="validation", run="r0"):
    return [r.metrics[f"{split}/loss"] for r in kept(records, "evaluation", run)]


def test_in_version_1_a_final_validation_loss_above_that_of_guessing_is_a_divergence(settings):
    records = records_of(plan_of(settings, {}, WILD))
    end = ended(records, "r1")
    vocabulary = Pack(plan_of(settings)).task.num_outputs
    assert losses_of(records, run="r1")[-1] > math.log(vocabulary)
    assert info_of(end)["state"] == "diverged" and end.metrics["objective"] == math.log(vocabulary)
    assert set(end.metrics) == {"objective", "tokens", "seconds"}
    assert info_of(end)["message"] == "final validation loss above that of guessing"
    assert info_of(end)["diverged_at"] == 20 and "not_learned" not in info_of(end)
    neighbour = info_of(ended(records, "r0"))
    assert neighbour["state"] == "finished" and "not_learned" not in neighbour


def test_a_run_that_overfits_is_worth_its_best_evaluation(drawn_letters):
    records = records_of(plan_of(drawn_letters, version=2, keep_models=True))
    end, losses = ended(records), losses_of(records)
    assert min(losses) < math.log(8) < losses[-1]
    assert (end.state, end.not_learned, end.message) == ("finished", False, None)
    assert end.metrics["objective"] == end.metrics["validation/loss"] == min(losses)
    assert end.metrics["final/loss"] == losses[-1]
    assert end.metrics["best_update"] == 10 * (1 + losses.index(min(losses)))
    assert end.metrics["test/loss"] < math.log(8) and end.model is not None
    assert ended(records_of(plan_of(drawn_letters))).state == "diverged"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_run_that_never_does_better_than_guessing_is_worth_a_guess(settings, precision):
    settings = replace(settings, precision=precision)
    records = records_of(plan_of(settings, WILD, {}, version=2))
    end, losses = ended(records), losses_of(records)
    chance = math.log(Pack(plan_of(settings)).task.num_outputs)
    assert min(losses) > chance and all(map(math.isfinite, losses))
    assert (end.state, end.not_learned, end.diverged_at) == ("finished", True, None)
    assert end.metrics["objective"] == end.metrics["validation/loss"] == chance
    assert end.metrics["test/loss"] == chance
    assert end.metrics["test/perplexity"] == pytest.approx(math.exp(chance), rel=1e-15)
    assert end.metrics["final/loss"] == losses[-1]
    assert end.message == (
        f"not learned: no evaluation had a validation loss below that of guessing, {chance:.3f} "
        "nats"
    )
    assert ended(records, "r1").not_learned is False


def test_an_evaluation_adds_up_in_float64(settings):
    pack = Pack(plan_of(replace(settings, precision="float32")))
    (shard,) = pack.shards
    pack.close()
    terms, task = [], shard.task
    kept = task.sums
    task.sums = lambda *given: terms.append(kept(*given)) or terms[-1]
    ((mean,),) = shard.evaluate("validation")
    assert len(terms) > 2
    total = sum(float(each) for each in terms)  # Python's numbers are of double precision
    assert mean == total / task.num_targets("validation")


def evaluating_to(monkeypatch, values):
    """Makes the validation losses of the evaluations that follow ``values``."""
    measured, values = Shard.evaluate, iter(values)

    def evaluate(self, split, **which):
        return [[next(values)]] if split == "validation" else measured(self, split, **which)

    monkeypatch.setattr(Shard, "evaluate", evaluate)


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_an_evaluation_that_is_no_number_is_one_that_is_not_better_than_guessing(
    settings, monkeypatch, strange
):
    """A run diverges in training. What an evaluation shows of parameters that are all finite is how
    good they are, and an overflow is the worst of it.
    """
    evaluating_to(monkeypatch, [2.0, strange, 1.5, strange])
    end = ended(records_of(plan_of(settings, version=2)))
    assert (end.state, end.not_learned) == ("finished", False)
    assert (end.metrics["objective"], end.metrics["best_update"]) == (1.5, 15)
    assert not math.isfinite(end.metrics["final/loss"])
    evaluating_to(monkeypatch, [strange] * 4)
    end = ended(records_of(plan_of(settings, version=2)))
    assert (end.state, end.not_learned) == ("finished", True)
    assert math.isfinite(end.metrics["objective"])


def test_a_loss_of_exactly_a_guess_is_not_learned(settings, monkeypatch):
    chance = math.log(Pack(plan_of(settings)).task.num_outputs)
    evaluating_to(monkeypatch, [chance] * 4)
    end = ended(records_of(plan_of(settings, version=2)))
    assert end.not_learned and end.metrics["objective"] == chance


def test_a_norm_that_is_not_finite_is_a_divergence_in_every_version(settings, monkeypatch):
    def advance(self, to_update, whole=Shard.advance):
        whole(self, to_update)
        if to_update == 15:
            losses, norms = self._noted[-1]
            self._noted[-1] = losses, norms * math.inf

    monkeypatch.setattr(Shard, "advance", advance)
    for version in (1, 2):
        end = ended(records_of(plan_of(settings, version=version)))
        assert (end.state, end.diverged_at, end.not_learned) == ("diverged", 14, None)
        assert end.message == "loss or gradient norm not finite"


@pytest.mark.parametrize("split", ["none", "holdout"])
def test_with_a_training_objective_the_last_training_loss_is_held_against_guessing(settings, split):
    plan = {"objective": "train/perplexity", "version": 2}
    settings = replace(settings, split=split)
    records = records_of(plan_of(settings, WILD, {}, **plan))
    chance = math.log(Pack(plan_of(settings, objective="train/perplexity")).task.num_outputs)
    end, losses = ended(records), losses_of(records, "train")
    assert losses[-1] > chance
    assert (end.state, end.not_learned) == ("finished", True)
    assert end.metrics["objective"] == chance and end.metrics["final/loss"] == losses[-1]
    assert end.message == (
        f"not learned: the last training loss was not below that of guessing, {chance:.3f} nats"
    )
    assert end.metrics.get("test/loss") == (chance if split == "holdout" else None)
    neighbour = ended(records, "r1")
    assert neighbour.not_learned is False
    last = losses_of(records, "train", "r1")[-1]
    assert neighbour.metrics["objective"] == neighbour.metrics["final/loss"] == last


def test_a_training_objective_asks_nothing_of_the_validation_loss(drawn_letters):
    """Parameters that know the training text by heart are what was asked for."""
    records = records_of(plan_of(drawn_letters, objective="train/perplexity", version=2))
    assert losses_of(records)[-1] > math.log(8)
    end = ended(records)
    assert (end.state, end.not_learned) == ("finished", False)
    assert end.metrics["objective"] == losses_of(records, "train")[-1]


def test_a_resumed_run_that_had_only_to_finish_knows_its_last_loss(settings, tmp_path, monkeypatch):
    whole, plan = (
        plan_of(settings, version=2),
        plan_of(settings, version=2, checkpoint_folder=str(tmp_path)),
    )
    expected = ended(records_of(whole)).metrics["final/loss"]
    with monkeypatch.context() as patch:
        patch.setattr(Pack, "_finish", lambda *_: [])  # killed between the last point and the end
        pack = Pack(plan)
        for _ in range(4):
            pack.advance()
        pack.save()
        pack.close()
    records = records_of(plan)
    assert len(kept(records, "evaluation")) == 4
    assert ended(records).metrics["final/loss"] == expected


def test_pruning_a_run_that_is_unknown_or_gone_says_nothing(settings):
    pack = Pack(plan_of(settings, {}, {}))
    (end,) = pack.drop({"r1"})  # before its first evaluation it has no objective
    assert set(end.metrics) == {"tokens", "seconds"} and end.metrics["tokens"] == 0
    assert pack.drop({"r1", "stranger"}) == []
    assert pack.running == ["r0"]
    pack.drop({"r0"})
    assert pack.advance() == []
    pack.close()


# What cannot be trained.


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


# Checkpoints.


def test_notes_say_when_a_checkpoint_is_foreign_or_damaged(settings, text, tmp_path):
    folder = tmp_path / "checkpoints"
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(folder))
    pack = Pack(plan)
    pack.advance()
    pack.save()
    pack.close()
    first, second = (checkpoint.path_of(folder, run) for run in plan.runs)
    first.write_bytes(first.read_bytes()[:-3])
    foreign = replace(plan, runs=(plan.runs[0], replace(plan.runs[1], seed=(7,))))
    start = Pack(foreign).advance()[0]
    assert info_of(start)["notes"] == [
        f"checkpoint of r0: not used, {first.name} is damaged; it starts again",
        "checkpoint of r1: not used, its settings, text or equations differ; it starts again",
    ]
    json.dumps(info_of(start))
    copy = tmp_path / "other.txt"
    copy.write_text("another text altogether " * 60)
    second_settings = replace(settings, path=str(copy))
    pack = Pack(plan_of(second_settings, checkpoint_folder=str(folder)))
    pack.advance()
    pack.save()
    copy.write_text("the same file, with more characters: 0123456789 " * 60)
    resumed = Pack(plan_of(second_settings, checkpoint_folder=str(folder)))
    assert "its settings, text or equations differ" in resumed.notes[0]
    assert resumed.shards[0].update == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.arrays.popitem(),
        lambda stored: stored.arrays.update({"parameters/none": torch.zeros(3)}),
        lambda stored: stored.arrays.update(
            {name: array[:1] for name, array in stored.arrays.items() if array.ndim}
        ),
        lambda stored: stored.values.pop("records"),
        lambda stored: stored.values.update(records=["{}"]),
        lambda stored: stored.values.update(
            records=[RunEnded("r0", 1, 0, RunState.FAILED).to_json()]
        ),
        lambda stored: stored.values.update(best_nats="none", seconds="soon"),
        lambda stored: setattr(stored, "update", 10**6),
        lambda stored: setattr(stored, "update", 10**400),
    ],
)
def test_a_whole_checkpoint_of_another_content_lets_its_run_begin_anew(settings, tmp_path, change):
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    pack.advance()
    pack.save()
    stored = pack.shards[0].snapshot(0)
    stored.values |= {"seconds": 1.0, "records": []}
    change(stored)
    checkpoint.save(tmp_path, plan.runs[0], pack.task.fingerprint, stored)
    pack.close()
    again = Pack(plan)
    assert [shard.update for shard in again.shards] == [0, pack.shards[1].update]
    assert again.notes == (checkpoint.unfit(plan.runs[0]),)
    assert [message.run for message in again.advance()[:1]] == ["r0"]
    again.close()


def test_long_training_writes_checkpoints_of_itself(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.training.checkpointing.CHECKPOINT_SECONDS", -1.0)
    plan = plan_of(settings, {}, {}, checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    pack.advance()
    assert len(list(tmp_path.iterdir())) == 2
    pack.close()
    resumed = Pack(plan)
    assert [shard.update for shard in resumed.shards] == [5, 5] and resumed.notes == ()
    resumed.close()


def test_a_pack_without_a_folder_writes_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack = Pack(plan_of(settings))
    pack.advance()
    pack.save()
    pack.close()
    assert list(tmp_path.iterdir()) == []


def test_a_clock_outside_may_turn_a_pack_as_often_as_it_likes(settings):
    pack = Pack(plan_of(settings, {}, {}))
    pack.train_updates(50)  # beyond the budget of 20
    pack.forward_updates(3)
    assert [shard.update for shard in pack.shards] == [10, 10]
    pack.close()


def test_packs_of_two_precisions_live_side_by_side(settings, monkeypatch):
    """TF32 is a flag of the process: whoever computes must have set it, not who was built last."""
    seen = {"float32": set(), "tf32": set()}
    update, forward = Model.update, Model.__call__

    def noted(method):
        def call(model, *arguments):
            flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            seen[model.arch.precision].add((method.__name__, *flags))
            return method(model, *arguments)

        return call

    monkeypatch.setattr(Model, "update", noted(update))
    monkeypatch.setattr(Model, "__call__", noted(forward))
    packs = [Pack(plan_of(replace(settings, precision=name))) for name in seen]
    for _ in range(2):  # each after the other has been built, and after it has computed
        for each in packs:
            each.advance()
            each.train_updates(1)
            each.forward_updates(1)
    for each in packs:
        each.close()
    names = update.__name__, forward.__name__
    for precision, allowed in (("float32", False), ("tf32", True)):
        assert seen[precision] == {(name, allowed, allowed) for name in names}
