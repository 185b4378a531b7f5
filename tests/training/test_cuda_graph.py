"""An update that is recorded and replayed gives the numbers of one that is made anew each time, to
the last bit.
"""

import dataclasses
import re

import pytest
import torch
from recording import TapeRecorder
from wire import TIMES, info_of, kind_of, update_of

from harness import engine
from harness.engine.gpu.gpu import Gpu
from harness.engine.reference import Reference
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Budget, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training import cuda_graph
from harness.training.cuda_graph import EAGER_CALLS, CapturedStep
from harness.training.pack import Pack
from harness.training.plan import Plan, Run
from harness.training.shard import Shard

UPDATES = 50
ENGINES = {"reference": Reference(), "gpu": Gpu(("cpu", "cuda"))}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def any_precision():
    yield
    engine.allow_tf32("float32")


@pytest.fixture
def recorders(monkeypatch):
    """Every shard on a CPU is recorded on tapes; the recorders in the order of their making."""
    made = []

    def recorder():
        made.append(TapeRecorder())
        return made[-1]

    monkeypatch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", recorder)
    return made


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(
        " ".join("sphinx of white marble".split()[(i * i + i // 7) % 4] for i in range(200))
    )
    return str(path)


def runs_of(text, **changes):
    """Returns three runs that differ, of more than two epochs of two layers."""
    fixed = {
        "cell": "gru",
        "corpus": "text",
        "path": text,
        "device": "cpu",
        "budget": Budget(updates=UPDATES),
        "evaluations": 5,
        "learning_rate": 0.5,
        "num_layers": 2,
        "hidden_size": 7,
        "batch_size": 8,
        "bptt_length": 6,
    }
    base = Settings(**{**fixed, **changes})
    differences = [
        {"dropout": 0.3, "momentum": 0.9, "clip_norm": 0.05},
        {
            "clip_norm": None,
            "clip_value": 0.02,
            "schedule": "cosine",
            "warmup_updates": 5,
            "weight_decay": 1e-3,
        },
        {
            "clip_norm": 0.3,
            "schedule": "step",
            "step_updates": 7,
            "dropout": 0.6,
            "label_smoothing": 0.1,
            "output_dropout": 0.2,
            "embedding_dropout": 0.2,
            "lookup_dropout": 0.2,
            "activation_regularization": 2.0,
            "temporal_activation_regularization": 1.0,
        },
    ]
    return [Run(f"r{i}", (i,), dataclasses.replace(base, **d)) for i, d in enumerate(differences)]


def shard_of(runs, engine_name="reference", device="cpu"):
    base, place = runs[0].settings, torch.device(device)
    task = LanguageModelling(base, place)
    model = Model(architecture(base, task.num_inputs, task.num_outputs), ENGINES[engine_name])
    return Shard(runs, task, model, UPDATES, place)


def plain(monkeypatch, *arguments):
    """Returns a shard whose updates are not recorded."""
    with monkeypatch.context() as patch:
        patch.setattr("harness.training.shard.GRAPH_RECORDERS", {})
        return shard_of(*arguments)


def assert_same(found, expected):
    """Everything that a shard's future depends on, and everything that it tells."""
    for index in range(len(expected.runs)):
        arrays, arrays_expected = (shard.snapshot(index).arrays for shard in (found, expected))
        assert arrays.keys() == arrays_expected.keys()
        for name, array in arrays.items():
            torch.testing.assert_close(
                array, arrays_expected[name], rtol=0, atol=0, equal_nan=True, msg=name
            )
    told, told_expected = (
        [repr(v) for v in vars(shard.progress()).values()][:-1] for shard in (found, expected)
    )
    assert told == told_expected
    assert found.optimizer.alive.tolist() == expected.optimizer.alive.tolist()


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
    expected, found = plain(monkeypatch, runs), shard_of(runs)
    for shard in (expected, found):
        shard.advance(UPDATES)
    assert_same(found, expected)
    first, diverged, third = expected.bad_update.tolist()
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


def test_an_evaluation_that_cannot_be_recorded_is_noted_as_one(text, monkeypatch):
    monkeypatch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", Refusing)
    shard = shard_of(runs_of(text))
    shard.evaluate("train")
    assert shard.notes == [NOTE.replace("update", "batch of an evaluation")]


def waits(x):
    return (x * x.sum().item(),)


def copies(x):
    return (x * torch.tensor([2.0]),)


@pytest.mark.parametrize(
    ("step", "cause"), [(waits, "Python wait for the device"), (copies, "of Python's numbers")]
)
def test_what_cannot_be_recorded_runs_as_before_and_is_noted(step, cause):
    recorder, notes = TapeRecorder(), []
    captured = CapturedStep(recorder, notes)
    for i in range(6):
        x = torch.tensor([float(i), 1.0])
        assert torch.equal(captured(step, x)[0], step(x)[0])
    (note,) = notes
    assert re.fullmatch(
        rf"capture: every update is launched operation by operation, since .*{cause}", note
    )
    assert recorder.calls == ["run"] * 3 + ["record"] + ["run"] * 3


def test_a_matrix_that_a_library_makes_with_the_processor_is_not_recorded(
    text, monkeypatch, recorders
):
    """Its exponential; the updates are the same without a graph."""
    runs = runs_of(text, cell="exprnn", learning_rate=0.01)
    expected, found = plain(monkeypatch, runs), shard_of(runs)
    for shard in (expected, found):
        shard.advance(EAGER_CALLS + 3)
    assert_same(found, expected)
    (note,) = found.notes
    assert note.startswith("capture: every update is launched operation by operation, since a")


def test_a_system_whose_solvability_nobody_asks_for_is_solved_in_a_record(
    text, monkeypatch, recorders
):
    runs = runs_of(text, cell="scornn", learning_rate=0.01)
    expected, found = plain(monkeypatch, runs), shard_of(runs)
    for shard in (expected, found):
        shard.advance(EAGER_CALLS + 3)
    assert_same(found, expected)
    assert found.notes == []
    assert recorders[0].calls == ["run"] * EAGER_CALLS + ["record"] + ["replay"] * 3


def test_the_cause_of_a_failed_record_is_told_and_not_that_its_end_failed():
    class Ending(TapeRecorder):
        def record(self, work):
            try:
                return super().record(work)
            except RuntimeError:
                raise RuntimeError("previous error during capture")  # noqa: B904 (as torch.cuda.graph does)

    notes = []
    captured = CapturedStep(Ending(), notes)
    for _ in range(4):
        captured(waits, torch.ones(1))
    assert "Python wait for the device" in notes[0] and "previous" not in notes[0]


def test_a_mistake_while_recording_is_no_fallback():
    calls = []

    def step(x):
        calls.append(x)
        if len(calls) > EAGER_CALLS:
            raise ValueError("a mistake of the step's own")
        return (x,)

    captured = CapturedStep(TapeRecorder(), [])
    for _ in range(EAGER_CALLS):
        captured(step, torch.ones(1))
    with pytest.raises(ValueError, match="a mistake"):
        captured(step, torch.ones(1))


class Refusing(TapeRecorder):
    def record(self, work):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


NOTE = "capture: every update is launched operation by operation, since operation not permitted"


@pytest.mark.parametrize("has_ended_badly", [False, True])
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (RuntimeError("operation not permitted"), 1),
        (torch.OutOfMemoryError("full"), 3),
        (RuntimeError("Triton Error [CUDA]: out of memory"), 3),
    ],
)
def test_a_repacked_shard_tries_again_only_what_had_no_memory(
    text, monkeypatch, error, tries, has_ended_badly
):
    """CUDA loses memory with every recording that fails.

    The end of such a recording may raise an error of its own, which hides the cause.
    """
    tried = []

    class Failing(TapeRecorder):
        def record(self, work):
            tried.append(work)
            try:
                raise error
            finally:
                if has_ended_badly:
                    raise RuntimeError("previous error during capture")

    monkeypatch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", Failing)
    shard = shard_of(runs_of(text))
    for update, staying in ((10, [0, 1]), (20, [1]), (30, [0])):
        shard.advance(update)
        shard.keep(staying)
    assert len(tried) == tries
    assert len(shard.notes) == len(tried)


def told(records):
    return [
        (r.run, kind_of(r), r.update, {k: v for k, v in r.metrics.items() if k not in TIMES})
        for r in records
        if kind_of(r) != "start"
    ]


@pytest.mark.parametrize("evaluations", [5, 25])
def test_a_pack_that_cannot_be_recorded_says_so_once_and_trains_all_the_same(
    text, monkeypatch, evaluations
):
    """In the start of a run where it is not told yet, else in its next evaluation."""
    runs = [
        dataclasses.replace(r, settings=dataclasses.replace(r.settings, engine="reference"))
        for r in runs_of(text)
    ]
    runs = [
        dataclasses.replace(r, settings=dataclasses.replace(r.settings, evaluations=evaluations))
        for r in runs
    ]
    points = {}
    for name, recorder in (("plain", None), ("refusing", Refusing)):
        with monkeypatch.context() as patch:
            if recorder is not None:
                patch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", recorder)
            pack = Pack(Plan(tuple(runs[:2])))
            points[name] = []
            while new := pack.advance():
                points[name].append(
                    [(dataclasses.replace(r), [*info_of(r).get("notes", ())]) for r in new]
                )
            assert pack.notes.count(NOTE) == (recorder is not None)
            pack.close()
    flat = {
        name: [record for point in each for record, _ in point] for name, each in points.items()
    }
    assert told(flat["refusing"]) == told(flat["plain"])
    noted = [
        (kind_of(r), update_of(r))
        for point in points["refusing"]
        for r, notes in point
        if NOTE in notes
    ]
    at = UPDATES // evaluations
    assert noted == (
        [("start", 0)] * 2 + [("evaluation", at)] * 2
        if at > EAGER_CALLS
        else [("evaluation", 2 * at)] * 2
    )


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
