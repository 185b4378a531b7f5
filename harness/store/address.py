"""Where a store is, and that it cannot be used."""

import re
from pathlib import Path

_PASSWORD = re.compile(r"(?<=://)([^\s:/@'\"]*):[^\s/'\"]*@")


class StoreError(ValueError):
    """The store cannot be used as asked; the message says what to do."""


def absolute_uri(uri: str) -> str:
    """Returns a SQLite URI with its path made absolute, any other URI as it is."""
    path, (_, mark, options) = sqlite_path(uri), uri.partition("?")
    return uri if path is None else f"sqlite:///{path.resolve()}{mark}{options}"


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a SQLite URI, None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def without_passwords(text: str) -> str:
    """Returns a text in which ``***`` stands for the password of every URL.

    >>> without_passwords("postgresql://me:secret@host/db cannot be reached")
    'postgresql://me:***@host/db cannot be reached'
    """
    return _PASSWORD.sub(r"\1:***@", text)
