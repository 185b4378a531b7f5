"""An update that is recorded and replayed gives the numbers of one that is made anew each time, to
the last bit.
"""

import dataclasses
import re

import pytest
import torch
from recorded_shards import ENGINES, UPDATES, advanced, assert_same, plain, runs_of, shard_of, waits
from recording import TapeRecorder

from harness import engine
from harness.training import cuda_graph
from harness.training.cuda_graph import EAGER_CALLS, CapturedStep

pytestmark = pytest.mark.usefixtures("one_thread")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def any_precision():
    yield
    engine.allow_tf32("float32")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(
        " ".join("sphinx of white marble".split()[(i * i + i // 7) % 4] for i in range(200))
    )
    return str(path)


SORTS = [
    {"optimizer": "sgd"},
    {"optimizer": "adam", "learning_rate": 0.01},
    {"optimizer": "adamw", "learning_rate": 0.01, "precision": "float64"},
    {"optimizer": "sgd", "windows": "random", "embedding_size": 5},
    {"optimizer": "asgd", "nonmonotone_interval": 0},
]
"""Optimisers; a state that is carried over an epoch and one that is not."""


@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize("name", ENGINES)
def test_replayed_updates_are_those_made_one_by_one(text, monkeypatch, recorders, name, sort):
    runs = runs_of(text, **sort)
    expected, found = plain(monkeypatch, runs, name), shard_of(runs, name)
    assert 2 < UPDATES / expected.task.updates_per_epoch
    for update in (20, 30):
        nats = []
        for shard in (expected, found):  # what lies between replays does not disturb them
            shard.advance(update)
            nats.append([shard.evaluate("validation"), shard.evaluate("train", of_best=True)])
            shard.keep_best([each for (each,) in nats[-1][0]])
            shard.hear([3.0 + update, 2.0, 1.0 + update])  # of runs that wait, some have waited
        assert nats[0] == nats[1]
        assert_same(found, expected)
    for shard in (expected, found):
        shard.advance(UPDATES)
    assert_same(found, expected)
    recorder, evaluation_recorder = recorders
    assert evaluation_recorder.calls.count("record") == 1
    assert evaluation_recorder.calls.count("replay") > 10
    assert recorder.calls == ["run"] * EAGER_CALLS + ["record"] + ["replay"] * (
        UPDATES - EAGER_CALLS
    )
    assert found.notes == []


@pytest.mark.parametrize(("optimizer", "learning_rate"), [("sgd", 50.0), ("adam", 10.0)])
def test_a_run_that_diverges_in_a_replay_stays_where_it_was(
    text, monkeypatch, recorders, optimizer, learning_rate
):
    calm, also_calm, wild = runs_of(text, cell="rnn-relu", learning_rate=0.003, optimizer=optimizer)
    changed = dataclasses.replace(
        wild.settings,
        learning_rate=learning_rate,
        clip_norm=None,
        schedule="constant",
        activation_regularization=0.0,  # with it the very first updates diverge
        temporal_activation_regularization=0.0,
    )
    runs = [calm, dataclasses.replace(wild, settings=changed), also_calm]
    found = advanced(monkeypatch, runs, UPDATES)
    first, diverged, third = found.bad_update.tolist()
    assert first == third == -1 and EAGER_CALLS < diverged < UPDATES - 5


def test_a_repacked_shard_is_recorded_anew(text, monkeypatch, recorders):
    runs = runs_of(text)
    expected, found = plain(monkeypatch, runs), shard_of(runs)
    for shard in (expected, found):
        shard.advance(10)
    with monkeypatch.context() as patch:
        patch.setattr("harness.training.shard.GRAPH_RECORDERS", {})
        expected.keep([0, 2])
    found.keep([0, 2])
    for shard in (expected, found):
        shard.advance(UPDATES)
    assert_same(found, expected)
    assert [recorder.calls.count("record") for recorder in recorders] == [1, 1]
    assert [recorder.calls.count("replay") for recorder in recorders] == [
        10 - EAGER_CALLS,
        40 - EAGER_CALLS,
    ]


@pytest.mark.parametrize("recorded_before", [0, 2, 30])
def test_a_restored_shard_goes_on_whether_it_was_recorded_or_not(
    text, monkeypatch, recorders, recorded_before
):
    runs = runs_of(text, optimizer="adam", learning_rate=0.01)
    whole, first, second = plain(monkeypatch, runs), shard_of(runs), shard_of(runs)
    whole.advance(UPDATES)
    first.advance(20)
    second.advance(recorded_before)
    for index in range(len(runs)):
        second.restore(index, first.snapshot(index))
    second.advance(UPDATES)
    for index in range(len(runs)):
        arrays, expected = second.snapshot(index).arrays, whole.snapshot(index).arrays
        assert all(torch.equal(arrays[name], expected[name]) for name in expected)
    assert recorders[1].calls.count("record") == 1


def addresses(shard):
    tensors = [
        shard._flat,
        shard._flat_gradients,
        shard.optimizer._alive,
        *shard.optimizer.state.values(),
    ]
    tensors += [s for state in shard.states for s in state]
    tensors += [*shard._captured._inputs, *shard._captured._outputs, shard._masks.update]
    return [tensor.data_ptr() for tensor in tensors]


def test_nothing_that_a_replay_reads_or_writes_moves(text, recorders):
    shard = shard_of(runs_of(text, optimizer="adam"))
    shard.advance(1)
    first = addresses(shard)
    assert len(set(first)) == len(first)
    for update in range(2, UPDATES):
        shard.advance(update)
        assert addresses(shard) == first


def test_what_a_call_returns_is_not_overwritten(recorders):
    captured = CapturedStep(TapeRecorder(), [])
    found = [
        captured(lambda x, y: (x + y, x * y), torch.tensor([float(i)]), torch.tensor([2.0]))
        for i in range(9)
    ]
    assert [[value.item() for value in each] for each in found] == [
        [i + 2, i * 2] for i in range(9)
    ]


def test_the_pass_that_a_clock_measures_is_recorded_too(text, recorders):
    shard = shard_of(runs_of(text))
    shard.forward(EAGER_CALLS + 4)
    assert recorders[-1].calls == ["run"] * EAGER_CALLS + ["record"] + ["replay"] * 4


def test_batches_of_other_kinds_have_a_graph_each(monkeypatch, recorders, tmp_path):
    """The weights of an evaluation's lines say which targets count, those of training how much."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{'sphinx of'[i % 3 :]}\n" for i in range(200)))
    runs = runs_of(str(path), lines="sequences", bptt_length=9)
    told = []
    for shard in (plain(monkeypatch, runs), shard_of(runs)):
        evaluations = [shard.evaluate("validation") for _ in range(3)]
        parts = shard.task.epoch([run.seed for run in runs], 0)
        batch = shard.task.batch(*(part[0] for part in parts))
        sums, _ = shard._scored(shard._flat, batch, shard._first_states(shard.parameters))
        told.append((evaluations, sums.tolist()))
    assert told[0] == told[1]


# On CUDA.


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize("name", ENGINES)
def test_cuda_graphs_give_the_numbers_of_single_launches(text, monkeypatch, name, sort):
    runs = runs_of(text, **sort)
    expected, found = plain(monkeypatch, runs, name, "cuda"), shard_of(runs, name, "cuda")
    for shard in (expected, found):
        shard.advance(20)
        shard.keep_best([nats for (nats,) in shard.evaluate("validation")])
        shard.advance(30)
    assert found.evaluate("train") == expected.evaluate("train")
    assert_same(found, expected)
    with monkeypatch.context() as patch:
        patch.setattr("harness.training.shard.GRAPH_RECORDERS", {})
        expected.keep([0, 2])
    found.keep([0, 2])
    snapshots = [found.snapshot(index) for index in range(2)]
    for shard in (expected, found):
        shard.advance(UPDATES)
    assert_same(found, expected)
    for index, snapshot in enumerate(snapshots):
        found.restore(index, snapshot)
    found.advance(UPDATES)
    for index in range(2):
        arrays, arrays_expected = found.snapshot(index).arrays, expected.snapshot(index).arrays
        assert all(torch.equal(arrays[n], arrays_expected[n]) for n in arrays)
    assert found.notes == []


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_an_update_on_cuda_is_one_launch_of_a_graph_and_a_few_copies(
    text, precision, any_precision
):
    engine.allow_tf32(precision)
    shard = shard_of(runs_of(text, precision=precision), "gpu", "cuda")
    shard.advance(EAGER_CALLS + 1)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        shard.advance(EAGER_CALLS + 11)
        torch.cuda.synchronize()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["cudaGraphLaunch"] == 10
    assert sum(n for key, n in counts.items() if re.match("cu(da)?LaunchKernel", key)) <= 10 * 10


@pytest.mark.gpu
@needs_cuda
def test_cuda_that_cannot_record_goes_on_in_the_stream_where_it_was():
    recorder, notes = cuda_graph.CudaGraphRecorder(), []
    captured, stream = CapturedStep(recorder, notes), torch.cuda.current_stream()
    for i in range(6):
        x = torch.tensor([float(i), 1.0], device="cuda")
        assert torch.equal(captured(waits, x)[0], waits(x)[0])
        assert torch.cuda.current_stream() == stream
    assert len(notes) == 1
