"""What cannot be recorded for a replay is launched as before, and noted."""

import dataclasses
import re

import pytest
import torch
from recorded_shards import UPDATES, advanced, runs_of, shard_of, waits
from recording import TapeRecorder
from wire import TIMES, info_of, kind_of, update_of

from harness.training import cuda_graph
from harness.training.cuda_graph import EAGER_CALLS, CapturedStep
from harness.training.pack import Pack
from harness.training.plan import Plan

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_evaluation_that_cannot_be_recorded_is_noted_as_one(text, monkeypatch):
    monkeypatch.setitem(cuda_graph.GRAPH_RECORDERS, "cpu", Refusing)
    shard = shard_of(runs_of(text))
    shard.evaluate("train")
    assert shard.notes == [NOTE.replace("update", "batch of an evaluation")]


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
    found = advanced(monkeypatch, runs, EAGER_CALLS + 3)
    (note,) = found.notes
    assert note.startswith("capture: every update is launched operation by operation, since a")


def test_a_system_whose_solvability_nobody_asks_for_is_solved_in_a_record(
    text, monkeypatch, recorders
):
    runs = runs_of(text, cell="scornn", learning_rate=0.01)
    found = advanced(monkeypatch, runs, EAGER_CALLS + 3)
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
