"""The thread that writes: its order, its patience, and what it leaves on disk."""

import errno
import math
import re
import sqlite3
import threading
import time
import weakref
from contextlib import closing
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from harness.store import handover, patience
from harness.store.address import StoreError
from harness.store.advisory_lock import LockedError
from harness.store.handover import Doer, Handover
from harness.store.spool import Spool, unused


def locked_error(folder):
    """Returns what SQLite raises where another process holds its file."""
    path = folder / "held.db"
    with (
        closing(sqlite3.connect(path)) as first,
        closing(sqlite3.connect(path, timeout=0)) as other,
    ):
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as raised:
            other.execute("BEGIN IMMEDIATE")
    return raised.value


class Store:
    """Keeps what it is given; while it is away it raises, or it is stuck."""

    def __init__(self, error):
        self.kept, self.flushed, self.made, self.forgot = [], 0, 0, 0
        self.error, self.is_away = error, False
        self.lets_go = threading.Event()
        self.lets_go.set()

    def keep(self, value):
        self.lets_go.wait(600)
        if self.is_away:
            raise self.error
        self.kept.append(value)

    def flush(self):
        self.flushed += 1

    def find_made(self):
        self.made += 1

    def forget(self):
        self.forgot += 1


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine that stands still for a while makes no store slow, nor an end hasty."""
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 3600.0)
    monkeypatch.setattr(handover, "CLOSE_SECONDS", 3600.0)


@pytest.fixture
def quick(patient, monkeypatch):
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(handover, "CLOSE_SECONDS", 0.2)


@pytest.fixture
def store(tmp_path):
    return Store(locked_error(tmp_path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.records"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def new(store, path, lines):
    """Makes a handover to the store, and closes all of them in the end."""
    made = []

    def make(check=lambda: None):
        doers = {
            "keep": Doer(store.keep),
            "end": Doer(store.keep, is_urgent=True),
            "page": Doer(store.keep, is_kept=False),
        }
        spool = Spool(path, "1 born")
        say = lambda line, style: lines.append(line)  # noqa: E731
        calls = (store.flush, store.find_made, store.forget)
        own = Handover(doers, *calls, spool, say, check, "mlflow.db")
        made.append(own)
        return own

    yield make
    store.is_away = False
    store.lets_go.set()
    for own in made:
        own.close()


def put(own, *values, name="keep"):
    for value in values:
        own.put(name, {"value": value})


def until(holds):
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def until_late(own):
    """Waits until a person must be told that the store does not answer."""
    until(lambda: time.monotonic() - (own._asked_since or math.inf) >= patience.NOTICE_SECONDS)


def end(own):
    """Ends a launch, and waits for its thread as for a process: it does nothing afterwards."""
    own.close()
    own._thread.join(120)


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


def test_what_an_ended_launch_left_is_stored_first_by_the_next(new, store, quick, path, lines):
    first = new()
    store.is_away = True
    put(first, 0, 1, 2, name="end")
    end(first)
    assert path.exists() and store.kept == [] and "the same command reads first" in lines[-1]
    store.is_away = False
    again = new()
    again.resume()
    assert store.kept == [0, 1, 2] and not path.exists()
    put(again, 3)
    assert again.call(lambda: list(store.kept)) == [0, 1, 2, 3]


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


@pytest.mark.parametrize(
    "error", [StoreError("a parameter has changed"), MlflowException("a name is wrong"), None]
)
def test_left_records_that_the_store_refuses_are_told_and_passed_over(
    new, store, quick, path, lines, error
):
    """Also those of another version, whose operations are unknown here: each launch would end."""
    first = new()
    store.is_away = True
    put(first, 0, name="end")
    if error is None:
        first._spool.append([("finish", {"value": 0})], are_known=True)
    end(first)
    left = path.read_bytes()
    again = new()
    store.is_away, store.error = error is not None, error
    again.resume()
    assert f"({type(error).__name__}: {error})" in lines[-1] or "(KeyError: 'finish')" in lines[-1]
    assert f"it is kept as {unused(path)}; its runs are trained again" in lines[-1]
    assert unused(path).read_bytes() == left and store.forgot == 1
    store.is_away = False
    put(again, 1)
    assert again.call(lambda: store.kept[-1]) == 1 and not path.exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), LockedError("held by another")])
def test_left_records_wait_on_where_the_store_lacks_room_or_the_study_is_lost(
    new, store, quick, path, error
):
    first = new()
    store.is_away = True
    put(first, 0, name="end")
    end(first)
    again, store.error = new(), error
    with pytest.raises(type(error)):
        again.resume()
    again.close()
    store.is_away = False
    third = new()
    third.resume()
    assert store.kept == [0] and not path.exists()


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


def full_at(store):
    """Has the store lack room from now on."""
    store.is_away, store.error = True, OSError(errno.ENOSPC, "No space left on device")


def test_what_a_full_store_has_not_taken_is_stored_by_the_next_launch(new, store, path, lines):
    own = new()
    full_at(store)
    store.lets_go.clear()
    put(own, 0, 1, 2, name="end")
    store.lets_go.set()
    with pytest.raises(OSError):
        own.call(lambda: None)
    own.close()
    assert lines == [
        f"what the store has not taken waits in {path}, which the same command reads first"
    ]
    store.is_away = False
    again = new()
    again.resume()
    assert store.kept == [0, 1, 2] and not path.exists()


def test_of_what_finds_no_room_anywhere_it_is_told_that_it_is_lost(new, store, path, lines):
    own = new()
    full_at(store)
    path.mkdir()  # as a disk that refuses it
    store.lets_go.clear()  # both are handed over before the store says what it lacks
    put(own, 0, 1, name="end")
    store.lets_go.set()
    until(lambda: own._error is not None)
    own.close()
    assert "the 2 records that the store has not taken are lost" in lines[-1]
    assert "their runs are trained again" in lines[-1]


class Refused(Exception):
    """As MLflow's client says what a server answered."""

    def get_http_status_code(self):
        return 403


def test_records_wait_for_somebody_who_may_write_them(new, store, path, lines):
    own = new()
    full_at(store)
    store.lets_go.clear()
    put(own, 0, 1, name="end")
    store.lets_go.set()
    until(lambda: own._error is not None)
    own.close()
    left = path.read_bytes()
    store.error = Refused("API request to endpoint failed with error code 403 != 200")
    other = new()
    with pytest.raises(Refused):
        other.resume()
    other.close()
    assert path.read_bytes() == left and not unused(path).exists() and store.forgot == 0
    store.is_away = False
    new().resume()
    assert store.kept == [0, 1] and not path.exists()


def test_a_file_that_cannot_be_flushed_hides_no_end(path):
    spool = Spool(path, "1 born")
    spool.append([("end", {"value": 0})], are_known=True)

    class Full:
        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    spool._file.close()
    spool._file = Full()
    spool.close(keep=False)
    assert not path.exists()


def test_who_holds_the_study_no_more_leaves_its_file_alone(new, store, path, lines):
    own = new()
    store.is_away, store.error = True, LockedError("held by another")
    put(own, 0, name="end")
    until(lambda: own._error is not None)
    own.close()
    assert not path.exists() and lines == []


@pytest.mark.parametrize(
    "error, number",
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError(errno.EROFS, "Read-only file system", "artifacts"), errno.EROFS),
    ],
)
def test_a_full_disk_is_no_matter_of_patience(new, store, error, number):
    store.is_away, store.error = True, error
    own = new()
    put(own, "a" * 100_000, name="end")
    with pytest.raises(OSError) as raised:
        own.call(lambda: None)
    assert raised.value.errno == number
    assert raised.value.filename == (error.filename or "mlflow.db")
    (note,) = getattr(raised.value, "__notes__", [""])
    assert bool(re.match("at least 100,[0-9]{3} bytes", note)) == (number == errno.ENOSPC)


def test_a_spool_that_cannot_be_written_names_its_file_and_hides_no_other_end(
    new, store, quick, path, lines
):
    own = new()
    store.is_away = True
    put(own, 0, name="end")
    path.mkdir()  # as a disk that refuses it
    until_late(own)
    with pytest.raises(OSError) as raised:
        put(own, 1)
    assert raised.value.filename == str(path)
    own.close()
    assert "the 1 records that the store has not taken are lost" in lines[-1]
