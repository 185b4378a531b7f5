"""One driver a study on all machines, where a store is in PostgreSQL."""

import threading
import time

import pytest

from harness.store import advisory_lock, databases, patience
from harness.store.address import StoreError
from harness.store.advisory_lock import AdvisoryLock, LockedError, made_by_one
from harness.store.locations import Locations
from harness.store.lock import database_of, holder_of, locked
from harness.store.presence import await_readable

pytestmark = pytest.mark.postgres
NAME = "locks"
KEY = advisory_lock.key_of("small")


@pytest.fixture(scope="module")
def url(postgres):
    postgres.make(NAME)
    return postgres.url(NAME)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A server that is there answers, though on a busy machine not in two seconds."""
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 120)


@pytest.fixture
def take(url):
    """Takes the lock as a process of a given name would."""
    locks = []

    def taken(holder):
        locks.append(AdvisoryLock(url, KEY, "small", holder))
        locks[-1].take()
        return locks[-1]

    yield taken
    for lock in locks:
        lock.release()


def end_sessions(postgres):
    """Ends every session with the database, as a cut network does."""
    postgres.execute(
        "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{NAME}'"
    )
    while postgres.execute("postgres", f"SELECT 1 FROM pg_stat_activity WHERE datname='{NAME}'"):
        time.sleep(0.01)


def test_the_second_machine_is_refused_and_told_who_is_first(url, tmp_path):
    here, there = (Locations(tmp_path / name, "http://h:1", url) for name in "ab")
    assert holder_of("small", here) is None
    with locked("small", here) as assure:
        assure(at_once=True)
        with pytest.raises(LockedError, match="'small' is held by process .* on .* since") as told:
            locked("small", there).__enter__()
        assert "\n" not in str(told.value)
        assert holder_of("small", there).startswith("process ")
        with locked("other", there):
            pass
    until = time.monotonic() + 120
    while holder_of("small", there) is not None and time.monotonic() < until:
        time.sleep(0.01)  # a server takes a moment to end what a closed session held
    with locked("small", there):
        pass


def test_studies_of_one_name_in_files_of_their_own_are_two(url, tmp_path):
    with (
        locked("small", Locations(tmp_path / "a", storage=url)),
        locked("small", Locations(tmp_path / "b", storage=url)),
    ):
        pass


def test_where_there_is_no_postgresql_the_file_alone_is_held(tmp_path):
    assert database_of(Locations(tmp_path)) is None
    with locked("small", Locations(tmp_path)) as assure:
        assure()


def test_a_lost_session_is_taken_again(postgres, take):
    lock = take("process 1")
    end_sessions(postgres)
    lock.assure(at_once=True)
    with pytest.raises(LockedError, match="held by process 1"):
        take("process 2")


def test_who_was_overtaken_meanwhile_writes_no_more(postgres, take):
    lock = take("process 1")
    end_sessions(postgres)
    other = take("process 2")
    for is_over in (False, True):  # whether the other one has ended already
        if is_over:
            other.release()
        with pytest.raises(LockedError, match="taken by process 2 when this process had lost"):
            lock.assure(at_once=True)


def test_an_own_session_that_the_server_still_believes_in_is_ended(url, take):
    lock = take("process 1")
    lost, lock._session = lock._open.pop_all(), None  # the network was cut: it was not closed
    with pytest.raises(ConnectionError, match="a session that was lost"):
        lock.assure(at_once=True)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            lock.assure(at_once=True)
            break
        except ConnectionError:
            time.sleep(0.05)
    assert advisory_lock.holder_of(url, KEY) == "process 1"
    lost.close()


def test_an_own_session_that_was_lost_while_the_lock_was_taken_is_no_other_process(
    url, take, monkeypatch
):
    """The server holds the lock for it still, and it had not said yet who it is of."""
    lost, making = [], advisory_lock.made_by_one

    def cut_once(address):
        if not lost:
            lock = next(each for each in made if each._session is not None)
            lost.append(lock._open.pop_all())  # it is not closed, as where a network was cut
            raise ConnectionError("the network was cut")
        return making(address)

    made = [AdvisoryLock(url, KEY, "small", "process 1")]
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)
    monkeypatch.setattr(advisory_lock, "made_by_one", cut_once)
    made[0].take()
    assert advisory_lock.holder_of(url, KEY) == "process 1"
    with pytest.raises(LockedError, match="held by process 1"):
        take("process 2")
    made[0].release()
    lost[0].close()


def test_whoever_takes_a_lock_and_has_not_said_so_yet_is_not_ended(postgres, url, take):
    lock = take("process 1")
    end_sessions(postgres)
    other = AdvisoryLock(url, KEY, "small", "process 2")
    assert other._try_to_take()
    with pytest.raises(ConnectionError, match="another session holds the study"):
        lock.assure(at_once=True)
    assert other._lives()
    other.release()


def test_a_server_that_is_away_is_the_reason_why_a_lost_lock_is_not_taken_again(
    postgres, take, monkeypatch
):
    """Not that there is no session: a person is told the reason."""
    lock = take("process 1")
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 2)
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(Exception, match="No such file or directory") as raised:
                lock.assure(at_once=True)
            assert patience.is_passing(raised.value)
            assert "No such file or directory" in patience.reason(raised.value)
    finally:
        postgres.start()


def test_what_was_assured_just_now_is_not_asked_again(postgres, take):
    lock = take("process 1")
    lock.assure(at_once=True)
    end_sessions(postgres)
    lock.assure()  # not asked: nothing is raised, and nothing is taken
    lock._assured -= advisory_lock.ASSURE_SECONDS
    lock.assure()
    assert lock._connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_tables_are_made_by_one_process_at_a_time(url):
    order = []

    def second():
        with made_by_one(url):
            order.append("second")

    with made_by_one(url):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(120)
    assert order == ["first", "second"]


def test_one_database_for_both_is_refused_and_two_schemas_are_not(url, tmp_path):
    with pytest.raises(StoreError, match="must be two databases, since MLflow and Optuna both"):
        await_readable(Locations(tmp_path, url, url.replace("postgresql:", "postgresql+psycopg:")))
    assert not databases.is_one_schema(url, f"{url}&options=-csearch_path%3Doptuna")
    assert not databases.is_one_schema(url, "sqlite:///optuna.db")


def test_a_server_that_is_not_there_is_told_soon_and_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.store.patience.START_SECONDS", 0.1)
    url = f"postgresql://me:s3cret@/db?host={tmp_path}"
    with pytest.raises(StoreError, match="storage: Optuna's database: must answer, but") as told:
        await_readable(Locations(tmp_path, storage=url))
    assert "s3cret" not in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(StoreError, match="database of its lock: must answer, but has not") as told:
        locked("small", Locations(tmp_path, storage=url)).__enter__()
    assert "s3cret" not in str(told.value) and "\n" not in str(told.value)


def test_a_server_that_starts_again_is_waited_for(postgres, url, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)
    monkeypatch.setattr(patience, "pause", lambda *_: started or started.append(postgres.start()))
    postgres.stop()
    with locked("small", Locations(tmp_path, storage=url)) as assure:
        assure(at_once=True)
    assert started


@pytest.mark.parametrize("url", ["mysql+nodriver://h/db", "postgresql+nothing://me:s3cret@h/db"])
def test_a_driver_that_is_not_installed_is_named(tmp_path, url):
    with pytest.raises(StoreError, match="with its driver installed, .* or install the") as told:
        await_readable(Locations(tmp_path, storage=url))
    assert "s3cret" not in str(told.value)


def test_whoever_is_not_let_in_is_told_at_once(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "pause", lambda *_: pytest.fail("it is asked again"))
    postgres.make("guarded")
    postgres.execute("guarded", "ALTER ROLE harness PASSWORD 'right'")
    rules = postgres.folder / "data" / "pg_hba.conf"
    trusting = rules.read_text()
    try:
        rules.write_text(f"local guarded all scram-sha-256\n{trusting}")
        postgres.reload()
        for url, words in (
            (postgres.url("guarded", password="wr0ng"), "password authentication failed"),
            (postgres.url("absent"), 'database "absent" does not exist'),
        ):
            with pytest.raises(StoreError, match=f"must let you in, but says .*{words}") as told:
                await_readable(Locations(tmp_path, "sqlite:///mlflow.db", url))
            assert "wr0ng" not in str(told.value) and "\n" not in str(told.value)
        await_readable(Locations(tmp_path, "sqlite:///m.db", postgres.url("guarded", "right")))
    finally:
        rules.write_text(trusting)
        postgres.reload()
