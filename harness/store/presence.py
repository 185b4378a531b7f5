"""Whether the stores of a study answer at all: asked when a launch begins, and told soon."""

import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from harness.store import patience
from harness.store.address import sqlite_path
from harness.store.locations import Locations

HTTP_PORTS = {"http": 80, "https": 443}
CONNECT_SECONDS = 2.0
SQLITE_SECONDS = 0.2


def await_readable(locations: Locations) -> None:
    """Waits a few seconds for stores that another process holds, or whose server is not there.

    Raises:
        StoreError: One does not answer.
    """
    server = urlsplit(locations.tracking_uri)
    if server.scheme in HTTP_PORTS:
        address = (server.hostname or "", server.port or HTTP_PORTS[server.scheme])
        _await(f"tracking: MLflow's server at {address[0]}:{address[1]}", _connect, address)
    _await_files(locations, "BEGIN; SELECT count(*) FROM sqlite_master; ROLLBACK")


def await_writable(locations: Locations) -> None:
    """Waits a few seconds until stores in files can be written: a reader can hold one too.

    Raises:
        StoreError: One cannot be.
    """
    _await_files(locations, "BEGIN EXCLUSIVE; ROLLBACK")


def _await_files(locations: Locations, script: str) -> None:
    for name, uri in (
        ("tracking: MLflow's store", locations.tracking_uri),
        ("storage: Optuna's storage", locations.storage_url),
    ):
        path = sqlite_path(uri)
        if path is not None and path.is_file():
            _await(f"{name} {path}", _execute, path, script)


def _await(store: str, ask: Callable[..., None], *args: object) -> None:
    begun = time.monotonic()
    while True:
        try:
            return ask(*args)
        except (OSError, sqlite3.Error) as error:
            if time.monotonic() - begun >= patience.START_SECONDS:
                raise patience.never(store, error) from error
        patience.pause(patience.RETRY_SECONDS, lambda: None)


def _connect(address: tuple[str, int]) -> None:
    with closing(socket.create_connection(address, timeout=CONNECT_SECONDS)):
        pass


def _execute(path: Path, script: str) -> None:
    """Raises sqlite3.Error where the file is held; what else is wrong with it is told elsewhere."""
    try:
        with closing(sqlite3.connect(path, timeout=SQLITE_SECONDS, isolation_level=None)) as file:
            for statement in script.split("; "):
                file.execute(statement)
    except sqlite3.Error as error:
        if patience.is_passing(error):
            raise
