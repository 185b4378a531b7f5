"""A store's rows, read from SQLite's file at once or through MLflow's client.

MLflow takes seconds to be imported, most of a `harness status`. A SQLite file whose schema is known
is therefore read without it; every other store, and one that cannot be read so, through MLflow.
tests/store/test_source.py holds the two ways equal, and notices a schema that is new.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.store import patience
from harness.store.address import StoreError, absolute_uri, sqlite_path
from harness.store.moved import artifact_uri_now
from harness.store.rows import (
    MetricPoint,
    RunRow,
    Source,
    StoredDataset,
    StoredExperiment,
    artifact_path,
)
from harness.store.soundness import Answer, ask, check_database

KNOWN_SCHEMAS = ("dc11669786a5",)
"""Alembic's names of the schemas of MLflow that are read and written without it: 3.17's."""
SECONDS_TO_WAIT = 60.0
"""How long another process may hold a file that has answered: whoever opens it waits less."""

OF_RUNS = {"tags": "key, value", "params": "key, value", "latest_metrics": "key, value, is_nan"}
"""The tables of what runs have, and their columns."""

Value = TypeVar("Value", str, float)


def open_source(uri: str) -> Source:
    """Returns what reads the store: SQLite's file itself where that can be done.

    Raises:
        StoreError: The store cannot be reached, is held by another process, is damaged, or is of
            another MLflow version.
    """
    uri = absolute_uri(uri)
    path = sqlite_path(uri)
    if path is not None:
        check_database(path)
    if path is not None and is_known(path):
        return SqliteSource(path)
    from harness.store.mlflow_source import MlflowSource

    return MlflowSource(uri)


def is_known(path: Path) -> bool:
    """Returns whether a file is MLflow's of a schema that is read and written without it."""
    try:
        versions = ask(
            path, lambda file: file.execute("SELECT version_num FROM alembic_version").fetchall()
        )
    except StoreError as error:
        if patience.is_passing(error):
            raise
        return False  # no file, no store of MLflow's, or one that a crash left to be mended
    return len(versions) == 1 and versions[0][0] in KNOWN_SCHEMAS


class SqliteSource:
    """Reads MLflow's SQLite file, of a schema in KNOWN_SCHEMAS."""

    def __init__(self, path: Path):
        self._path = path

    def experiments(self) -> list[StoredExperiment]:
        """Returns all experiments, the oldest first."""
        rows = self._rows(
            "SELECT experiment_id, name, creation_time FROM experiments "
            "WHERE lifecycle_stage = 'active' ORDER BY experiment_id"
        )
        return [StoredExperiment(str(i), name, str(birth)) for i, name, birth in rows]

    def tags(self, experiment_id: str) -> Mapping[str, str]:
        """Returns what an experiment keeps beside its runs."""
        query = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        return dict(self._rows(query, int(experiment_id)))

    def runs(self, experiment_id: str, phase: str | None = None) -> list[RunRow]:
        """Returns an experiment's runs, of one phase or all, first made first."""
        if phase is None:
            return self._runs("experiment_id = ?", int(experiment_id))
        of_phase = "SELECT run_uuid FROM tags WHERE key = 'phase' AND value = ?"
        condition = f"experiment_id = ? AND r.run_uuid IN ({of_phase})"
        return self._runs(condition, int(experiment_id), phase)

    def run(self, run_id: str) -> tuple[str, RunRow] | None:
        """Returns a run and the name of its experiment, None where there is no such run."""
        runs = self._runs("run_uuid = ?", run_id)
        if not runs:
            return None
        ((name,),) = self._rows(
            "SELECT e.name FROM experiments e JOIN runs r USING (experiment_id) "
            "WHERE r.run_uuid = ?",
            run_id,
        )
        return name, runs[0]

    def points(self, run_id: str) -> list[MetricPoint]:
        """Returns all that was ever stored of a run's metrics, by time, update and name."""
        query = (
            "SELECT timestamp, step, key, value, is_nan FROM metrics WHERE run_uuid = ? "
            "ORDER BY timestamp, step, key, value"
        )
        return [
            MetricPoint(time_ms, update, metric, _number(value, is_nan))
            for time_ms, update, metric, value, is_nan in self._rows(query, run_id)
        ]

    def datasets(self, run_id: str) -> list[StoredDataset]:
        """Returns the data sets of a run."""
        query = (
            "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source FROM datasets d "
            "JOIN inputs i ON i.source_id = d.dataset_uuid AND i.source_type = 'DATASET' "
            "WHERE i.destination_type = 'RUN' AND i.destination_id = ? ORDER BY d.name, d.digest"
        )
        return [StoredDataset(*row) for row in self._rows(query, run_id)]

    def artifact(self, run: RunRow, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        path = artifact_path(run.artifact_uri, name)
        if path is not None:
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        from harness.store.mlflow_source import MlflowSource

        return MlflowSource(f"sqlite:///{self._path}").artifact(run, name)

    def _runs(self, condition: str, *values: int | str) -> list[RunRow]:
        """Returns the active runs of a condition on the table ``runs``."""
        where = f"WHERE r.lifecycle_stage = 'active' AND r.{condition}"

        def select(connection: sqlite3.Connection) -> list[RunRow]:
            connection.execute("BEGIN")  # all four queries see one moment
            tags, params, metrics = (
                connection.execute(
                    f"SELECT run_uuid, {names} FROM {table} JOIN runs r USING (run_uuid) {where}",
                    values,
                )
                for table, names in OF_RUNS.items()
            )
            # Rows are taken one by one, and of equal texts, as most are in all runs, one is kept:
            # together they would take ten times the memory.
            once: dict[str, str] = {}
            kept = once.setdefault
            of_tags, of_params = (
                _by_owner((i, kept(key, key), kept(text, text)) for i, key, text in rows)
                for rows in (tags, params)
            )
            of_metrics = _by_owner((i, kept(key, key), _number(*of)) for i, key, *of in metrics)
            rows = connection.execute(
                "SELECT r.run_uuid, r.status, r.artifact_uri, r.start_time, r.end_time "
                f"FROM runs r {where} ORDER BY r.start_time, r.run_uuid",
                values,
            )
            return [
                RunRow(
                    i,
                    status,
                    artifact_uri_now(self._path, i, uri or ""),
                    of_tags.get(i, {}),
                    of_params.get(i, {}),
                    of_metrics.get(i, {}),
                    start_time,
                    end_time,
                )
                for i, status, uri, start_time, end_time in rows
            ]

        return self._ask(select)

    def _rows(self, query: str, *values: int | str) -> list[tuple[Any, ...]]:
        return self._ask(lambda connection: connection.execute(query, values).fetchall())

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return ask(self._path, question, SECONDS_TO_WAIT)


def _by_owner(rows: Iterable[tuple[str, str, Value]]) -> dict[str, dict[str, Value]]:
    values: dict[str, dict[str, Value]] = {}
    for owner, key, value in rows:
        values.setdefault(owner, {})[key] = value
    return values


def _number(value: float, is_nan: bool) -> float:
    return float("nan") if is_nan else float(value)


def experiment_ids(uri: str) -> dict[str, str]:
    """Returns the ids of all experiments by study name."""
    return {experiment.name: experiment.id for experiment in open_source(uri).experiments()}


def holds_study(uri: str, study_name: str) -> bool:
    """Returns whether the store has a study of that name; no missing SQLite file is made."""
    path = sqlite_path(uri)
    return (path is None or path.exists()) and study_name in experiment_ids(uri)


def study_of(uri: str, run_id: str) -> str | None:
    """Returns the study that an MLflow run belongs to, None where there is no such run."""
    stored = open_source(uri).run(run_id)
    return None if stored is None else stored[0]
