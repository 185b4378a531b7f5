"""What is written into SQLite's file at once equals what MLflow's client writes."""

import math
import sqlite3
import threading
from contextlib import closing

import pytest
from mlflow import MlflowClient

from harness.store import writer as writing
from harness.store.address import StoreError
from harness.store.sqlite_client import SqliteClient
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit

RUNS = (
    "(SELECT r.*, ifnull(p.value, '') AS parent FROM runs r LEFT JOIN tags p ON p.run_uuid = "
    "r.run_uuid AND p.key = 'mlflow.parentRunId' WHERE r.experiment_id = ?) AS r"
)
TABLES = {
    "runs": "SELECT name, source_type, source_name, entry_point_name, user_id, status, "
    "end_time IS NULL, source_version, lifecycle_stage, replace(artifact_uri, run_uuid, 'ID'), "
    f"deleted_time FROM {RUNS}",
    "tags": "SELECT name, key, replace(value, parent, 'PARENT') FROM tags "
    f"JOIN {RUNS} USING (run_uuid)",
    "params": f"SELECT name, key, value FROM params JOIN {RUNS} USING (run_uuid)",
    "metrics": "SELECT name, key, value, timestamp, step, is_nan FROM metrics "
    f"JOIN {RUNS} USING (run_uuid)",
    "latest_metrics": "SELECT name, key, value, timestamp, step, is_nan FROM latest_metrics "
    f"JOIN {RUNS} USING (run_uuid)",
    "inputs": "SELECT r.name, i.source_type, destination_type, step, n.name, n.value, d.name, "
    "digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile "
    f"FROM inputs i JOIN {RUNS} ON r.run_uuid = i.destination_id JOIN datasets d ON "
    "d.dataset_uuid = i.source_id AND d.experiment_id = r.experiment_id "
    "JOIN input_tags n USING (input_uuid)",
}
"""What stands in each table, without the ids and the moments that no two runs share."""
SUMMARY = ("arm/ratio",)
"""Points of the moment at which they are written."""
KEYS = [RunKey(Unit("lstm", "docs", index % 2), Phase.TRIAL, index) for index in range(3)]
TAGS = {"engine": "cpu", "note": "σ – \n two lines", "git_commit": "abc", "long": "x" * 9000}
END = {"objective": 1 / 3, "train/loss": math.inf, "low": -math.inf, "none": math.nan}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sqlite")


@pytest.fixture
def new(folder, request):
    """Opens the test's own study, as another process would."""
    made = []

    def make(name=request.node.name):
        made.append(StudyWriter(f"sqlite:///{folder}/mlflow.db", name, folder / "artifacts"))
        return made[-1]

    yield make
    for writer in made:
        writer.close()


def rows(writer):
    """Returns what the store holds of a writer's experiment, table by table."""
    with closing(sqlite3.connect(writer.uri.removeprefix("sqlite:///"))) as file:
        assert file.execute("PRAGMA foreign_key_check").fetchall() == []
        return {
            table: sorted(
                (row[:3] if row[1] in SUMMARY else row)
                for row in map(plain, file.execute(query, (writer.experiment_id,)))
            )
            for table, query in TABLES.items()
        }


def plain(row):
    """Returns a row that can be compared and sorted, None included."""
    return tuple(map(str, row))


def begin(writer, key):
    params = {"learning_rate": 0.1, "clip_norm": None, "text": "σ" * (7000 if not key.index else 9)}
    writer.begin_run(key, str(key), params, TAGS)
    run_id = writer.run_id(key)
    writer.log_dataset(run_id, "text", "f" * 64, "text.txt")
    return run_id


def study(new, name):
    """Writes runs of every kind: new and begun again, ended, failed, put aside, in two sittings."""
    first = new(name)
    for key, state in zip(KEYS, ("finished", "failed", None), strict=True):
        run_id = begin(first, key)
        for update, loss in ((1, 2.0), (2, math.nan), (3, 2.5), (3, 2.25)):
            first.log(run_id, update, {"train/loss": loss, "tokens": 8.0 * update}, float(update))
        if state:
            files = {"curve.csv": "update\n1\n", "deep/er.txt": b"1"}
            first.end_run(run_id, state, {"message": "m"}, END, files)
    first.flush()
    first.close()
    again = new(name)
    for key in KEYS[1:]:
        run_id = begin(again, key)
        for update in (2, 3, 4):
            again.log(run_id, update, {"train/loss": 1.0 / update}, 100.0 + update)
        again.end_run(run_id, "finished", metrics=END, artifacts={"curve.csv": "update\n4\n"})
    again.mark_superseded(KEYS[0])
    again.open_run(KEYS[0], "anew", {"learning_rate": 0.2}, {})
    again.show_arm(Unit("lstm", "docs"), {"progress": "3/3"})
    again.summarize_arm(Unit("lstm", "docs"), {"ratio": 1 / 3}, {"verdict.md": "better"})
    return again


def test_the_file_holds_what_mlflow_would_have_written(new, monkeypatch):
    own = study(new, "own")
    assert isinstance(own._client, SqliteClient)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "recording_client", lambda uri, client, _: client)
        mlflows = study(new, "mlflows")
    assert type(mlflows._client) is MlflowClient
    found, wanted = rows(own), rows(mlflows)
    for table in TABLES:
        assert found[table] == wanted[table] != [], table
    assert files(own) == files(mlflows) != []


def files(writer):
    """Returns what the files of a writer's runs are called."""
    names = {run.run_id: run.tags["mlflow.runName"] for run in writer.reader.search()}
    sizes = writer.reader.file_sizes()
    return sorted((names[run_id], path) for run_id, own in sizes.items() for path in own)


def test_what_fails_changes_nothing_and_is_written_the_next_time(new, folder):
    writer = new()
    run_id = begin(writer, KEYS[0])
    writer.log(run_id, 1, {"train/loss": 2.0}, 1.0)
    before = rows(writer)
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                writer.flush()
        other.execute("ROLLBACK")
    assert rows(writer) == before
    writer.flush()
    assert [
        point.value for run in writer.reader.search() for point in writer.reader.points(run)
    ] == [2]
    assert [len(rows(writer)[table]) for table in ("runs", "metrics", "inputs")] == [2, 1, 1]


def test_no_reader_is_kept_out_between_two_writes(new, folder):
    writer = new()
    writer.end_run(begin(writer, KEYS[0]), "finished", metrics=END)
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("ROLLBACK")


def test_a_run_that_was_deleted_is_told_and_gets_nothing(new):
    writer = new()
    run_id = writer.open_run(KEYS[0], "n", {}, {})
    writer._client.delete_run(run_id)
    writer.log(run_id, 1, {"train/loss": 2.0}, 1.0)
    with pytest.raises(StoreError, match="was deleted in MLflow"):
        writer.flush()


@pytest.mark.parametrize("name", ["what?", "a/../b", "..", "/a", "a//b", "", "n" * 251])
def test_names_that_mlflow_refuses_are_refused(new, name, monkeypatch):
    writer = new()
    run_id = writer.open_run(KEYS[0], "n", {}, {})
    writer.log(run_id, 1, {name: 2.0}, 1.0)
    with pytest.raises(StoreError, match="a name must be made of letters"):
        writer.flush()
    with pytest.raises(Exception, match="(?i)name|length"):
        MlflowClient(writer.uri).log_metric(run_id, name, 2.0)


def test_a_store_of_another_schema_or_place_is_left_to_mlflow(new, folder, monkeypatch):
    uri, client = f"sqlite:///{folder}/mlflow.db", new()._client
    elsewhere = client.create_experiment("elsewhere", artifact_location="s3://bucket/path")
    plain = MlflowClient(uri)
    assert writing.recording_client(uri, plain, elsewhere) is plain
    assert writing.recording_client(f"{uri}?timeout=30", plain, "1") is plain
    monkeypatch.setattr("harness.store.source.KNOWN_SCHEMAS", ("another",))
    assert writing.recording_client(uri, plain, "1") is plain


def test_another_thread_may_close_it(new):
    writer = new()
    writer.open_run(KEYS[0], "n", {}, {})
    thread = threading.Thread(target=writer.close)
    thread.start()
    thread.join()
    assert writer._client._file is None
