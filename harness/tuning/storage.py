"""Where searches are kept: Optuna's storage, opened, closed, listed and changed as a whole."""

import math
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Engine, text

from harness.store import patience
from harness.store.address import JOURNAL, AddressedError, sqlite_path
from harness.store.advisory_lock import made_by_one
from harness.store.making import copied, keep, kept_copy, make_whole
from harness.store.presence import await_database

optuna.logging.set_verbosity(optuna.logging.WARNING)

BUSY_SECONDS = 0.5
"""How long SQLite itself waits for another process."""
STORED_POINTS = "SELECT step FROM trial_intermediate_values WHERE trial_id = :trial"
STORE_POINT = (
    "INSERT INTO trial_intermediate_values "
    "(trial_id, step, intermediate_value, intermediate_value_type) "
    "VALUES (:trial, :step, :value, 'FINITE')"
)
"""As Optuna's own call does it; a test holds what Optuna then reads."""


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
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        is_of_a_file = not isinstance(error, OSError) or error.filename is not None
        if is_of_a_file and patience.is_lasting(error):
            raise patience.lacking(error, path or url) from error
        raise SearchError(
            f"storage: must be a database that Optuna reaches, but got storage={url!r}: {error}. "
            "Write sqlite:///FILE, postgresql://USER@HOST/NAME or journal:///FILE."
        ) from error


def _open_journal(path: Path) -> optuna.storages.BaseStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(path))
    return optuna.storages.JournalStorage(backend)


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
