"""What `harness doctor` looks at beside the studies: databases, folders and compiled cells."""

import os
from pathlib import Path

from harness.results.examination import Finding, file_of, listed
from harness.results.file_faults import journal_fault
from harness.store import soundness
from harness.store.address import JOURNAL, StoreError
from harness.store.locations import Locations


def of_databases(locations: Locations, *, whole: bool) -> tuple[int, list[Finding]]:
    """Returns how many database files there are, and what is wrong with them."""
    findings = []
    count = 0
    for uri in (locations.tracking_uri, locations.storage_url):
        path = file_of(uri)
        if path is None or not path.exists():
            continue
        count += 1
        is_journal = uri.startswith(JOURNAL)
        look = journal_fault if is_journal else soundness.database_fault
        remedy = soundness.JOURNAL_REMEDY if is_journal else soundness.REMEDY
        if fault := look(path, whole=whole):
            findings.append(Finding("databases", f"{path}: {fault}", remedy))
    try:
        if not findings:
            soundness.check_stores(locations)
    except StoreError as error:
        findings.append(Finding("databases", str(error), ""))
    return count, findings


def of_folders(locations: Locations) -> tuple[int, list[Finding]]:
    """Returns how many places must be writable, and which are not."""
    places: list[Path | None] = [locations.folder, locations.artifacts]
    places += [file_of(uri) for uri in (locations.tracking_uri, locations.storage_url)]
    found = [path for path in places if path is not None and path.exists()]
    closed = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    return len(found), [
        Finding("folders", f"{path}: must be readable and writable", f"chmod u+rw {path}")
        for path in closed
    ]


def of_engine() -> tuple[int, list[Finding]]:
    """Returns how many compiled cells are kept, and which of them would be made again."""
    from harness.cache import COMPILED, checksum_file, compiled_folder, is_sound

    folder = compiled_folder()
    libraries = sorted(path for end in COMPILED for path in folder.glob(f"*{end}"))
    # One without a checksum is of an earlier version, and is never run.
    unsound = [path for path in libraries if checksum_file(path).exists() and not is_sound(path)]

    def mend() -> None:
        for path in unsound:
            path.unlink()

    if not unsound:
        return len(libraries), []
    names = listed([path.name for path in unsound])
    text = f"{folder}: cut off, changed, or open to others to write: {names}"
    return len(libraries), [Finding("engine", text, "remove them; they are compiled again", mend)]
