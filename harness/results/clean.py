"""What a study leaves in the books and on the disk, removed: what is named, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from harness import tuning
from harness.results.names import Archive, check_known
from harness.runner import launch, recorder
from harness.store import tracker
from harness.store.locations import Places
from harness.study.units import Unit
from harness.training import checkpoint, saved_model

Kind = Literal["superseded", "models", "checkpoints", "failed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GIVEN_UP = ("failed", "killed")


@dataclass(frozen=True)
class Removal:
    """What goes. Nothing has been touched yet.

    Attributes:
        runs: MLflow id -> what it is called; an arm's own runs, which hold its trials and
            replicates, among them.
        files: (MLflow id of a run that stays, artifact, what it is called).
        checkpoints: Files.
        searches: Names of Optuna studies.
        is_whole: Whether the study goes, and its name becomes free.
        num_bytes: Of the artifacts and checkpoints.
    """

    study: str
    places: Places
    tracker: tracker.Tracker
    runs: dict[str, str]
    files: list[tuple[str, str, str]]
    checkpoints: list[Path]
    searches: list[str]
    is_whole: bool
    num_bytes: int

    def lines(self) -> list[str]:
        """Returns what goes, a line each, and a sum."""
        found = [f"run {name}" for name in self.runs.values()]
        found += [f"file {path} of {name}" for _, path, name in self.files]
        found += [f"checkpoint {path}" for path in self.checkpoints]
        found += [f"search {name}" for name in self.searches]
        found += [f"study {self.study}"] if self.is_whole else []
        if not found:
            return [f"{self.study}: there is nothing of that kind"]
        counts = (
            f"{len(self.runs)} runs, {len(self.files) + len(self.checkpoints)} files beside them"
        )
        return [*found, f"{counts}, {len(self.searches)} searches: {self.num_bytes:,} bytes"]

    def carry_out(self) -> None:
        """Removes all of it.

        The study's lock must be held; after a crash the same removal goes on.
        """
        for path in self.checkpoints:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        if self.searches:
            storage = tuning.open_storage(self.places.storage_url)
            for name in self.searches:
                tuning.remove(storage, name)
        for run_id, file, _ in self.files:
            self.tracker.remove_file(run_id, file)
        if self.runs:  # what was reported, and where, is gone with them
            self.tracker.set_note("reported", "")
        if set(self.runs) & set(
            self.tracker.parents().values()
        ):  # an arm's timings are gone with it
            self.tracker.set_note("timed", "")
        for run_id in self.runs:
            self.tracker.remove_run(run_id)
        if self.is_whole:
            self.tracker.remove_experiment(
                f"{self.study} removed {datetime.now():%Y-%m-%d %H:%M:%S.%f}"
            )


def clean(
    study: str,
    places: Places,
    arm: str | None = None,
    kinds: Sequence[Kind] = (),
    *,
    yes: bool = False,
) -> list[str]:
    """Removes what :func:`find` finds, or without ``yes`` nothing, and returns what is to be said
    of it.

    Raises:
        ValueError: As :func:`find`; or the study is being run.
    """
    removal = find(study, places, arm, kinds)
    if not yes:
        return [*removal.lines(), "nothing was removed; --yes removes this"]
    with launch.locked(study, places):
        removal = find(
            study, places, arm, kinds
        )  # again: the study may have gone on until it was held
        removal.carry_out()
    return [*removal.lines(), "removed"]


def find(study: str, places: Places, arm: str | None = None, kinds: Sequence[Kind] = ()) -> Removal:
    """Returns what is to be removed of a study.

    Args:
        study: Its name in MLflow.
        places: Where it is.
        arm: Its key, ``ARM`` or ``CONDITION/ARM``: only what is of that arm.
        kinds: ``superseded``: replicates of a setting that another has replaced. ``failed``:
            replicates that failed or were given up, which the next run trains again; failed trials
            stay, for the search remembers them. ``models``, ``checkpoints``: these files. None of
            them: all there is, searches too.

    Raises:
        ArchiveError: There is no such study, or no such arm in it.
    """
    tracker, runs = Archive(places).study(study)
    units = [
        Unit(*each) for each in zip(runs["arm"], runs["condition"], runs["repeat"], strict=True)
    ]
    runs = runs.assign(
        unit=list(map(str, units)), key=[str(unit._replace(repeat=0)) for unit in units]
    )
    parents = tracker.parents()
    if arm is not None:
        check_known("arm", arm, sorted({*parents, *runs["key"]}), study)
        runs, parents = (
            runs[runs["key"] == arm],
            {key: run_id for key, run_id in parents.items() if key == arm},
        )
    going = runs if not kinds else runs[_is_of(runs, kinds)]
    named = dict(zip(going["run_id"], map(_name, going.to_dict("records")), strict=True))
    named |= {} if kinds else {run_id: f"{key}, the arm's own" for key, run_id in parents.items()}
    sizes = tracker.files()
    files = []
    if "models" in kinds:
        staying = runs[~runs["run_id"].isin(named)]
        holders = [
            row for row in staying.to_dict("records") if saved_model.FILE in sizes[row["run_id"]]
        ]
        files = [(str(row["run_id"]), saved_model.FILE, _name(row)) for row in holders]
    checkpoints = []
    if not kinds or "checkpoints" in kinds:
        checkpoints = _checkpoints(places.checkpoints(study), None if arm is None else runs)
    num_bytes = sum(sum(sizes[run_id].values()) for run_id in named)
    num_bytes += sum(sizes[run_id][path] for run_id, path, _ in files) + sum(
        p.stat().st_size for p in checkpoints
    )
    searches = [] if kinds else _searches(study, tracker.birth, places, arm)
    is_whole = not kinds and arm is None
    return Removal(study, places, tracker, named, files, checkpoints, searches, is_whole, num_bytes)


def _is_of(runs: pd.DataFrame, kinds: Sequence[Kind]) -> pd.Series:
    superseded = (runs["phase"] == "superseded") & ("superseded" in kinds)
    failed = (runs["phase"] == "replicate") & runs["state"].isin(GIVEN_UP) & ("failed" in kinds)
    return superseded | failed


def _name(row: dict) -> str:
    what = (
        f"{row['phase']} {row['index']}"
        if row["phase"] == "trial"
        else f"{row['phase']}, seed {row['seed']}"
    )
    return f"{row['unit']} {what} ({row['state']})"


def _checkpoints(folder: Path, runs: pd.DataFrame | None) -> list[Path]:
    """Returns the checkpoints in a study's folder: all, or those of the given runs."""
    found = sorted(path for path in folder.glob("*") if path.is_file())
    if runs is None:
        return found
    places = zip(runs["unit"], runs["phase"], runs["index"], strict=True)
    names = {checkpoint.name_of(recorder.id_of(*place)) for place in places}
    return [path for path in found if path.name in names]


def _searches(study: str, birth: str, places: Places, arm: str | None) -> list[str]:
    """Returns the names of the searches of a study, or of one arm; those of an earlier study of the
    name stay.
    """
    file = tracker.sqlite_path(places.storage_url)
    if file is not None and not file.exists():
        return []
    start, end = (
        f"{study.partition(' until ')[0]}/",
        f"/{birth}",
    )  # a study put aside kept the names of its searches
    names = [
        n
        for n in tuning.stored(tuning.open_storage(places.storage_url))
        if n.startswith(start) and n.endswith(end)
    ]
    if arm is None:
        return names
    keys = {n: n.removeprefix(start).removesuffix(end) for n in names}
    return [n for n, key in keys.items() if str(Unit.parse(key)._replace(repeat=0)) == arm]
