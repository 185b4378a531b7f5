"""What a study leaves in the stores and on the disk, removed: what is named, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from harness.results.names import Archive, units_of
from harness.store.address import sqlite_path
from harness.store.frames import unit_of_row
from harness.store.kept import name_of, search_affixes
from harness.store.known import ArchiveError, check_known
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.reader import SUPERSEDED_PHASE, StudyReader
from harness.store.rows import is_own_folder
from harness.store.spool import unused
from harness.study.units import Phase, RunKey, Unit
from harness.training.files import MODEL_FILE, checkpoint_name
from harness.training.messages import RunState

Kind = Literal["superseded", "models", "checkpoints", "failed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_LISTED = 6
GIVEN_UP = (RunState.FAILED, RunState.KILLED)


@dataclass(frozen=True)
class ModelFile:
    """A model among the artifacts of a run that stays.

    Attributes:
        run_id: MLflow's.
        run_name: What the run is called.
    """

    run_id: str
    run_name: str


@dataclass(frozen=True)
class Removal:
    """What goes. Nothing has been touched yet.

    Attributes:
        study: Its name.
        locations: Where it is.
        reader: Reads it.
        runs: MLflow id -> what it is called; an arm's own runs, which hold its trials and
            replicates, are among them.
        models: Of runs that stay.
        checkpoints: Files.
        waiting: Files of records that no store has taken.
        searches: Names of Optuna studies.
        is_whole: Whether the study goes, and its name becomes free.
        elsewhere: Where files of these runs lie that stay: the bench puts none there.
        num_bytes: Of the artifacts, checkpoints and records that wait.
    """

    study: str
    locations: Locations
    reader: StudyReader
    runs: dict[str, str]
    models: list[ModelFile]
    checkpoints: list[Path]
    waiting: list[Path]
    searches: list[str]
    is_whole: bool
    elsewhere: list[str]
    num_bytes: int

    def lines(self) -> list[str]:
        """Returns what goes, a line each, and a sum."""
        lines = [f"run {name}" for name in self.runs.values()]
        lines += [f"file {MODEL_FILE} of {model.run_name}" for model in self.models]
        lines += [f"checkpoint {path}" for path in self.checkpoints]
        lines += [f"records that no store has taken {path}" for path in self.waiting]
        lines += [f"search {name}" for name in self.searches]
        lines += [f"study {self.study}"] if self.is_whole else []
        lines += [
            f"not the files in {place}, which is no folder of that run" for place in self.elsewhere
        ]
        if not lines:
            return [f"{self.study}: there is nothing of that kind"]
        num_files = len(self.models) + len(self.checkpoints) + len(self.waiting)
        counts = f"{len(self.runs)} runs, {num_files} files beside them"
        return [*lines, f"{counts}, {len(self.searches)} searches: {self.num_bytes:,} bytes"]

    def carry_out(self) -> None:
        """Removes all of it.

        The study's lock must be held; after a crash the same removal goes on.
        """
        for path in self.checkpoints:
            path.unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        for path in self.waiting:
            path.unlink(missing_ok=True)
        if self.searches:
            self._remove_searches()
        from harness.store.remover import StudyRemover  # loads MLflow

        uri, root = self.locations.tracking_uri, self.locations.artifacts
        remover = StudyRemover(uri, self.reader.experiment_id, root)
        for model in self.models:
            remover.remove_file(model.run_id, MODEL_FILE)
        if self.runs:
            arm_run_ids = set(self.reader.arm_runs().values())
            remover.forget_report(timings=not arm_run_ids.isdisjoint(self.runs))
        for run_id in self.runs:
            remover.remove_run(run_id)
        if self.is_whole:
            remover.remove_experiment(f"{self.study} removed {datetime.now():%Y-%m-%d %H:%M:%S.%f}")

    def _remove_searches(self) -> None:
        from harness.tuning import storage as storages  # loads Optuna

        with storages.opened(self.locations.storage_url) as storage:
            for name in self.searches:
                storages.remove(storage, name)


def clean(
    study: str,
    locations: Locations,
    arm: str | None = None,
    kinds: Sequence[Kind] = (),
    *,
    yes: bool = False,
) -> list[str]:
    """Removes what :func:`find` finds, or nothing without ``yes``, and returns what it is.

    The study may be given by its file, too.

    Raises:
        ValueError: As :func:`find`; or the study is being run.
    """
    study = name_of(study)
    removal = find(study, locations, arm, kinds)
    if not yes:
        return [*removal.lines(), "nothing was removed; --yes removes this"]
    with locked(study, locations):
        # Found again: the study may have gone on until it was held.
        removal = find(study, locations, arm, kinds)
        removal.carry_out()
    return [*removal.lines(), "removed"]


def find(
    study: str, locations: Locations, arm: str | None = None, kinds: Sequence[Kind] = ()
) -> Removal:
    """Returns what is to be removed of a study.

    Args:
        study: Its name in MLflow.
        locations: Where it is.
        arm: Its key, ``ARM`` or ``CONDITION/ARM``: only what is of that arm.
        kinds: ``superseded``: replicates of a setting that another has replaced. ``failed``:
            replicates that failed or were given up, which the next run trains again; failed trials
            stay, for the search remembers them. ``models``, ``checkpoints``: these files. None of
            them: all there is, searches too.

    Raises:
        ArchiveError: There is no such study, or no such arm in it; or this bench did not make it,
            or all of it is to go and not all of its runs are this bench's.
    """
    reader, runs = Archive(locations).study(study)
    _check_own(study, reader, locations)
    runs = runs.assign(key=[str(unit.first_repeat) for unit in units_of(runs)])
    arm_runs = reader.arm_runs()
    if arm is not None:
        check_known("arm", arm, sorted({*arm_runs, *runs["key"]}), study)
        runs = runs[runs["key"] == arm]
        arm_runs = {key: run_id for key, run_id in arm_runs.items() if key == arm}
    removed = runs[_is_of(runs, kinds)] if kinds else runs
    names = {str(row["run_id"]): _name(row) for row in removed.to_dict("records")}
    if not kinds:
        names |= {run_id: f"{key}, the arm's own" for key, run_id in arm_runs.items()}
    if not kinds and arm is None:
        _check_alone(study, reader, locations)
        unreadable = [row.run_id for row in reader.unreadable()]
        names |= {run_id: f"{run_id}, which says not where it belongs" for run_id in unreadable}
    uris = {row.run_id: row.artifact_uri for row in (*reader.search(), *reader.unreadable())}
    root = locations.artifacts
    elsewhere = [run_id for run_id, uri in uris.items() if not is_own_folder(uri, run_id, root)]
    sizes = {run_id: of for run_id, of in reader.file_sizes().items() if run_id not in elsewhere}
    stay = runs[~runs["run_id"].isin([*names, *elsewhere])]
    models = _models(stay, sizes) if "models" in kinds else []
    checkpoints = []
    if not kinds or "checkpoints" in kinds:
        checkpoints = _checkpoints(locations.checkpoints(study), None if arm is None else runs)
    records = locations.waiting_records(study)
    # They are of all arms, and no store has taken them: they go with the study alone.
    named = () if kinds or arm is not None else (records, unused(records))
    waiting = [path for path in named if path.is_file() and not path.is_symlink()]
    num_bytes = sum(sum(sizes.get(run_id, {}).values()) for run_id in names)
    num_bytes += sum(sizes[model.run_id][MODEL_FILE] for model in models)
    num_bytes += sum(path.stat().st_size for path in (*checkpoints, *waiting))
    return Removal(
        study=study,
        locations=locations,
        reader=reader,
        runs=names,
        models=models,
        checkpoints=checkpoints,
        waiting=waiting,
        searches=[] if kinds else _searches(study, reader.birth, locations, arm),
        is_whole=not kinds and arm is None,
        elsewhere=[uris[run_id] for run_id in elsewhere if run_id in names],
        num_bytes=num_bytes,
    )


def _check_own(study: str, reader: StudyReader, locations: Locations) -> None:
    """Raises ArchiveError for an experiment of somebody else's, or a name that is a path."""
    is_path = Path(study).name != study or study in (".", "..")
    if is_path or (not reader.search() and reader.identity() is None):
        raise ArchiveError(
            f"study: must be one that this bench made, but got study={study!r}, which it did not. "
            f"Remove it in MLflow: harness ui{locations.reading_options}"
        )


def _check_alone(study: str, reader: StudyReader, locations: Locations) -> None:
    """Raises ArchiveError where somebody else's runs would go with the study's experiment."""
    if others := [row.run_id for row in reader.foreign()]:
        shown = ", ".join(others[:MAX_LISTED])
        more = f" and {len(others) - MAX_LISTED} more" if len(others) > MAX_LISTED else ""
        raise ArchiveError(
            f"study: must hold this bench's runs alone to be removed, but the experiment {study!r} "
            f"holds others: {shown}{more}. Remove the study's arms one by one with --arm, or "
            f"delete the others in MLflow: harness ui{locations.reading_options}"
        )


def _models(runs: pd.DataFrame, sizes: Mapping[str, Mapping[str, int]]) -> list[ModelFile]:
    """Returns the models that runs kept; ``sizes`` is run id -> path -> bytes."""
    rows = [row for row in runs.to_dict("records") if MODEL_FILE in sizes[row["run_id"]]]
    return [ModelFile(str(row["run_id"]), _name(row)) for row in rows]


def _is_of(runs: pd.DataFrame, kinds: Sequence[Kind]) -> pd.Series:
    is_superseded = (runs["phase"] == SUPERSEDED_PHASE) & ("superseded" in kinds)
    is_failed = (runs["phase"] == Phase.REPLICATE) & runs["state"].isin(list(map(str, GIVEN_UP)))
    return is_superseded | (is_failed & ("failed" in kinds))


def _name(row: dict[Any, Any]) -> str:
    """Returns what a run is called: its unit, what it is there, and how it ended."""
    unit, phase = unit_of_row(row), row["phase"]
    run = f"{phase} {row['index']}" if phase == Phase.TRIAL else f"{phase}, seed {row['seed']}"
    return f"{unit} {run} ({row['state']})"


def _checkpoints(folder: Path, runs: pd.DataFrame | None) -> list[Path]:
    """Returns the checkpoints in a study's folder: all, or those of the given runs."""
    # No link, and nothing that somebody else has put there.
    paths = sorted(
        path
        for path in folder.glob("*")
        if path.suffix in (".checkpoint", ".partial") and path.is_file() and not path.is_symlink()
    )
    if runs is None:
        return paths
    runs = runs[runs["phase"].isin(list(map(str, Phase)))]
    rows = zip(units_of(runs), runs["phase"], runs["index"], runs["draw"], strict=True)
    keys = [RunKey(unit, Phase(phase), int(index), int(draw)) for unit, phase, index, draw in rows]
    names = {checkpoint_name(str(key)) for key in keys}
    return [path for path in paths if path.name in names]


def _searches(study: str, birth: str, locations: Locations, arm: str | None) -> list[str]:
    """Returns the names of the searches of a study, or of one arm.

    Those of an earlier study of the name stay.
    """
    file = sqlite_path(locations.storage_url)
    if file is not None and not file.exists():
        return []
    from harness.tuning import storage as storages  # loads Optuna

    start, end = search_affixes(study, birth)
    with storages.opened(locations.storage_url) as storage:
        stored = storages.stored(storage)
    names = [name for name in stored if name.startswith(start) and name.endswith(end)]
    if arm is None:
        return names
    keys = {name: name.removeprefix(start).removesuffix(end) for name in names}
    return [name for name, key in keys.items() if str(Unit.parse(key).first_repeat) == arm]
