"""A study whose stores are held by other processes while it trains ends as an undisturbed one."""

import errno
import io
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pandas as pd
import pytest
import small_study
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from rich.console import Console

from harness.cli import faults
from harness.runner import launch
from harness.runner.recorder import RunRecorder
from harness.runner.searches import Searches
from harness.store import patience
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.tuning import storage as storages

pytestmark = pytest.mark.usefixtures("without_report_files")
COLUMNS = ["arm", "phase", "index", "seed", "state", "objective", "test/loss"]


def run(folder):
    """Runs the study and returns its report's table and what was said."""
    said = io.StringIO()
    console = Console(file=said, width=300)
    path = small_study.write(folder, trials=2, seeds=3, updates=8)
    report = launch.run(path, locations=Locations(folder), force=True, console=console)
    return report, said.getvalue()


def runs(folder):
    rows = StudyReader(Locations(folder).tracking_uri, "small").runs()[COLUMNS]
    return rows.sort_values(["arm", "phase", "index"], ignore_index=True)


def trials(folder):
    storage = storages.open_storage(Locations(folder).storage_url)
    found = {}
    for study in storage.get_all_studies():
        stored = storage.get_all_trials(study._study_id)
        arm = study.study_name.split("/")[1]
        found[arm] = [(t.number, t.state, t.params, t.value) for t in stored]
    storages.close(storage)
    return found


def hold(path, seconds, ends=None):
    """Has another connection read the file for some seconds: that keeps all writers out."""
    is_held, ends = threading.Event(), ends or threading.Event()

    def work():
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM sqlite_master").fetchall()
            is_held.set()
            ends.wait(seconds)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert is_held.wait(10)


def once_before(monkeypatch, owner, name, act):
    """Acts before the second call of a method."""
    method, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == 2:
            act()
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, request):
    """The folder of the undisturbed study, its report, and what was said."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(folder)


def assert_same(folder, report, whole):
    """Every run is there once and ended, and all stores and the report say what they must."""
    pd.testing.assert_frame_equal(runs(folder), runs(whole[0]))
    pd.testing.assert_frame_equal(report.table, whole[1].table)
    assert trials(folder) == trials(whole[0]) and set(runs(folder)["state"]) == {"finished"}
    assert not list(folder.rglob("small.records"))


@pytest.mark.slow
def test_a_study_whose_stores_are_held_ends_as_an_undisturbed_one(tmp_path, monkeypatch, whole):
    assert "does not answer" not in whole[2]
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    once_before(monkeypatch, RunRecorder, "record", lambda: hold(tmp_path / "mlflow.db", 3))
    once_before(monkeypatch, Searches, "tell_finished", lambda: hold(tmp_path / "optuna.db", 3))
    report, said = run(tmp_path)
    assert "MLflow's store does not answer since" in said
    assert "Optuna's storage does not answer since" in said
    assert "training goes on" in said and "training waits for it" in said
    assert_same(tmp_path, report, whole)


@pytest.mark.slow
def test_ctrl_c_ends_a_wait_and_what_was_trained_is_stored_by_the_next_launch(
    tmp_path, monkeypatch, whole
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    monkeypatch.setattr("harness.store.handover.CLOSE_SECONDS", 0.5)
    ends, begun = threading.Event(), []

    def hold_and_interrupt():
        hold(tmp_path / "mlflow.db", 60, ends)
        threading.Timer(
            3, lambda: (begun.append(time.monotonic()), os.kill(os.getpid(), 2))
        ).start()

    with monkeypatch.context() as patch:
        once_before(patch, RunRecorder, "record", hold_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun[0] < 5
    assert list(tmp_path.rglob("small.records"))
    ends.set()
    report, said = run(tmp_path)
    assert "records of an earlier launch are stored first" in said
    assert_same(tmp_path, report, whole)


@pytest.mark.slow
def test_a_full_disk_ends_a_launch_in_one_line_and_the_next_goes_on(tmp_path, monkeypatch, whole):
    full = full_disk(tmp_path)
    log_batch, calls = MlflowClient.log_batch, []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == 6:
            raise MlflowException(str(full)) from full
        return log_batch(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", call)
    with pytest.raises(OSError) as raised:
        run(tmp_path)
    assert raised.value.errno == errno.ENOSPC
    told = faults.told_of(raised.value)
    assert told.exit_code == 1 and "\n" not in told.message and "mlflow.db" in told.message
    report, _ = run(tmp_path)
    assert_same(tmp_path, report, whole)


def full_disk(folder):
    """Returns what SQLite raises where there is no more room."""
    with closing(sqlite3.connect(folder / "small.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    return raised.value
