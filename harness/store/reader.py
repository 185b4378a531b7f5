"""A study's experiment, read: runs, curves, timings, files, notes. Nothing is made or changed."""

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from harness.store import frames
from harness.store.address import StoreError, absolute_uri
from harness.store.notes import StudyNotes, kept_text, load_notes
from harness.store.rows import RunRow, artifact_path
from harness.store.source import open_source
from harness.store.stopwatch import timed
from harness.study.units import Phase, Unit
from harness.training.files import STATES_FILE
from harness.training.messages import RESULTS

ARM_PHASE = "arm"
"""The phase of an arm's own run, which is the parent of its trials and replicates."""
SUPERSEDED_PHASE = "superseded"
"""The phase of a replicate of a setting that another has replaced."""


class StudyReader:
    """What the store holds of one study.

    Attributes:
        uri: Of the store.
        study_name: The experiment's.
        experiment_id: MLflow's.
        birth: When the experiment was made, in milliseconds. It tells the experiment from an
            earlier one of its name.
        seconds: Wall seconds spent in this object so far.
    """

    def __init__(self, uri: str, study_name: str) -> None:
        """Finds the experiment.

        Raises:
            StoreError: The store cannot be used, or there is no such experiment in it.
        """
        start = perf_counter()
        self.uri, self.study_name = absolute_uri(uri), study_name
        self._source = open_source(self.uri)
        experiments = {each.name: each for each in self._source.experiments()}
        if study_name not in experiments:
            raise StoreError(
                f"tracking: must hold the study, but {study_name!r} is not in {self.uri}. "
                "Run the study, or name the store that it was run with."
            )
        self.experiment_id = experiments[study_name].id
        self.birth = experiments[study_name].birth
        self.seconds = perf_counter() - start

    @timed
    def identity(self) -> dict[str, Any] | None:
        """Returns what the study is, None where the experiment is no study's."""
        text = kept_text(self._source.tags(self.experiment_id), "identity")
        return None if text is None else json.loads(text)

    @timed
    def notes(self) -> StudyNotes:
        """Returns what the study remembers from launch to launch."""
        return load_notes(self._source.tags(self.experiment_id))

    @timed
    def runs(self) -> pd.DataFrame:
        """Returns one row per trial, finalist and replicate (:func:`harness.store.frames.runs`)."""
        return frames.runs(self._stored(run) for run in self.search() if phase_of(run) != ARM_PHASE)

    def has_result(self) -> bool:
        """Returns whether any run ended otherwise than by failing."""
        return bool(self.runs()["state"].isin(RESULTS).any())

    @timed
    def curves(self) -> pd.DataFrame:
        """Returns the rows of every run's ``curve.csv`` under its arm, phase and index."""
        return frames.curves(
            (unit_of(run), phase_of(run), int(run.tags["index"]), draw_of(run), content)
            for run in self.search()
            if phase_of(run) != ARM_PHASE
            and (content := self._source.artifact(run, "curve.csv")) is not None
        )

    @timed
    def states(self) -> pd.DataFrame:
        """Returns what the states of replicates are like (:func:`harness.store.frames.states`)."""
        return frames.states(
            (unit_of(run), phase_of(run), int(run.tags["index"]), draw_of(run), content)
            for run in self.search()
            if phase_of(run) == Phase.REPLICATE
            and (content := self._source.artifact(run, STATES_FILE)) is not None
        )

    @timed
    def timings(self) -> pd.DataFrame:
        """Returns the raw repeats of the runtime phase, arm by arm; none where they are stale."""
        is_stale = load_notes(self._source.tags(self.experiment_id)).timed == ""
        arm_runs = [] if is_stale else [r for r in self.search() if phase_of(r) == ARM_PHASE]
        return frames.timings(
            (unit_of(run), content)
            for run in arm_runs
            if (content := self._source.artifact(run, "timings.csv")) is not None
        )

    @timed
    def artifact(self, run_id: str, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        stored = self._source.run(run_id)
        return None if stored is None else self._source.artifact(stored[1], name)

    @timed
    def missing_artifacts(self) -> dict[Path, int]:
        """Returns how many ended runs have lost their artifacts, by the folder they must be in.

        Only of artifacts that must lie on this machine.
        """
        missing: dict[Path, int] = {}
        for run in self.search():
            folder = artifact_path(run.artifact_uri, "")
            if folder is not None and run.status == "FINISHED" and not folder.is_dir():
                root = folder.parents[1]
                missing[root] = missing.get(root, 0) + 1
        return missing

    @timed
    def file_sizes(self) -> dict[str, dict[str, int]]:
        """Returns the sizes of all artifacts in bytes: run id -> path -> size."""
        return {run.run_id: self._file_sizes(run) for run in self.search()}

    @timed
    def arm_runs(self) -> dict[str, str]:
        """Returns the id of each arm's own run, by the arm's key."""
        runs = self.search()
        return {str(unit_of(run)): run.run_id for run in runs if phase_of(run) == ARM_PHASE}

    def search(self) -> list[RunRow]:
        """Returns all of the study's runs, arms' own runs included, first made first."""
        return [run for run in self._source.runs(self.experiment_id) if "phase" in run.tags]

    def _file_sizes(self, run: RunRow) -> dict[str, int]:
        root = artifact_path(run.artifact_uri, "")
        if root is None:
            from harness.store.connection import file_sizes

            return file_sizes(self.uri, run.run_id)
        files = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
        return {path.relative_to(root).as_posix(): path.stat().st_size for path in files}

    def _stored(self, run: RunRow) -> frames.StoredRun:
        is_over = run.status != "RUNNING"
        content = self._source.artifact(run, "samples.json") if is_over else None
        samples = json.loads(content) if content is not None else []
        unit = unit_of(run)
        return frames.StoredRun(
            run.run_id, unit, run.tags, run.metrics, run.params, samples, is_over
        )


def phase_of(run: RunRow) -> str:
    """Returns the phase of a stored run: trial, finalist, replicate, superseded or arm."""
    return run.tags["phase"]


def draw_of(run: RunRow) -> int:
    """Returns which of its setting's seeds a stored run has."""
    return int(run.tags.get("draw", 0))


def unit_of(run: RunRow) -> Unit:
    """Returns the unit that a stored run belongs to."""
    tags = run.tags
    return Unit(tags["arm"], tags.get("condition", ""), int(tags.get("repeat", 0)))
