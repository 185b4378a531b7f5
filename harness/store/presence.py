"""Whether the stores of a study answer at all: asked when a launch begins, and told soon."""

import http.client
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from harness.store import patience
from harness.store.address import StoreError, sqlite_path
from harness.store.databases import check_address, is_one_schema, is_server, scheme, session
from harness.store.locations import Locations

HTTP = ("http", "https")
ANSWER_SECONDS = 2.0
"""How long a server of MLflow's may take to say that it lives."""
BROKEN = 500
"""From this status on it is not the server that answers, or it cannot."""
SQLITE_SECONDS = 0.2


def await_readable(locations: Locations) -> None:
    """Waits a few seconds for stores that another process holds, or whose server is not there.

    Raises:
        StoreError: One does not answer.
    """
    if is_one_schema(locations.tracking_uri, locations.storage_url):
        raise StoreError(
            "tracking, storage: must be two databases, since MLflow and Optuna both keep a table "
            f"alembic_version, but both are {locations.storage_url!r}. Make a second database, or "
            "append ?options=-csearch_path%3DSCHEMA to one address, of a schema that you made."
        )
    await_tracking(locations.tracking_uri)
    await_database("storage: Optuna's database", locations.storage_url)
    if sqlite_path(locations.storage_url) is None and scheme(locations.storage_url) != "journal":
        check_address(locations.storage_url)
    _await_files(locations, "BEGIN; SELECT count(*) FROM sqlite_master; ROLLBACK")


def await_tracking(uri: str) -> None:
    """Waits a few seconds for the server of MLflow's store; a file passes.

    Raises:
        StoreError: It does not answer or refuses, or its address is none.
    """
    if scheme(uri) in HTTP:
        try:
            parts = urlsplit(uri)
            address = f"{parts.hostname}:{parts.port or parts.scheme}"
        except ValueError as error:
            raise StoreError(
                f"tracking: must be the address of a server, but got {uri!r} ({error}). Write "
                "http://HOST:PORT, and a sign in a password in its code, %2F for a slash."
            ) from error
        await_answer(f"tracking: MLflow's server at {address}", _ask_health, uri)
    await_database("tracking: MLflow's database", uri)


def await_database(store: str, url: str) -> None:
    """Waits a few seconds for a database's server; an address of anything else passes.

    Raises:
        StoreError: It does not answer or refuses, or there is no driver for it.
    """
    if is_server(url):
        await_answer(store, _open_session, url)


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
            await_answer(f"{name} {path}", _execute, path, script)


def await_answer(store: str, ask: Callable[..., None], *args: object) -> None:
    """Asks a store until it answers, for a few seconds.

    Args:
        store: What to call it in a line.
        ask: Raises while it does not answer.
        args: What it is given.

    Raises:
        StoreError: It does not answer, or refuses.
    """
    begun = time.monotonic()
    while True:
        try:
            return ask(*args)
        except Exception as error:
            if patience.is_refusal(error):
                raise patience.refused(store, error) from error
            if not (isinstance(error, OSError | sqlite3.Error) or patience.is_passing(error)):
                raise
            if time.monotonic() - begun >= patience.START_SECONDS:
                raise patience.never(store, error) from error
        patience.pause(patience.RETRY_SECONDS, lambda: None)


def _ask_health(uri: str) -> None:
    """Raises OSError where a server does not answer; one that refuses to say how it is answers."""
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    # Nothing secret is sent: whom it talks to is what MLflow looks at, by its own settings.
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    url = f"{parts.scheme}://{place}{parts.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=unverified) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= BROKEN:
            raise ConnectionError(str(error)) from error
    except http.client.HTTPException as error:  # it is no server of the web
        raise ConnectionError(str(error)) from error


def _open_session(url: str) -> None:
    with session(url):
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
