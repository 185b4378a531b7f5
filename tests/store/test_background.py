"""Records by their runs' keys, written behind the driver's back into a real store."""

import math
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from mlflow.exceptions import MlflowException

from harness.store import patience
from harness.store.background import BackgroundWriter
from harness.store.spool import Spool, unused
from harness.store.writer import StudyWriter
from harness.study.units import RunKey, Unit
from harness.training.messages import RunState

PARAMS = {"learning_rate": 0.1, "cell": "lstm"}
KEYS = [RunKey.parse(f"lstm/trial/{index}") for index in range(3)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def new(store, request):
    """Opens the writer of the test's own study, as a process would that begins now."""
    made = []

    def make():
        inner = StudyWriter(f"sqlite:///{store}/mlflow.db", request.node.name, store / "artifacts")
        lines, ended = [], []
        own = BackgroundWriter(
            inner,
            store / request.node.name / "spool.records",
            say=lambda line, style: lines.append(line),
            when_ended=lambda key, state: ended.append((key, state)),
        )
        own.lines, own.ended = lines, ended
        made.append(own)
        return own

    yield make
    for own in made:
        own.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that stands still for a while makes no store slow, and no record old."""
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 3600.0)
    monkeypatch.setattr("harness.store.handover.FLUSH_SECONDS", 3600.0)


@pytest.fixture
def by_client(monkeypatch):
    """Has MLflow's client write, as it does to a server."""
    monkeypatch.setattr("harness.store.writer.recording_client", lambda uri, client, _: client)


@pytest.fixture
def own(new):
    return new()


def train(own, key, num_points=3):
    own.open_run(key, str(key), PARAMS, {"cell": "lstm"}, ("text", "f" * 64, "here"))
    for update in range(1, num_points + 1):
        own.log(key, update, {"validation/loss": 2.0 / update}, 1000.0 + update)
    end = {"objective": 2.0 / num_points}
    own.end_run(key, RunState.FINISHED, {"message": "m"}, end, {"curve.csv": "update\n"}, [])


def assert_whole(own, keys=KEYS, num_points=3):
    """Every run is there once, with all its data, and none is left running."""
    own.drain()
    runs = own.reader.search()
    leaves = [run for run in runs if run.tags["phase"] != "arm"]
    assert sorted(run.tags["index"] for run in leaves) == sorted(str(key.index) for key in keys)
    for run in leaves:
        assert run.status == "FINISHED" and run.tags["state"] == "finished"
        assert run.params == {"learning_rate": "0.1", "cell": "lstm"}
        assert run.metrics["objective"] == 2.0 / num_points
        history = own.call(
            lambda writer, i=run.run_id: writer._client.get_metric_history(i, "validation/loss")
        )
        assert [point.step for point in history] == list(range(1, num_points + 1))
    assert len([run for run in runs if run.tags["phase"] == "arm"]) == 1


def until_late(own):
    """Waits until a person must be told that the store does not answer."""
    end = time.monotonic() + 300
    while time.monotonic() - (own._handover._asked_since or math.inf) < patience.NOTICE_SECONDS:
        assert time.monotonic() < end, "nothing is asked of the store"
        time.sleep(0.02)


def counted(monkeypatch, own):
    """Returns the list in which the names of the client's writing calls are noted."""
    calls = []
    client = own._writer._client
    for name in ("create_run", "log_batch", "log_inputs", "log_artifacts", "set_terminated"):
        method = getattr(client, name)

        def call(*args, _method=method, _name=name, **kwargs):
            calls.append(_name)
            return _method(*args, **kwargs)

        monkeypatch.setattr(client, name, call)
    return calls


@pytest.mark.usefixtures("by_client")
def test_a_run_takes_five_calls_and_its_status_comes_last(own, monkeypatch):
    own.show_arm(Unit("lstm"), {"progress": "0"})  # the arm's own run is there before
    own.drain()
    calls = counted(monkeypatch, own)
    train(own, KEYS[0])
    own.drain()
    assert calls == ["create_run", "log_inputs", "log_artifacts", "log_batch", "set_terminated"]
    assert_whole(own, KEYS[:1])
    assert own.ended == [(KEYS[0], RunState.FINISHED)]


def test_a_reader_that_holds_the_store_for_5_seconds_delays_records_and_nothing_else(
    own, store, monkeypatch
):
    train(own, KEYS[0])
    own.drain()
    is_held, lets_go = threading.Event(), threading.Event()

    def hold():
        with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM runs").fetchall()
            is_held.set()
            lets_go.wait(600)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    begun = time.monotonic()
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 1.0)
    try:
        train(own, KEYS[1])
        until_late(own)
        train(own, KEYS[2])
        assert "does not answer since" in own.lines[0] and len(own.lines) == 1
        assert own.ended == [(KEYS[0], RunState.FINISHED)]
        time.sleep(max(0.0, begun + 5 - time.monotonic()))
        monkeypatch.setattr(patience, "NOTICE_SECONDS", 3600.0)
    finally:
        lets_go.set()
    assert_whole(own)
    assert own.lines[1:] == ["MLflow's store answers again, all records are stored"]
    thread.join()


@pytest.mark.usefixtures("by_client")
def test_an_answer_that_is_lost_makes_no_second_run(own, monkeypatch):
    """A server may have done what it was asked before the line broke."""
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.02)
    client, lost = own._writer._client, []
    for name in ("create_run", "log_batch", "log_inputs", "set_terminated"):
        method = getattr(client, name)

        def call(*args, _method=method, _name=name, **kwargs):
            found = _method(*args, **kwargs)
            if lost.count(_name) < 2:
                lost.append(_name)
                raise MlflowException("API request failed") from ConnectionResetError("reset")
            return found

        monkeypatch.setattr(client, name, call)
    for key in KEYS:
        train(own, key)
    assert_whole(own)
    assert len(lost) == 8


def test_what_was_not_stored_when_a_launch_ended_is_stored_by_the_next(new, monkeypatch):
    first = new()
    train(first, KEYS[0])
    first.drain()
    monkeypatch.setattr("harness.store.handover.CLOSE_SECONDS", 0.1)

    def away(*_, **__):
        raise MlflowException("API request failed") from ConnectionRefusedError("refused")

    first.open_run(KEYS[1], "begun", PARAMS, {})
    first.log(KEYS[1], 1, {"validation/loss": 2.0}, 1001.0)
    first.drain()
    with monkeypatch.context() as patch:
        for name in ("log_batch", "create_run", "set_terminated"):
            patch.setattr(first._writer._client, name, away)
        train(first, KEYS[1])  # as from its checkpoint: the first point comes again
        train(first, KEYS[2])
        first.close()
        first._handover._thread.join(120)  # as a process ends
    again = new()
    again.resume()
    assert_whole(again)
    assert again.lines == ["10 records of an earlier launch are stored first"]


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_connection_that_is_in_use_is_not_closed(new, monkeypatch, has_ended):
    own, closed = new(), []
    close = own._handover.close
    monkeypatch.setattr(own._handover, "close", lambda: close() and has_ended)
    monkeypatch.setattr(own._writer, "close", lambda: closed.append(own))
    own.close()
    assert closed == [own] * has_ended


def test_a_second_interrupt_closes_the_store_too(new, monkeypatch):
    """The first one ends the launch, and the second one comes while its runs are marked."""
    own, closed = new(), []
    train(own, KEYS[0])
    own.drain()

    def interrupted(begun):
        raise KeyboardInterrupt

    close = own._writer.close
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(own._writer, "end_killed", interrupted)
        patch.setattr(own._writer, "close", lambda: closed.append(close()))
        own.close()
    assert closed == [None]


def test_connections_are_closed_with_the_writer(new, store):
    """It fails where a release of MLflow keeps its connections elsewhere."""
    own = new()
    train(own, KEYS[0])
    own.drain()
    pool = own._writer._client._tracking_client.store.engine.pool
    assert pool.checkedin() > 0
    own.close()
    assert own._writer._client._tracking_client.store.engine.pool.checkedin() == 0


def test_an_arm_is_left_killed_until_it_is_summarized(new):
    """That its runs so far are over says nothing of those that the plan still asks for."""
    own = new()
    for arm in ("lstm", "gru", "rnn-relu"):
        train(own, RunKey.parse(f"{arm}/trial/0"))
    own.summarize_arm(Unit("lstm"), {"trials": 1.0})
    own.open_run(RunKey.parse("gru/trial/1"), "gru/trial/1", PARAMS, {"cell": "gru"})
    own.show_arm(Unit("rnn-tanh"), {"progress": "0"})
    own.drain()
    arms = own.reader.arm_runs()
    own.close()
    left = {run.run_id: (run.status, run.tags["state"]) for run in own.reader.search()}
    killed, finished = ("KILLED", "killed"), ("FINISHED", "finished")
    expected = {"lstm": finished, "gru": killed, "rnn-relu": killed, "rnn-tanh": killed}
    assert {arm: left[run_id] for arm, run_id in arms.items()} == expected


def test_an_arm_that_is_shown_and_never_begun_does_not_run_on(new):
    own = new()
    own.show_arm(Unit("lstm"), {"progress": "0"})
    own.drain()
    own.close()
    assert [run.status for run in own.reader.search()] == ["KILLED"]


def test_left_records_that_mlflow_refuses_do_not_hinder_the_next_ones(new, store, request):
    path = store / request.node.name / "spool.records"
    first = new()
    spool = Spool(path, f"{first.experiment_id} {first.reader.birth}")
    begin = {"key": KEYS[0], "name": "n", "params": PARAMS, "tags": {}, "dataset": None}
    wrong = {"key": KEYS[0], "update": 1, "metrics": {"what?": 1.0}, "time": 1.0}
    spool.append([("begin", begin), ("log", wrong)], are_known=True)
    spool.close(keep=True)
    own = new()
    own.resume()
    assert "the store refuses a record of it" in own.lines[-1] and unused(path).exists()
    for key in KEYS:
        train(own, key)
    assert_whole(own)
