"""A run's numbers know nothing of its pack, its place in it, the threads, a repack or a crash."""

import dataclasses
import math

import pytest
import torch
from tolerances import TOLERANCES, assert_close
from wire import TIMES, info_of, kind_of

from harness.engine import get
from harness.model.architecture import architecture
from harness.model.masks import FIELDS
from harness.model.network import Model
from harness.settings import Budget, SampleRequest, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.shard import Shard
from harness.training.steps import train

UPDATES = 50
FEWER = Budget(updates=30)
"""Of the tests that train many runs, two layers each."""
SHAPES = {
    "odd": {"hidden_size": 7, "batch_size": 3, "bptt_length": 5},
    "ordinary": {"hidden_size": 32, "batch_size": 8, "bptt_length": 8},
}


def settings(text, shape, **changes):
    fixed = {
        "cell": "lstm",
        "corpus": "text",
        "path": text,
        "engine": "reference",
        "device": "cpu",
        "threads": 1,
        "budget": Budget(updates=UPDATES),
        "evaluations": 5,
        "learning_rate": 0.5,
    }
    return Settings(**{**fixed, **SHAPES[shape], **changes})


def five(base):
    """Returns five runs that differ in everything in which the runs of a pack may differ."""
    differences = [
        {},
        {
            "learning_rate": 1.3,
            "clip_norm": 0.05,
            "dropout": 0.3,
            "momentum": 0.9,
            "zoneout_h": 0.2,
        },
        {
            "learning_rate": 0.2,
            "clip_norm": None,
            "clip_value": 0.02,
            "schedule": "cosine",
            "warmup_updates": 5,
            "weight_decay": 1e-3,
        },
        {
            "learning_rate": 2.0,
            "clip_norm": 0.3,
            "schedule": "step",
            "step_updates": 7,
            "initial_scale": 0.3,
            "label_smoothing": 0.1,
            "activation_regularization": 2.0,
        },
        {
            "learning_rate": 0.7,
            "clip_norm": 4.0,
            "dropout": 0.6,
            "momentum": 0.5,
            **dict.fromkeys(FIELDS, 0.25),
            "temporal_activation_regularization": 1.0,
        },
    ]
    return [
        Run(f"r{i}", (i, "trial"), dataclasses.replace(base, **d))
        for i, d in enumerate(differences)
    ]


def numbers(shard, index):
    """Returns all that one run's future depends on, copied."""
    return shard.snapshot(index).arrays


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


# Many runs in one shard, as an accelerator trains them: equal within a tolerance.


@pytest.fixture
def one_thread():
    """Small operations on several threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shard_of(runs, num_updates=UPDATES):
    base = runs[0].settings
    task = LanguageModelling(base, torch.device("cpu"))
    model = Model(architecture(base, task.num_inputs, task.num_outputs), get("reference"))
    return Shard(runs, task, model, num_updates, torch.device("cpu"))


def assert_all_close(found, expected):
    for name, array in expected.items():
        assert_close(found[name], array, name)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_many_runs_in_one_shard_equal_single_shards(text, shape, precision):
    runs = five(settings(text, shape, num_layers=2, precision=precision))
    many, singles = shard_of(runs), [shard_of([run]) for run in runs]
    for shard in (many, *singles):
        shard.advance(20)
    progress, nats = many.progress(), many.evaluate("validation")
    many.keep_best([each for (each,) in nats])
    rtol = TOLERANCES[getattr(torch, precision)][0]
    for i, single in enumerate(singles):
        alone = single.progress()
        assert_all_close(
            numbers(many, i), {k: v for k, v in numbers(single, 0).items() if "best" not in k}
        )
        assert progress.train_nats[i] == pytest.approx(alone.train_nats[0], rel=rtol)
        assert progress.gradient_norm[i] == pytest.approx(alone.gradient_norm[0], rel=10 * rtol)
        assert progress.clipped_fraction[i] == alone.clipped_fraction[0]
        assert nats[i] == pytest.approx(single.evaluate("validation")[0], rel=rtol)
        assert [float(many.best_nats[i])] == nats[i]


@pytest.mark.usefixtures("one_thread")
def test_a_shard_repacked_goes_on_as_if_nothing_happened(text):
    runs = five(settings(text, "odd", num_layers=2, precision="float64"))
    many, kept = shard_of(runs), [1, 2, 4]
    many.advance(10)
    many.keep_best([each for (each,) in many.evaluate("validation")])
    best = [numbers(many, i) for i in kept]
    many.keep(kept)
    assert [run.id for run in many.runs] == ["r1", "r2", "r4"]
    for place, expected in enumerate(best):
        assert all(torch.equal(a, expected[name]) for name, a in numbers(many, place).items())
    many.advance(20)
    for place, i in enumerate(kept):
        single = shard_of([runs[i]])
        single.advance(20)
        expected = {
            name: a for name, a in numbers(single, 0).items() if not name.startswith("best")
        }
        assert_all_close(numbers(many, place), expected)


@pytest.mark.usefixtures("one_thread")
def test_a_shard_whose_last_noisy_run_leaves_goes_on(text):
    """The step of those that stay has no noise any more, and their samples never had."""
    base = settings(text, "odd", precision="float64")
    noisy = dataclasses.replace(base, zoneout_h=0.3, recurrent_dropout=0.2)
    many = shard_of([Run("plain", (0,), base), Run("noisy", (1,), noisy)])
    many.advance(5)
    assert all(many.samples(index, SampleRequest(("the",), 3), many.best) for index in (0, 1))
    many.keep([0])
    many.advance(10)
    single = shard_of([Run("plain", (0,), base)])
    single.advance(10)
    expected = {name: a for name, a in numbers(single, 0).items() if not name.startswith("best")}
    assert_all_close(numbers(many, 0), expected)


@pytest.mark.usefixtures("one_thread")
def test_a_run_moves_between_shards_by_its_snapshot(text):
    runs = five(settings(text, "odd", num_layers=2, precision="float64"))
    many, whole = shard_of(runs), shard_of(runs)
    many.advance(10)
    whole.advance(20)
    snapshots = [many.snapshot(i) for i in range(5)]
    before = {name: array.clone() for name, array in snapshots[0].arrays.items()}
    many.advance(15)  # a snapshot is a copy: training on does not change it
    assert all(torch.equal(array, before[name]) for name, array in snapshots[0].arrays.items())
    turned = shard_of(runs[::-1])
    for i, snapshot in enumerate(reversed(snapshots)):
        turned.restore(i, snapshot)
    turned.advance(20)
    for i in range(5):
        assert_all_close(numbers(turned, 4 - i), numbers(whole, i))
    plain = shard_of([runs[0]])  # without momentum; its neighbours had some
    plain.restore(0, snapshots[0])
    plain.advance(20)
    assert_all_close(numbers(whole, 0), numbers(plain, 0))


def test_a_snapshot_holds_named_arrays_of_one_run(text):
    runs = five(settings(text, "odd", num_layers=2, optimizer="adam"))[:2]
    shapes = {slot.name: slot.shape for slot in shard_of(runs).model.arch.slots()}
    found = shard_of(runs).snapshot(1).arrays
    kinds = ("parameters", "best", "optimizer/first", "optimizer/second")
    expected = {f"{kind}/{name}": shape for kind in kinds for name, shape in shapes.items()}
    expected |= {f"state/{layer}/{i}": (3, 7) for layer in range(2) for i in range(2)}
    assert {name: tuple(array.shape) for name, array in found.items()} == expected


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_diverged_run_of_a_shard_is_frozen_and_its_neighbours_go_on(text, optimizer):
    base = settings(text, "odd", cell="rnn-relu", optimizer=optimizer, num_layers=2)
    calm = five(dataclasses.replace(base, learning_rate=0.05 if optimizer == "sgd" else 0.003))
    calm = [
        dataclasses.replace(r, settings=dataclasses.replace(r.settings, clip_norm=0.5))
        for r in calm
    ]
    wild = Run("wild", (9,), dataclasses.replace(base, learning_rate=1e30, clip_norm=None))
    same = shard_of([*calm[:2], Run("wild", (9,), calm[0].settings), *calm[2:]])
    other = shard_of([*calm[:2], wild, *calm[2:]])
    for shard in (same, other):
        shard.advance(UPDATES)
    bad = other.progress().bad_update
    assert 0 < bad[2] < UPDATES and [b for i, b in enumerate(bad) if i != 2] == [-1] * 5
    assert other.optimizer.alive.tolist() == [True, True, False, True, True, True]
    for i in (0, 1, 3, 4, 5):
        found, expected = numbers(other, i), numbers(same, i)
        assert all(torch.equal(found[name], array) for name, array in expected.items())
    frozen = shard_of([*calm[:2], wild, *calm[2:]])
    frozen.advance(bad[2])
    for name, array in numbers(frozen, 2).items():
        if name.startswith("parameters/"):
            assert torch.equal(numbers(other, 2)[name], array), name


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_what_was_noted_of_many_updates_adds_up_to_what_each_of_them_did(
    text, monkeypatch, at_once
):
    base = settings(text, "odd", cell="rnn-relu", num_layers=2, learning_rate=0.05, clip_norm=0.5)
    wild = [dataclasses.replace(base, learning_rate=rate, clip_norm=None) for rate in (1e30, 50.0)]
    runs = [
        Run("calm", (1,), base),
        *(Run(f"wild{i}", (9 + i,), own) for i, own in enumerate(wild)),
    ]
    monkeypatch.setattr("harness.training.shard.NOTED_UPDATES", at_once)
    shard, losses, norms, bad, last = shard_of(runs), [], [], [-1] * 3, [math.nan] * 3
    step = shard._step

    def noting(*arguments):
        alive = shard.optimizer.alive.tolist()
        found = step(*arguments)
        losses.append(found[0].tolist())
        norms.append(found[1].tolist())
        for n, (loss, norm) in enumerate(zip(losses[-1], norms[-1], strict=True)):
            last[n] = loss if alive[n] and math.isfinite(loss) else last[n]
            if alive[n] and not (math.isfinite(loss) and math.isfinite(norm)):
                bad[n] = shard.update
        assert shard.optimizer.alive.tolist() == [b < 0 for b in bad]
        return found

    monkeypatch.setattr(shard, "_step", noting)
    for first, end in ((0, 20), (20, UPDATES)):
        shard.advance(end)
        progress = shard.progress()
        for found, each in ((progress.train_nats, losses), (progress.gradient_norm, norms)):
            mean = [
                math.fsum(values) / (end - first) for values in zip(*each[first:end], strict=True)
            ]
            assert found == pytest.approx(mean, rel=1e-12, nan_ok=True)
        clipped = sum(norm[0] > base.clip_norm for norm in norms[first:end])
        assert progress.clipped_fraction == [clipped / (end - first), 0, 0]
        assert progress.bad_update == bad and progress.last_loss == last
    assert (
        clipped > 0
        and bad[0] == -1
        and 0 < bad[1] < 20
        and all(math.isfinite(each) for each in last)
    )


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_where_a_run_stopped_and_its_last_loss_stay_known(text, monkeypatch, at_once):
    inf, nan = math.inf, math.nan
    losses = [
        [5, 4, 3, 2, 1, 0.5],
        [5, 4, 3.5, 9, 9, 9],
        [5, 4, nan, 9, 9, 9],
        [inf, 9, 9, 9, 9, 9],
    ]
    norms = [[1] * 6, [1, 1, inf, 1, 1, 1], [1] * 6, [1] * 6]
    monkeypatch.setattr("harness.training.shard.NOTED_UPDATES", at_once)
    shard = shard_of(five(settings(text, "odd"))[:4])
    monkeypatch.setattr(
        shard,
        "_step",
        lambda *_: tuple(
            torch.tensor([float(own[shard.update]) for own in x]) for x in (losses, norms)
        ),
    )
    shard.advance(6)
    expected = [0.5, 3.5, 4, pytest.approx(nan, nan_ok=True)]
    assert [shard.snapshot(n).values["last_loss"] for n in range(4)] == expected
    shard._noted.append(
        (torch.full((4,), 7.0), torch.ones(4))
    )  # one more, not added up when the runs are repacked
    shard.update += 1
    shard.keep([1, 0, 3])
    assert shard.bad_update.tolist() == [2, -1, 0]
    assert shard.last_loss.tolist() == [3.5, 7, pytest.approx(nan, nan_ok=True)]


def test_train_yields_the_records_of_a_pack(text):
    runs = five(settings(text, "odd"))[:2]
    points = list(train(Plan(tuple(runs))))
    for run in ("r0", "r1"):  # they do not wait for one another
        mine = [[kind_of(r) for r in records] for records in points if records[0].run == run]
        assert mine == [["start", "evaluation"], *[["evaluation"]] * 3, ["evaluation", "end"]]
    assert told([r for records in points for r in records]) == trained(runs)[1]
