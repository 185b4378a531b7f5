"""MLflow's client, which writes runs into a SQLite file by statements of this project's own.

MLflow's client takes some 15 transactions a run and builds an object for every row, two thirds
of what a trial costs the driver. Here a run is rows that are known beforehand, and all that is
written together is one transaction. Files whose schema is not known are left to MLflow.
tests/store/test_sqlite_client.py holds what both write equal.
"""

import math
import posixpath
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    DatasetInput,
    LoggedModelInput,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunTag,
)

from harness.store.address import StoreError, sqlite_path
from harness.store.frames import finite
from harness.store.rows import artifact_path as file_of
from harness.store.soundness import SQLITE_SECONDS
from harness.store.source import is_known

MAX_TAG, MAX_PARAM = 8000, 6000
"""The lengths at which MLflow cuts values."""
MAX_NAME = 250
_NAME = re.compile(r"[/\w.\- :]+")
RUN = (
    "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, "
    "status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
    "VALUES (?, ?, 'UNKNOWN', '', '', ?, 'RUNNING', ?, '', 'active', ?, ?)"
)
TAG = (
    "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)
PARAM = (
    "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (key, run_uuid) DO NOTHING"
)
POINT = (
    "INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
LATEST = (
    "INSERT INTO latest_metrics AS old (run_uuid, key, step, timestamp, value, is_nan) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key, run_uuid) DO UPDATE SET step = excluded.step, "
    "timestamp = excluded.timestamp, value = excluded.value, is_nan = excluded.is_nan "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) "
    "> (old.step, old.timestamp, old.value)"
)
DATASET = (
    "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, "
    "dataset_source) SELECT ?, experiment_id, ?, ?, ?, ? FROM runs WHERE run_uuid = ? "
    "ON CONFLICT DO NOTHING"
)
INPUT = (
    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id) "
    "SELECT ?, 'DATASET', dataset_uuid, 'RUN', run_uuid FROM datasets JOIN runs "
    "USING (experiment_id) WHERE datasets.name = ? AND digest = ? AND run_uuid = ? "
    "ON CONFLICT DO NOTHING"
)
INPUT_TAG = (
    "INSERT INTO input_tags (input_uuid, name, value) SELECT input_uuid, ?, ? FROM inputs "
    "WHERE input_uuid = ?"  # none where the run has the text already
)
END = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?"
ACTIVE = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
FOLDER = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"


def recording_client(uri: str, client: MlflowClient, experiment_id: str) -> MlflowClient:
    """Returns the client that writes an experiment's runs fastest.

    That is one of SQLite's file itself where its schema is known and its artifacts are files of
    this machine, else the one that is given.
    """
    path = sqlite_path(uri)
    if path is None or "?" in uri or not is_known(path):
        return client
    location = client.get_experiment(experiment_id).artifact_location
    if file_of(location, "") is None:
        return client
    return SqliteClient(uri, path, location)


class SqliteClient(MlflowClient):
    """Writes the runs of one experiment into a file; what else is asked of it MLflow does.

    A new run and its text wait for what is written next, so that each run is there with something
    of its own. What fails changes nothing, and may be tried again.
    """

    def __init__(self, uri: str, path: Path, location: str) -> None:
        """Opens nothing yet.

        Args:
            uri: Of the store.
            path: Its file, of a schema in ``KNOWN_SCHEMAS``.
            location: Of the experiment's artifacts, a ``file://`` URI.
        """
        super().__init__(tracking_uri=uri, registry_uri=uri)
        self._path, self._location = path, location
        self._file: sqlite3.Connection | None = None
        self._waiting: list[tuple[str, Sequence[Sequence[Any]]]] = []
        self._known_names: set[str] = set()
        self._last_start = 0

    # Writing

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """Has all that is written in the block be one transaction, within another block's its part.

        Raises:
            sqlite3.Error: The file is held, full, or may not be written: nothing was.
        """
        file = self._opened()
        if file.in_transaction:
            yield file
            return
        file.execute("BEGIN IMMEDIATE")
        try:
            num_waiting = len(self._waiting)
            for statement, rows in self._waiting:
                file.executemany(statement, rows)
            yield file
            file.execute("COMMIT")
        except BaseException:
            if file.in_transaction:  # a full disk ends it by itself
                file.execute("ROLLBACK")
            raise
        del self._waiting[:num_waiting]

    def write_waiting(self) -> None:
        """Writes the runs that were made and have nothing yet."""
        if self._waiting:
            with self.together():
                pass

    def forget(self) -> None:
        """Forgets runs that were made and not written."""
        self._waiting.clear()

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Makes a run, which is written with what follows of it."""
        run_id, tags = uuid.uuid4().hex, {"mlflow.runName": run_name or "", **(tags or {})}
        name, user = tags["mlflow.runName"], tags.get("mlflow.user", "unknown")
        # Runs are read in the order of their times, an arm's own before those of the arm.
        self._last_start = start_time = start_time or max(_now(), self._last_start + 1)
        uri = f"{self._location.rstrip('/')}/{run_id}/artifacts"
        row = (run_id, name, user, start_time, uri, int(experiment_id))
        self._waiting.append((RUN, [row]))
        self._waiting.append((TAG, [(run_id, key, text) for key, text in tags.items()]))
        info = RunInfo(
            run_id, experiment_id, user, "RUNNING", start_time, None, "active", uri, name
        )
        return Run(info, RunData(tags=[RunTag(key, text) for key, text in tags.items()]))

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[DatasetInput] | None = None,
        models: Sequence[LoggedModelInput] | None = None,
    ) -> None:
        """Notes what texts a run reads, which is written with what follows of it."""
        for given in datasets or ():
            text, input_id = given.dataset, uuid.uuid4().hex
            named = (text.name, text.digest)
            row = (uuid.uuid4().hex, *named, text.source_type, text.source, run_id)
            tags = [(tag.key, tag.value, input_id) for tag in given.tags]
            self._waiting.append((DATASET, [row]))
            self._waiting.append((INPUT, [(input_id, *named, run_id)]))
            self._waiting.append((INPUT_TAG, tags))

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> None:
        """Writes points, parameters and tags of a run."""
        for items in (metrics, params, tags):
            self._check_names(each.key for each in items)
        points = [_point(run_id, metric) for metric in metrics]
        latest = {row[1]: row for row in sorted(points, key=_recency)}
        with self.together() as file:
            self._check_active(file, run_id)
            file.executemany(PARAM, _rows(run_id, params, MAX_PARAM))
            file.executemany(POINT, points)
            file.executemany(LATEST, latest.values())
            file.executemany(TAG, _rows(run_id, tags, MAX_TAG))

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copies the files of a folder to a run's, which is there before they are."""
        self.write_waiting()
        folder = self._folder(run_id)
        if folder is None or artifact_path is not None:
            super().log_artifacts(run_id, local_dir, artifact_path)
        else:
            shutil.copytree(local_dir, folder, dirs_exist_ok=True)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """Ends a run."""
        with self.together() as file:
            self._check_active(file, run_id)
            file.execute(END, (status or "FINISHED", end_time or _now(), run_id))

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Changes a run's status or name."""
        self.write_waiting()
        super().update_run(run_id, status, name)

    # Reading

    def get_run(self, run_id: str) -> Run:
        """Returns a run with its tags, parameters and last points."""
        self.write_waiting()
        return super().get_run(run_id)

    def close(self) -> None:
        """Closes the file; the next call opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            self._file = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                timeout=SQLITE_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # the launch closes what its thread of records opened
            )
            self._file.execute("PRAGMA foreign_keys = ON")
        return self._file

    def _folder(self, run_id: str) -> Path | None:
        """Returns the folder of a run's files; None where they are not of this machine."""
        ((uri,),) = self._opened().execute(FOLDER, (run_id,)).fetchall() or [("",)]
        return file_of(uri, "")

    @staticmethod
    def _check_active(file: sqlite3.Connection, run_id: str) -> None:
        found = file.execute(ACTIVE, (run_id,)).fetchall()  # what is not read to its end is held
        if not found:
            raise StoreError(
                f"tracking: a run must stay in the store while it is written, but run={run_id!r} "
                "was deleted in MLflow. Give the same command again: the run is trained anew."
            )

    def _check_names(self, names: Iterable[str]) -> None:
        """Raises StoreError for names that MLflow takes nowhere."""
        for name in {*names} - self._known_names:
            is_path = posixpath.normpath(name) == name and not name.startswith(("..", "/"))
            if not (_NAME.fullmatch(name) and is_path and name != "." and len(name) <= MAX_NAME):
                raise StoreError(
                    "tracking: a name must be made of letters, digits and _ - . : / or blanks, "
                    f"{MAX_NAME} at most, and be no path with . or .., but got name={name!r}."
                )
            self._known_names.add(name)


def _now() -> int:
    return round(time.time() * 1000)


def _rows(run_id: str, texts: Iterable[Param | RunTag], limit: int) -> list[tuple[str, str, str]]:
    return [(run_id, each.key, str(each.value)[:limit]) for each in texts]


def _point(run_id: str, metric: Metric) -> tuple[str, str, int, int, float, bool]:
    """Returns a point as MLflow keeps it: NaN as 0 with a mark, infinities as the largest float."""
    value, is_nan = float(metric.value), math.isnan(metric.value)
    value = 0.0 if is_nan else finite(value)
    return run_id, metric.key, metric.step, metric.timestamp, value, is_nan


def _recency(point: tuple[str, str, int, int, float, bool]) -> tuple[int, int, float]:
    return point[2:5]
