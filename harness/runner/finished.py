"""A study that has all it asks for, told from its stores: nothing that trains is loaded."""

import hashlib

from harness import data
from harness.report import Report, colors
from harness.report.assemble import stored_report, warnings_of
from harness.store.identity import check_identity
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.source import holds_study
from harness.study import Study
from harness.study.demand import demand

PAGES = 3
"""The version of a study's pages in MLflow: an earlier one is written anew at the next launch."""


def finished_report(study: Study, locations: Locations) -> Report | None:
    """Returns the report of a study that lacks nothing, None where there is something to do.

    Raises:
        IdentityError: The study of this name in the store is something else.
    """
    if not holds_study(locations.tracking_uri, study.name):
        return None
    reader = StudyReader(locations.tracking_uri, study.name)
    check_identity(study, reader, locations)
    notes = reader.notes()
    if notes.complete != demand(study):
        return None
    for arm in study.arms:  # a text that has changed is told by the scheduler
        pinned = notes.pinned.get(arm.key, {}).get("text")
        if pinned != data.load(arm.settings).fingerprint[:12]:
            return None
    warnings = warnings_of(study, notes)
    report = stored_report(study, reader, warnings)
    is_shown = notes.reported == report_digest(report)  # else another version wrote the pages
    return report if is_shown and not report.missing else None


def report_digest(report: Report) -> str:
    """Returns a digest of what a report says, and of how the pages show it, in which colours."""
    shades = colors.by_arm([result.name for result in report.results], report.study.baseline.name)
    text = f"{report.csv()}{report.note()}pages {PAGES}{shades}"
    return hashlib.sha256(text.encode()).hexdigest()
