"""A study together with what the store holds of it."""

from pathlib import Path

from harness import study as studies
from harness.results.names import Archive, ArchiveError
from harness.store.identity import check_identity
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.source import holds_study
from harness.study import Study


class NothingError(ValueError):
    """Nothing is stored of the study yet."""


def open_study(
    study: str, overrides: tuple[str, ...], locations: Locations
) -> tuple[Study, StudyReader]:
    """Returns a study, and what reads its runs.

    Args:
        study: Its YAML file; or its name in the store, which kept the file.
        overrides: As ``harness run`` was given them; of no effect beside a name, for the
            store kept them.
        locations: Where it is stored.

    Raises:
        NothingError: The study of the file was never run there.
        ArchiveError: There is no study of that name, or its file was not kept.
        IdentityError: What was run there under its name is another study.
        ValueError: The file is wrong.
    """
    if studies.is_file(study):
        loaded, reader = _from_file(study, overrides, locations)
    else:
        loaded, reader = _from_store(study, locations)
    check_identity(loaded, reader, locations)
    return loaded, reader


def _from_file(
    path: str, overrides: tuple[str, ...], locations: Locations
) -> tuple[Study, StudyReader]:
    loaded = studies.load(path, overrides)
    if not holds_study(locations.tracking_uri, loaded.name):
        raise NothingError(
            f"study: must have been run, but {loaded.name!r} is not in {locations.tracking_uri}. "
            f"Run it: harness run {path}"
        )
    return loaded, StudyReader(locations.tracking_uri, loaded.name)


def _from_store(name: str, locations: Locations) -> tuple[Study, StudyReader]:
    reader = Archive(locations).reader(name)
    origin = reader.notes().origin
    contents = (reader.artifact(run_id, "study.yaml") for run_id in reader.arm_runs().values())
    content = next((content for content in contents if content), None)
    if origin is None or content is None:
        raise ArchiveError(
            f"study: must be kept with its runs to be named alone, but got study={name!r}, "
            "which is not. Give its YAML file."
        )
    path = None if origin.path is None else Path(origin.path)
    text = content.decode("utf-8")
    return studies.loads(text, name, origin.overrides, path=path), reader
