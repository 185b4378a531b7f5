"""One driver a study on all machines: a lock that PostgreSQL keeps as long as a session lives.

A session may be lost while its process lives on: the server was restarted, or the network was cut.
Whoever holds the lock therefore assures itself of it, and takes it again where it was lost; a row
says who held it last, so that it is seen where somebody else did meanwhile.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from harness.store.address import AddressedError
from harness.store.databases import is_postgresql, session
from harness.store.presence import await_answer

if TYPE_CHECKING:
    from sqlalchemy import Connection

ASSURE_SECONDS = 1.0
"""How long a lock that was there counts as held without being asked for."""
TABLE = "harness_drivers"


class LockedError(AddressedError):
    """Another process holds the study; the message says which."""


def key_of(name: str) -> int:
    """Returns the number by which PostgreSQL knows a lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


MAKING_KEY = key_of(TABLE)
"""The key under which tables are made, by one process at a time."""


class AdvisoryLock:
    """Holds a key in a database, from :meth:`take` to :meth:`release`."""

    def __init__(self, url: str, key: int, study_name: str, holder: str) -> None:
        """Takes nothing yet.

        Args:
            url: The database's.
            key: The lock's.
            study_name: For messages.
            holder: Who this process is, and since when; no two are equal.
        """
        self._url, self._key, self._study, self._holder = url, key, study_name, holder
        self._name = f"harness {secrets.token_hex(8)}"  # by which a server knows its sessions
        self._open = ExitStack()
        self._session: Connection | None = None
        self._assured = 0.0
        self._mutex = threading.Lock()  # a driver and its writer both ask

    def take(self) -> None:
        """Takes the lock; its database is waited for as a launch waits for a store.

        Raises:
            LockedError: Another process has it.
            StoreError: The database does not answer, or refuses.
        """
        await_answer("study: the database of its lock", self._take)

    def _take(self) -> None:
        self.release()  # the session of an earlier try
        if not self._try_to_take():
            self._end_lost_session()
            raise LockedError(
                f"study: must be run by one process at a time, but {self._study!r} is held by "
                f"{self._last_holder()}. Wait for it, or end it."
            )
        with made_by_one(self._url):
            self._connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {TABLE} (key BIGINT PRIMARY KEY, holder TEXT NOT NULL)"
            )
        self._execute(
            f"INSERT INTO {TABLE} VALUES (:key, :holder) "
            "ON CONFLICT (key) DO UPDATE SET holder = EXCLUDED.holder",
            holder=self._holder,
        )

    def assure(self, *, at_once: bool = False) -> None:
        """Makes sure that the lock is still held; it is taken again where its session was lost.

        Args:
            at_once: Ask the database although it was asked just now.

        Raises:
            LockedError: Another process holds the study, or held it meanwhile.
            SQLAlchemyError: The server does not answer.
        """
        with self._mutex:
            if not at_once and time.monotonic() - self._assured < ASSURE_SECONDS:
                return
            if not self._lives():  # what is raised then says why the server does not answer
                self._take_again()
            self._assured = time.monotonic()

    def release(self) -> None:
        """Gives the lock back; the session ends with it."""
        from sqlalchemy.exc import DBAPIError

        try:
            self._open.close()
        except DBAPIError:  # the server is away, and the lock with it
            pass
        self._session = None

    @property
    def _connection(self) -> "Connection":
        assert self._session is not None
        return self._session

    def _lives(self) -> bool:
        """Returns whether the session is open and answers."""
        from sqlalchemy.exc import DBAPIError

        try:
            return self._session is not None and bool(self._execute("SELECT 1"))
        except DBAPIError:
            return False

    def _take_again(self) -> None:
        self.release()
        try:
            is_taken, last = self._try_to_take(), self._last_holder()
            if last != self._holder:
                raise LockedError(
                    f"study: must be run by one process at a time, but {self._study!r} was taken "
                    f"by {last} when this process had lost its connection to the database. What is "
                    "stored stays; run the study again once that process has ended."
                )
            if not is_taken:
                self._end_lost_session()
                # Whoever took it just now has not said so yet, which the next try will see.
                raise ConnectionError("another session holds the study")
        except BaseException:
            self.release()  # a session that is open would count as the lock
            raise

    def _end_lost_session(self) -> None:
        """Ends this process's own session that the server still believes in, though it was lost.

        Raises:
            ConnectionError: There was one; the lock can be taken once it has ended.
        """
        if self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            f"WHERE {_OF_KEY} AND application_name = :name",
            name=self._name,
        ):
            raise ConnectionError("a session that was lost still holds the study")

    def _try_to_take(self) -> bool:
        self._session = self._open.enter_context(session(self._url))
        self._execute("SELECT set_config('application_name', :name, false)", name=self._name)
        return bool(self._execute("SELECT pg_try_advisory_lock(:key)"))

    def _last_holder(self) -> str:
        return _holder(self._connection, self._key)

    def _execute(self, statement: str, **values: str) -> object:
        return _first(self._connection, statement, self._key, **values)


_OF_KEY = (
    "locktype = 'advisory' AND objsubid = 1 AND granted "
    "AND classid::bigint = :high AND objid::bigint = :low "
    "AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@contextmanager
def made_by_one(url: str) -> Iterator[None]:
    """Has others wait while this process makes tables; only where the database is PostgreSQL.

    Libraries make their tables one by one: a second process that meets half of them fails.
    """
    if not is_postgresql(url):
        yield
        return
    with session(url) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MAKING_KEY})")
        yield  # the lock ends with the session


def holder_of(url: str, key: int) -> str | None:
    """Returns who holds a lock; None where nobody does. Nothing is made."""
    with session(url) as connection:
        is_held = _first(connection, f"SELECT count(*) FROM pg_locks WHERE {_OF_KEY}", key)
        return _holder(connection, key) if is_held else None


def _holder(connection: "Connection", key: int) -> str:
    if not _first(connection, "SELECT to_regclass(:table)::text", key, table=TABLE):
        return "another process"
    last = _first(connection, f"SELECT holder FROM {TABLE} WHERE key = :key", key)
    return str(last or "another process")[:200]


def _first(connection: "Connection", statement: str, key: int, **values: str) -> object:
    """Returns the first value of the first row that a statement returns, None where it has none."""
    from sqlalchemy import text

    halves = {"key": key, "high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF, **values}
    named = {name: value for name, value in halves.items() if f":{name}" in statement}
    rows = connection.execute(text(statement), named)
    row = rows.first() if rows.returns_rows else None
    return None if row is None else row[0]
