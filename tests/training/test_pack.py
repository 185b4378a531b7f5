"""A pack's records are what they say: starts, points and ends, perplexities, best parameters."""

import math
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_packs import kept, plan_of, records_of
from wire import info_of, kind_of, update_of

from harness import engine, timing
from harness.model.network import Model
from harness.settings import Budget, SampleRequest
from harness.training.pack import Pack

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


def test_pruning_a_run_that_is_unknown_or_gone_says_nothing(settings):
    pack = Pack(plan_of(settings, {}, {}))
    (end,) = pack.drop({"r1"})  # before its first evaluation it has no objective
    assert set(end.metrics) == {"tokens", "seconds"} and end.metrics["tokens"] == 0
    assert pack.drop({"r1", "stranger"}) == []
    assert pack.running == ["r0"]
    pack.drop({"r0"})
    assert pack.advance() == []
    pack.close()


def test_a_clock_outside_may_turn_a_pack_as_often_as_it_likes(settings):
    pack = Pack(plan_of(settings, {}, {}))
    pack.train_updates(50)  # beyond the budget of 20
    pack.forward_updates(3)
    assert [shard.update for shard in pack.shards] == [10, 10]
    pack.close()


def test_packs_of_two_precisions_live_side_by_side(settings, monkeypatch):
    """TF32 is a flag of the process: whoever computes must have set it, not who was built last."""
    seen, calls = {"float32": set(), "tf32": set()}, []
    update, forward = Model.update, Model.__call__

    def noted(method):
        def call(model, *arguments):
            flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            seen[model.arch.precision].add((method.__name__, *flags))
            calls.append(method.__name__)
            return method(model, *arguments)

        return call

    monkeypatch.setattr(Model, "update", noted(update))
    monkeypatch.setattr(Model, "__call__", noted(forward))
    packs = {name: Pack(plan_of(replace(settings, precision=name))) for name in seen}
    others = dict(zip(seen, reversed(seen), strict=True))
    for name, pack in packs.items():  # each after the other has been built, and has computed
        (shard,) = pack.shards
        for compute in (
            partial(shard.advance, 1),
            partial(shard.forward, 1),
            partial(shard.evaluate, "validation"),
            partial(shard.samples, 0, SampleRequest(("a",), length=2), shard.evaluated),
        ):
            engine.allow_tf32(others[name])
            before = len(calls)
            compute()
            assert len(calls) > before, compute
        pack.close()
    names = update.__name__, forward.__name__
    for precision, allowed in (("float32", False), ("tf32", True)):
        assert seen[precision] == {(name, allowed, allowed) for name in names}
