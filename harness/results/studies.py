"""All studies of a store: how far each has come, what it says, and when it was last worked on."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from harness.results.standing import last_activity
from harness.results.status import asked_runs, shown_total, stored_runs
from harness.store.address import StoreError, without_passwords
from harness.store.kept import ASIDE, check_store, load_stored, stored_names
from harness.store.locations import Locations
from harness.store.lock import LockedError, holder_of
from harness.store.reader import StudyReader
from harness.study.demand import demand
from harness.study.units import Phase
from harness.training.messages import RunState

GAP = "  "
RUNNING = "running"
UNREADABLE = "cannot be read"
UNDER_WAY = ("Running: ", "Stopped: ")
"""How a page begins that has no report yet."""


@dataclass(frozen=True)
class Standing:
    """How a study stands.

    Attributes:
        study: Its name.
        state: ``running``, ``finished``, ``unfinished``, ``not begun``, ``put aside`` or
            ``cannot be read``.
        num_ended: How many of its runs have ended; None where it cannot be read.
        wanted: How many it asks for, in words; None where its file was not kept.
        last: When it was last worked on; None where no run is stored.
        says: The first line of its page: the verdicts, or how far it has come; empty without one.
            Of a study that cannot be read, the reason.
    """

    study: str
    state: str
    num_ended: int | None
    wanted: str | None
    last: datetime | None
    says: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row of the table."""
        ended = "?" if self.num_ended is None else f"{self.num_ended:,}"
        runs = f"{ended} of {self.wanted or '?'}"
        last = "" if self.last is None else f"{self.last:%Y-%m-%d %H:%M}"
        return self.study, self.state, runs, last


def status_lines(locations: Locations, width: int) -> Iterator[str]:
    """Yields a table of all studies of a store, with what each says below its row.

    Args:
        locations: Where they are stored.
        width: In characters.

    Raises:
        ArchiveError: There is no store.
        StoreError: The store cannot be read.
    """
    check_store(locations)
    readers = [StudyReader(locations.tracking_uri, name) for name in stored_names(locations)]
    found = [_found(reader, locations) for reader in readers]
    standings = [each for each in found if each is not None]
    standings.sort(key=lambda each: (each.last or datetime.min, each.study), reverse=True)
    if standings:
        yield from _table(standings, width)
    else:
        yield f"No study is stored in {without_passwords(locations.tracking_uri)}."
    if num_others := len(readers) - len(standings):
        noun = (
            "experiment of another program is"
            if num_others == 1
            else ("experiments of other programs are")
        )
        yield f"{num_others:,} {noun} stored beside them."


def _table(standings: Sequence[Standing], width: int) -> Iterator[str]:
    rows = [("study", "state", "ended", "last activity"), *(each.cells for each in standings)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    says = ["", *(each.says for each in standings)]
    for row, text in zip(rows, says, strict=True):
        padded = (cell.ljust(length) for cell, length in zip(row, widths, strict=True))
        yield GAP.join(padded).rstrip()
        indent = 2 * GAP
        yield from textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)


def _found(reader: StudyReader, locations: Locations) -> Standing | None:
    """Returns how a study stands, one that is damaged too; None for what is no study."""
    try:
        if reader.identity() is None and not reader.search():
            return None
        return _standing(reader, locations)
    except StoreError as error:  # the other studies are told all the same
        reason = " ".join(str(error).split())
        return Standing(reader.study_name, UNREADABLE, None, None, None, reason)


def _standing(reader: StudyReader, locations: Locations) -> Standing:
    runs = stored_runs(reader)
    counted, wanted, is_whole = runs[runs["phase"].isin(list(Phase))], None, False
    try:
        study = load_stored(reader.study_name, (), locations)
        asked = list(asked_runs(study, reader, runs))
    except StoreError:
        raise
    except ValueError:  # its file was not kept, or is none that this version reads
        pass
    else:
        counted = runs[runs.index.isin([row for each in asked for row in each.runs.index])]
        num_wanted = sum(each.num_wanted for each in asked)
        # Fewer runs may be all: finalists are few where few settings are fit, and an arm that
        # was stopped has no replicates. The launch that found nothing left to do has said so.
        is_whole = reader.notes().complete == demand(study)
        wanted = shown_total(study, num_wanted, len(counted), is_whole)
    is_open = counted["state"] == str(RunState.RUNNING)
    is_whole = is_whole and not is_open.any()
    state = _state(reader.study_name, locations, len(runs), is_whole)
    says = reader.headline()
    if state != RUNNING and says.startswith(UNDER_WAY):
        says = ""  # what was under way then
    num_ended = len(counted) - int(is_open.sum())
    return Standing(reader.study_name, state, num_ended, wanted, last_activity(reader), says)


def _state(name: str, locations: Locations, num_runs: int, is_whole: bool) -> str:
    if ASIDE in name:
        return "put aside"
    with suppress(LockedError):  # a name of somebody else's that is a path
        if holder_of(name, locations):
            return RUNNING
    if is_whole:
        return "finished"
    return "unfinished" if num_runs else "not begun"
