"""Where a store is, and that it cannot be used."""

import re
from pathlib import Path

SQLITE = "sqlite:///"
JOURNAL = "journal:///"
"""What stands before the path of a SQLite file, and of a journal of Optuna's."""

# SQLAlchemy takes any sign in a password but an @, so that all counts up to the last one before the
# options; where there is none, up to the first one at all, since a question mark is a sign, too.
_PASSWORD = re.compile(r"(?<=://)([^\s:/]*):(?:[^\s?]*|[^\s@]*)@")
_PASSWORD_OPTION = re.compile(
    r"(?<=[?&])((?:ssl)?password|passwd|pwd)=(?:[^\s&'\"]|['\"](?=[^\s,;:.)]))*"
)


class AddressedError(ValueError):
    """An error whose message may quote an address; passwords are left out of it."""

    def __init__(self, message: str) -> None:
        super().__init__(without_passwords(message))


class StoreError(AddressedError):
    """The store cannot be used as asked; the message says what to do."""


class UnansweredError(StoreError):
    """The store has not answered in the time that a launch waits; asked later, it may."""


def absolute_uri(uri: str) -> str:
    """Returns a SQLite URI with its path made absolute, any other URI as it is."""
    path, (_, mark, options) = sqlite_path(uri), uri.partition("?")
    return uri if path is None else f"sqlite:///{path.resolve()}{mark}{options}"


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a SQLite URI, None for any other."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def without_passwords(text: str) -> str:
    """Returns a text in which ``***`` stands for the password of every URL.

    >>> without_passwords("postgresql://me:secret@host/db cannot be reached")
    'postgresql://me:***@host/db cannot be reached'
    """
    return _PASSWORD_OPTION.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))
