"""Names that a store must hold: what is said of one that it does not."""

from collections.abc import Sequence

from cells.spelling import nearest
from harness.store.address import AddressedError

MARKS = "@1 is an arm's second repeat, the first has no mark"


class ArchiveError(AddressedError):
    """The store does not hold what was asked for; the message says what it holds."""


def check_known(what: str, name: str, known: Sequence[str], where: str) -> None:
    """Raises ArchiveError where ``name`` is not among ``known``."""
    if name not in known:
        near = nearest(name, known)
        hint = f"Did you mean {near[0]}?" if near else f"It holds {', '.join(known) or 'none'}."
        if what == "study" and not near and where.startswith("sqlite:"):
            hint += " A study is stored in the folder that `harness run` was given, or ran in."
        marks = f" {MARKS}." if what == "arm" and "@" in name else ""
        raise ArchiveError(f"{what}: must be in {where}, but got {what}={name!r}. {hint}{marks}")
