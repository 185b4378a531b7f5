"""A study whose stores are held by other processes while it trains ends as an undisturbed one."""

import errno
import gc
import io
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from functools import partial

import pandas as pd
import pytest
import small_study
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from rich.console import Console

from harness.cli import faults
from harness.runner import launch
from harness.runner.recorder import RunRecorder
from harness.runner.searches import Searches
from harness.store import patience
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.sqlite_client import SqliteClient
from harness.training import checkpointing
from harness.tuning import storage as storages

pytestmark = pytest.mark.usefixtures("without_report_files")
COLUMNS = ["arm", "phase", "index", "seed", "state", "objective", "test/loss"]


def run(folder, said=None):
    """Runs the study and returns its report and what was said; `said` gets that at once."""
    said = said or io.StringIO()
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


def hold(path, is_enough):
    """Has another connection read the file until it is enough: that keeps all writers out."""
    is_held, until = threading.Event(), time.monotonic() + 300

    def work():
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM sqlite_master").fetchall()
            is_held.set()
            while not is_enough() and time.monotonic() < until:
                time.sleep(0.05)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert is_held.wait(120)


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
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    said = io.StringIO()
    for owner, method, file, store in (
        (RunRecorder, "record", "mlflow.db", "MLflow's store"),
        (Searches, "tell_finished", "optuna.db", "Optuna's storage"),
    ):
        line = f"{store} does not answer since"
        act = partial(hold, tmp_path / file, lambda line=line: line in said.getvalue())
        once_before(monkeypatch, owner, method, act)
    report, _ = run(tmp_path, said)
    assert "MLflow's store does not answer since" in said.getvalue()
    assert "Optuna's storage does not answer since" in said.getvalue()
    assert "records wait in" in said.getvalue() and "training waits for it" in said.getvalue()
    assert_same(tmp_path, report, whole)


# The connection of a thread that still asks the store is closed by nobody; see Handover.close.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.slow
def test_ctrl_c_ends_a_wait_and_what_was_trained_is_stored_by_the_next_launch(
    tmp_path, monkeypatch, whole
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    monkeypatch.setattr("harness.store.handover.CLOSE_SECONDS", 0.5)
    ends, interrupted, said = threading.Event(), threading.Event(), io.StringIO()

    def interrupt_once_told():
        if "does not answer" in said.getvalue() and not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)
        return ends.is_set()

    with monkeypatch.context() as patch:
        held = partial(hold, tmp_path / "mlflow.db", interrupt_once_told)
        once_before(patch, RunRecorder, "record", held)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, said)
    signal.signal(signal.SIGINT, before)
    assert not ends.is_set() and list(tmp_path.rglob("small.records"))
    ends.set()
    report, told = run(tmp_path)
    assert "records of an earlier launch are stored first" in told
    assert_same(tmp_path, report, whole)
    for thread in threading.enumerate():
        if thread.name == "records":
            thread.join(120)
    gc.collect()


def sqlite_error(folder, *statements):
    """Returns what SQLite raises at the last statement."""
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        for statement in statements[:-1]:
            connection.execute(statement)
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute(statements[-1])
    return raised.value


def raising_at(monkeypatch, owner, name, number, error):
    """Has one call of a function raise an error, with its cause."""
    function, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            raise error from error.__cause__
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def caused(error, cause):
    error.__cause__ = cause
    return error


def statuses(folder):
    with closing(sqlite3.connect(folder / "mlflow.db")) as file:
        return [status for (status,) in file.execute("SELECT status FROM runs")]


@pytest.mark.slow
def test_a_full_disk_ends_a_launch_in_one_line_and_the_next_goes_on(tmp_path, monkeypatch, whole):
    """Launch after launch meets it elsewhere: in a search, a checkpoint, a record, a file.

    What the stores have not taken waits for the next launch, which may meet a full disk again.
    """
    large = "INSERT INTO t VALUES (zeroblob(100000))"
    full = sqlite_error(tmp_path, "PRAGMA max_page_count = 2", large)
    read_only = sqlite_error(tmp_path, "PRAGMA query_only = 1", large)
    no_room = (errno.ENOSPC, "No space left on device")
    copied = OSError(*no_room, "/tmp/copy/curve.csv", None, str(tmp_path / "artifacts/curve.csv"))
    searched = caused(StorageInternalError("commit"), full)
    room, right = ("must have room on its disk", 1), ("must be open to you", 2)
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    for owner, name, number, error, place, (words, code) in (
        (Study, "add_trial", 1, searched, "optuna.db", room),
        (os, "fsync", 2, OSError(*no_room), ".checkpoint", room),
        (SqliteClient, "log_batch", 6, full, "mlflow.db", room),
        (SqliteClient, "log_artifacts", 2, copied, "artifacts/curve.csv", room),
        (SqliteClient, "log_batch", 1, read_only, "mlflow.db", right),
    ):
        with monkeypatch.context() as patch:
            raising_at(patch, owner, name, number, error)
            with pytest.raises(OSError) as raised:
                run(tmp_path)
        told = faults.told_of(raised.value)
        assert f"{place}: {words}" in told.message and "\n" not in told.message
        assert told.exit_code == code
        assert "RUNNING" not in statuses(tmp_path), "nobody trains what a fault has ended"
    assert list(tmp_path.rglob("small.records"))
    report, said = run(tmp_path)
    assert "records of an earlier launch are stored first" in said
    assert_same(tmp_path, report, whole)
