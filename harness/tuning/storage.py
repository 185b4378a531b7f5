"""Where searches are kept: Optuna's storage, opened, closed, listed and changed as a whole."""

import math
import os
import shlex
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState
from sqlalchemy import Engine, text

from harness.store import patience
from harness.store.address import JOURNAL, AddressedError, sqlite_path
from harness.store.advisory_lock import made_by_one
from harness.store.making import copied, keep, kept_copy, make_whole
from harness.store.presence import await_database
from harness.store.soundness import JOURNAL_REMEDY

optuna.logging.set_verbosity(optuna.logging.WARNING)

BUSY_SECONDS = 0.5
"""How long SQLite itself waits for another process."""
GRACE_SECONDS = 30
"""How long the lock file of a journal may stay while nothing is written."""
SILENT_SECONDS = 1.0
"""How long it is waited for without a word."""
OTHER_VERSION = "no longer compatible with the table schema"
"""What Optuna says of tables that an older version made, or a newer one."""
STORED_POINTS = "SELECT step FROM trial_intermediate_values WHERE trial_id = :trial"
STORE_POINT = (
    "INSERT INTO trial_intermediate_values "
    "(trial_id, step, intermediate_value, intermediate_value_type) "
    "VALUES (:trial, :step, :value, 'FINITE')"
)
"""As Optuna's own call does it; a test holds what Optuna then reads."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class StoredTrial:
    """A trial: its number, one of STATES, and its value in nats where it is complete."""

    number: int
    state: str
    nats: float | None


class SearchError(AddressedError):
    """The search's storage cannot be used."""


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Returns Optuna's storage at ``url``, made where there is none yet.

    Args:
        url: ``sqlite:///FILE``, ``journal:///FILE``, or any address that SQLAlchemy reads.

    Raises:
        SearchError: It cannot be reached.
        StoreError: Its server does not answer.
        OSError: The file is there, but the disk or a right on it lacks.
    """
    path = sqlite_path(url)
    await_database("storage: Optuna's database", url)
    try:
        if url.startswith(JOURNAL):
            return _open_journal(Path(url.removeprefix(JOURNAL)))
        if path is not None and not path.exists():
            make_whole(path, _make_storage)
        # The driver asks again itself, where Ctrl-C is heard; a server may have ended a connection.
        waits = {"connect_args": {"timeout": BUSY_SECONDS}} if path else {"pool_pre_ping": True}
        with made_by_one(url):
            return optuna.storages.RDBStorage(url, engine_kwargs=waits)
    except AddressedError:  # it is a message already
        raise
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        is_of_a_file = not isinstance(error, OSError) or error.filename is not None
        if is_of_a_file and patience.is_lasting(error):
            raise patience.lacking(error, path or url) from error
        if OTHER_VERSION in str(error):
            raise SearchError(
                f"storage: Optuna's tables must be of the installed Optuna, {optuna.__version__}, "
                f"but those of {path or url} are of another version. Where an older one made them, "
                f"copy the database and run: optuna storage upgrade --storage {shlex.quote(url)}. "
                "Where a newer one did, install that."
            ) from error
        raise SearchError(
            f"storage: must be a database that Optuna reaches, but got storage={url!r}: {error}. "
            "Write sqlite:///FILE, postgresql://USER@HOST/NAME or journal:///FILE."
        ) from error


class _Lock(JournalFileSymlinkLock):
    """The lock of a journal, which says that it waits: a killed process may have left its file.

    The file names no holder, so that nobody can tell a killed one from one that is writing.
    """

    def __init__(self, path: Path) -> None:
        self._file = Path(f"{path}.lock")
        super().__init__(str(path), grace_period=GRACE_SECONDS)

    def acquire(self) -> bool:
        """Acquires the lock, and says after a second that it is waited for."""
        begun = time.monotonic()
        while os.path.lexists(self._file):
            if time.monotonic() - begun > SILENT_SECONDS:
                optuna.logging.get_logger("optuna.harness").warning(
                    f"storage: waits for {self._file}, which another process holds or a killed "
                    f"one left; it is removed after {GRACE_SECONDS} s."
                )
                break
            time.sleep(0.001)
        return super().acquire()


class _Journal(JournalFileBackend):
    """A journal whose last record may have been cut off by a full disk or a lost power.

    Nobody was told that such a record is stored. Optuna passes over it, but would write the next
    one behind it, on the same line, and could then read neither, nor any that follow.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._writing = path, _Lock(path)
        super().__init__(str(path), self._writing)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes records behind the last whole one."""
        if self._is_cut_off():  # or another process is writing, for which the lock is waited for
            self._writing.acquire()
            try:
                if self._is_cut_off():
                    whole = self._path.read_bytes().rpartition(b"\n")
                    os.truncate(self._path, sum(map(len, whole[:2])))
            finally:
                self._writing.release()
        super().append_logs(logs)

    def _is_cut_off(self) -> bool:
        with self._path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def _open_journal(path: Path) -> optuna.storages.BaseStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.storages.JournalStorage(_Journal(path))
    except (ValueError, KeyError, TypeError) as error:  # a line is no record, or not of a journal
        raise SearchError(
            f"{path}: must be a journal of Optuna's, whole, but reading it says {str(error)!r}. "
            f"{JOURNAL_REMEDY}"
        ) from error


def _make_storage(path: Path) -> None:
    copy = kept_copy("optuna", "sqlalchemy", "alembic")
    if not copied(copy, path):
        close(optuna.storages.RDBStorage(f"sqlite:///{path}"))
        keep(path, copy)


def close(storage: optuna.storages.BaseStorage) -> None:
    """Closes a storage's connections."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def opened(url: str) -> Iterator[optuna.storages.BaseStorage]:
    """Opens a storage for a block, as :func:`open_storage` does."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        close(storage)


def stored(storage: optuna.storages.BaseStorage) -> list[str]:
    """Returns the names of all searches."""
    return optuna.get_all_study_names(storage)


def stored_trials(url: str, start: str, end: str) -> dict[str, list[StoredTrial]]:
    """Returns the trials of all searches by what stands between ``start`` and ``end`` in a name.

    Args:
        url: The storage's, which must exist.
        start: How the names of the searches begin.
        end: How they end.

    Raises:
        SearchError: The storage cannot be reached.
        StoreError: Its server does not answer.
        OSError: The disk or a right on it lacks.
    """
    trials = {}
    with opened(url) as storage:
        for study in storage.get_all_studies():
            name = study.study_name
            if name.startswith(start) and name.endswith(end):
                stored = storage.get_all_trials(study._study_id, deepcopy=False)
                trials[name.removeprefix(start).removesuffix(end)] = [
                    StoredTrial(t.number, STATES[t.state], t.values[0] if t.values else None)
                    for t in stored
                ]
    return trials


def store_values(
    storage: optuna.storages.BaseStorage, name: str, number: int, values: Mapping[int, float]
) -> None:
    """Stores what a running trial of a search was worth at its points; what is there stays.

    A database gets them in one transaction: Optuna's own call reads the trial and commits for each.
    """
    study_id = storage.get_study_id_from_name(name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    if isinstance(storage, optuna.storages.RDBStorage):
        by_itself = _store_finite(storage.engine, trial_id, values)
    else:  # a journal, of which this process holds all in memory
        by_itself = _missing(values, storage.get_trial(trial_id).intermediate_values)
    for step, value in by_itself.items():
        storage.set_trial_intermediate_value(trial_id, step, value)


def _store_finite(engine: Engine, trial_id: int, values: Mapping[int, float]) -> dict[int, float]:
    """Stores what is missing of a trial's values, and returns what is not finite of it instead."""
    with engine.begin() as connection:
        known = connection.scalars(text(STORED_POINTS), {"trial": trial_id})
        missing = _missing(values, set(known))
        rows = [
            {"trial": trial_id, "step": step, "value": value}
            for step, value in missing.items()
            if math.isfinite(value)
        ]
        if rows:
            connection.execute(text(STORE_POINT), rows)
    return {step: value for step, value in missing.items() if not math.isfinite(value)}


def _missing(values: Mapping[int, float], known: Container[int]) -> dict[int, float]:
    return {step: value for step, value in values.items() if step not in known}


def remove(storage: optuna.storages.BaseStorage, name: str) -> None:
    """Removes a search with all its trials."""
    optuna.delete_study(study_name=name, storage=storage)


def copy(
    source: optuna.storages.BaseStorage,
    name: str,
    target: optuna.storages.BaseStorage,
    new_name: str,
) -> None:
    """Copies a search with all its trials, in their order, from one storage to another."""
    optuna.copy_study(
        from_study_name=name, from_storage=source, to_storage=target, to_study_name=new_name
    )
