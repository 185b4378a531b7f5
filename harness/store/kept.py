"""A study by its file, or by the name under which a store keeps it."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import registry, stated
from harness import study as studies
from harness.store.address import sqlite_path
from harness.store.known import ArchiveError, check_known
from harness.store.locations import Locations
from harness.store.soundness import check_not_lost
from harness.store.source import experiment_ids, holds_study
from harness.study import Study

ASIDE = " until "
"""What stands between the name of a study that was put aside and the time at which it was."""
STUDY_FILE = "study.yaml"
"""The file of every arm's own run that holds the study as it was read."""


def search_affixes(study: str, birth: str) -> tuple[str, str]:
    """Returns what stands before and after a unit in the names of a study's searches.

    A study that was put aside kept the names of its searches.

    Args:
        study: Its name.
        birth: Its experiment's.
    """
    return f"{study.partition(ASIDE)[0]}/", f"/{birth}"


def load_study(
    study: str | Path | Mapping[str, Any], overrides: Sequence[str], locations: Locations
) -> Study:
    """Returns a study.

    Args:
        study: Its YAML file; or its name in the store, which kept the file and its overrides; or
            the values that its file would hold.
        overrides: ``fix.hidden_size=128`` each; beside a name they follow those that were kept.
        locations: Where it is stored.

    Raises:
        ArchiveError: There is neither such a file nor a study of that name.
        ValueError: The file or an override is wrong.
    """
    if isinstance(study, Mapping):
        return studies.from_dict(study, overrides)
    if studies.is_file(str(study)):
        return studies.load(study, overrides)
    return _kept_study(str(study), overrides, locations)


def load_stored(study: str, overrides: Sequence[str], locations: Locations) -> Study:
    """Returns a study of which only what is stored is asked.

    Nothing of the files of its cells is run: they may be gone or wrong, and whoever lists what a
    store holds need not trust them. A cell that a file states otherwise than the store has it is
    told as a change of the study.

    Raises:
        ValueError: As :func:`load_study`, but for what is wrong with cells of its own.
    """
    if studies.is_file(study):
        loaded = studies.load(study, overrides, without_cells=True)
    else:
        loaded = _kept_study(study, overrides, locations, without_cells=True)
    if not loaded.cell_files:
        return loaded
    sources = {cell: "unread" for cell in _own_cells(loaded)}
    sources |= _stored_sources(loaded.name, locations)
    for path in loaded.cell_files:
        sources |= stated.sources(path)
    return loaded.with_cell_sources(sources)


def _stored_sources(name: str, locations: Locations) -> dict[str, str]:
    """Returns the fingerprints that a store has of a study's cells which are not shipped."""
    if not holds_study(locations.tracking_uri, name):
        return {}
    # It loads pandas, which most studies are found without.
    from harness.store.reader import StudyReader

    identity = StudyReader(locations.tracking_uri, name).identity() or {"arms": {}}
    arms = (arm for arm in identity["arms"].values() if "cell_source" in arm)
    shipped = registry.shipped_names()
    return {arm["cell"]: arm["cell_source"] for arm in arms if arm["cell"] not in shipped}


def told_of_cells(study: Study) -> list[str]:
    """Returns what is said of files of cells that are gone, and of cells that no file states."""
    gone = study.gone_cell_files
    there = [path for path in study.cell_files if path not in gone]
    lines = []
    if gone:
        verb = "is" if len(gone) == 1 else "are"
        lines.append(f"cells: {_shown(gone)} must be there to train or sample, but {verb} missing.")
    named = {name for path in there for name in stated.sources(path)}
    if there and (unknown := sorted(_own_cells(study) - named)):
        lines.append(
            f"cells: {_shown(there)} must state the name of a cell in one class to be compared "
            f"with what was run, but got no such class of {' and '.join(unknown)}. Whether it was "
            "edited is not known here; `harness run` looks."
        )
    return lines


def _own_cells(study: Study) -> set[str]:
    """Returns the names of a study's cells that are not shipped."""
    return {arm.settings.cell for arm in study.arms}.difference(registry.shipped_names())


def _shown(paths: Sequence[str]) -> str:
    """Returns paths as a person in this folder would write them."""
    folder = Path.cwd()
    return " and ".join(
        os.path.relpath(path) if Path(path).is_relative_to(folder) else path for path in paths
    )


def name_of(study: str) -> str:
    """Returns the name of a study that is given by its file or by its name.

    Raises:
        ValueError: The file is wrong.
    """
    return studies.load(study, without_cells=True).name if studies.is_file(study) else study


def stored_names(locations: Locations) -> list[str]:
    """Returns the names of all studies of a store."""
    return sorted(name for name in experiment_ids(locations.tracking_uri) if name != "Default")


def check_store(locations: Locations, study: str = "") -> None:
    """Looks whether there is a store; ``study`` was looked for in it.

    Raises:
        ArchiveError: There is none.
        StoreError: There was one, and it is lost.
    """
    check_not_lost(locations)
    database = sqlite_path(locations.tracking_uri)
    if database is None or database.exists():
        return
    file = Path(f"{study}.yaml")
    if study and file.is_file():
        remedy = (
            f"`harness run {shlex.quote(str(file))}{locations.options}` makes it. If {study} was "
            "run elsewhere, name that folder with --folder."
        )
    elif study:
        remedy = (
            "Give a study's YAML file (`harness init` writes one), or name the folder in which "
            f"{study} was run with --folder."
        )
    else:
        remedy = "Run a study first, or name its folder with --folder."
    raise ArchiveError(f"tracking: the database must exist, but got {str(database)!r}. {remedy}")


def _kept_study(
    name: str, overrides: Sequence[str], locations: Locations, without_cells: bool = False
) -> Study:
    check_store(locations, name)
    check_known("study", name, stored_names(locations), locations.tracking_uri)
    # They load pandas: a wrong name is told before that.
    from harness.store.missing import missing_artifacts
    from harness.store.reader import StudyReader

    reader = StudyReader(locations.tracking_uri, name)
    origin = reader.notes().origin
    contents = (reader.artifact(run_id, STUDY_FILE) for run_id in reader.arm_runs().values())
    content = next((content for content in contents if content), None)
    if origin is not None and content is None and (lost := missing_artifacts(reader)):
        raise ArchiveError(f"{lost} The study itself is read from its YAML file, too.")
    if origin is None or content is None:
        raise ArchiveError(
            f"study: must be stored with its file to be named alone, but got study={name!r}, of "
            "whose runs none has stored it yet. Give its YAML file, or run it on."
        )
    path = None if origin.path is None else found(Path(origin.path), locations.folder)
    text = content.decode("utf-8")
    every = (*origin.overrides, *overrides)
    study = studies.loads(text, name, every, path=path, without_cells=without_cells)
    if not overrides:
        _check_whole(study, reader.identity() or {"arms": {}})
    return study


def _check_whole(study: Study, identity: Mapping[str, Any]) -> None:
    """Raises ArchiveError where the kept file is that of a part of what is stored."""
    if lost := identity["arms"].keys() - {arm.key for arm in study.arms}:
        raise ArchiveError(
            "study: must be stored with a file that has all of its arms to be named alone, but "
            f"that of study={study.name!r} lacks {', '.join(sorted(lost))}. Give a YAML file "
            "that has them too."
        )


def found(path: Path, folder: Path) -> Path:
    """Returns where a study's file, or one that it names, lies now.

    It may have moved together with its results, which often lie beside it or in a folder there.
    """
    folders = (path.parent, folder, folder.resolve().parent, Path.cwd())
    places = (near / path.name for near in folders)
    return next((place for place in places if place.is_file()), path)
