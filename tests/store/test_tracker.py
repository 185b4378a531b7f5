import logging
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.store import frames, tracker
from harness.store.tracker import Tracker, TrackError

Open = Callable[[], Tracker]


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
    """Makes a Tracker of the test's own study, a fresh one each time: another process would see the
    same.
    """
    return lambda: Tracker(f"sqlite:///{folder}/mlflow.db", request.node.name, folder / "artifacts")


@pytest.fixture
def tracker(new: Open) -> Tracker:
    return new()


def start(
    tracker: Tracker, arm: str = "lstm", phase: str = "trial", index: int = 0, **tags: Any
) -> str:
    params = {"learning_rate": 0.1, "schedule": "cosine", "clip_norm": None}
    return tracker.open(
        arm,
        phase,
        index,
        f"{arm} {phase} {index}",
        params,
        {"cell": arm, "seed": "0 trial 0", **tags},
    )


def record(tracker: Tracker, run_id: str, update: int, loss: float = 2.0) -> None:
    tracker.log(run_id, update, {"train/loss": loss, "tokens": 32.0 * update}, time=1000.0 + update)


def updates(tracker: Tracker, run_id: str, key: str = "train/loss") -> list[int]:
    return [metric.step for metric in tracker._client.get_metric_history(run_id, key)]


def test_a_sqlite_uri_is_made_absolute_and_others_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracker.absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracker.absolute_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert tracker.absolute_uri("http://host:5000") == "http://host:5000"


def test_nothing_is_written_where_one_stands(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "0").mkdir(parents=True)  # which MLflow would prefer, were no URI given
    tracker = new()
    tracker.end(start(tracker), "finished", artifacts={"curve.csv": "update\n"})
    assert [path.name for path in tmp_path.rglob("*")] == ["mlruns", "0"]


def test_creating_a_store_says_nothing(tmp_path, capfd):
    Tracker(f"sqlite:///{tmp_path}/deep/mlflow.db", "s", tmp_path / "artifacts")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow.tracking").isEnabledFor(logging.WARNING)


def test_options_of_a_uri_are_no_part_of_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        tracker.absolute_uri("sqlite:///a.db?timeout=30") == f"sqlite:///{tmp_path}/a.db?timeout=30"
    )
    Tracker("sqlite:///a.db?timeout=30", "s", tmp_path / "artifacts")
    assert (tmp_path / "a.db").exists() and "s" in tracker.experiments("sqlite:///a.db?timeout=30")


MAKING = """
import os, sqlite3, sys
from harness.track import Tracker

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
Tracker(f"sqlite:///{sys.argv[1]}/mlflow.db", "s", None)
"""


@pytest.mark.parametrize("statement", [40, 300])
def test_a_store_whose_making_was_killed_is_made_again(tmp_path, statement):
    """MLflow's migrations are no transaction: a file of which one was cut off can never be opened
    again.
    """
    made = subprocess.run(
        [sys.executable, "-c", MAKING, str(tmp_path), str(statement)], capture_output=True
    )
    assert made.returncode == -signal.SIGKILL, made.stderr.decode()
    assert Tracker(f"sqlite:///{tmp_path}/mlflow.db", "s", tmp_path / "artifacts").runs().empty
    assert not list(tmp_path.glob(".mlflow.new"))


def test_two_processes_make_one_store(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = "import pathlib, sys; from harness.store.tracker import Tracker; Tracker(*sys.argv[1:3], pathlib.Path(sys.argv[3]))"
    makers = [
        subprocess.Popen([sys.executable, "-c", code, uri, name, str(tmp_path)])
        for name in ("s", "t")
    ]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert {"s", "t"} < tracker.experiments(uri).keys()


def test_a_study_is_one_experiment_with_its_artifacts_beside_the_database(new, folder, request):
    ids = {new().experiment_id, new().experiment_id}
    assert ids == {tracker.experiments(f"sqlite:///{folder}/mlflow.db")[request.node.name]}
    experiment = new()._client.get_experiment(ids.pop())
    assert experiment.artifact_location == (folder / "artifacts").as_uri()


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(new, tracker):
    tracker._client.delete_experiment(tracker.experiment_id)
    with pytest.raises(
        TrackError,
        match=rf"must not be deleted, but got study='test_a_del.* -x {tracker.experiment_id}",
    ):
        new()


def test_a_store_that_cannot_be_reached_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        TrackError, match=r"must be reachable .* got uri='http://127.0.0.1:9'.* Start the server"
    ):
        Tracker("http://127.0.0.1:9", "s", tmp_path)


def test_a_run_is_a_child_of_its_arm_with_name_tags_and_params(tracker):
    tags = {
        "engine": "cpu",
        "git_commit": "abc",
        "git_dirty": True,
        "pack_size": 4,
        "corpus_fingerprint": "f" * 64,
    }
    run = tracker._client.get_run(start(tracker, index=3, **tags))
    parent = tracker._client.get_run(run.data.tags["mlflow.parentRunId"])
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


def test_a_user_without_a_name_is_unknown(tracker, monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(tracker.getpass, "getuser", nobody)
    assert tracker._client.get_run(start(tracker)).data.tags["mlflow.user"] == "unknown"


def test_there_is_one_run_per_arm_phase_and_index_for_ever(new, tracker):
    first = start(tracker)
    others = {start(tracker, index=1), start(tracker, phase="replicate"), start(tracker, arm="gru")}
    assert len({first, *others}) == 4
    assert start(tracker) == first
    again = new()
    assert start(again) == first
    assert len(again.runs()) == 4 and len(again._search()) == 4 + 2  # two parents


def test_every_page_of_the_runs_is_read(tracker, monkeypatch):
    for index in range(5):
        start(tracker, index=index)
    search = tracker._client.search_runs
    monkeypatch.setattr(
        tracker._client, "search_runs", lambda *args, **kw: search(*args, max_results=2, **kw)
    )
    assert tracker.runs()["index"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("state", ["failed", "killed"])
def test_a_run_given_up_is_opened_again_as_running(new, tracker, state):
    run_id = start(tracker)
    if state == "failed":
        tracker.end(run_id, state, tags={"message": "out of memory"})
    else:  # as earlier versions wrote it
        tracker._client.set_tag(run_id, "state", state)
        tracker._client.set_terminated(run_id, status="KILLED")
    again = new()
    assert again._client.get_run(run_id).info.status == state.upper()
    assert again.runs()["state"].tolist() == [state]
    assert start(again, device="cuda") == run_id
    run = again._client.get_run(run_id)
    assert (run.info.status, run.data.tags["state"], run.data.tags["device"]) == (
        "RUNNING",
        "running",
        "cuda",
    )


def test_a_finished_run_stays_finished(new, tracker):
    run_id = start(tracker)
    tracker.end(run_id, "pruned")
    assert start(new()) == run_id
    assert new().runs()["state"].tolist() == ["pruned"]


def test_parameters_are_written_once(new, tracker):
    start(tracker)
    again = new()
    again._client = recorder = Recorder(again._client)
    start(again)
    assert recorder.names() == ["tags"]


def test_parameters_that_a_crash_left_out_are_written_on_reopening(new, tracker):
    run_id = tracker.open("lstm", "trial", 0, "lstm trial 0", {}, {})
    assert start(new()) == run_id
    assert new().runs().loc[0, "params"] == {
        "learning_rate": 0.1,
        "schedule": "cosine",
        "clip_norm": None,
    }


def test_a_parameter_that_changed_is_an_error(new, tracker):
    start(tracker)
    with pytest.raises(
        TrackError, match="lstm trial 0: .* got learning_rate=0.2 where learning_rate=0.1 is stored"
    ):
        new().open("lstm", "trial", 0, "", {"learning_rate": 0.2}, {})


def test_metrics_wait_in_a_buffer_and_go_in_batches_of_a_thousand(tracker):
    run_id = start(tracker)
    tracker._client = recorder = Recorder(tracker._client)
    for update in range(1, 101):
        tracker.log(
            run_id, update, {f"m/{i}": float(update) for i in range(15)}, time=float(update)
        )
    assert recorder.calls == []
    tracker.flush()
    assert [len(kwargs["metrics"]) for _, kwargs in recorder.calls] == [
        990,
        510,
    ]  # records are never cut
    points = tracker._client.get_metric_history(run_id, "m/14")
    assert [(p.step, p.timestamp, p.value) for p in points] == [
        (u, u * 1000, float(u)) for u in range(1, 101)
    ]


def test_a_buffer_is_written_once_its_oldest_entry_is_old(tracker, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tracker, "monotonic", lambda: now)
    first, second = start(tracker), start(tracker, index=1)
    tracker._client = recorder = Recorder(tracker._client)
    record(tracker, first, 1)
    now = tracker.FLUSH_SECONDS
    record(tracker, second, 1)
    assert recorder.calls == []
    now += 0.1
    record(tracker, first, 2)
    assert recorder.names() == ["metrics", "metrics"]
    now += 0.1
    record(tracker, first, 3)
    assert len(recorder.calls) == 2


def test_records_that_could_not_be_written_are_kept_for_the_next_time(tracker, monkeypatch):
    run_id = start(tracker)
    record(tracker, run_id, 1)
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_batch", lambda *args, **kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.flush()
    tracker.flush()
    assert updates(tracker, run_id) == [1]


def test_a_kill_in_the_middle_doubles_neither_runs_nor_metrics(new, tracker):
    run_id = start(tracker)
    for update in (10, 20):
        record(tracker, run_id, update)
    tracker.flush()
    record(tracker, run_id, 30)  # lost with the process
    again = new()
    assert again.runs()["state"].tolist() == ["running"]
    assert start(again) == run_id
    for update in (
        10,
        20,
        30,
    ):  # from a checkpoint at 0; at other times, as another process emits them
        again.log(run_id, update, {"train/loss": 2.0, "tokens": 32.0 * update}, time=5000.0)
    again.end(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "tokens") == [10, 20, 30]
    assert again.runs()["state"].tolist() == ["finished"]


def test_a_failed_run_that_starts_over_in_the_same_process_doubles_no_metrics(tracker):
    run_id = start(tracker)
    for update in (10, 20):
        record(tracker, run_id, update)
    tracker.end(run_id, "failed", {"message": "out of memory"})
    start(tracker)
    for update in (10, 20, 30):
        tracker.log(run_id, update, {"train/loss": 2.0}, time=5000.0)
    tracker.end(run_id, "finished")
    assert updates(tracker, run_id) == [10, 20, 30]


def test_a_tag_that_is_none_is_not_written(tracker):
    run_id = start(tracker, threads=None, git_commit=None)
    assert not {"threads", "git_commit", "mlflow.source.git.commit"} & set(
        tracker._client.get_run(run_id).data.tags
    )
    assert pd.isna(tracker.runs().loc[0, "threads"])


def test_an_end_that_was_cut_off_is_written_again_without_a_second_summary(new, tracker):
    run_id = start(tracker)
    record(tracker, run_id, 10)
    monkey = Recorder(tracker._client)
    tracker._client = monkey
    monkey.set_terminated = lambda *args, **kw: 1 / 0
    with pytest.raises(ZeroDivisionError):
        tracker.end(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    again = new()
    assert again.runs()["state"].tolist() == ["running"]
    start(again)
    record(again, run_id, 10)
    again.end(run_id, "finished", metrics={"objective": 1.5, "train/loss": 1.9})
    assert updates(again, run_id, "objective") == [0] and updates(again, run_id) == [10, 10]
    assert again._client.get_run(run_id).data.metrics["train/loss"] == 1.9
    assert [point.value for point in again._client.get_metric_history(run_id, "train/loss")] == [
        2.0,
        1.9,
    ]


def test_a_summary_without_records_can_be_written_again(new, tracker):
    run_id = start(tracker)
    tracker.end(run_id, "failed", metrics={"objective": 1.5})
    again = new()
    assert start(again) == run_id
    again.end(run_id, "failed", metrics={"objective": 1.5})
    assert updates(again, run_id, "objective") == [0]


def test_a_run_ends_with_metrics_artifacts_tags_and_its_status_last(tracker):
    run_id = start(tracker)
    record(tracker, run_id, 10)
    tracker._client = recorder = Recorder(tracker._client)
    tracker.end(
        run_id, "diverged", {"message": "nan"}, {"test/loss": 1.0}, {"curve.csv": b"update\n10\n"}
    )
    assert recorder.names() == ["metrics", "metrics", "log_artifacts", "tags", "set_terminated"]
    run = tracker._client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags["state"] == "diverged"


def test_an_unknown_end_is_refused(tracker):
    with pytest.raises(
        TrackError, match="state must be one of finished, .*failed, but got state='done'"
    ):
        tracker.end(start(tracker), "done")


def test_an_arms_summary_is_on_its_parent_under_arm_alone(new, tracker):
    tracker.end(start(tracker), "finished", metrics={"validation/perplexity": 7.0})
    tracker.summary("lstm", {"validation/perplexity": 7.5}, {"verdict.md": "better"})
    parent = tracker._client.get_run(tracker._parents["lstm"].run_id)
    assert parent.data.metrics == {"arm/validation/perplexity": 7.5}
    assert (
        tracker.artifact(parent.info.run_id, "verdict.md") == b"better"
        and parent.info.status == "FINISHED"
    )
    again = new()
    start(again, phase="replicate", index=1000)  # the study was extended
    assert again._client.get_run(parent.info.run_id).info.status == "RUNNING"
    again.summary("lstm", {"validation/perplexity": 7.25})
    parent = again._client.get_run(parent.info.run_id)
    assert (
        parent.data.metrics == {"arm/validation/perplexity": 7.25}
        and parent.info.status == "FINISHED"
    )


def test_a_summary_is_short_enough_for_a_column(tracker):
    tracker.summary("lstm", {"p": 3.4964000912e-11, "ratio": 0.2870298852, "tokens": 123456789.0})
    (parent,) = [run for run in tracker._search() if run.data.tags["phase"] == "arm"]
    assert parent.data.metrics == {
        "arm/p": 3.4964e-11,
        "arm/ratio": 0.28703,
        "arm/tokens": 123456789.0,
    }


def test_the_dataset_column_has_name_and_digest_once(new, tracker):
    run_id = start(tracker)
    for each in (tracker, new()):
        each.dataset(
            run_id, "time-machine", "0123456789abcdef" * 4, "https://example.org/timemachine.txt"
        )
    (given,) = tracker._client.get_run(run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("time-machine", "0123456789ab")
    assert given.dataset.source == "https://example.org/timemachine.txt"


def test_every_arm_keeps_the_study_file(tracker):
    start(tracker, arm="lstm")
    tracker.study_file("study: s\n", "s.yaml")
    start(tracker, arm="gru")
    stored = [
        tracker._artifact(run, "s.yaml")
        for run in tracker._search()
        if run.data.tags["phase"] == "arm"
    ]
    assert stored == [b"study: s\n"] * 2


def test_the_description_is_the_experiments_note(tracker):
    tracker.describe("**better**")
    assert tracker._experiment_tags()["mlflow.note.content"] == "**better**"


def test_a_long_description_is_cut_at_a_line_and_says_so(tracker):
    tracker.describe("| a row of a table |\n" * 1000)
    note = tracker._experiment_tags()["mlflow.note.content"]
    assert len(note) <= tracker.EXPERIMENT_TAG_LENGTH
    assert note.startswith("| a row") and "a row of a table |\n\n*(cut to the length" in note


def test_the_identity_comes_back_whole_whatever_its_length(new, tracker):
    assert tracker.identity() is None
    identity = {"compare": {"cells": ["lstm"]}, "source": "σ" * 12_000}
    tracker.set_identity(identity)
    assert new().identity() == identity


def test_a_new_identity_replaces_the_old_one_at_once(new, tracker):
    old, extended = {"source": "a" * 12_000}, {"source": "b" * 12_000}
    tracker.set_identity(old)
    monkey = Recorder(tracker._client)
    monkey.set_experiment_tag = interrupted_after(2, tracker._client.set_experiment_tag)
    tracker._client = monkey
    with pytest.raises(KeyboardInterrupt):
        tracker.set_identity(extended)
    assert new().identity() == old
    again = new()
    again.set_identity(extended)
    assert new().identity() == extended
    assert (
        len([key for key in again._experiment_tags() if key.startswith("harness.identity.")]) == 3
    )


def interrupted_after(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Any] = []

    def call(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > count:
            raise KeyboardInterrupt
        return function(*args)

    return call


def test_runs_come_back_as_they_were_stored(new, tracker):
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
    tracker.end(start(tracker), "finished", tags, metrics, samples=samples)
    tracker.end(
        start(tracker, index=1), "diverged", tags, {"objective": math.nan, "train/loss": math.inf}
    )
    start(tracker, index=2)
    runs = new().runs()
    assert {column: str(dtype) for column, dtype in runs.dtypes.items()} == frames.RUN_DTYPES
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


def test_curves_come_back_from_the_artifacts(new, tracker):
    content = f"update,tokens,time_seconds,train/loss,validation/loss\n10,320,0.5,{2 / 3!r},2.5\n20,640,1.0,2.0,2.25\n"
    for index in (0, 1):
        tracker.end(start(tracker, index=index), "finished", artifacts={"curve.csv": content})
    tracker.end(start(tracker, index=2), "failed")
    curves = new().curves()
    assert curves["index"].tolist() == [0, 0, 1, 1] and set(curves["arm"]) == {"lstm"}
    assert curves["train/loss"].tolist() == [2 / 3, 2.0] * 2
    dtypes = {column: str(dtype) for column, dtype in curves.dtypes.items()}
    assert dtypes == frames.PLACE_DTYPES | frames.CURVE_DTYPES


def test_timings_come_back_from_the_arms(new, tracker):
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
    columns = [*frames.ARM_DTYPES, *frames.TIMING_DTYPES]
    timings = pd.DataFrame(rows).assign(condition="")[columns]
    start(tracker)
    tracker.store_timings(timings)
    tracker.store_timings(timings)
    pd.testing.assert_frame_equal(
        new().timings(), timings.astype(frames.ARM_DTYPES | frames.TIMING_DTYPES)
    )


def test_units_of_one_arm_have_one_parent_and_places_of_their_own(new, tracker):
    for key in ("docs/lstm", "docs/lstm@2", "book/lstm"):
        tracker.end(tracker.open(key, "replicate", 0, key, {}, {}), "finished")
    runs = new().runs()
    assert runs[["condition", "arm", "repeat"]].values.tolist() == [
        ["book", "lstm", 0],
        ["docs", "lstm", 0],
        ["docs", "lstm", 2],
    ]
    assert new().open("docs/lstm@2", "replicate", 0, "again", {}, {}) == runs.loc[2, "run_id"]
    parents = [run for run in tracker._search() if run.data.tags["phase"] == "arm"]
    assert sorted(run.info.run_name for run in parents) == ["book/lstm", "docs/lstm"]


def test_a_new_study_has_empty_frames(tracker):
    assert tracker.runs().empty and tracker.curves().empty and tracker.timings().empty


def test_the_seconds_spent_in_the_tracker_are_counted(tracker, monkeypatch):
    run_id, before = start(tracker), tracker.seconds
    assert before > 0
    monkeypatch.setattr(tracker, "_client", Recorder(tracker._client))
    monkeypatch.setattr(
        tracker._client, "log_batch", lambda *args, **kwargs: time.sleep(0.05), raising=False
    )
    record(tracker, run_id, 1)
    tracker.flush()
    assert 0.05 <= tracker.seconds - before < 0.5
