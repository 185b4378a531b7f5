"""A store is read and written where it lies now, not where it lay."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from mlflow import MlflowClient

from harness.store.moved import mend
from harness.store.reader import StudyReader
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState

KEY = RunKey(Unit("lstm"), Phase.REPLICATE, 0)


def store_in(folder):
    """Writes a study of one run with a curve, and returns the run's id."""
    writer = StudyWriter(uri_in(folder), "study", folder / "artifacts")
    run_id = writer.open_run(KEY, "a run", {}, {"seed": "0"})
    writer.end_run(run_id, RunState.FINISHED, artifacts={"curve.csv": "update\n1\n"})
    writer.close()
    return run_id


def uri_in(folder):
    return f"sqlite:///{folder / 'mlflow.db'}"


def artifact_uri(folder, run_id):
    """Returns what MLflow itself has recorded."""
    return MlflowClient(uri_in(folder)).get_run(run_id).info.artifact_uri


@pytest.fixture
def old(tmp_path):
    """A folder whose name has to be encoded in an address."""
    folder = tmp_path / "old folder"
    folder.mkdir()
    return folder


def test_a_moved_store_is_read_where_it_lies_and_not_changed_by_it(old, tmp_path):
    run_id = store_in(old)
    new = old.rename(tmp_path / "new folder")
    before = (new / "mlflow.db").read_bytes()
    assert StudyReader(uri_in(new), "study").artifact(run_id, "curve.csv") == b"update\n1\n"
    assert (new / "mlflow.db").read_bytes() == before


def test_a_moved_store_is_mended_when_it_is_opened_to_be_written(old, tmp_path):
    run_id = store_in(old)
    new = old.rename(tmp_path / "new folder")
    writer = StudyWriter(uri_in(new), "study", new / "artifacts")
    assert artifact_uri(new, run_id) == (new / "artifacts" / run_id / "artifacts").as_uri()
    second = writer.open_run(RunKey(Unit("gru"), Phase.REPLICATE, 0), "another", {}, {"seed": "0"})
    writer.end_run(second, RunState.FINISHED, artifacts={"curve.csv": "update\n2\n"})
    writer.close()
    assert (new / "artifacts" / second / "artifacts" / "curve.csv").exists()
    assert not old.exists()


def test_a_copy_has_its_own_artifacts_and_leaves_the_original(old, tmp_path):
    run_id = store_in(old)
    new = tmp_path / "copy"
    shutil.copytree(old, new)
    mend(new / "mlflow.db")
    assert artifact_uri(new, run_id).startswith((new / "artifacts").as_uri())
    assert artifact_uri(old, run_id).startswith((old / "artifacts").as_uri())


def test_artifacts_elsewhere_stay_where_they_are(tmp_path):
    writer = StudyWriter(uri_in(tmp_path), "study", tmp_path / "elsewhere" / "files")
    run_id = writer.open_run(KEY, "a run", {}, {"seed": "0"})
    writer.end_run(run_id, RunState.FINISHED, artifacts={"curve.csv": "update\n1\n"})
    writer.close()
    (tmp_path / "files").mkdir()  # of something else
    before = artifact_uri(tmp_path, run_id)
    mend(tmp_path / "mlflow.db")
    assert artifact_uri(tmp_path, run_id) == before


def test_lost_artifacts_are_missing_and_no_address_is_made_up(old, tmp_path):
    run_id = store_in(old)
    shutil.rmtree(old / "artifacts")
    before = artifact_uri(old, run_id)
    mend(old / "mlflow.db")
    assert artifact_uri(old, run_id) == before
    reader = StudyReader(uri_in(old), "study")
    assert reader.artifact(run_id, "curve.csv") is None
    ((folder, count),) = reader.missing_artifacts().items()
    assert (folder, count) == (old / "artifacts", 1)


def test_a_file_that_is_no_database_of_mlflow_stays_as_it_is(tmp_path):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (anything TEXT)")
    before = file.read_bytes()
    mend(file)
    assert file.read_bytes() == before
