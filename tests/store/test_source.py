"""SQLite's file read at once tells what MLflow's client tells; a new schema is noticed."""

import math
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from harness.store import patience, soundness, source
from harness.store.address import StoreError
from harness.store.mlflow_source import MlflowSource
from harness.store.reader import StudyReader
from harness.store.rows import RunRow
from harness.store.source import KNOWN_SCHEMAS, SqliteSource, open_source
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState

TAGS = {"engine": "cpu", "note": "σ – \n two lines", "git_commit": "abc", "git_dirty": True}
METRICS = {"objective": 1 / 3, "train/loss": math.inf, "tokens": 2.0e6, "low": -math.inf}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """A store of two studies: runs that ended in every way, deleted ones, notes of any length."""
    folder = tmp_path_factory.mktemp("source")
    uri = f"sqlite:///{folder}/mlflow.db"
    for name in ("first", "second"):
        writer = StudyWriter(uri, name, folder / "artifacts")
        for index, state in enumerate([*RunState][1:5]):
            key = RunKey(Unit("lstm", "docs", index % 2), Phase.TRIAL, index)
            params = {"learning_rate": 0.1 + index, "clip_norm": None, "text": "σ" * 300}
            run_id = writer.open_run(key, str(key), params, TAGS)
            writer.log_dataset(run_id, "text", "f" * 64, "text.txt")
            for update in (1, 2):
                values = {"train/loss": 2.0 / update, "nan": math.nan}
                writer.log(run_id, update, values, time=float(update))
            files = {"curve.csv": "update\n1\n"}
            writer.end_run(run_id, state, metrics=METRICS, artifacts=files)
        writer.open_run(RunKey(Unit("gru"), Phase.REPLICATE, 7), "running", {}, {})
        writer.set_identity({"source": "σ" * 12_000})
        writer.summarize_arm(Unit("lstm", "docs"), {"ratio": 1 / 3})
        deleted = writer.open_run(RunKey(Unit("gru"), Phase.REPLICATE, 8), "deleted", {}, {})
        writer._client.delete_run(deleted)
        writer.close()
    gone = StudyWriter(uri, "gone", folder / "artifacts")
    gone._client.delete_experiment(gone.experiment_id)
    return uri


def test_frames_of_one_moment_do_not_know_what_comes_later(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    writer = StudyWriter(uri, "study", tmp_path / "artifacts")
    writer.open_run(RunKey(Unit("lstm"), Phase.REPLICATE, 0), "first", {}, {})
    reader = StudyReader(uri, "study")
    held = reader.at_once()
    writer.open_run(RunKey(Unit("lstm"), Phase.REPLICATE, 1), "second", {}, {})
    assert list(held.runs()["index"]) == [0] and list(held.runs(Phase.TRIAL)["index"]) == []
    assert list(reader.runs()["index"]) == [0, 1]
    writer.close()


def plain(value):
    """Returns values that equal themselves, NaN too."""
    return repr(value)


def by_id(rows):
    return sorted(rows, key=lambda row: row.run_id)


def test_the_installed_mlflow_makes_a_known_schema(uri):
    path = uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as file:
        (version,) = file.execute("SELECT version_num FROM alembic_version").fetchone()
    assert version in KNOWN_SCHEMAS, "read the new schema, extend source.py, and add its name"
    assert isinstance(open_source(uri), SqliteSource)


def test_both_ways_tell_the_same(uri):
    direct, client = open_source(uri), MlflowSource(uri)
    experiments = direct.experiments()
    assert experiments == client.experiments()
    assert {each.name for each in experiments} == {"Default", "first", "second"}
    for experiment in experiments:
        assert direct.tags(experiment.id) == client.tags(experiment.id)
        rows, same = direct.runs(experiment.id), client.runs(experiment.id)
        assert plain(by_id(rows)) == plain(by_id(same))
        for phase in Phase:
            of_phase = [row for row in rows if row.tags["phase"] == phase]
            assert plain(direct.runs(experiment.id, phase)) == plain(of_phase)
            assert plain(by_id(client.runs(experiment.id, phase))) == plain(by_id(of_phase))
        for row in rows:
            assert plain(direct.run(row.run_id)) == plain(client.run(row.run_id))
            assert plain(direct.points(row.run_id)) == plain(client.points(row.run_id))
            assert direct.datasets(row.run_id) == client.datasets(row.run_id)
            for name in ("curve.csv", "none.csv"):
                assert direct.artifact(row, name) == client.artifact(row, name)
    rows = direct.runs(next(each.id for each in experiments if each.name == "first"))
    assert any(direct.tags(each.id) for each in experiments)
    assert max(len(direct.points(row.run_id)) for row in rows) == 2 * 2 + len(METRICS)
    assert any(direct.datasets(row.run_id) for row in rows)
    assert len(rows) == 4 + 1 + 2  # the deleted run is not there; two arms have runs of their own
    assert {row.status for row in rows} == {"FINISHED", "FAILED", "RUNNING"}


@pytest.mark.parametrize("run_id", ["0" * 32, "no id", "'; DROP TABLE runs; --", ""])
def test_no_run_is_none_both_ways(uri, run_id):
    assert open_source(uri).run(run_id) is None
    assert MlflowSource(uri).run(run_id or "0") is None


def test_a_file_that_a_server_names_and_does_not_send_is_asked_for_again():
    """MLflow's client hides why: a connection that broke is said to be a file that is not there."""
    server = MlflowSource.__new__(MlflowSource)
    answers = [MlflowException("not there", error_code=RESOURCE_DOES_NOT_EXIST), "curve.csv"]

    def download(run_id, name, folder):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        path = Path(folder, answer)
        path.write_bytes(b"update\n1\n")
        return str(path)

    files = [SimpleNamespace(path="curve.csv")]
    server._client = SimpleNamespace(
        list_artifacts=lambda run_id: files, download_artifacts=download
    )
    row = RunRow("0" * 32, "FINISHED", "mlflow-artifacts:/0/artifacts", {}, {}, {})
    patiently = patience.Patience("MLflow's store", lambda *_: None, lambda: None)
    assert patiently(server.artifact, row, "curve.csv") == b"update\n1\n"
    assert not answers and server.artifact(row, "none.csv") is None


def test_an_unknown_schema_is_read_by_mlflow(uri, monkeypatch):
    monkeypatch.setattr(source, "KNOWN_SCHEMAS", ("another",))
    assert isinstance(open_source(uri), MlflowSource)


def test_what_is_no_store_is_left_to_mlflow(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("harness.store.mlflow_source.MlflowSource", asked.append)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    for name in ("other.db", "none.db"):
        open_source(f"sqlite:///{tmp_path}/{name}")
    assert len(asked) == 2 and not (tmp_path / "none.db").exists()


def test_reading_loads_no_mlflow_and_no_optuna(uri):
    code = (
        "import sys\n"
        "from harness.store.reader import StudyReader\n"
        f"reader = StudyReader({uri!r}, 'first')\n"
        "assert len(reader.runs()) == 5 and reader.identity() and reader.notes() is not None\n"
        "reader.curves(), reader.timings(), reader.file_sizes(), reader.arm_runs()\n"
        "print({'mlflow', 'sqlalchemy', 'optuna', 'torch', 'matplotlib'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_writer_in_the_middle_of_its_work_stops_no_reader(uri):
    path = uri.removeprefix("sqlite:///")
    busy = sqlite3.connect(path, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    busy.execute("UPDATE runs SET name = 'changed'")
    try:
        assert len(StudyReader(uri, "first").runs()) == 5
    finally:
        busy.execute("ROLLBACK")
        busy.close()


@pytest.fixture
def held(uri, monkeypatch):
    """The store, which another process holds, and what lets it go."""
    monkeypatch.setattr(patience, "START_SECONDS", 0.3)
    monkeypatch.setattr(source, "SECONDS_TO_WAIT", 0.3)
    monkeypatch.setattr(soundness, "SQLITE_SECONDS", 0.02)
    reader = open_source(uri)
    busy = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
    busy.execute("BEGIN EXCLUSIVE")
    yield uri, reader, lambda: busy.execute("ROLLBACK")
    busy.close()


def test_a_file_that_is_held_is_told_and_mlflow_is_not_asked(held, monkeypatch):
    monkeypatch.setattr("harness.store.mlflow_source.MlflowSource", None)
    uri, reader, release = held
    for read in (lambda: open_source(uri), reader.experiments, lambda: reader.runs("1")):
        with pytest.raises(StoreError, match="mlflow.db: must answer, but is held by another"):
            read()
    release()
    assert reader.experiments() == open_source(uri).experiments()


def test_a_wait_for_a_held_file_hears_ctrl_c(held, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt.start()
            open_source(held[0])
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < patience.START_SECONDS / 2
