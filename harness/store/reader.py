"""A study's experiment, read: runs, curves, timings, files, notes. Nothing is made or changed."""

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.utils.file_utils import local_file_uri_to_path

from harness.store import frames
from harness.store.connection import StoreError, absolute_uri, all_pages, connect, timed
from harness.store.notes import StudyNotes, kept_text, load_notes
from harness.study.units import Unit

ARM_PHASE = "arm"
"""The phase of an arm's own run, which is the parent of its trials and replicates."""


class StudyReader:
    """What the store holds of one study.

    Attributes:
        uri: Of the store.
        study_name: The experiment's.
        experiment_id: MLflow's.
        seconds: Wall seconds spent in this object so far.
    """

    def __init__(self, uri: str, study_name: str, client: MlflowClient | None = None) -> None:
        """Finds the experiment; ``client`` is one that is connected to the store already.

        Raises:
            StoreError: The store cannot be used, or there is no such experiment in it.
        """
        start = perf_counter()
        self.uri, self.study_name = absolute_uri(uri), study_name
        self._client = client or connect(self.uri)
        experiment = self._client.get_experiment_by_name(study_name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise StoreError(
                f"tracking: must hold the study, but {study_name!r} is not in {self.uri}."
            )
        self.experiment_id: str = experiment.experiment_id
        self.seconds = perf_counter() - start

    @timed
    def identity(self) -> dict[str, Any] | None:
        """Returns what the study is, None where the experiment is no study's."""
        text = kept_text(self._client.get_experiment(self.experiment_id).tags, "identity")
        return None if text is None else json.loads(text)

    @timed
    def notes(self) -> StudyNotes:
        """Returns what the study remembers from launch to launch."""
        return load_notes(self._client, self.experiment_id)

    @property
    def birth(self) -> str:
        """When the experiment was made, in milliseconds.

        It tells the experiment from an earlier one of its name.
        """
        return str(self._client.get_experiment(self.experiment_id).creation_time)

    @timed
    def runs(self) -> pd.DataFrame:
        """Returns one row per trial and replicate (:func:`harness.store.frames.runs`)."""
        return frames.runs(self._stored(run) for run in self.search() if phase_of(run) != ARM_PHASE)

    @timed
    def curves(self) -> pd.DataFrame:
        """Returns the rows of every run's ``curve.csv`` under its arm, phase and index."""
        return frames.curves(
            (unit_of(run), phase_of(run), int(run.data.tags["index"]), content)
            for run in self.search()
            if phase_of(run) != ARM_PHASE
            and (content := self._artifact(run, "curve.csv")) is not None
        )

    @timed
    def timings(self) -> pd.DataFrame:
        """Returns the raw repeats of the runtime phase, arm by arm; none where they are stale."""
        is_stale = load_notes(self._client, self.experiment_id).timed == ""
        return frames.timings(
            (unit_of(run), content)
            for run in ([] if is_stale else self.search(f"tags.phase = '{ARM_PHASE}'"))
            if (content := self._artifact(run, "timings.csv")) is not None
        )

    @timed
    def artifact(self, run_id: str, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        return self._artifact(self._client.get_run(run_id), name)

    @timed
    def file_sizes(self) -> dict[str, dict[str, int]]:
        """Returns the sizes of all artifacts in bytes: run id -> path -> size."""
        return {
            run.info.run_id: dict(_file_sizes(self._client, run.info.run_id, None))
            for run in self.search()
        }

    @timed
    def arm_runs(self) -> dict[str, str]:
        """Returns the id of each arm's own run, by the arm's key."""
        return {
            str(unit_of(run)): run.info.run_id
            for run in self.search()
            if phase_of(run) == ARM_PHASE
        }

    def search(self, of: str = "") -> list[MlflowRun]:
        """Returns all of the study's runs, or those of a filter, first made first."""
        order = ["attribute.start_time ASC"]
        query = functools.partial(
            self._client.search_runs, [self.experiment_id], of, order_by=order
        )
        return [run for run in all_pages(query) if "phase" in run.data.tags]

    def _artifact(self, run: MlflowRun, name: str) -> bytes | None:
        if run.info.artifact_uri.startswith("file:"):
            path = Path(local_file_uri_to_path(run.info.artifact_uri), name)
            return path.read_bytes() if path.exists() else None
        if name not in {file.path for file in self._client.list_artifacts(run.info.run_id)}:
            return None
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run.info.run_id, name, folder)).read_bytes()

    def _stored(self, run: MlflowRun) -> frames.StoredRun:
        is_over = run.info.status != "RUNNING"
        content = self._artifact(run, "samples.json") if is_over else None
        samples = json.loads(content) if content is not None else []
        data = run.data
        return frames.StoredRun(
            run.info.run_id, unit_of(run), data.tags, data.metrics, data.params, samples, is_over
        )


def phase_of(run: MlflowRun) -> str:
    """Returns the phase of a stored run: trial, replicate, superseded or arm."""
    return str(run.data.tags["phase"])


def unit_of(run: MlflowRun) -> Unit:
    """Returns the unit that a stored run belongs to."""
    tags = run.data.tags
    return Unit(tags["arm"], tags.get("condition", ""), int(tags.get("repeat", 0)))


def _file_sizes(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    for file in client.list_artifacts(run_id, folder):
        if file.is_dir:
            yield from _file_sizes(client, run_id, file.path)
        else:
            yield file.path, file.file_size or 0
