"""``harness doctor``: whether what is stored of studies is whole, and agrees with itself."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.results import installation
from harness.results.examination import Examination, Finding, told
from harness.store.address import StoreError
from harness.store.kept import check_store, name_of, stored_names
from harness.store.known import check_known
from harness.store.locations import Locations
from harness.store.lock import LockedError, locked
from harness.store.patience import reason
from harness.store.presence import await_readable

PLACES = ("databases", "folders", "runs", "searches", "artifacts", "checkpoints", "engine")
"""What is looked at, in the order of the table."""


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, and what was found.

    Attributes:
        looked_at: Place -> how many things.
        of_all: What was found beside the studies: in databases, folders, the engine's cache.
        by_study: Name -> what was found of a study.
        running: Study -> the process that runs it; what is under way is not told.
    """

    looked_at: Counter[str] = field(default_factory=Counter)
    of_all: list[Finding] = field(default_factory=list)
    by_study: dict[str, list[Finding]] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """All that was found."""
        return [*self.of_all, *(each for found in self.by_study.values() for each in found)]

    def print(self, console: Console) -> None:
        """Prints a table, and a line for every finding."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for column in ("looked at", "how many", "found"):
            table.add_column(column, justify="right" if column == "how many" else "left")
        for place in PLACES:
            count = sum(each.place == place for each in self.findings)
            found = "sound" if count == 0 else f"{count} to put right"
            table.add_row(place, f"{self.looked_at[place]:,}", Text(found))
        console.print(table)
        for name, holder in self.running.items():
            _say(console, f"{name}: run by {holder}; what is under way is not told")
        for each in self.findings:
            text = f"{each.text.rstrip('.')}. {_sentence(each.remedy) if each.remedy else ''}"
            _say(console, text.rstrip(), "yellow")


def examine(study: str | None, locations: Locations, *, whole: bool = False) -> Diagnosis:
    """Looks studies over; nothing is changed.

    Args:
        study: Its YAML file, or its name in the store; None: all studies of the store.
        locations: Where they are.
        whole: Read every file, too.

    Raises:
        ArchiveError: There is no store, or no such study in it.
        StoreError: A store does not answer.
    """
    await_readable(locations)
    diagnosis = Diagnosis()
    for place, (count, findings) in (
        ("databases", installation.of_databases(locations, whole=whole)),
        ("folders", installation.of_folders(locations)),
        ("engine", installation.of_engine()),
    ):
        diagnosis.looked_at[place] += count
        diagnosis.of_all.extend(findings)
    if any(each.place == "databases" for each in diagnosis.of_all):
        return diagnosis  # what a damaged database says of runs is not to be trusted
    check_store(locations, study or "")
    names = stored_names(locations)
    if study is not None:
        check_known("study", name_of(study), names, locations.tracking_uri)
        names = [name_of(study)]
    for name in names:
        _add(diagnosis, name, locations, whole)
    return diagnosis


def _add(diagnosis: Diagnosis, name: str, locations: Locations, whole: bool) -> None:
    """Adds what is found of one study."""
    try:
        examined = Examination(name, locations, whole=whole)
        findings = list(examined.findings())
    except LockedError:  # a name that no study has: an experiment of somebody else's
        return
    except (StoreError, OSError) as error:
        diagnosis.of_all.append(Finding("databases", told(error), ""))
        return
    diagnosis.looked_at.update(examined.looked_at)
    diagnosis.by_study[name] = findings
    if examined.holder is not None:
        diagnosis.running[name] = examined.holder


def doctor(
    study: str | None, locations: Locations, console: Console, *, verify: bool, repair: bool
) -> bool:
    """Looks studies over, prints what is found, and returns whether all is sound.

    Args:
        study: Its YAML file, or its name in the store; None: all studies of the store.
        locations: Where they are.
        console: Where it is printed.
        verify: Read every file, too.
        repair: Mend what can be mended without loss.

    Raises:
        ArchiveError: As :func:`examine`.
    """
    with console.status("reading every file") if verify else nullcontext():
        diagnosis = examine(study, locations, whole=verify)
    diagnosis.print(console)
    if not repair:
        return not diagnosis.findings
    num_left = _mend(diagnosis.of_all, console)
    for name, findings in diagnosis.by_study.items():
        if not findings:
            continue
        try:
            with locked(name, locations):
                # Found again: the study may have gone on until it was held.
                held = Examination(name, locations, whole=verify, is_held=True)
                num_left += _mend(list(held.findings()), console)
        except (LockedError, StoreError, OSError) as error:
            num_left += len(findings)
            _say(console, told(error), "yellow")
    _say(console, f"{num_left} left to put right" if num_left else "all is sound")
    return num_left == 0


def _mend(findings: Sequence[Finding], console: Console) -> int:
    """Mends what can be mended without loss, and returns how many findings are left."""
    num_left = 0
    for each in findings:
        if each.mend is None:
            num_left += 1
            continue
        try:
            each.mend()
        except Exception as error:  # a store's own too: what else was found is mended all the same
            num_left += 1
            _say(console, f"not mended: {each.text} ({reason(error)})", "yellow")
        else:
            _say(console, f"mended: {each.text}")
    return num_left


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return f"{text[0].upper() if text[0] != '`' else text[0]}{text[1:]}."
