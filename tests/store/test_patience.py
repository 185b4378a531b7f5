"""What passes by itself and what does not, and who waits for it how long."""

import errno
import shutil
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from harness.store import patience, presence
from harness.store.address import StoreError
from harness.store.connection import connect
from harness.store.locations import Locations
from harness.store.patience import Patience, is_lasting, is_passing, is_refusal, lacking
from harness.tuning.storage import open_storage


def raised_by(path, statement, *, of_reader=False):
    """Returns what SQLAlchemy raises for a statement on a file that another connection holds."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE IF NOT EXISTS t (a)")
        other.execute("BEGIN" if of_reader else "BEGIN EXCLUSIVE")
        other.execute("SELECT * FROM t").fetchall()
        try:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text(statement))
        except sqlalchemy.exc.SQLAlchemyError as error:
            return error
        finally:
            engine.dispose()
    raise AssertionError("nothing was raised")


def wrapped(error):
    """Returns an error as MLflow passes it on."""
    try:
        raise MlflowException(str(error)) from error
    except MlflowException as told:
        return told


@pytest.mark.parametrize("of_reader", [True, False])
def test_a_file_that_another_process_holds_is_free_again_some_time(tmp_path, of_reader):
    error = raised_by(tmp_path / "a.db", "INSERT INTO t VALUES (1)", of_reader=of_reader)
    assert is_passing(error) and is_passing(wrapped(error)) and not is_lasting(error)
    assert patience.reason(wrapped(error)) == "database is locked"


def test_a_wrong_statement_stays_wrong(tmp_path):
    error = raised_by(tmp_path / "a.db", "SELECT b FROM nowhere", of_reader=True)
    assert not is_passing(error) and not is_lasting(error)
    assert not is_passing(StoreError("a parameter has changed"))


def full_disk(path):
    """Returns what SQLite raises where a file finds no more room."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    return full.value


def test_a_full_disk_and_a_read_only_file_last(tmp_path):
    full = wrapped(full_disk(tmp_path / "a.db"))
    told = lacking(full, "mlflow.db")
    assert is_lasting(full) and not is_passing(full)
    assert (told.errno, told.filename) == (errno.ENOSPC, "mlflow.db")
    read_only = f"file:{tmp_path / 'a.db'}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as connection:
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.execute("INSERT INTO t VALUES (1)")
    assert is_lasting(refused.value) and lacking(refused.value, "a.db").errno == errno.EACCES
    assert is_lasting(OSError(errno.ENOSPC, "full")) and not is_lasting(ConnectionResetError())


def test_what_mlflow_says_of_a_server_that_is_not_there_passes(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException) as raised:
        MlflowClient("http://127.0.0.1:9").search_experiments()
    assert is_passing(raised.value) and not is_lasting(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        (1045, "Access denied for user 'me'@'localhost' (using password: YES)"),
        (1049, "Unknown database 'nowhere'"),
        (1142, "CREATE command denied to user 'me'@'localhost' for table `studies`"),
    ],
)
def test_what_mysql_refuses_it_would_refuse_again(answer):
    """As MariaDB 10.11 said it to PyMySQL 1.2."""
    error = OperationalError("connect", {}, Exception(*answer))
    assert is_refusal(error) and not is_passing(error)
    gone = OperationalError("connect", {}, Exception(2003, "Can't connect to MySQL server"))
    assert is_passing(gone) and not is_refusal(gone)


@pytest.mark.parametrize(
    "code, passes",
    [("TEMPORARILY_UNAVAILABLE", True), ("INTERNAL_ERROR", True), ("BAD_REQUEST", False)],
)
def test_an_answer_of_a_server_says_whether_to_ask_again(code, passes):
    assert is_passing(RestException({"error_code": code, "message": "no"})) is passes


@contextmanager
def held(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE IF NOT EXISTS t (a)")
        other.execute(statement)
        other.execute("SELECT * FROM t").fetchall()
        yield


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.05)
    monkeypatch.setattr(patience, "START_SECONDS", 0.3)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.02)


def failing(times, error):
    left = [error] * times

    def call():
        if left:
            raise left.pop()
        return "answer"

    return call


def test_a_call_is_repeated_until_the_store_answers_and_that_is_said_once(quick):
    lines = []
    patient = Patience("Optuna's storage", lambda line, style: lines.append(line), lambda: None)
    assert patient(failing(0, None)) == "answer" and lines == []
    assert patient(failing(20, ConnectionResetError("reset"))) == "answer"
    assert "Optuna's storage does not answer since" in lines[0] and "(reset)" in lines[0]
    assert lines[1:] == ["Optuna's storage answers again"]


def test_what_has_never_answered_is_soon_an_error(quick):
    patient, asked = Patience("storage", lambda *_: None, lambda: None), []

    def ask():
        asked.append(1)
        raise ConnectionResetError("reset")

    with pytest.raises(StoreError, match=r"storage: must answer, but has not .* \(reset\)"):
        patient(ask)
    assert len(asked) <= patience.START_SECONDS / patience.RETRY_SECONDS + 2


def test_a_clock_that_is_set_back_lengthens_no_wait(quick, monkeypatch):
    moments = iter(range(10**9, 0, -(10**5)))
    monkeypatch.setattr(patience.time, "time", lambda: next(moments))
    patient = Patience("storage", lambda *_: None, lambda: None)
    with pytest.raises(StoreError, match="must answer"):
        patient(failing(100, ConnectionResetError("reset")))


def test_a_wait_ends_where_the_person_wants(quick):
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Patience("storage", lambda *_: None, check)(failing(10_000, ConnectionResetError()))


@pytest.mark.parametrize("name", ["mlflow.db", "optuna.db"])
def test_a_file_that_is_held_when_a_launch_begins_is_told_soon(quick, tmp_path, name):
    locations = Locations(tmp_path)
    presence.await_writable(locations)  # there is none yet
    with held(tmp_path / name, "BEGIN"):
        presence.await_readable(locations)
        with pytest.raises(
            StoreError, match=rf"{name}: must answer, but is held by another process .* is locked"
        ):
            presence.await_writable(locations)
    with held(tmp_path / name, "BEGIN EXCLUSIVE"):
        with pytest.raises(StoreError, match=f"{name}: must answer"):
            presence.await_readable(locations)
    presence.await_writable(locations)


def test_a_file_that_is_let_go_soon_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)
    waits, pause = threading.Event(), patience.pause

    def noted(*args):
        waits.set()
        pause(*args)

    monkeypatch.setattr(patience, "pause", noted)
    with held(tmp_path / "mlflow.db", "BEGIN"):
        waiting = threading.Thread(target=presence.await_writable, args=(Locations(tmp_path),))
        waiting.start()
        assert waits.wait(120) and waiting.is_alive()
    waiting.join(120)
    assert not waiting.is_alive()


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path of a tracking server's address begins with."""

    def do_GET(self):
        assert self.path.endswith("/health")
        if self.path == "/health":
            self.server.is_over.wait(600)
            return
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def address(quick, monkeypatch):
    """The address of a server that answers, without its scheme."""
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 120.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.is_over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.is_over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_that_says_anything_of_itself_is_there(address, tmp_path, status):
    presence.await_readable(Locations(tmp_path, f"http://me:secret@{address}/{status}/"))


@pytest.mark.parametrize(
    ("path", "words", "seconds"),
    [("", "timed out", 0.2), ("/503", "503: Service Unavailable", 120.0)],
)
def test_a_server_that_accepts_and_does_not_answer_is_told_soon(
    address, tmp_path, monkeypatch, path, words, seconds
):
    """Asked by MLflow alone it would be waited for for minutes."""
    monkeypatch.setattr(presence, "ANSWER_SECONDS", seconds)
    with pytest.raises(StoreError, match=rf"MLflow's server at {address}: must answer.*{words}"):
        connect(f"http://{address}{path}")


def test_what_is_no_server_of_mlflows_is_told_soon(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 120.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        tracking = f"http://127.0.0.1:{server.getsockname()[1]}"

        def greet():
            with suppress(OSError):  # the server listens no more when it was asked
                while True:
                    with closing(server.accept()[0]) as asker:
                        asker.sendall(b"SSH-2.0-server\r\n")

        greeting = threading.Thread(target=greet, daemon=True)
        greeting.start()
        with pytest.raises(StoreError, match=r"must answer.*\(SSH-2.0-server\)|reset"):
            presence.await_readable(Locations(tmp_path, tracking))
        server.shutdown(socket.SHUT_RDWR)  # to close it would leave the thread in its wait
        greeting.join()
    with pytest.raises(StoreError, match="MLflow's server at 127.0.0.1:.*: must answer.*refused"):
        presence.await_readable(Locations(tmp_path, tracking))
    with pytest.raises(StoreError, match="address of a server, but got 'http://me:\\*\\*\\*@h:x'"):
        presence.await_readable(Locations(tmp_path, "http://me:s3/cr3t@h:x"))


def test_a_full_disk_is_the_systems_own_error_and_a_message_stays_one(quick, tmp_path):
    def storage_is_full():
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as full:
            raise StorageInternalError("A value must fit its column.") from full

    def said():
        raise StoreError("one line") from OSError(errno.ENOENT, "none")

    patient = Patience("storage", lambda *_: None, lambda: None, place=tmp_path / "optuna.db")
    with pytest.raises(OSError) as raised:
        patient(storage_is_full)
    assert (raised.value.errno, raised.value.filename) == (
        errno.ENOSPC,
        str(tmp_path / "optuna.db"),
    )
    with pytest.raises(StoreError, match="one line"):
        patient(said)


def test_a_disk_that_is_full_while_files_are_copied_is_told_with_the_file(tmp_path, monkeypatch):
    def full(source, goal, **_):
        raise OSError(errno.ENOSPC, "No space left on device", source, None, goal)

    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "curve.csv").touch()
    with pytest.raises(shutil.Error) as raised:
        shutil.copytree(tmp_path / "from", tmp_path / "to", copy_function=full)
    assert is_lasting(raised.value) and not is_passing(raised.value)
    told = lacking(raised.value, "the store")
    assert (told.errno, told.filename) == (errno.ENOSPC, str(tmp_path / "to" / "curve.csv"))


def test_a_file_that_is_removed_while_it_is_written_to_is_not_said_to_be_closed(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        (tmp_path / "a.db").rename(tmp_path / "b.db")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO t VALUES (1)")
    assert is_lasting(raised.value)
    assert lacking(raised.value, tmp_path / "a.db").errno == errno.ESTALE


def test_a_folder_that_is_moved_while_its_file_is_written_to_is_no_fault_of_a_disk(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "a.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        folder.rename(tmp_path / "moved")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO t VALUES (1)")
    assert lacking(raised.value, folder / "a.db").errno == errno.ESTALE
    with pytest.raises(sqlite3.OperationalError) as raised:
        sqlite3.connect(folder / "a.db")
    assert lacking(raised.value, folder / "a.db").errno == errno.ESTALE


@pytest.mark.parametrize(
    ("library", "open_store"),
    [
        ("harness.tuning.storage.optuna.storages.RDBStorage", open_storage),
        ("harness.store.connection.open_client", connect),
    ],
)
def test_a_store_that_has_no_room_when_it_is_opened_is_named(
    tmp_path, monkeypatch, library, open_store
):
    def no_room(*_, **__):
        raise wrapped(full_disk(tmp_path / "a.db"))

    monkeypatch.setattr(library, no_room)
    (tmp_path / "mine.db").touch()
    with pytest.raises(OSError) as raised:
        open_store(f"sqlite:///{tmp_path}/mine.db")
    told = raised.value
    assert (told.errno, told.filename) == (errno.ENOSPC, str(tmp_path / "mine.db"))
