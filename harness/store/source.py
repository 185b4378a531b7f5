"""A store's rows, read from SQLite's file at once or through MLflow's client.

MLflow takes seconds to be imported, most of a `harness status`. A SQLite file whose schema is known
is therefore read without it; every other store, and one that cannot be read so, through MLflow.
tests/store/test_source.py holds the two ways equal, and notices a schema that is new.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from harness.store.address import absolute_uri, sqlite_path
from harness.store.moved import artifact_uri_now
from harness.store.rows import (
    MetricPoint,
    RunRow,
    Source,
    StoredDataset,
    StoredExperiment,
    artifact_path,
)
from harness.store.soundness import check_database, readable

KNOWN_SCHEMAS = ("dc11669786a5",)
"""Alembic's names of the schemas of MLflow that are read without it: 3.17's."""
SECONDS_TO_WAIT = 60.0
"""How long another process may hold the file."""


def open_source(uri: str) -> Source:
    """Returns what reads the store: SQLite's file itself where that can be done.

    Raises:
        StoreError: The store cannot be reached, is damaged, or is of another MLflow version.
    """
    uri = absolute_uri(uri)
    path = sqlite_path(uri)
    if path is not None:
        check_database(path)
    if path is not None and _is_known(path):
        return SqliteSource(path)
    from harness.store.mlflow_source import MlflowSource

    return MlflowSource(uri)


def _is_known(path: Path) -> bool:
    try:
        with closing(_connect(path)) as connection:
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:  # no file, no store of MLflow's, or one that a crash left to be mended
        return False
    return len(versions) == 1 and versions[0][0] in KNOWN_SCHEMAS


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_WAIT)


class SqliteSource:
    """Reads MLflow's SQLite file, of a schema in KNOWN_SCHEMAS."""

    def __init__(self, path: Path):
        self._path = path

    def experiments(self) -> list[StoredExperiment]:
        """Returns all experiments, the oldest first."""
        with readable(self._path), closing(_connect(self._path)) as connection:
            rows = connection.execute(
                "SELECT experiment_id, name, creation_time FROM experiments "
                "WHERE lifecycle_stage = 'active' ORDER BY experiment_id"
            ).fetchall()
        return [StoredExperiment(str(i), name, str(birth)) for i, name, birth in rows]

    def tags(self, experiment_id: str) -> Mapping[str, str]:
        """Returns what an experiment keeps beside its runs."""
        query = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
        with readable(self._path), closing(_connect(self._path)) as connection:
            return dict(connection.execute(query, (int(experiment_id),)).fetchall())

    def runs(self, experiment_id: str) -> list[RunRow]:
        """Returns an experiment's runs, first made first."""
        return self._runs("experiment_id = ?", int(experiment_id))

    def run(self, run_id: str) -> tuple[str, RunRow] | None:
        """Returns a run and the name of its experiment, None where there is no such run."""
        runs = self._runs("run_uuid = ?", run_id)
        if not runs:
            return None
        with readable(self._path), closing(_connect(self._path)) as connection:
            (name,) = connection.execute(
                "SELECT e.name FROM experiments e JOIN runs r USING (experiment_id) "
                "WHERE r.run_uuid = ?",
                (run_id,),
            ).fetchone()
        return name, runs[0]

    def points(self, run_id: str) -> list[MetricPoint]:
        """Returns all that was ever stored of a run's metrics, by time, update and name."""
        query = (
            "SELECT timestamp, step, key, value, is_nan FROM metrics WHERE run_uuid = ? "
            "ORDER BY timestamp, step, key, value"
        )
        with readable(self._path), closing(_connect(self._path)) as connection:
            rows = connection.execute(query, (run_id,)).fetchall()
        return [
            MetricPoint(time_ms, update, metric, float("nan") if is_nan else float(value))
            for time_ms, update, metric, value, is_nan in rows
        ]

    def datasets(self, run_id: str) -> list[StoredDataset]:
        """Returns the data sets of a run."""
        query = (
            "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source FROM datasets d "
            "JOIN inputs i ON i.source_id = d.dataset_uuid AND i.source_type = 'DATASET' "
            "WHERE i.destination_type = 'RUN' AND i.destination_id = ? ORDER BY d.name, d.digest"
        )
        with readable(self._path), closing(_connect(self._path)) as connection:
            return [StoredDataset(*row) for row in connection.execute(query, (run_id,)).fetchall()]

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

        def of_runs(table: str, columns: str) -> Iterator[tuple[str, ...]]:
            query = f"SELECT run_uuid, {columns} FROM {table} JOIN runs r USING (run_uuid) {where}"
            return iter(connection.execute(query, (value,)).fetchall())

        with readable(self._path), closing(_connect(self._path)) as connection:
            connection.execute("BEGIN")  # all four queries see one moment
            tags = _by_owner(of_runs("tags", "key, value"))
            params = _by_owner(of_runs("params", "key, value"))
            metrics = _metrics(of_runs("latest_metrics", "key, value, is_nan"))
            rows = connection.execute(
                "SELECT r.run_uuid, r.status, r.artifact_uri, r.start_time, r.end_time "
                f"FROM runs r {where} ORDER BY r.start_time, r.run_uuid",
                (value,),
            ).fetchall()
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


def _by_owner(rows: Iterator[tuple[str, ...]]) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for owner, key, value in rows:
        values.setdefault(owner, {})[key] = value
    return values


def _metrics(rows: Iterator[tuple[str, ...]]) -> dict[str, dict[str, float]]:
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
