"""A store that another process holds, or that is away for a while: what is waited for and said."""

import errno
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from harness.store.address import AddressedError, StoreError, UnansweredError
from harness.training.files import FULL

NOTICE_SECONDS = 5.0
"""After how long without an answer a person is told: one that was busy has answered by then."""
START_SECONDS = 7.0
"""How long a launch waits for a store that has not answered yet."""
RETRY_SECONDS = 0.5
PAUSE_SECONDS = 0.05
"""How often a wait looks whether it was interrupted."""
HTTP_BUSY = (408, 429)
"""Answers of a server that may be asked again; so are all from 500 on."""
HTTP_REFUSED = (401, 403)
"""Answers of a server to a name, a password or a right that it does not take."""
REFUSALS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "Access denied for user",
    "Unknown database",
    "command denied to user",
)
"""What a database's server says of who asks, or for what: it would say the same again."""
PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
LASTING = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
"""SQLite's codes of what lacks on the disk, and the system's own."""

P = ParamSpec("P")
R = TypeVar("R")
Say = Callable[[str, str | None], None]
"""Shows a person a line, in a style."""
Check = Callable[[], None]
"""Raises where the person wants to end; it is called again and again while something is awaited."""


def is_passing(error: BaseException) -> bool:
    """Returns whether an error passes: a lock, a server that is away, slow or busy.

    A full disk, a file that may not be written, a wrong value, do not pass by themselves.
    """
    if is_refusal(error):
        return False
    for cause in _chain(error):
        if isinstance(cause, sqlite3.Error):
            return _code(cause) in PASSING
        if isinstance(cause, ConnectionError | TimeoutError) or _is_away(cause):
            return True
        if (status := _answer(cause)) is not None:
            return status >= 500 or status in HTTP_BUSY
    return False


def is_refusal(error: BaseException) -> bool:
    """Returns whether a server answered that it lets nobody in of this name, or to this database.

    A connection that failed has no code, so its words are asked; a server of another language is
    waited for like one that is away. So it is where a library says it in an error of its own.
    """
    return any(
        _answer(cause) in HTTP_REFUSED
        or (_is_away(cause) and any(words in str(cause) for words in REFUSALS))
        for cause in _chain(error)
    )


def is_lasting(error: BaseException) -> bool:
    """Returns whether the disk, or a right on it, is what lacks."""
    for cause in _chain(error):
        if isinstance(cause, sqlite3.Error):
            return _code(cause) in LASTING
        if isinstance(cause, OSError) and not isinstance(cause, ConnectionError | TimeoutError):
            # What a library of the network raises is an OSError too, without the system's number;
            # and a file where a folder must be is an address that is wrong.
            is_address = isinstance(cause, FileExistsError | NotADirectoryError)
            return cause.errno is not None and not is_address and not _is_away(cause)
    return False


def reason(error: BaseException) -> str:
    """Returns why a store did not answer, in one line: the innermost cause."""
    *_, last = _chain(error)
    return " ".join(str(last).split()) or type(last).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its causes; MLflow names some of them as context alone."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield _of_copying(cause)
        cause = cause.__cause__ or cause.__context__


def _of_copying(error: BaseException) -> BaseException:
    """Returns the system's error behind one of ``shutil.copytree``, which has texts of several."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        for _, goal, text in error.args[0]:
            if number := re.search(r"\[Errno (\d+)\]", str(text)):
                return OSError(int(number[1]), os.strerror(int(number[1])), str(goal))
    return error


def _answer(error: BaseException) -> int | None:
    """Returns the status that a server of MLflow's answered with; None for any other error."""
    status = getattr(error, "get_http_status_code", None)
    is_of_server = type(error).__name__ == "RestException" or "API request to" in str(error)
    return status() if status is not None and is_of_server else None


def _code(error: sqlite3.Error) -> int:
    """Returns SQLite's primary code; 0 where the driver itself raised."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_away(error: BaseException) -> bool:
    """Returns whether a library says that it lost a server; by names, since importing takes long.

    SQLite's errors come wrapped too, and are judged by their own code.
    """
    place, name = type(error).__module__, type(error).__name__
    if place == "sqlalchemy.exc" and name in ("OperationalError", "InterfaceError"):
        return not isinstance(getattr(error, "orig", None), sqlite3.Error)
    is_request = place == "requests.exceptions"
    return is_request and any(word in name for word in ("Connect", "Timeout", "RetryError"))


class Patience:
    """Repeats calls to a store until it answers; says once that it does not, and that it does.

    Nothing in the caller goes on meanwhile, but ``check`` may end the wait.
    """

    def __init__(
        self,
        store: str,
        say: Say,
        check: Check,
        assure: Callable[..., None] = lambda **_: None,
        place: Path | str = "",
    ) -> None:
        """Takes what to call the store in a line, and who is told.

        Args:
            store: What to call the store in a line.
            say: Told what a person should know.
            check: Raises where the person wants to end.
            assure: Makes sure that the study is still held; asked before every call, and at once
                after one that failed.
            place: What could not be written, where an error of the disk names no file; ``store``
                where it is empty.
        """
        self._place = place or store
        self._store, self._say, self._check, self._assure = store, say, check, assure
        self._is_first = True

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns what the call returns; any error that does not pass by itself is raised.

        One of the disk, or of a right on it, is raised as the system's own, which names the file.

        The first call is that of a launch that begins: what has never answered is soon an error.
        """
        begun, is_told, is_first = time.monotonic(), False, self._is_first
        self._is_first = is_again = False
        while True:
            try:
                self._assure(at_once=is_again)
                result = function(*args, **kwargs)
            except Exception as error:
                if not is_passing(error):
                    # What this project raises is a message already.
                    if is_lasting(error) and not isinstance(error, AddressedError):
                        raise lacking(error, self._place) from error
                    raise
                if is_first and time.monotonic() - begun >= START_SECONDS:
                    raise never(self._store, error) from error
                if not is_told and not is_first and time.monotonic() - begun >= NOTICE_SECONDS:
                    is_told = True
                    self._say(
                        f"{self._store} does not answer since {clock(begun)} ({reason(error)}); "
                        "training waits for it, Ctrl-C ends",
                        "yellow",
                    )
                is_again = True
                pause(RETRY_SECONDS, self._check)
            else:
                if is_told:
                    self._say(f"{self._store} answers again", None)
                return result


def pause(seconds: float, check: Check) -> None:
    """Sleeps, unless the person wants to end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, PAUSE_SECONDS))
    check()


def clock(moment: float) -> str:
    """Returns the time of day of a moment of ``time.monotonic``, which nobody sets back."""
    ago = time.monotonic() - moment
    return time.strftime("%H:%M:%S", time.localtime(time.time() - ago))


def once(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls without patience."""
    return function(*args, **kwargs)


def never(store: str, error: BaseException, seconds: float | None = None) -> UnansweredError:
    """Returns one line for a store that has not answered since it was asked first.

    Args:
        store: What to call it in a line.
        error: What it said last.
        seconds: How long it was waited for; None: as a launch waits.
    """
    waited = f"for {START_SECONDS if seconds is None else seconds:.0f} s ({reason(error)})"
    if any(isinstance(cause, sqlite3.Error) for cause in _chain(error)):
        return UnansweredError(
            f"{store}: must answer, but is held by another process {waited}. End that process, or "
            "wait until it is done; then give the same command again."
        )
    return UnansweredError(
        f"{store}: must answer, but has not {waited}. Start its server, or correct its address; "
        "then give the same command again."
    )


def refused(store: str, error: BaseException) -> StoreError:
    """Returns one line for a database's server that does not let the asker in."""
    return StoreError(
        f"{store}: must let you in, but says {reason(error)!r}. Correct the user, the password or "
        "the name of the database in its address (for PostgreSQL also in ~/.pgpass or in "
        "PGPASSWORD), or give the user the right."
    )


def lacking(error: BaseException, place: Path | str, needed_bytes: int = 0) -> OSError:
    """Returns what the system lacks, as its own error with a file's name: room, or a right.

    Args:
        error: One for which :func:`is_lasting` holds.
        place: What could not be written, where the error does not say.
        needed_bytes: What is still to be written, at least: a note of the error says it.
    """
    number, name = errno.EIO, str(place)
    for cause in _chain(error):
        if isinstance(cause, sqlite3.Error):
            is_gone = getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED
            # A journal cannot be made beside a file whose whole folder was moved.
            is_gone |= Path(name).is_absolute() and not Path(name).parent.is_dir()
            number = errno.ESTALE if is_gone else LASTING[_code(cause)]
            break
        if isinstance(cause, OSError) and cause.errno is not None:
            number, name = cause.errno, cause.filename2 or cause.filename or name
            break
    told = OSError(number, os.strerror(number), name)
    if number in FULL and needed_bytes:
        told.add_note(f"at least {needed_bytes:,} bytes must find room")
    told.__cause__ = error
    return told
