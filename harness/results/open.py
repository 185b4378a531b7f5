"""A study together with what the store holds of it."""

import shlex

from harness.store.address import AddressedError
from harness.store.identity import check_identity
from harness.store.kept import load_stored
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.soundness import check_not_lost
from harness.store.source import holds_study
from harness.study import Study


class NothingError(AddressedError):
    """Nothing is stored of the study yet."""


def open_study(
    study: str, overrides: tuple[str, ...], locations: Locations
) -> tuple[Study, StudyReader]:
    """Returns a study, and what reads its runs; files of its cells may be gone.

    Args:
        study: Its YAML file; or its name in the store, which kept the file.
        overrides: As ``harness run`` was given them; beside a name they follow those that the
            store kept.
        locations: Where it is stored.

    Raises:
        NothingError: The study of the file was never run there.
        StoreError: The store is damaged, or was lost.
        ArchiveError: There is no study of that name, or its file was not kept.
        IdentityError: What was run there under its name is another study.
        ValueError: The file is wrong.
    """
    loaded = load_stored(study, overrides, locations)
    check_not_lost(locations)
    if not holds_study(locations.tracking_uri, loaded.name):
        raise NothingError(
            f"study: must have been run, but {loaded.name!r} is not in {locations.tracking_uri}. "
            f"Run it: harness run {shlex.quote(study)}{locations.options}"
        )
    reader = StudyReader(locations.tracking_uri, loaded.name)
    check_identity(loaded, reader, locations)
    return loaded, reader
