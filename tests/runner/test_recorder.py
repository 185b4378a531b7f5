"""What is noted of a run, at its start or later, is said once and stays in the store."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.runner.recorder import Entry, RecordError, RunRecorder
from harness.settings import Settings
from harness.store import frames
from harness.training.messages import Evaluation, RunEnded, RunStarted, RunState


class Writer:
    """Keeps the tags that it was given last."""

    def __init__(self):
        self.tags, self.metrics, self.levels = {}, {}, []

    def read(self, function):
        """Nothing is stored."""
        del function
        return frames.runs([])

    def open_run(self, key, name, params, tags, dataset=None):
        self.tags |= tags

    def end_run(self, key, state, tags, metrics, artifacts, samples):
        self.tags |= tags
        self.metrics, self.artifacts = metrics, artifacts

    def log(self, *_):
        pass


RUN = "lstm/trial/0"
METRICS = {
    "seconds": 1.0,
    "tokens_per_second": 1.0,
    "validation/perplexity": 2.0,
    "validation/loss": 0.7,
}


def started(notes=()):
    texts, numbers = ("lstm", "cpu", "cpu", "float32"), [1] * 7
    return RunStarted(RUN, 0.0, *texts, *numbers, "f", "digest", notes, {"git_commit": "c"})


def messages(*noted):
    """Yields a start, an evaluation for each of the others, and an end; all but that have notes."""
    yield started(tuple(noted[0]))
    for update, notes in enumerate(noted[1:], 1):
        yield Evaluation(RUN, update, 0.0, METRICS, tuple(notes))
    yield RunEnded(RUN, len(noted), 0.0, RunState.FINISHED, {"objective": 0.7})


def record(sent, fingerprint="f"):
    """Returns what was said, and the tags."""
    lines, writer = written(sent, fingerprint)
    return lines, writer.tags


def written(sent, fingerprint="f"):
    """Returns what was said, and what was written to; its text has two characters."""
    lines, writer = [], Writer()
    display = SimpleNamespace(
        say=lambda line, style: lines.append(line),
        advance=lambda *_, level, **__: writer.levels.append(level),
    )
    dataset = SimpleNamespace(fingerprint=fingerprint, name="text", source="here", vocabulary="ab")
    shown = {"trial/log10_learning_rate": -1.0}
    entry = Entry(Settings(cell="lstm", corpus="text"), "0", "label", {}, dataset, shown)
    recorder = RunRecorder(writer, display, "validation/perplexity", lambda _: entry)
    recorder.record(sent)
    return lines, writer


def recorded(*noted):
    lines, tags = record(list(messages(*noted)))
    return lines, tags.get("notes")


def test_nothing_noted_is_nothing_said():
    assert recorded([], []) == ([], None)


def test_what_is_noted_late_is_said_once_and_kept():
    assert recorded(["a"], ["a", "b"], []) == (["a", "b"], "a\nb")
    assert recorded([], [], ["b"]) == (["b"], "b")


def test_what_a_run_wrote_last_stands_beside_its_numbers_in_a_tag():
    *sent, end = messages([], [])
    samples = ({"prefix": "the ", "text": "the cat"}, {"prefix": "a ", "text": "a dog"})
    assert record([*sent, replace(end, samples=samples)])[1]["sample"] == "the cat"
    long = ({"prefix": "the ", "text": "x" * 90},)
    tag = record([*sent, replace(end, samples=long)])[1]["sample"]
    assert len(tag) == 60 and tag.endswith("x…")
    assert "sample" not in record([*sent, end])[1]


def test_a_trial_is_drawn_no_higher_than_guessing_so_that_none_squashes_the_rest():
    start, evaluation, end = messages([], [])

    def drawn(run=RUN, **changes):
        sent = [replace(each, run=run) for each in (start, evaluation, replace(end, **changes))]
        metrics = written(sent)[1].metrics
        return {name: value for name, value in metrics.items() if name.startswith("trial/")}

    guess = math.log(2)
    assert drawn(metrics={"objective": 0.5}) == {
        "trial/log10_learning_rate": -1.0,
        "trial/loss": 0.5,
    }
    for metrics in ({"objective": 9.0}, {"objective": math.nan}, {}):
        assert drawn(metrics=metrics, state=RunState.DIVERGED)["trial/loss"] == guess
    assert drawn(state=RunState.FAILED) == drawn(run="lstm/replicate/0") == {}


def test_a_small_error_is_shown_by_its_digits():
    sent = list(messages([], []))
    sent[1] = replace(sent[1], metrics={**METRICS, "validation/perplexity": 0.000213})
    assert written(sent)[1].levels == ["0.00021"]


def test_the_forecast_of_a_first_replicate_is_kept():
    start, _, end = messages([], [])
    for index, kept in ((0, "time,column\n"), (1, None)):
        run = f"lstm/replicate/{index}"
        sent = [replace(start, run=run), replace(end, run=run, forecast="time,column\n")]
        assert written(sent)[1].artifacts.get("forecast.csv") == kept


def test_messages_out_of_order_or_of_another_text_are_refused():
    start, evaluation, end = messages([], [])
    with pytest.raises(RecordError, match="must start before it goes on"):
        record([evaluation])
    with pytest.raises(RecordError, match="must start before it ends, but got state='finished'"):
        record([end])
    with pytest.raises(RecordError, match="its text must be this machine's text, but got"):
        record([start], fingerprint="g")
    with pytest.raises(RecordError, match="an evaluation must have validation/loss, but has not"):
        metrics = {k: v for k, v in METRICS.items() if k != "validation/loss"}
        record([start, replace(evaluation, metrics=metrics)])
    with pytest.raises(RecordError, match="a run must be ARM/PHASE/INDEX, but got run='lstm'"):
        record([replace(start, run="lstm")])
