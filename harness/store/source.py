"""A store's rows, read from SQLite's file at once or through MLflow's client.

MLflow takes seconds to be imported, most of a `harness status`. A SQLite file whose schema is known
is therefore read without it; every other store, and one that cannot be read so, through MLflow.
tests/store/test_source.py holds the two ways equal, and notices a schema that is new.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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

    def runs(self, experiment_id: str) -> list[RunRow]:
        """Returns an experiment's runs, first made first."""
        return self._runs("experiment_id = ?", int(experiment_id))

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
            MetricPoint(time_ms, update, metric, float("nan") if is_nan else float(value))
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
            return path.read_bytes() if path.exists() else None
        from harness.store.mlflow_source import MlflowSource

        return MlflowSource(f"sqlite:///{self._path}").artifact(run, name)

    def _runs(self, condition: str, value: int | str) -> list[RunRow]:
        """Returns the active runs of a condition on the table ``runs``."""
        where = f"WHERE r.lifecycle_stage = 'active' AND r.{condition}"
        columns = {"tags": "key, value", "params": "key, value"}
        columns["latest_metrics"] = "key, value, is_nan"

        def select(connection: sqlite3.Connection) -> Iterator[list[tuple[Any, ...]]]:
            connection.execute("BEGIN")  # all four queries see one moment
            for table, names in columns.items():
                yield connection.execute(
                    f"SELECT run_uuid, {names} FROM {table} JOIN runs r USING (run_uuid) {where}",
                    (value,),
                ).fetchall()
            yield connection.execute(
                "SELECT r.run_uuid, r.status, r.artifact_uri, r.start_time, r.end_time "
                f"FROM runs r {where} ORDER BY r.start_time, r.run_uuid",
                (value,),
            ).fetchall()

        of_tags, of_params, of_metrics, rows = self._ask(lambda file: list(select(file)))
        tags, params, metrics = _by_owner(of_tags), _by_owner(of_params), _metrics(of_metrics)
        return [
            RunRow(
                i,
                status,
                artifact_uri_now(self._path, i, uri or ""),
                tags.get(i, {}),
                params.get(i, {}),
                metrics.get(i, {}),
                start_time,
                end_time,
            )
            for i, status, uri, start_time, end_time in rows
        ]

    def _rows(self, query: str, *values: int | str) -> list[tuple[Any, ...]]:
        return self._ask(lambda connection: connection.execute(query, values).fetchall())

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return ask(self._path, question, SECONDS_TO_WAIT)


def _by_owner(rows: Sequence[tuple[str, ...]]) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for owner, key, value in rows:
        values.setdefault(owner, {})[key] = value
    return values


def _metrics(rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, float]]:
    metrics: dict[str, dict[str, float]] = {}
    for run_id, key, value, is_nan in rows:
        metrics.setdefault(run_id, {})[key] = float("nan") if is_nan else float(value)
    return metrics


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
