"""Whether a study runs just now: a run that was killed looks in a store like one that goes on."""

from datetime import datetime

from harness.store.locations import Locations
from harness.store.lock import holder_of
from harness.store.reader import StudyReader


def standing(reader: StudyReader, locations: Locations) -> tuple[bool, str]:
    """Returns whether a process runs a study that is not whole, and a sentence on it.

    The study's lock tells, which ends with its process. The sentence is empty where nothing runs
    and nothing is stored.

    Raises:
        LockedError: The study's name is a path; none of this bench's is.
    """
    if holder := holder_of(reader.study_name, locations):
        who, _, since = holder.partition(" since ")
        return True, f"Running since {since}, by {who}." if since else f"Running, by {who}."
    last = last_activity(reader)
    if last is None:
        return False, ""
    return False, f"Incomplete: no process runs it; its last activity was at {last:%Y-%m-%d %H:%M}."


def last_activity(reader: StudyReader) -> datetime | None:
    """Returns when a study's latest run began, ended or was last evaluated."""
    rows = reader.search()
    moments = [moment for row in rows for moment in (row.start_time, row.end_time) if moment]
    open_rows = [row for row in rows if row.end_time is None]
    moments += [point.time_ms for row in open_rows for point in reader.points(row)]
    return datetime.fromtimestamp(max(moments) / 1000) if moments else None
