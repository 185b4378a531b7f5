"""Many runs in one shard, as an accelerator trains them: equal within a tolerance."""

import dataclasses
import math

import pytest
import torch
from five_runs import SHAPES, UPDATES, five, numbers, settings
from tolerances import TOLERANCES, assert_close

from harness.engine import get
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import SampleRequest
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Run
from harness.training.shard import Shard


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
