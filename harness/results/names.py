"""What is in the books, by the names that people give it: ``STUDY:ARM``, ``STUDY:ARM:SEED``, or an
MLflow run's id.

Where tuning and replicating were repeated, ``ARM@1`` is the second repeat and ``ARM@2`` the third;
    the first has no
mark: ``STUDY:ARM`` is all repeats of an arm together, ``STUDY:ARM:SEED`` a run of the first.
"""

import difflib
import re
from dataclasses import dataclass

import pandas as pd

from harness.store.locations import Places
from harness.store.tracker import Tracker, experiments, sqlite_path, study_of
from harness.study.units import Unit

MARKS = "@1 is an arm's second repeat, the first has no mark"
FORMS = f"STUDY:ARM, STUDY:CONDITION/ARM, either with :SEED for a single run ({MARKS}), or the id of an MLflow run"
_NAME = re.compile(r"(?P<study>.+?):(?P<key>[^:]+?)(?::(?P<seed>\d+))?")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class ArchiveError(ValueError):
    """The books do not hold what was asked for; the message says what they hold."""


@dataclass(frozen=True)
class Found:
    """Runs in the books: all of an arm, or a single one.

    Attributes:
        text: What was asked for.
        unit: Its ``repeat`` is 0 where all repeats of an arm are meant.
        runs: Trials and replicates, rows of :func:`harness.store.frames.runs`; a single one where
            ``is_run``.
        arm_runs: Those of its whole arm.
    """

    text: str
    study: str
    unit: Unit
    tracker: Tracker
    runs: pd.DataFrame
    arm_runs: pd.DataFrame
    is_run: bool

    @property
    def name(self) -> str:
        """What it is, shortly: the same for a run's id as for its name."""
        if not self.is_run:
            return f"{self.study}:{self.unit}"
        row = self.runs.iloc[0]
        what = (
            _seed(row["seed"]) if row["phase"] == "replicate" else f"{row['phase']} {row['index']}"
        )
        return f"{self.study}:{self.unit}:{what}"


class Archive:
    """A store of studies, read only: nothing is made where there is none."""

    def __init__(self, places: Places):
        """Opens it.

        Raises:
            ArchiveError: There is no store.
        """
        self.places, self._studies = places, dict[str, tuple[Tracker, pd.DataFrame]]()
        file = sqlite_path(places.tracking_uri)
        if file is not None and not file.exists():
            raise ArchiveError(
                f"tracking: the database must exist, but got {str(file)!r}. "
                "Run a study first, or name its folder with --folder."
            )

    def names(self) -> list[str]:
        """Returns the names of all studies."""
        return sorted(name for name in experiments(self.places.tracking_uri) if name != "Default")

    def study(self, name: str) -> tuple[Tracker, pd.DataFrame]:
        """Returns a study's experiment and its runs, read once.

        Raises:
            ArchiveError: There is none of that name.
        """
        if name not in self._studies:
            check_known("study", name, self.names(), f"{self.places.tracking_uri}")
            tracker = Tracker(self.places.tracking_uri, name, self.places.artifacts)
            self._studies[name] = tracker, tracker.runs()
        return self._studies[name]

    def find(self, text: str) -> Found:
        """Returns the arm or the run of that name.

        Raises:
            ArchiveError: There is none, or it is no name of either.
        """
        if _RUN_ID.fullmatch(text):
            return self._run(text)
        match = _NAME.fullmatch(text)
        if match is None:
            raise ArchiveError(f"run: must be {FORMS}, but got run={text!r}.")
        key, seed = match["key"], match["seed"]
        tracker, runs = self.study(match["study"])
        known = [
            str(Unit(*each))
            for each in zip(runs["arm"], runs["condition"], runs["repeat"], strict=True)
        ]
        arms = sorted({each.partition("@")[0] for each in known} | set(known))
        check_known("arm", key, arms, match["study"])
        unit = Unit.parse(key)
        own = arm_runs = runs[(runs["arm"] == unit.arm) & (runs["condition"] == unit.condition)]
        if "@" in key or seed is not None:
            own = own[own["repeat"] == unit.repeat]
        if seed is not None:
            replicates = own[own["phase"] == "replicate"]
            seeds = replicates["seed"].map(_seed)
            check_known("seed", seed, list(seeds), f"{match['study']}:{key}")
            own = replicates[seeds == seed]
        return Found(
            text,
            match["study"],
            unit,
            tracker,
            own.reset_index(drop=True),
            arm_runs,
            seed is not None,
        )

    def _run(self, run_id: str) -> Found:
        study = study_of(self.places.tracking_uri, run_id)
        if study is None:
            raise ArchiveError(
                f"run: must be in {self.places.tracking_uri}, but got run={run_id!r}, which is not."
            )
        tracker, runs = self.study(study)
        own = runs[runs["run_id"] == run_id].reset_index(drop=True)
        if own.empty:
            raise ArchiveError(
                f"run: must be a trial or a replicate, but got run={run_id!r}, an arm of {study}. Name it STUDY:ARM."
            )
        row = own.iloc[0]
        unit = Unit(row["arm"], row["condition"], int(row["repeat"]))
        arm_runs = runs[(runs["arm"] == unit.arm) & (runs["condition"] == unit.condition)]
        return Found(run_id, study, unit, tracker, own, arm_runs, True)


def _seed(tag: str) -> str:
    """Returns the seed of a replicate from its tag, which in later repeats names the repeat too."""
    return tag.partition("/")[0]


def check_known(what: str, name: str, known: list[str], where: str) -> None:
    """Raises ArchiveError where ``name`` is not among ``known``."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It holds {', '.join(known) or 'none'}."
        marks = f" {MARKS}." if what == "arm" and "@" in name else ""
        raise ArchiveError(f"{what}: must be in {where}, but got {what}={name!r}. {hint}{marks}")
