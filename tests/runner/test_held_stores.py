"""A study whose stores are held by other processes while it trains ends as an undisturbed one."""

import io
import sqlite3
import threading
import time
from contextlib import closing

import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness.runner import launch
from harness.runner.recorder import RunRecorder
from harness.runner.searches import Searches
from harness.store import patience
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.tuning import search as tuning

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
    storage = tuning.open_storage(Locations(folder).storage_url)
    found = {}
    for study in storage.get_all_studies():
        stored = storage.get_all_trials(study._study_id)
        arm = study.study_name.split("/")[1]
        found[arm] = [(t.number, t.state, t.params, t.value) for t in stored]
    tuning.close(storage)
    return found


def hold(path, seconds):
    """Has another connection read the file for some seconds: that keeps all writers out."""
    is_held = threading.Event()

    def work():
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM sqlite_master").fetchall()
            is_held.set()
            time.sleep(seconds)

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


@pytest.mark.slow
def test_a_study_whose_stores_are_held_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    whole, held = tmp_path / "whole", tmp_path / "held"
    undisturbed, said = run(whole)
    assert "does not answer" not in said
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    once_before(monkeypatch, RunRecorder, "record", lambda: hold(held / "mlflow.db", 3))
    once_before(monkeypatch, Searches, "tell_finished", lambda: hold(held / "optuna.db", 3))
    report, said = run(held)
    assert said.count("MLflow's store does not answer since") == 1
    assert said.count("Optuna's storage does not answer since") == 1
    assert "training goes on" in said and "training waits for it" in said
    pd.testing.assert_frame_equal(runs(held), runs(whole))
    pd.testing.assert_frame_equal(report.table, undisturbed.table)
    assert trials(held) == trials(whole) and set(runs(held)["state"]) == {"finished"}
    assert not list(held.rglob("spool.records"))
