"""A run's numbers know nothing of its pack, its place in it, the threads, a repack or a crash."""

import dataclasses
import math

import pytest
import torch
from five_runs import UPDATES, five, numbers, settings
from wire import TIMES, info_of, kind_of

from harness.engine import get
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Budget, SampleRequest
from harness.tasks.language_modelling import LanguageModelling
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.shard import Shard
from harness.training.steps import train

FEWER = Budget(updates=30)
"""Of the tests that train many runs, two layers each."""


def trained(runs, **plan):
    """Trains a pack to its end and returns (run -> its arrays, run -> what was told of it but
    times).
    """
    pack = Pack(Plan(tuple(runs), **plan))
    shards = {run.id: (shard, i) for shard in pack.shards for i, run in enumerate(shard.runs)}
    records = []
    try:
        while new := pack.advance():
            records += new
        return {run: numbers(*place) for run, place in shards.items()}, told(records)
    finally:
        pack.close()


def told(records):
    """Returns what the records say of each run, times left out."""
    found = {}
    for record in records:
        if kind_of(record) != "start":
            metrics = {name: value for name, value in record.metrics.items() if name not in TIMES}
            found.setdefault(record.run, []).append(
                (kind_of(record), record.update, metrics, info_of(record))
            )
    return found


def assert_same(found, expected, run):
    (arrays, records), (arrays_expected, records_expected) = found, expected
    assert arrays[run].keys() == arrays_expected[run].keys()
    for name, array in arrays[run].items():
        assert torch.equal(array, arrays_expected[run][name]), name
    assert records[run] == records_expected[run]


@pytest.mark.parametrize(
    "shape, precision, optimizer",
    [
        ("odd", "float32", "sgd"),
        ("odd", "float64", "sgd"),
        ("ordinary", "float32", "sgd"),
        ("ordinary", "float64", "sgd"),
        ("odd", "float32", "adam"),
        ("odd", "float32", "rmsprop"),
    ],
)
def test_a_pack_of_five_equals_five_single_runs_bit_for_bit(text, shape, precision, optimizer):
    changes = {"num_layers": 2, "precision": precision, "optimizer": optimizer, "budget": FEWER}
    if optimizer != "sgd":
        changes["learning_rate"] = 0.01
    runs = five(settings(text, shape, **changes))
    samples = SampleRequest(("time",), 6, temperatures=(0, 0.8))
    alone = [trained([run], samples=samples) for run in runs]
    together = trained(runs, samples=samples)
    for run, single in zip(runs, alone, strict=True):
        assert_same(together, single, run.id)
    on_two_threads = [
        dataclasses.replace(r, settings=dataclasses.replace(r.settings, threads=2)) for r in runs
    ]
    turned = trained(on_two_threads[::-1], samples=samples)
    for run, single in zip(runs, alone, strict=True):
        assert_same(turned, single, run.id)
    different = [
        tuple(together[0][run.id]["parameters/layer0.R"].flatten()[:3].tolist()) for run in runs
    ]
    assert len(set(different)) == len(runs)  # or equality would prove nothing


@pytest.mark.parametrize("cell", ["gru-reset-before", "lstm-peephole"])
def test_other_cells_and_an_embedding_in_a_pack_on_two_threads(text, cell):
    base = settings(text, "odd", cell=cell, embedding_size=6, biases=2, threads=2, windows="random")
    runs = five(base)
    together = trained(runs)
    for run in runs:
        assert_same(together, trained([run]), run.id)


def test_the_threads_of_the_process_change_nothing(text):
    run = five(settings(text, "ordinary"))[0]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = trained([run])
        torch.set_num_threads(2)
        assert_same(trained([run]), one, run.id)
        assert torch.get_num_threads() == 2  # a pack's own threads leave the caller's setting alone
    finally:
        torch.set_num_threads(before)


def test_a_diverging_run_ends_as_such_and_changes_nothing_for_its_neighbours(text):
    base = settings(text, "odd", cell="rnn-relu", threads=2)
    runs = five(base)
    wild = Run("wild", (9,), dataclasses.replace(base, learning_rate=1e30, clip_norm=None))
    pack = [*runs[:2], wild, *runs[2:]]
    arrays, records = trained(pack)
    for run in runs:
        assert_same((arrays, records), trained([run]), run.id)
    kind, update, metrics, info = records["wild"][-1]
    assert (kind, info["state"]) == ("end", "diverged")
    assert info["message"] == "loss or gradient norm not finite"
    assert 0 < info["diverged_at"] < update <= 10  # the first evaluation point after it
    assert math.isfinite(info["last_loss"])
    assert len(records["wild"]) == 1  # no evaluation is reported of numbers that are none
    vocabulary = arrays["wild"]["parameters/readout.b"].shape[0]
    assert metrics == {"objective": math.log(vocabulary), "tokens": metrics["tokens"]}


def test_the_update_and_last_loss_of_a_diverged_run_are_those_of_a_plain_loop(text):
    base = settings(text, "odd", cell="rnn-relu", learning_rate=1e30, clip_norm=None)
    run = Run("wild", (9,), base)
    end = trained([run])[1]["wild"][-1][3]
    task = LanguageModelling(base, torch.device("cpu"))
    model = Model(architecture(base, task.num_inputs, task.num_outputs), get("reference"))
    shard = Shard([run], task, model, UPDATES, torch.device("cpu"))
    parameters = {name: p.detach().clone().requires_grad_() for name, p in shard.parameters.items()}
    states, finite = model.initial_states(parameters, 1, 3), []
    for update in range(UPDATES):
        batch = task.batch(task.epoch([run.seed], 0)[0][update])
        rows, states = model(parameters, batch.inputs, states)
        states = [tuple(s.detach() for s in state) for state in states]
        scores, targets = (
            model.readout(parameters).scores(rows),
            batch.targets.transpose(0, 1).flatten(),
        )
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        norm = sum((g * g).sum() for g in gradients)
        if not norm.isfinite() or not loss.isfinite():
            break
        finite.append(loss.item())
        for p, g in zip(parameters.values(), gradients, strict=True):
            p.data -= 1e30 * g
    assert end["diverged_at"] == update
    assert end["last_loss"] == pytest.approx(
        loss.item() if loss.isfinite() else finite[-1], rel=1e-5
    )


def test_runs_that_leave_in_the_middle_change_nothing_for_the_others(text):
    runs = five(settings(text, "ordinary", num_layers=2, threads=2))
    pack = Pack(Plan(tuple(runs)))
    shards = {shard.runs[0].id: shard for shard in pack.shards}
    records = [*pack.advance(), *pack.advance()]
    ends = pack.drop({"r1", "r3"})
    assert [(r.run, kind_of(r), r.update, info_of(r)) for r in ends] == [
        (run, "end", 20, {"state": "pruned"}) for run in ("r1", "r3")
    ]
    last = [r for r in records if r.run == "r1"][-1]
    assert ends[0].metrics["objective"] == last.metrics["validation/loss"]
    assert ends[0].metrics["tokens"] == last.metrics["tokens"]
    assert pack.running == ["r0", "r2", "r4"]
    while new := pack.advance():
        records += new
    pack.close()
    found = {run: numbers(shards[run], 0) for run in ("r0", "r2", "r4")}, told(records)
    for run in (runs[0], runs[2], runs[4]):
        assert_same(found, trained([run]), run.id)


@pytest.mark.parametrize(
    "shape, optimizer",
    [("odd", "sgd"), ("odd", "adamw"), ("odd", "rmsprop"), ("ordinary", "sgd")],
)
def test_a_run_resumed_in_the_middle_of_an_epoch_goes_on_bit_for_bit(
    text, tmp_path, shape, optimizer
):
    changes = {"num_layers": 2, "threads": 2, "optimizer": optimizer, "budget": FEWER}
    runs = five(settings(text, shape, **changes))
    whole = trained(runs)
    plan = Plan(tuple(runs), checkpoint_folder=str(tmp_path))
    pack = Pack(plan)
    first = [*pack.advance(), *pack.advance(), *pack.advance()]
    assert pack.shards[0].update % pack.task.updates_per_epoch > 0
    pack.save()
    pack.advance()  # what the crash takes away
    pack.close()
    resumed = trained(runs[::-1], checkpoint_folder=str(tmp_path))
    for run in runs:
        assert_same(resumed, whole, run.id)
        assert (
            resumed[1][run.id][:3] == told(first)[run.id]
        )  # what was told before the crash is told again


def test_runs_resumed_at_different_updates_catch_up_with_one_another(text, tmp_path):
    runs = five(settings(text, "odd"))
    whole = trained(runs)
    for points, run in enumerate(runs):
        pack = Pack(Plan((run,), checkpoint_folder=str(tmp_path)))
        for _ in range(points):
            pack.advance()
        pack.save()
        pack.close()
    resumed = trained(runs, checkpoint_folder=str(tmp_path))
    for run in runs:
        assert_same(resumed, whole, run.id)


def test_a_run_resumed_at_its_end_only_finishes(text, tmp_path):
    runs = five(settings(text, "odd"))[:1]
    whole = trained(runs)
    pack = Pack(Plan(tuple(runs), checkpoint_folder=str(tmp_path)))
    pack.shards[0].advance(40)
    pack.shards[0].progress()
    pack.shards[0].advance(UPDATES)
    pack.shards[0].keep_best([nats for (nats,) in pack.shards[0].evaluate("validation")])
    pack.shards[0].progress()
    pack.save()
    pack.close()
    (kind, update, metrics, info), *rest = trained(runs, checkpoint_folder=str(tmp_path))[1]["r0"]
    assert (kind, update, info["state"], rest) == ("end", UPDATES, "finished", [])
    assert metrics["objective"] <= whole[1]["r0"][-2][2]["validation/loss"]


def test_train_yields_the_records_of_a_pack(text):
    runs = five(settings(text, "odd"))[:2]
    points = list(train(Plan(tuple(runs))))
    for run in ("r0", "r1"):  # they do not wait for one another
        mine = [[kind_of(r) for r in records] for records in points if records[0].run == run]
        assert mine == [["start", "evaluation"], *[["evaluation"]] * 3, ["evaluation", "end"]]
    assert told([r for records in points for r in records]) == trained(runs)[1]
