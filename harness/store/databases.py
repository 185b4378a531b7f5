"""Databases behind a server: one session with one of them, and what is said where there is none."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.store.address import StoreError

if TYPE_CHECKING:  # SQLAlchemy is loaded where there is a server alone
    from sqlalchemy import Connection

CONNECT_SECONDS = 2
SERVERS = ("postgresql", "mysql", "mariadb", "mssql")
"""The schemes of addresses that lead to a database's server."""
PYMYSQL = "pip install pymysql cryptography, and write {}+pymysql://USER@HOST/NAME"
DRIVERS = {
    "postgresql": "pip install 'recurrent-bench[postgresql]'",
    "mysql": PYMYSQL.format("mysql"),
    "mariadb": PYMYSQL.format("mariadb"),
}
"""Scheme -> how its driver is installed."""
PORT = 5432
KEEPALIVES = ("idle = 60", "interval = 10", "count = 3")
"""After so many seconds PostgreSQL asks whether a silent client lives, and when it gives it up."""


def scheme(url: str) -> str:
    """Returns the kind of store that an address leads to, without the driver."""
    return url.partition(":")[0].partition("+")[0].lower()


def is_server(url: str) -> bool:
    """Returns whether an address leads to a database's server."""
    return scheme(url) in SERVERS


def is_postgresql(url: str) -> bool:
    """Returns whether an address leads to PostgreSQL."""
    return scheme(url) == "postgresql"


def is_one_schema(url: str, other: str) -> bool:
    """Returns whether two addresses of PostgreSQL lead to the same tables.

    Raises:
        StoreError: One of them cannot be read.
    """
    return is_postgresql(url) and is_postgresql(other) and _schema(url) == _schema(other)


def _schema(url: str) -> tuple[object, ...]:
    import sqlalchemy

    try:
        parts = sqlalchemy.make_url(url)
    except (ValueError, sqlalchemy.exc.ArgumentError) as error:  # the first of a port
        raise unreadable(url, error) from error
    query = parts.normalized_query
    host = query.get("host", (parts.host or "",))
    port = query.get("port", (str(parts.port or PORT),))
    options = [" ".join(text.split()) for text in query.get("options", ())]
    search_path = [re.sub(r"^.*search_path\s*=\s*", "", text) for text in options]
    return host, port, parts.database, query.get("dbname"), search_path


def check_address(url: str) -> None:
    """Looks whether SQLAlchemy knows what an address leads to.

    Raises:
        StoreError: It does not, or the driver is not installed.
    """
    import sqlalchemy

    try:
        sqlalchemy.make_url(url).get_dialect()
    except (ImportError, ValueError, sqlalchemy.exc.ArgumentError) as error:
        raise unreadable(url, error) from error


@contextmanager
def session(url: str) -> Iterator["Connection"]:
    """Opens a session of its own, whose statements are each a transaction.

    Raises:
        StoreError: No such address, or its driver is not installed.
        SQLAlchemyError: The server does not answer, or refuses.
    """
    import sqlalchemy

    given: dict[str, Any] = {"poolclass": sqlalchemy.NullPool, "isolation_level": "AUTOCOMMIT"}
    if is_postgresql(url):
        given["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    try:
        engine = sqlalchemy.create_engine(url, **given)
    except (ImportError, ValueError, sqlalchemy.exc.ArgumentError) as error:
        raise unreadable(url, error) from error
    try:
        with engine.connect() as connection:
            if is_postgresql(url):
                for value in KEEPALIVES:
                    connection.exec_driver_sql(f"SET tcp_keepalives_{value}")
            yield connection
    finally:
        engine.dispose()


def unreadable(url: str, error: BaseException) -> StoreError:
    """Returns what is said of an address of no known kind, or without a driver."""
    install = DRIVERS.get(scheme(url), "its documentation says how")
    return StoreError(
        f"database: an address must be one that SQLAlchemy reads, with its driver installed, but "
        f"got {url!r} ({error}). Write postgresql://USER@HOST/NAME, or install the driver: "
        f"{install}."
    )
