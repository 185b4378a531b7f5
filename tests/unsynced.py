"""SQLite's commits, which wait for the disk: 4 to 13 ms each, and a small study has many.

What is not waited for outlives the death of a process, and no test cuts the power.
"""

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine

from harness.store.sqlite_client import SqliteClient

OFF = "PRAGMA synchronous=OFF"


def begin() -> None:
    """Has no commit of this process wait, neither MLflow's and Optuna's nor the writer's own."""
    event.listen(Engine, "connect", _hurry)
    SqliteClient._opened = _hurried


def end() -> None:
    event.remove(Engine, "connect", _hurry)
    SqliteClient._opened = _opened


def _hurry(connection, _):
    if isinstance(connection, sqlite3.Connection):
        connection.execute(OFF)


_opened = SqliteClient._opened


def _hurried(client):
    is_new = client._file is None
    file = _opened(client)
    if is_new:
        file.execute(OFF)
    return file
