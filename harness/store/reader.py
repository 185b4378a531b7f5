"""A study's experiment, read: runs, curves, timings, files, notes. Nothing is made or changed."""

import copy
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from harness.store import frames
from harness.store.address import StoreError, absolute_uri
from harness.store.counting import counting, counting_arm
from harness.store.notes import DESCRIPTION_TAG, LINKS_BEGIN, StudyNotes, kept_text, load_notes
from harness.store.rows import MetricPoint, RunRow, StoredDataset, artifact_path
from harness.store.source import open_source
from harness.store.stopwatch import timed
from harness.study.units import Phase, RunKey, Unit
from harness.training.files import FORECAST_FILE, STATES_FILE
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
        self._held: list[RunRow] | None = None
        self.seconds = perf_counter() - start

    def at_once(self) -> "StudyReader":
        """Returns a reader of the runs that are there now.

        Its frames are of one moment, also while the study runs, and the runs are read once for all
        of them.
        """
        reader = copy.copy(self)
        reader._held = self._source.runs(self.experiment_id)
        return reader

    @timed
    def identity(self) -> dict[str, Any] | None:
        """Returns what the study is, None where the experiment is no study's."""
        with self._understood():
            text = kept_text(self._source.tags(self.experiment_id), "identity")
            return None if text is None else dict(json.loads(text))

    @timed
    def notes(self) -> StudyNotes:
        """Returns what the study remembers from launch to launch."""
        with self._understood():
            return load_notes(self._source.tags(self.experiment_id))

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turns what tags that were changed or lost raise in the block into StoreError."""
        try:
            yield
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise StoreError(
                f"tracking: the tags of {self.study_name!r} in {self.uri} must be those that this "
                f"bench wrote, but got {type(error).__name__}: {error}. Put back a copy of the "
                "database, or run the study with --new; its runs stay where they are."
            ) from error

    @timed
    def runs(self, phase: Phase | None = None) -> pd.DataFrame:
        """Returns one row per trial, finalist and replicate (:func:`harness.store.frames.runs`).

        Where a store holds one of them twice, `harness doctor` tells it, and one counts.

        Args:
            phase: Read the runs of this phase alone.
        """
        found = self._counting(phase)
        return frames.runs(self._stored(run) for run in found if phase_of(run) != ARM_PHASE)

    def has_result(self) -> bool:
        """Returns whether any run ended otherwise than by failing."""
        return bool(self.runs()["state"].isin(RESULTS).any())

    @timed
    def curves(self, only: Collection[RunKey] | None = None) -> pd.DataFrame:
        """Returns the rows of every run's ``curve.csv`` under its arm, phase and index.

        Args:
            only: Read the files of these runs alone.
        """
        return _whole(
            frames.curves,
            [
                (unit_of(run), phase_of(run), int(run.tags["index"]), _draw_of(run), content)
                for run in self._counting()
                if phase_of(run) != ARM_PHASE
                and (only is None or key_of(run) in only)
                and (content := self._source.artifact(run, "curve.csv")) is not None
            ],
        )

    @timed
    def forecasts(self) -> pd.DataFrame:
        """Returns what arms' first replicates forecast (:func:`harness.store.frames.forecasts`)."""
        return _whole(
            frames.forecasts,
            [
                (unit_of(run), content)
                for run in self._counting()
                if phase_of(run) == Phase.REPLICATE
                and not unit_of(run).repeat
                and (content := self._source.artifact(run, FORECAST_FILE)) is not None
            ],
        )

    @timed
    def states(self) -> pd.DataFrame:
        """Returns what the states of replicates are like (:func:`harness.store.frames.states`)."""
        return _whole(
            frames.states,
            [
                (unit_of(run), phase_of(run), int(run.tags["index"]), _draw_of(run), content)
                for run in self._counting()
                if phase_of(run) == Phase.REPLICATE
                and (content := self._source.artifact(run, STATES_FILE)) is not None
            ],
        )

    @timed
    def timings(self) -> pd.DataFrame:
        """Returns the raw repeats of the runtime phase, arm by arm; none where they are stale."""
        is_stale = self.notes().timed == ""
        return _whole(
            frames.timings,
            [
                (unit, content)
                for unit, run in ({} if is_stale else self._arms()).items()
                if (content := self._source.artifact(run, "timings.csv")) is not None
            ],
        )

    @timed
    def artifact(self, run_id: str, name: str) -> bytes | None:
        """Returns a file of a run, None where it has none of that name."""
        stored = self._source.run(run_id)
        return None if stored is None else self._source.artifact(stored[1], name)

    @timed
    def artifact_of(self, run: RunRow, name: str) -> bytes | None:
        """Returns a file of a run that was read, None where it has none of that name."""
        return self._source.artifact(run, name)

    @timed
    def points(self, run: RunRow) -> list[MetricPoint]:
        """Returns all that was ever stored of a run's metrics, by time, update and name."""
        return self._source.points(run.run_id)

    @timed
    def datasets(self, run: RunRow) -> list[StoredDataset]:
        """Returns the data sets of a run."""
        return self._source.datasets(run.run_id)

    @timed
    def tags(self) -> Mapping[str, str]:
        """Returns the tags of the experiment."""
        return self._source.tags(self.experiment_id)

    @timed
    def headline(self) -> str:
        """Returns the words of the first line on the study's page; empty where it has none."""
        text = self.tags().get(DESCRIPTION_TAG, "")
        return text.partition("\n")[0].partition(LINKS_BEGIN)[0].strip("* ")

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
        return {str(unit): run.run_id for unit, run in self._arms().items()}

    def search(self, phase: Phase | None = None) -> list[RunRow]:
        """Returns the study's runs, of one phase or all, first made first.

        Arms' own runs are among all, those of :meth:`unreadable` are not.
        """
        return [run for run in self._of_study(phase) if _has_place(run)]

    def _counting(self, phase: Phase | None = None) -> list[RunRow]:
        """Returns what :meth:`search` finds, but one run of each place: no seed counts twice."""
        by_key: dict[RunKey | str, list[RunRow]] = {}
        for run in self.search(phase):
            by_key.setdefault(key_of(run) or run.run_id, []).append(run)
        return [counting(found) for found in by_key.values()]

    def _arms(self) -> dict[Unit, RunRow]:
        """Returns the own runs of arms, one of each."""
        runs = self.search()
        arms: dict[Unit, list[RunRow]] = {}
        for run in runs:
            if phase_of(run) == ARM_PHASE:
                arms.setdefault(unit_of(run), []).append(run)
        return {unit: counting_arm(own, runs) for unit, own in arms.items()}

    def unreadable(self) -> list[RunRow]:
        """Returns runs whose tags do not say where they belong: somebody has changed them."""
        return [run for run in self._of_study() if not _has_place(run)]

    def foreign(self) -> list[RunRow]:
        """Returns runs in the study's experiment that this bench did not make."""
        return [run for run in self._stored_rows() if "phase" not in run.tags]

    def _of_study(self, phase: Phase | None = None) -> list[RunRow]:
        return [run for run in self._stored_rows(phase) if "phase" in run.tags]

    def _stored_rows(self, phase: Phase | None = None) -> list[RunRow]:
        if self._held is None:
            return self._source.runs(self.experiment_id, phase)
        return [run for run in self._held if phase in (None, run.tags.get("phase"))]

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
        samples = _samples(content) if content is not None else []
        unit = unit_of(run)
        return frames.StoredRun(
            run.run_id, unit, run.tags, run.metrics, run.params, samples, is_over, run.start_time
        )


def _whole(make: Callable[[list[Any]], pd.DataFrame], parts: list[Any]) -> pd.DataFrame:
    """Returns a frame of the parts that can be read: one damaged file costs its own rows alone.

    `harness doctor --verify` names it.
    """
    try:
        return make(parts)
    except (KeyError, OverflowError, ValueError):  # pandas' own errors are ValueErrors
        return make([part for part in parts if _is_whole(make, part)])


def _is_whole(make: Callable[[list[Any]], pd.DataFrame], part: Any) -> bool:
    try:
        make([part])
    except (KeyError, OverflowError, ValueError):
        return False
    return True


def _samples(content: bytes) -> list[dict[str, Any]]:
    """Returns the samples of a file; none where it is damaged."""
    try:
        samples = json.loads(content)
        return [
            {**sample, "text": sample["text"], "prefix": sample["prefix"]} for sample in samples
        ]
    except (KeyError, RecursionError, TypeError, ValueError):
        return []


def _has_place(run: RunRow) -> bool:
    """Returns whether the tags of a run say where it belongs."""
    try:
        numbers = [unit_of(run).repeat, _draw_of(run), int(run.tags.get("index", 0))]
    except (KeyError, ValueError):
        return False
    is_single = phase_of(run) != ARM_PHASE
    known = phase_of(run) in (ARM_PHASE, SUPERSEDED_PHASE, *Phase)
    within = all(0 <= number <= frames.LARGEST_COUNT for number in numbers)
    return known and within and ("index" in run.tags or not is_single)


def key_of(run: RunRow) -> RunKey | None:
    """Returns the key of a stored run; None for an arm's own and for one that was put aside."""
    phase = phase_of(run)
    if phase not in tuple(Phase):
        return None
    return RunKey(unit_of(run), Phase(phase), int(run.tags["index"]), _draw_of(run))


def phase_of(run: RunRow) -> str:
    """Returns the phase of a stored run: trial, finalist, replicate, superseded or arm."""
    return run.tags["phase"]


def _draw_of(run: RunRow) -> int:
    """Returns which of its setting's seeds a stored run has."""
    return int(run.tags.get("draw", 0))


def unit_of(run: RunRow) -> Unit:
    """Returns the unit that a stored run belongs to."""
    tags = run.tags
    return Unit(tags["arm"], tags.get("condition", ""), int(tags.get("repeat", 0)))
