"""Stored runs by the names that people give them: an arm's, a run's, or an MLflow run's id.

An arm is ``STUDY:ARM``, a run ``STUDY:ARM:SEED``. Where tuning and replicating were repeated,
``ARM@1`` is the second repeat and ``ARM@2`` the third; the first has no mark: ``STUDY:ARM`` is all
repeats of an arm together, ``STUDY:ARM:SEED`` a run of the first.
"""

import re
from dataclasses import dataclass

import pandas as pd

from harness.store.kept import check_store, name_of, stored_names
from harness.store.known import MARKS, ArchiveError, check_known
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.source import study_of
from harness.study.units import Phase, Unit

FORMS = (
    f"STUDY:ARM, STUDY:CONDITION/ARM, either with :SEED for a single run ({MARKS}), "
    "or the id of an MLflow run"
)
_NAME = re.compile(r"(?P<study>.+?):(?P<key>[^:]+?)(?::(?P<seed>\d+))?")
_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Selection:
    """The stored runs that a name means: all of an arm, or a single one.

    Attributes:
        text: The name as it was given.
        study: The name of their study.
        unit: Its ``repeat`` is 0 where all repeats of an arm are meant.
        reader: Reads their study.
        runs: Trials and replicates, rows of :func:`harness.store.frames.runs`; a single one where
            ``is_run``.
        arm_runs: Those of the whole arm.
        is_run: Whether the name is that of a single run.
    """

    text: str
    study: str
    unit: Unit
    reader: StudyReader
    runs: pd.DataFrame
    arm_runs: pd.DataFrame
    is_run: bool

    @property
    def name(self) -> str:
        """The short name: the same for a run whether it was given by its id or by its name."""
        if not self.is_run:
            return f"{self.study}:{self.unit}"
        row = self.runs.iloc[0]
        is_replicate = row["phase"] == Phase.REPLICATE
        draw = f" seed {row['draw']}" if row["draw"] else ""
        run = _seed(row["seed"]) if is_replicate else f"{row['phase']} {row['index']}{draw}"
        return f"{self.study}:{self.unit}:{run}"


class Archive:
    """The studies of a store, read only: nothing is made where there is none."""

    def __init__(self, locations: Locations) -> None:
        """Opens the store.

        Raises:
            ArchiveError: There is no store.
        """
        self.locations = locations
        self._studies: dict[str, tuple[StudyReader, pd.DataFrame]] = {}
        check_store(locations)

    def names(self) -> list[str]:
        """Returns the names of all studies."""
        return stored_names(self.locations)

    def reader(self, study: str) -> StudyReader:
        """Returns what reads a study.

        Raises:
            ArchiveError: There is none of that name.
        """
        check_known("study", study, self.names(), f"{self.locations.tracking_uri}")
        return StudyReader(self.locations.tracking_uri, study)

    def study(self, name: str) -> tuple[StudyReader, pd.DataFrame]:
        """Returns what reads a study, and its runs, which are read once.

        Raises:
            ArchiveError: There is none of that name.
        """
        if name not in self._studies:
            reader = self.reader(name)
            self._studies[name] = reader, reader.runs()
        return self._studies[name]

    def find(self, text: str) -> Selection:
        """Returns the arm or the run of that name.

        Raises:
            ArchiveError: There is none, or the text names neither.
        """
        if _MLFLOW_ID.fullmatch(text):
            return self._find_id(text)
        match = _NAME.fullmatch(text)
        if match is None:
            raise ArchiveError(f"run: must be {FORMS}, but got run={text!r}.{self._example(text)}")
        study, key, seed = name_of(match["study"]), match["key"], match["seed"]
        reader, study_runs = self.study(study)
        keys = {str(unit) for unit in units_of(study_runs)}
        check_known("arm", key, sorted(keys | {key.partition("@")[0] for key in keys}), study)
        unit = Unit.parse(key)
        arm_runs = _arm_runs(study_runs, unit)
        runs = arm_runs
        if "@" in key or seed is not None:
            runs = runs[runs["repeat"] == unit.repeat]
        if seed is not None:
            runs = runs[runs["phase"] == Phase.REPLICATE]
            seeds = runs["seed"].map(_seed)
            check_known("seed", seed, list(seeds), f"{study}:{key}")
            runs = runs[seeds == seed]
        return Selection(
            text=text,
            study=study,
            unit=unit,
            reader=reader,
            runs=runs.reset_index(drop=True),
            arm_runs=arm_runs,
            is_run=seed is not None,
        )

    def _example(self, text: str) -> str:
        """Returns the name of an arm where a text names a study alone; else an empty text."""
        if name_of(text) not in self.names():
            return ""
        _, runs = self.study(name_of(text))
        return "".join(f" Write for example {name_of(text)}:{unit}." for unit in units_of(runs)[:1])

    def _find_id(self, run_id: str) -> Selection:
        study = study_of(self.locations.tracking_uri, run_id)
        if study is None:
            raise ArchiveError(
                f"run: must be in {self.locations.tracking_uri}, but got run={run_id!r}, "
                "which is not."
            )
        reader, study_runs = self.study(study)
        runs = study_runs[study_runs["run_id"] == run_id].reset_index(drop=True)
        if runs.empty:
            raise ArchiveError(
                f"run: must be a trial or a replicate, but got run={run_id!r}, an arm of {study}. "
                "Name it STUDY:ARM."
            )
        (unit,) = units_of(runs)
        return Selection(
            text=run_id,
            study=study,
            unit=unit,
            reader=reader,
            runs=runs,
            arm_runs=_arm_runs(study_runs, unit),
            is_run=True,
        )


def units_of(runs: pd.DataFrame) -> list[Unit]:
    """Returns the unit of every row of a frame of runs."""
    rows = zip(runs["arm"], runs["condition"], runs["repeat"], strict=True)
    return [Unit(arm, condition, int(repeat)) for arm, condition, repeat in rows]


def _arm_runs(runs: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Returns the runs of the unit's arm, in all its repeats."""
    return runs[(runs["arm"] == unit.arm) & (runs["condition"] == unit.condition)]


def _seed(tag: str) -> str:
    """Returns the seed of a replicate from its tag, which in later repeats names the repeat too."""
    return tag.partition("/")[0]
