"""A study whose stores lie on servers says what it says in files, bit for bit."""

import io
import threading
import time

import mlflow_servers
import pandas as pd
import pytest
import small_study
from relay import Relay
from rich.console import Console

from harness.results.doctor import examine
from harness.runner import launch
from harness.runner.recorder import RunRecorder, key_of
from harness.store import databases, handover, patience
from harness.store.locations import Locations
from harness.store.lock import LockedError
from harness.store.reader import StudyReader
from harness.study.units import Phase
from harness.tuning import storage as storages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_report_files")]
COLUMNS = ["arm", "phase", "index", "seed", "state", "objective", "test/loss"]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Servers answer, though on a busy machine not in a few seconds."""
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 120)


def run(folder, locations, said=None):
    """Runs the study and returns its report and what was said; `said` gets that at once."""
    said = said or io.StringIO()
    path = small_study.write(folder, trials=2, seeds=2, updates=8)
    console = Console(file=said, width=300)
    return launch.run(path, locations=locations, force=True, console=console), said.getvalue()


def stored(locations):
    """Returns the runs, the curves without their times, and the trials of a study."""
    reader = StudyReader(locations.tracking_uri, "small")
    runs = reader.runs()[COLUMNS].sort_values(["arm", "phase", "index"], ignore_index=True)
    curves = reader.curves()
    at = ["arm", "phase", "index", "update"]
    curves = curves[[*at, "train/loss", "validation/loss"]].sort_values(at, ignore_index=True)
    storage = storages.open_storage(locations.storage_url)
    trials = {
        study.study_name.split("/")[1]: [
            (t.number, t.state, t.params, t.value, t.intermediate_values)
            for t in storage.get_all_trials(study._study_id)
        ]
        for study in storage.get_all_studies()
    }
    storages.close(storage)
    return runs, curves, trials


def assert_same(report, locations, whole):
    """Every run is there once, and stores and report say what they must."""
    for got, expected in zip(stored(locations), whole[1], strict=True):
        if isinstance(got, dict):
            assert got == expected
        else:
            pd.testing.assert_frame_equal(got, expected, check_exact=True)
    pd.testing.assert_frame_equal(report.table, whole[0].table, check_exact=True)


def until(holds):
    """Waits, and at last for nothing: what was waited for is then asserted."""
    end = time.monotonic() + 300
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report of the study in files, and what was stored."""
    from harness.report import Report

    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Report, "files", lambda report, png=True: {})
        report, _ = run(folder, Locations(folder))
    return report, stored(Locations(folder))


@pytest.mark.postgres
def test_both_stores_in_postgresql_that_loses_power_in_the_middle(
    tmp_path, monkeypatch, whole, postgres
):
    """While it runs a second driver, on what might be another machine, is refused."""
    postgres.make("mlflow", "optuna")
    secret = {"password": "s3cret"}
    locations = Locations(
        tmp_path / "here", postgres.url("mlflow", **secret), postgres.url("optuna", **secret)
    )
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.5)
    record, calls, refused, said = RunRecorder.record, [], [], io.StringIO()

    def start_once_told():
        until(lambda: "does not answer since" in said.getvalue())
        postgres.start()

    def disturbed(*args):
        calls.append(args)
        if len(calls) == 2:
            there = Locations(tmp_path / "there", locations.tracking, locations.storage)
            with pytest.raises(LockedError, match="'small' is held by process") as told:
                run(tmp_path / "there", there)
            refused.append(str(told.value))
        if len(calls) == 4:
            postgres.stop()
            threading.Thread(target=start_once_told).start()
        return record(*args)

    monkeypatch.setattr(RunRecorder, "record", disturbed)
    report, told = run(tmp_path / "here", locations, said)
    assert refused and "\n" not in refused[0]
    assert "does not answer since" in told and "answers again" in told
    assert_same(report, locations, whole)
    assert "s3cret" not in told + refused[0]
    for table in ("tags", "experiment_tags", "params"):
        assert "s3cret" not in str(postgres.execute("mlflow", f"SELECT * FROM {table}"))
    again, _ = run(tmp_path / "here", locations)
    pd.testing.assert_frame_equal(again.table, whole[0].table, check_exact=True)


@pytest.fixture
def server(tmp_path):
    """A relay to an MLflow server that keeps the artifacts too, and the folder of these."""
    artifacts = tmp_path / "of_server" / "artifacts"
    artifacts.mkdir(parents=True)
    words = [
        *("server", "--workers", 1),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/of_server/mlflow.db"),
        *("--serve-artifacts", "--artifacts-destination", artifacts),
    ]
    with (
        mlflow_servers.serving(*words, folder=tmp_path / "of_server") as port,
        mlflow_servers.reserved_port() as port_of_relay,
    ):
        relay = Relay(port, port_of_relay)
        try:
            yield relay, artifacts
        finally:
            relay.close()


def test_runs_on_a_server_that_loses_an_answer_is_gone_and_is_slow_and_trials_in_a_journal(
    tmp_path, monkeypatch, whole, server
):
    """It makes a run of which the driver does not hear, is gone while others train, then slow.

    A server of MLflow's takes seconds to start, so that one test asks all of it.
    """
    relay, artifacts = server
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 1.0)
    monkeypatch.setattr(handover, "FLUSH_SECONDS", 0.1)
    record, phases, gone, said = RunRecorder.record, [], [], io.StringIO()

    def come_back_once_told():
        until(lambda: sum(gone) > 2 and "does not answer since" in said.getvalue())
        relay.come_back()

    def disturbed(self, messages):
        phase = key_of(messages[0].run).phase
        is_new = phase not in phases
        phases.append(phase)
        if is_new and phase == Phase.TRIAL:
            relay.lose_answer(b'"trial"')  # to the making of a run
        elif is_new:
            relay.delay(6, seconds=0.5)
        points = record(self, messages)
        if not gone:  # it has made the run
            until(lambda: relay.is_away)
            threading.Thread(target=come_back_once_told).start()
        gone.append(relay.is_away)
        return points

    monkeypatch.setattr(RunRecorder, "record", disturbed)
    locations = Locations(tmp_path / "here", f"http://127.0.0.1:{relay.port}", "journal:///t.log")
    report, _ = run(tmp_path / "here", locations, said)
    assert_same(report, locations, whole)
    assert sum(gone) > 2  # records of runs that trained meanwhile
    assert relay.num_slow == 6
    told = [line for line in said.getvalue().splitlines() if line.startswith("MLflow's store")]
    assert len(told) >= 2 and len(told) % 2 == 0, told
    assert all("does not answer since" in line for line in told[::2])
    assert set(told[1::2]) == {"MLflow's store answers again, all records are stored"}
    assert not list(tmp_path.rglob("*.records"))
    assert [each.text for each in examine("small", locations, whole=True).findings] == []
    assert len(list(artifacts.rglob("curve.csv"))) == len(whole[1][0])
    left = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert "t.log" in left and not {"mlflow.db", "optuna.db", "artifacts"} & set(left)
