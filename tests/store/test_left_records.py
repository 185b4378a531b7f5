"""What a store has not taken: it waits in a file for the next launch, or is said to be lost."""

# ruff: noqa: F811 (fixtures are imported, and are arguments of that name)

import errno
import re
import threading

import pytest
from handovers import end, lines, new, path, patient, put, quick, store, until, until_late  # noqa: F401
from mlflow.exceptions import MlflowException

from harness.store import handover
from harness.store.address import StoreError
from harness.store.advisory_lock import LockedError
from harness.store.spool import Spool, unused


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


def full_at(store):
    """Has the store lack room from now on."""
    store.is_away, store.error = True, OSError(errno.ENOSPC, "No space left on device")


def refuse(*_, **__):
    """Writes nothing, as where a disk must not be written."""
    raise OSError(errno.EROFS, "Read-only file system")


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


def test_a_store_that_works_is_waited_for_where_the_file_cannot_be_written(
    new, store, quick, lines, path, monkeypatch
):
    own = new()
    store.lets_go.clear()
    put(own, 0, 1, 2, name="end")

    def say(line, style):
        lines.append(line)
        store.lets_go.set()  # the person is told before the wait, not after it

    monkeypatch.setattr(own._spool, "append", refuse)
    monkeypatch.setattr(own, "_say", say)
    monkeypatch.setattr(handover, "LAST_SECONDS", 120.0)
    own.close()
    assert store.kept == [0, 1, 2] and not own.is_left
    assert lines == [
        f"Read-only file system: {path}; what the store has not taken cannot wait there, so the "
        "launch waits for the store, 120 s at most"
    ]


def test_a_flush_that_ends_while_lost_records_are_counted_hides_no_end(
    new, store, quick, lines, monkeypatch
):
    goes_on, is_over = threading.Event(), threading.Event()
    monkeypatch.setattr(store, "flush", lambda: goes_on.wait(600))
    own = new()
    is_kept, finish = own._is_kept, own._finish

    def counted(operation):
        if own._is_ending:
            goes_on.set()
            is_over.wait(0.2)  # as long as it is counted, the thread takes no record off
        return is_kept(operation)

    def finished(batch):
        finish(batch)
        is_over.set()

    monkeypatch.setattr(own._spool, "append", refuse)
    monkeypatch.setattr(own, "_is_kept", counted)
    monkeypatch.setattr(own, "_finish", finished)
    monkeypatch.setattr(handover, "LAST_SECONDS", 0.0)
    put(own, 0, 1, name="end")
    until(lambda: store.kept)  # both wait still, whether they are one batch or two
    end(own)
    assert not own._thread.is_alive() and "the 2 records that the store has" in lines[-1]


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
