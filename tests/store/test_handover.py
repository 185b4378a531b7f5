"""The thread that writes: its order, its patience, and what it says of the store."""

# ruff: noqa: F811 (fixtures are imported, and are arguments of that name)

import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from handovers import lines, new, path, patient, put, quick, store, until, until_late  # noqa: F401

from harness.store import handover, patience
from harness.store.address import StoreError


def test_what_is_awaited_comes_after_all_that_was_handed_over(new, store):
    own = new()
    put(own, *range(200))
    assert own.call(lambda: list(store.kept)) == list(range(200))
    assert own.wait_seconds > 0 and store.made == 0


def test_the_thread_does_not_hold_what_was_awaited(new):
    """A result may be a frame of all runs, and the thread may have nothing to do for hours."""

    class Result:
        pass

    own = new()
    held = weakref.ref(own.call(Result))
    assert held() is None


def test_all_that_waits_is_stored_when_the_driver_leaves_a_healthy_store(new, store, path, lines):
    """Several batches, none of them urgent."""
    own = new()
    put(own, *range(3 * handover.PER_BATCH + 1))
    own.close()
    assert store.kept == list(range(3 * handover.PER_BATCH + 1))
    assert not path.exists() and lines == []


def test_an_operation_waits_for_others_and_an_urgent_one_does_not(new, store, monkeypatch):
    monkeypatch.setattr(handover, "FLUSH_SECONDS", 0.3)
    own = new()
    begun = time.monotonic()
    put(own, 1, 2)
    until(lambda: store.kept == [1, 2])
    assert time.monotonic() - begun >= 0.3
    monkeypatch.setattr(handover, "FLUSH_SECONDS", 3600.0)
    put(own, 3)
    put(own, 4, name="end")
    until(lambda: store.kept == [1, 2, 3, 4])


def test_a_store_that_does_not_answer_is_told_once_and_gets_all_in_order(
    new, store, quick, lines, path
):
    own = new()
    store.is_away = True
    put(own, 0, name="end")
    until_late(own)
    until(lambda: own._why)
    put(own, *range(1, 100))
    assert path.exists()
    (line,) = lines
    assert "does not answer since" in line and "database is locked" in line and str(path) in line
    store.is_away = False
    own.call(lambda: None)
    assert store.kept == list(range(100)) and store.made > 0 and not path.exists()
    assert lines[1:] == ["MLflow's store answers again, all records are stored"]


def test_who_waits_for_a_store_is_not_told_that_training_goes_on(new, store, quick, lines, path):
    """Nothing trains where a round or a study has ended and the store is away."""
    own = new(lambda: setattr(store, "is_away", not lines))
    store.is_away = True
    own.call(lambda: store.keep("read"))
    line, over = lines
    assert "database is locked); the launch waits for it, Ctrl-C ends" in line
    assert "training" not in line and str(path) not in line and "answers again" in over
    assert store.kept == ["read"] and not path.exists()


def test_one_that_is_stuck_is_told_too(new, store, quick, lines):
    own = new()
    store.lets_go.clear()
    put(own, 0, name="end")
    until_late(own)
    put(own, 1)
    assert "does not answer since" in lines[0]
    store.lets_go.set()
    own.call(lambda: None)
    assert store.kept == [0, 1]


def test_a_store_that_is_slow_is_told_again_only_when_it_is_slower(new, store, lines, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(handover.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 5.0)
    own = new()

    def answer_after(seconds):
        store.lets_go.clear()
        put(own, seconds, name="end")
        until(lambda: own._asked_since is not None)
        clock.now += seconds
        put(own, seconds)
        store.lets_go.set()
        own.call(lambda: None)
        told, lines[:] = [" ".join(line.split()[2:4]) for line in lines], []
        return told

    is_told = ["does not", "answers again,"]
    assert [answer_after(seconds) for seconds in (6, 6, 12, 12)] == [is_told, [], is_told, []]


def test_above_a_bound_operations_wait_on_disk_alone(new, store, monkeypatch, path):
    """What counts is how large they are: a run's model is as large as thousands of points."""
    monkeypatch.setattr(handover, "MAX_WAITING_BYTES", 10_000)
    monkeypatch.setattr(handover, "BATCH_BYTES", 5_000)
    own = new()
    store.lets_go.clear()
    put(own, *range(20), name="end")
    assert not path.exists()
    files = [{"model.npz": bytes([i]) * 4_000} for i in range(30)]
    put(own, *files, name="end")
    assert path.exists() and own._waiting_bytes <= 10_000 + 4_500
    read = own._spool.read
    sizes = []

    def noted(*bounds):
        found = read(*bounds)
        sizes.append(sum(len(arguments["value"]["model.npz"]) for _, arguments in found))
        return found

    own._spool.read = noted
    store.lets_go.set()
    assert own.call(lambda: list(store.kept)) == [*range(20), *files]
    assert max(sizes) <= 8_000 and own._waiting_bytes == 0
    assert not path.exists()


def test_what_is_awaited_behind_the_file_waits_for_nothing_else(new, store, monkeypatch, path):
    monkeypatch.setattr(handover, "MAX_WAITING_BYTES", 1_000)
    monkeypatch.setattr(handover, "FLUSH_SECONDS", 3600.0)
    own = new()
    store.lets_go.clear()
    put(own, *range(30), name="end")
    assert path.exists()
    threading.Timer(0.1, store.lets_go.set).start()
    begun = time.monotonic()
    assert own.call(lambda: list(store.kept)) == list(range(30))
    assert time.monotonic() - begun < handover.FLUSH_SECONDS / 2 and not path.exists()


def test_pages_are_no_records_and_do_not_wait_on_disk(new, store, quick):
    own = new()
    store.is_away = True
    put(own, 0, name="end")
    until_late(own)
    put(own, 1)
    put(own, 2, name="page")
    store.is_away = False
    assert own.call(lambda: list(store.kept)) == [0, 1]


def test_pages_alone_leave_no_file(new, store, quick, path, lines):
    own = new()
    store.is_away = True
    put(own, 0, 1, name="page")
    own.close()
    assert not path.exists() and lines == []


def test_a_wait_for_the_store_ends_when_the_person_wants(new, store, quick):
    class Interrupted(Exception):
        pass

    wants = []

    def check():
        if wants:
            raise Interrupted

    own = new(check)
    store.is_away = True
    put(own, 0, name="end")
    wants.append(True)
    with pytest.raises(Interrupted):  # it would wait for ever
        own.call(lambda: None)


def test_a_wrong_record_is_raised_by_the_next_call_and_nothing_follows(new, store, path):
    store.is_away, store.error = True, StoreError("a parameter has changed")
    own = new()
    put(own, 0, name="end")
    with pytest.raises(StoreError, match="a parameter has changed"):
        own.call(lambda: None)
    store.is_away = False
    with pytest.raises(StoreError, match="a parameter has changed"):
        put(own, 1)
    own.close()
    assert store.kept == [] and not path.exists()


def test_an_end_says_whether_the_thread_still_asks_the_store(new, store, quick):
    """Its connections are open to it then: closed under it they would end the process."""
    own = new()
    store.lets_go.clear()
    put(own, 0)
    assert not own.close()
    store.lets_go.set()
    own._thread.join(120)
    other = new()
    put(other, 1)
    other.call(lambda: None)
    assert other.close()
