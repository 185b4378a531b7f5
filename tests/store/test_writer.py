import gc
import logging
import math
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.store import columns, notes, patience
from harness.store import writer as writing
from harness.store.address import StoreError, absolute_uri
from harness.store.soundness import doubled_points
from harness.store.source import experiment_ids
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit

Open = Callable[[], StudyWriter]


class Recorder:
    """Stands before the client and writes down what is called, in order."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, kwargs))
            return method(*args, **kwargs)

        return call

    def names(self) -> list[str]:
        """What was called; for log_batch, what it was given."""
        return ["+".join(kwargs) if name == "log_batch" else name for name, kwargs in self.calls]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def new(folder: Path, request: pytest.FixtureRequest) -> Open:
    """Makes a fresh StudyWriter of the test's own study: another process would see the same."""
    return lambda: StudyWriter(
        f"sqlite:///{folder}/mlflow.db", request.node.name, folder / "artifacts"
    )


@pytest.fixture
def by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has MLflow's client write, as it does to a server."""
    monkeypatch.setattr("harness.store.writer.recording_client", lambda uri, client, _: client)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that stands still for a while makes no record old."""
    monkeypatch.setattr(writing, "FLUSH_SECONDS", 3600.0)


@pytest.fixture
def writer(new: Open) -> StudyWriter:
    return new()


def start(
    writer: StudyWriter, arm: str = "lstm", phase: str = "trial", index: int = 0, **tags: Any
) -> str:
    params = {"learning_rate": 0.1, "schedule": "cosine", "clip_norm": None}
    return writer.open_run(
        RunKey(Unit.parse(arm), Phase(phase), index),
        f"{arm} {phase} {index}",
        params,
        {"cell": arm, "seed": "0 trial 0", **tags},
    )


def record(writer: StudyWriter, run_id: str, update: int, loss: float = 2.0) -> None:
    writer.log(run_id, update, {"train/loss": loss, "tokens": 32.0 * update}, time=1000.0 + update)


def tags_of(writer: StudyWriter) -> dict[str, str]:
    return writer._client.get_experiment(writer.experiment_id).tags


def updates(writer: StudyWriter, run_id: str, key: str = "train/loss") -> list[int]:
    return [metric.step for metric in writer._client.get_metric_history(run_id, key)]


def test_a_sqlite_uri_is_made_absolute_and_others_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert absolute_uri("http://host:5000") == "http://host:5000"


def test_nothing_is_written_where_one_stands(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "0").mkdir(parents=True)  # which MLflow would prefer, were no URI given
    writer = new()
    writer.end_run(start(writer), "finished", artifacts={"curve.csv": "update\n"})
    assert [path.name for path in tmp_path.rglob("*")] == ["mlruns", "0"]


def test_creating_a_store_says_nothing(tmp_path, capfd):
    StudyWriter(f"sqlite:///{tmp_path}/deep/mlflow.db", "s", tmp_path / "artifacts")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow.tracking").isEnabledFor(logging.WARNING)


def test_options_of_a_uri_are_no_part_of_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///a.db?timeout=30") == f"sqlite:///{tmp_path}/a.db?timeout=30"
    StudyWriter("sqlite:///a.db?timeout=30", "s", tmp_path / "artifacts")
    assert (tmp_path / "a.db").exists() and "s" in experiment_ids("sqlite:///a.db?timeout=30")


MAKING = """
import os, sqlite3, sys
from harness.store.writer import StudyWriter

calls = 0

def killed(*_):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), 9)

connect = sqlite3.connect

def watched(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_trace_callback(killed)
    return connection

sqlite3.connect = sqlite3.dbapi2.connect = watched
StudyWriter(f"sqlite:///{sys.argv[1]}/mlflow.db", "s", None)
"""


@pytest.mark.parametrize("statement", [40, 300])
def test_a_store_whose_making_was_killed_is_made_again(tmp_path, statement):
    """MLflow's migrations are no transaction: a file of which one was cut off can never be opened
    again.
    """
    # With nothing in the cache folder that could be copied.
    made = subprocess.run(
        [sys.executable, "-c", MAKING, str(tmp_path), str(statement)],
        capture_output=True,
        env=os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")},
    )
    assert made.returncode == -signal.SIGKILL, made.stderr.decode()
    assert (
        StudyWriter(f"sqlite:///{tmp_path}/mlflow.db", "s", tmp_path / "artifacts")
        .reader.runs()
        .empty
    )
    assert not list(tmp_path.glob(".mlflow.new"))


def test_two_processes_make_one_store(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = "import pathlib, sys; from harness.store.writer import StudyWriter; "
    code += "StudyWriter(*sys.argv[1:3], pathlib.Path(sys.argv[3]))"
    makers = [
        subprocess.Popen([sys.executable, "-c", code, uri, name, str(tmp_path)])
        for name in ("s", "t")
    ]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert {"s", "t"} < experiment_ids(uri).keys()


def test_a_study_is_one_experiment_with_its_artifacts_beside_the_database(new, folder, request):
    ids = {new().experiment_id, new().experiment_id}
    assert ids == {experiment_ids(f"sqlite:///{folder}/mlflow.db")[request.node.name]}
    experiment = new()._client.get_experiment(ids.pop())
    assert experiment.artifact_location == (folder / "artifacts").as_uri()


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(new, writer):
    writer._client.delete_experiment(writer.experiment_id)
    with pytest.raises(
        StoreError,
        match=rf"must not be deleted, but got study='test_a_del.* -x {writer.experiment_id}",
    ):
        new()


def test_a_store_that_cannot_be_reached_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "START_SECONDS", 0.1)
    with pytest.raises(StoreError, match=r"server at 127.0.0.1:9: must answer.* Start its server"):
        StudyWriter("http://127.0.0.1:9", "s", tmp_path)


def test_a_run_is_a_child_of_its_arm_with_name_tags_and_params(writer):
    tags = {
        "engine": "cpu",
        "git_commit": "abc",
        "git_dirty": True,
        "pack_size": 4,
        "corpus_fingerprint": "f" * 64,
    }
    run = writer._client.get_run(start(writer, index=3, **tags))
    parent = writer._client.get_run(run.data.tags["mlflow.parentRunId"])
    assert run.info.run_name == "lstm trial 3" and run.info.status == "RUNNING"
    assert run.data.params == {"learning_rate": "0.1", "schedule": "cosine", "clip_norm": "null"}
    expected = {
        "arm": "lstm",
        "phase": "trial",
        "index": "3",
        "cell": "lstm",
        "seed": "0 trial 0",
        "state": "running",
    }
    expected |= {
        "engine": "cpu",
        "git_dirty": "true",
        "pack_size": "4",
        "mlflow.source.git.commit": "abc",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.user"] and run.data.tags["mlflow.source.name"] == "harness"
    assert parent.info.run_name == "lstm" and parent.data.tags["phase"] == "arm"


def test_a_user_without_a_name_is_unknown(writer, monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(writing.getpass, "getuser", nobody)
    assert writer._client.get_run(start(writer)).data.tags["mlflow.user"] == "unknown"


def test_there_is_one_run_per_arm_phase_and_index_for_ever(new, writer):
    first = start(writer)
    others = {start(writer, index=1), start(writer, phase="replicate"), start(writer, arm="gru")}
    assert len({first, *others}) == 4
    assert start(writer) == first
    again = new()
    assert start(again) == first
    assert len(again.reader.runs()) == 4 and len(again.reader.search()) == 4 + 2  # two parents


def test_of_an_arms_own_runs_the_one_counts_under_which_the_others_lie(new, writer):
    start(writer)
    own = writer.reader.arm_runs()["lstm"]
    tags = {"arm": "lstm", "phase": "arm", "index": "0"}
    for time_ms in (1, 2_000_000_000_000):  # before it and after it
        writer._client.create_run(writer.experiment_id, start_time=time_ms, tags=tags)
    assert new().reader.arm_runs() == {"lstm": own}
    assert new().summarize_arm(Unit("lstm"), {"trials": 1.0}) == own


def test_every_page_of_the_runs_is_read(writer, monkeypatch):
    for index in range(5):
        start(writer, index=index)
    search = writer._client.search_runs
    monkeypatch.setattr(
        writer._client, "search_runs", lambda *args, **kw: search(*args, max_results=2, **kw)
    )
    assert writer.reader.runs()["index"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("state", ["failed", "killed"])
def test_a_run_given_up_is_opened_again_as_running(new, writer, state):
    run_id = start(writer)
    if state == "failed":
        writer.end_run(run_id, state, tags={"message": "out of memory"})
    else:  # as earlier versions wrote it
        writer._client.set_tag(run_id, "state", state)
        writer._client.set_terminated(run_id, status="KILLED")
    again = new()
    assert again._client.get_run(run_id).info.status == state.upper()
    assert again.reader.runs()["state"].tolist() == [state]
    assert start(again, device="cuda") == run_id
    run = again._client.get_run(run_id)
    assert (run.info.status, run.data.tags["state"], run.data.tags["device"]) == (
        "RUNNING",
        "running",
        "cuda",
    )


def test_a_finished_run_stays_finished(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "pruned")
    assert start(new()) == run_id
    assert new().reader.runs()["state"].tolist() == ["pruned"]


@pytest.mark.usefixtures("by_client")
@pytest.mark.parametrize("update", [0, 300])
def test_a_summary_of_a_killed_end_is_not_written_beside_itself(
    new, writer, folder, update, monkeypatch
):
    run_id = start(writer)
    for at in range(100, update + 1, 100):
        writer.log(run_id, at, {"seconds": at / 100}, time=float(at))
    with monkeypatch.context() as patch:  # killed between the numbers and the status
        patch.setattr(writer._client, "set_terminated", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.end_run(run_id, "finished", metrics={"seconds": 3.5, "objective": 1.0})
    again = new()
    assert start(again) == run_id
    again.end_run(run_id, "finished", metrics={"seconds": 3.25, "objective": 1.0})
    assert run_id not in {doubled for doubled, *_ in doubled_points(folder / "mlflow.db")}
    assert again.reader.runs().loc[0, ["seconds", "objective"]].tolist() == [3.5, 1.0]


def test_a_run_that_failed_gets_the_numbers_of_its_second_end(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "failed", metrics={"seconds": 0.5})
    again = new()
    start(again)
    record(again, run_id, 10)
    again.end_run(run_id, "finished", metrics={"seconds": 3.25})
    assert again._client.get_metric_history(run_id, "seconds")[-1].value == 3.25


@pytest.mark.usefixtures("by_client")
def test_parameters_are_written_once(new, writer):
    start(writer)
    again = new()
    again._client = recorder = Recorder(again._client)
    start(again)
    assert recorder.names() == ["tags"]


def test_parameters_that_a_crash_left_out_are_written_on_reopening(new, writer):
    run_id = writer.open_run(RunKey(Unit("lstm"), Phase.TRIAL, 0), "lstm trial 0", {}, {})
    assert start(new()) == run_id
    assert new().reader.runs().loc[0, "params"] == {
        "learning_rate": 0.1,
        "schedule": "cosine",
        "clip_norm": None,
    }


def test_a_parameter_that_changed_is_an_error(new, writer):
    start(writer)
    with pytest.raises(
        StoreError, match="lstm/trial/0: .* got learning_rate=0.2 where learning_rate=0.1 is stored"
    ):
        new().open_run(RunKey(Unit("lstm"), Phase.TRIAL, 0), "", {"learning_rate": 0.2}, {})


def test_a_run_whose_text_was_moved_goes_on(new, writer):
    key = RunKey(Unit("lstm"), Phase.TRIAL, 0)
    run_id = writer.open_run(key, "", {"path": "/a/text.txt", "cell": "lstm"}, {})
    again = new()
    assert again.open_run(key, "", {"path": "/b/text.txt", "cell": "lstm"}, {}) == run_id
    again.flush()
    assert new().reader.runs().loc[0, "params"] == {"path": "/a/text.txt", "cell": "lstm"}


@pytest.mark.usefixtures("by_client")
def test_metrics_wait_in_a_buffer_and_go_in_batches_of_a_thousand(writer):
    run_id = start(writer)
    writer._client = recorder = Recorder(writer._client)
    for update in range(1, 101):
        writer.log(run_id, update, {f"m/{i}": float(update) for i in range(15)}, time=float(update))
    assert recorder.calls == []
    writer.flush()
    assert [len(kwargs["metrics"]) for _, kwargs in recorder.calls] == [
        990,
        510,
    ]  # records are never cut
    points = writer._client.get_metric_history(run_id, "m/14")
    assert [(p.step, p.timestamp, p.value) for p in points] == [
        (u, u * 1000, float(u)) for u in range(1, 101)
    ]


@pytest.mark.usefixtures("by_client")
def test_a_buffer_is_written_once_its_oldest_entry_is_old(writer, monkeypatch):
    now = 0.0
    monkeypatch.setattr(writing, "monotonic", lambda: now)
    first, second = start(writer), start(writer, index=1)
    writer._client = recorder = Recorder(writer._client)
    record(writer, first, 1)
    now = writing.FLUSH_SECONDS
    record(writer, second, 1)
    assert recorder.calls == []
    now += 0.1
    record(writer, first, 2)
    assert recorder.names() == ["metrics", "metrics"]
    now += 0.1
    record(writer, first, 3)
    assert len(recorder.calls) == 2


def test_records_that_could_not_be_written_are_kept_for_the_next_time(writer, monkeypatch):
    run_id = start(writer)
    record(writer, run_id, 1)
    with monkeypatch.context() as patch:
        patch.setattr(writer._client, "log_batch", lambda *args, **kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.flush()
    writer.flush()
    assert updates(writer, run_id) == [1]


def test_a_kill_in_the_middle_doubles_neither_runs_nor_metrics(new, writer):
    run_id = start(writer)
    for update in (10, 20):
        record(writer, run_id, update)
    writer.flush()
    record(writer, run_id, 30)  # lost with the process
    again = new()
    assert again.reader.runs()["state"].tolist() == ["running"]
    assert start(again) == run_id
    for update in (
        10,
        20,
        30,
    ):  # from a checkpoint at 0; at other times, as another process emits them
        again.log(run_id, update, {"train/loss": 2.0, "tokens": 32.0 * update}, time=5000.0)
    again.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "tokens") == [10, 20, 30]
    assert again.reader.runs()["state"].tolist() == ["finished"]


def test_a_failed_run_that_starts_over_in_the_same_process_doubles_no_metrics(writer):
    run_id = start(writer)
    for update in (10, 20):
        record(writer, run_id, update)
    writer.end_run(run_id, "failed", {"message": "out of memory"})
    start(writer)
    for update in (10, 20, 30):
        writer.log(run_id, update, {"train/loss": 2.0}, time=5000.0)
    writer.end_run(run_id, "finished")
    assert updates(writer, run_id) == [10, 20, 30]


def test_an_ended_run_takes_next_to_no_memory(writer):
    """A study has tens of thousands of them; what they hold is in the store."""
    texts = {f"parameter_{number}": 1000.5 + number for number in range(40)}

    def train(index):
        key = RunKey(Unit("lstm"), Phase.TRIAL, index)
        run_id = writer.open_run(key, str(key), {**texts, "index": index}, {"seed": str(index)})
        for update in range(1, 21):
            writer.log(run_id, update, {"train/loss": 2.0 / update}, time=float(update))
        writer.end_run(run_id, "finished", {"message": "σ" * 500}, {"objective": 2.0})
        return key

    train(0)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    keys = [train(index) for index in range(1, 41)]
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held / len(keys) < 2500  # 4.7 KB with the parameters
    with pytest.raises(StoreError, match="got parameter_3=7 where parameter_3=1003.5 is stored"):
        writer.open_run(keys[0], "", {"parameter_3": 7}, {})


def test_a_tag_that_is_none_is_not_written(writer):
    run_id = start(writer, threads=None, git_commit=None)
    assert not {"threads", "git_commit", "mlflow.source.git.commit"} & set(
        writer._client.get_run(run_id).data.tags
    )
    assert pd.isna(writer.reader.runs().loc[0, "threads"])


def test_an_end_that_was_cut_off_is_written_again_without_a_second_summary(new, writer):
    run_id = start(writer)
    record(writer, run_id, 10)
    monkey = Recorder(writer._client)
    writer._client = monkey
    monkey.set_terminated = lambda *args, **kw: 1 / 0
    with pytest.raises(ZeroDivisionError):
        writer.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    again = new()
    assert again.reader.runs()["state"].tolist() == ["running"]
    start(again)
    record(again, run_id, 10)
    again.end_run(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "objective") == [0] and updates(again, run_id) == [10, 10]
    assert again._client.get_run(run_id).data.metrics["train/loss"] == 1.9
    assert [point.value for point in again._client.get_metric_history(run_id, "train/loss")] == [
        2.0,
        1.9,
    ]


def test_a_summary_without_records_can_be_written_again(new, writer):
    run_id = start(writer)
    writer.end_run(run_id, "failed", metrics={"objective": 1.5})
    again = new()
    assert start(again) == run_id
    again.end_run(run_id, "failed", metrics={"objective": 1.5})
    assert updates(again, run_id, "objective") == [0]


@pytest.mark.usefixtures("by_client")
def test_a_run_ends_with_metrics_artifacts_tags_and_its_status_last(writer):
    run_id = start(writer)
    record(writer, run_id, 10)
    writer._client = recorder = Recorder(writer._client)
    writer.end_run(
        run_id, "diverged", {"message": "nan"}, {"test/loss": 1.0}, {"curve.csv": b"update\n10\n"}
    )
    assert recorder.names() == ["log_artifacts", "metrics+tags", "set_terminated"]
    run = writer._client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags["state"] == "diverged"


def test_an_unknown_end_is_refused(writer):
    with pytest.raises(
        StoreError, match="state must be one of finished, .*failed, but got state='done'"
    ):
        writer.end_run(start(writer), "done")


def test_an_arms_summary_is_on_its_parent_under_arm_alone(new, writer):
    writer.end_run(start(writer), "finished", metrics={"validation/perplexity": 7.0})
    writer.summarize_arm(Unit("lstm"), {"validation/perplexity": 7.5}, {"verdict.md": "better"})
    parent = writer._client.get_run(writer._arm_runs[Unit("lstm")].run_id)
    assert parent.data.metrics == {"arm/validation/perplexity": 7.5}
    assert (
        writer.reader.artifact(parent.info.run_id, "verdict.md") == b"better"
        and parent.info.status == "FINISHED"
    )
    again = new()
    start(again, phase="replicate", index=1000)  # the study was extended
    assert again._client.get_run(parent.info.run_id).info.status == "RUNNING"
    again.summarize_arm(Unit("lstm"), {"validation/perplexity": 7.25})
    parent = again._client.get_run(parent.info.run_id)
    assert (
        parent.data.metrics == {"arm/validation/perplexity": 7.25}
        and parent.info.status == "FINISHED"
    )


def test_an_arms_numbers_are_written_where_they_have_changed(new, writer):
    numbers = {"perplexity": 7.25, "speed": math.nan, "runs": 8.0}
    writer.summarize_arm(Unit("lstm"), numbers)
    new().summarize_arm(Unit("lstm"), numbers)  # a launch that adds nothing to the study
    new().summarize_arm(Unit("lstm"), {"perplexity": 7.125, "runs": 8.0})
    (arm_run,) = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    written = [(p.metric, p.value) for p in writer.reader.points(arm_run)]
    assert len(written) == 4
    assert {("arm/perplexity", 7.25), ("arm/perplexity", 7.125), ("arm/runs", 8.0)} < set(written)


def test_a_summary_is_short_enough_for_a_column(writer):
    writer.summarize_arm(
        Unit("lstm"), {"p": 3.4964000912e-11, "ratio": 0.2870298852, "tokens": 123456789.0}
    )
    (parent,) = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    assert parent.metrics == {
        "arm/p": 3.4964e-11,
        "arm/ratio": 0.28703,
        "arm/tokens": 123456789.0,
    }


def test_the_dataset_column_has_name_and_digest_once(new, writer):
    run_id = start(writer)
    for each in (writer, new()):
        each.log_dataset(
            run_id, "time-machine", "0123456789abcdef" * 4, "https://example.org/timemachine.txt"
        )
    (given,) = writer._client.get_run(run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("time-machine", "0123456789ab")
    assert given.dataset.source == "https://example.org/timemachine.txt"


def test_every_arm_keeps_the_study_file(writer):
    start(writer, arm="lstm")
    writer.store_study_file("study: s\n", "s.yaml")
    start(writer, arm="gru")
    stored = [
        writer.reader.artifact(run.run_id, "s.yaml")
        for run in writer.reader.search()
        if run.tags["phase"] == "arm"
    ]
    assert stored == [b"study: s\n"] * 2


def test_the_description_is_the_experiments_note(writer):
    writer.describe("**better**")
    assert tags_of(writer)["mlflow.note.content"] == "**better**"


def test_a_long_description_is_cut_at_a_line_and_says_so(writer):
    writer.describe("| a row of a table |\n" * 1000)
    note = tags_of(writer)["mlflow.note.content"]
    assert len(note) <= notes.EXPERIMENT_TAG_LENGTH
    assert note.startswith("| a row") and "a row of a table |\n\n*(cut to the length" in note


def test_the_identity_comes_back_whole_whatever_its_length(new, writer):
    assert writer.reader.identity() is None
    identity = {"compare": {"cells": ["lstm"]}, "source": "σ" * 12_000}
    writer.set_identity(identity)
    assert new().reader.identity() == identity


def test_a_new_identity_replaces_the_old_one_at_once(new, writer):
    old, extended = {"source": "a" * 12_000}, {"source": "b" * 12_000}
    writer.set_identity(old)
    monkey = Recorder(writer._client)
    monkey.set_experiment_tag = interrupted_after(2, writer._client.set_experiment_tag)
    writer._client = monkey
    with pytest.raises(KeyboardInterrupt):
        writer.set_identity(extended)
    assert new().reader.identity() == old
    again = new()
    again.set_identity(extended)
    assert new().reader.identity() == extended
    assert len([key for key in tags_of(again) if key.startswith("harness.identity.")]) == 3


def interrupted_after(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Any] = []

    def call(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > count:
            raise KeyboardInterrupt
        return function(*args)

    return call


def test_runs_come_back_as_they_were_stored(new, writer):
    samples = [{"prefix": "traveller", "text": "traveller – held"}]
    tags = {"engine": "cpu", "device": "cpu", "precision": "float32", "threads": 2, "pack_size": 8}
    metrics = {
        "objective": 1 / 3,
        "validation/loss": 1 / 3,
        "test/loss": 0.4,
        "train/loss": 0.2,
        "num_parameters": 999,
    }
    metrics |= {"num_states": 512, "tokens": 2_000_000, "seconds": 12.5}
    writer.end_run(start(writer), "finished", tags, metrics, samples=samples)
    writer.end_run(
        start(writer, index=1), "diverged", tags, {"objective": math.nan, "train/loss": math.inf}
    )
    start(writer, index=2)
    runs = new().reader.runs()
    assert {column: str(dtype) for column, dtype in runs.dtypes.items()} == columns.RUN_DTYPES
    expected = {
        "arm": "lstm",
        "phase": "trial",
        "index": 0,
        "seed": "0 trial 0",
        "state": "finished",
        **tags,
        **metrics,
    }
    expected |= {
        "params": {"learning_rate": 0.1, "schedule": "cosine", "clip_norm": None},
        "samples": samples,
    }
    assert {name: value for name, value in runs.loc[0].items() if name in expected} == expected
    assert runs.loc[0, ["condition", "repeat"]].tolist() == ["", 0]
    assert runs["run_id"].nunique() == 3
    assert runs["state"].tolist() == ["finished", "diverged", "running"]
    assert math.isnan(runs.loc[1, "objective"]) and runs.loc[1, "train/loss"] == math.inf


def test_curves_come_back_from_the_artifacts(new, writer):
    header = "update,tokens,time_seconds,train/loss,validation/loss"
    content = f"{header}\n10,320,0.5,{2 / 3!r},2.5\n20,640,1.0,2.0,2.25\n"
    for index in (0, 1):
        writer.end_run(start(writer, index=index), "finished", artifacts={"curve.csv": content})
    writer.end_run(start(writer, index=2), "failed")
    curves = new().reader.curves()
    assert curves["index"].tolist() == [0, 0, 1, 1] and set(curves["arm"]) == {"lstm"}
    assert curves["train/loss"].tolist() == [2 / 3, 2.0] * 2
    dtypes = {column: str(dtype) for column, dtype in curves.dtypes.items()}
    assert dtypes == columns.KEY_DTYPES | columns.CURVE_DTYPES


def test_timings_come_back_from_the_arms(new, writer):
    place = {
        "mode": "train",
        "pack": 1,
        "engine": "cpu",
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
    }
    rows = [
        {
            "arm": arm,
            "round": number,
            "seconds": 0.01 / 3,
            "tokens_per_second": 1e5 / 3,
            "busy": number == 1,
            **place,
        }
        for arm in ("gru", "lstm")
        for number in (0, 1)
    ]
    names = [*columns.ARM_DTYPES, *columns.TIMING_DTYPES]
    timings = pd.DataFrame(rows).assign(condition="")[names]
    start(writer)
    writer.store_timings(timings)
    writer.store_timings(timings)
    pd.testing.assert_frame_equal(
        new().reader.timings(), timings.astype(columns.ARM_DTYPES | columns.TIMING_DTYPES)
    )


def test_units_of_one_arm_have_one_parent_and_places_of_their_own(new, writer):
    for key in ("docs/lstm", "docs/lstm@2", "book/lstm"):
        writer.end_run(
            writer.open_run(RunKey(Unit.parse(key), Phase.REPLICATE, 0), key, {}, {}), "finished"
        )
    runs = new().reader.runs()
    assert runs[["condition", "arm", "repeat"]].values.tolist() == [
        ["book", "lstm", 0],
        ["docs", "lstm", 0],
        ["docs", "lstm", 2],
    ]
    assert (
        new().open_run(RunKey(Unit("lstm", "docs", 2), Phase.REPLICATE, 0), "again", {}, {})
        == runs.loc[2, "run_id"]
    )
    parents = [run for run in writer.reader.search() if run.tags["phase"] == "arm"]
    assert sorted(run.tags["mlflow.runName"] for run in parents) == ["book/lstm", "docs/lstm"]


def test_a_new_study_has_empty_frames(writer):
    assert (
        writer.reader.runs().empty
        and writer.reader.curves().empty
        and writer.reader.timings().empty
    )


def test_the_seconds_spent_in_the_writer_are_counted(writer, monkeypatch):
    run_id, before, begun = start(writer), writer.seconds, time.perf_counter()
    assert before > 0
    monkeypatch.setattr(writer, "_client", Recorder(writer._client))
    monkeypatch.setattr(
        writer._client, "log_batch", lambda *args, **kwargs: time.sleep(0.05), raising=False
    )
    record(writer, run_id, 1)
    writer.flush()
    assert 0.05 <= writer.seconds - before <= time.perf_counter() - begun


def test_all_runs_of_a_place_are_put_aside_and_the_one_made_anew_counts(new: Open) -> None:
    """Two drivers, one of whose lock was removed, have stored a place twice."""
    key, writers = RunKey(Unit("lstm"), Phase.REPLICATE, 0), [new(), new()]
    for objective, writer in enumerate(writers):
        run_id = start(writer, phase="replicate")
        writer.end_run(run_id, "finished", metrics={"objective": float(objective)})
    writer = new()
    (counting,) = writer.reader.runs()["run_id"]
    assert writer.run_id(key) == counting
    writer.mark_superseded(key)
    assert writer.reader.runs(Phase.REPLICATE).empty
    again = start(writer, phase="replicate")
    writer.end_run(again, "finished", metrics={"objective": 2.0})
    assert list(new().reader.runs(Phase.REPLICATE)["run_id"]) == [again]
