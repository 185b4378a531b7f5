"""A handover to a store that may be away, stuck or full, and what tests do with one."""

import math
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from harness.store import handover, patience
from harness.store.handover import Handover
from harness.store.operations import Doer
from harness.store.spool import Spool


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
