"""Whether the study that is asked for is the study of its name in the store."""

from collections.abc import Sequence

from harness.store.address import AddressedError
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.study import GONE, Study


class IdentityError(AddressedError):
    """A study of the same name is something else."""


def check_identity(study: Study, reader: StudyReader, locations: Locations) -> None:
    """Raises IdentityError where the store holds a study of this name that is something else."""
    stored = reader.identity()
    changes = [] if stored is None else study.changes_since(stored)
    if changes:
        raise IdentityError(difference(study, locations, changes))


def difference(study: Study, locations: Locations, changes: Sequence[str]) -> str:
    """Returns the message on a study whose name stands for another one in the store."""
    is_smaller = all(change.endswith(GONE) for change in changes)
    remedy = "Name these arms in the study too, rename it" if is_smaller else "Rename the study"
    return (
        f"study: {study.name!r} in {locations.tracking_uri} must be this study, but differs:\n"
        + "\n".join(f"  {change}" for change in changes)
        + f"\n{remedy}, or run it with --new to put the old one aside and start afresh."
    )
