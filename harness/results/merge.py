"""``harness merge``: studies of several folders, brought together into one store.

A study is made whole beside its name and then named, so that it is there with all of its runs,
searches and files, or not at all. The folders are only read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.report.tried import is_done
from harness.results import clean, merged
from harness.results.doubled import fingerprint
from harness.store.address import AddressedError, StoreError, sqlite_path
from harness.store.kept import ASIDE, check_store, search_affixes, stored_names
from harness.store.known import ArchiveError
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.missing import missing_artifacts
from harness.store.notes import Origin, StudyNotes
from harness.store.presence import await_readable, await_writable
from harness.store.reader import ARM_PHASE, SUPERSEDED_PHASE, StudyReader, phase_of, unit_of
from harness.store.rows import RunRow
from harness.store.soundness import check_stores
from harness.store.source import holds_study
from harness.study import Study
from harness.study.units import Unit

UNFINISHED = f"{ASIDE}merged"
"""What follows a study's name while it is brought together."""
MAX_LISTED = 6


class MergeError(AddressedError):
    """Studies cannot be brought together; the message says all that is in the way."""


@dataclass(frozen=True)
class Part:
    """A study as one folder holds it.

    Attributes:
        locations: Where it is.
        reader: Reads it.
        identity: What it is.
        notes: What it remembers.
        runs: Its arms' own runs, and those that will not be trained again.
        num_left: Runs without a result, which stay where they are.
    """

    locations: Locations
    reader: StudyReader
    identity: Mapping[str, Any]
    notes: StudyNotes
    runs: tuple[RunRow, ...]
    num_left: int

    @property
    def folder(self) -> Path:
        """The folder, as it was given."""
        return self.locations.folder

    def ended(self) -> dict[str, dict[str, RunRow]]:
        """Returns the runs that count, by their arm's key and by their place in it."""
        ended: dict[str, dict[str, RunRow]] = {}
        for run in self.runs:
            if phase_of(run) not in (ARM_PHASE, SUPERSEDED_PHASE):
                ended.setdefault(_arm(run), {})[_place(run)] = run
        return ended


@dataclass(frozen=True)
class Merge:
    """A study that is to be brought together; nothing has been touched yet.

    Attributes:
        name: The study's.
        parts: It in every folder that holds it.
        owners: Arm -> the number of the part that it is taken from.
    """

    name: str
    parts: tuple[Part, ...]
    owners: Mapping[str, int]

    def runs(self) -> Iterator[tuple[Part, RunRow]]:
        """Yields what is copied, arms' own runs first."""
        for is_arm in (True, False):
            for number, part in enumerate(self.parts):
                for run in part.runs:
                    is_own = self.owners[_arm(run)] == number
                    if is_own and (phase_of(run) == ARM_PHASE) == is_arm:
                        yield part, run

    def identity(self) -> dict[str, Any]:
        """Returns what the whole study is: the arms and conditions of all parts."""
        return merged.identity([part.identity for part in self.parts])

    def notes(self) -> StudyNotes:
        """Returns what the whole study remembers.

        Speeds of several machines are not compared, and no page shows the whole study yet.
        """
        notes = [part.notes for part in self.parts]
        if len(notes) == 1:
            return notes[0]
        texts = [text for each in notes for text in each.texts]
        return replace(
            notes[0],
            pinned={arm: pin for each in notes for arm, pin in each.pinned.items()},
            timed="",
            reported="",
            complete="",
            warnings=tuple(dict.fromkeys(line for each in notes for line in each.warnings)),
            looks=tuple(sorted({look for each in notes for look in each.looks})),
            texts=tuple(text for i, text in enumerate(texts) if text not in texts[:i]),
        )

    def tags(self) -> Mapping[str, str]:
        """Returns the other tags of the experiment: what the page shows of a study of one part."""
        if len(self.parts) > 1:
            return {}
        tags = self.parts[0].reader.tags()
        return {key: value for key, value in tags.items() if not key.startswith("harness.")}

    def line(self, into: Locations, file: Study | str | None) -> str:
        """Returns what is said once it is done; ``file`` is as :func:`merged.whole` has it."""
        num_runs = sum(phase_of(run) != ARM_PHASE for _, run in self.runs())
        folders = ", ".join(str(part.folder) for part in self.parts)
        line = f"{self.name}: {_count(num_runs, 'run')} of {_count(len(self.owners), 'arm')}"
        line += f" from {folders}"
        if num_left := sum(part.num_left for part in self.parts):
            line += f"; {_count(num_left, 'run')} without a result not taken"
        if isinstance(file, str):
            line += f"; go on with a study file that has all of its arms ({file})"
        elif file is not None:
            num_more = len({arm.key for arm in file.arms} - self.owners.keys())
            line += f"; it asks for {_count(num_more, 'arm')} more" if num_more else ""
            line += f"; `harness run {self.name}{into.options}` goes on with it"
        return line


def merge(
    folders: Sequence[Path], names: Sequence[str], into: Locations, say: Callable[[str], None]
) -> None:
    """Brings the studies of folders together.

    Args:
        folders: Each with the ``mlflow.db``, ``optuna.db`` and ``artifacts/`` of a machine.
        names: Of the studies; none: all, but for those that were put aside.
        into: Where they are brought; it holds no study of these names.
        say: Told what was brought, a line a study.

    Raises:
        MergeError: Something is in the way; nothing was brought.
        LockedError: A study is being run.
        StoreError: A store cannot be used.
    """
    await_readable(into)
    found = find(folders, names, into)
    with ExitStack() as held:
        for each in found:
            for where in (*(part.locations for part in each.parts), into):
                held.enter_context(locked(each.name, where))
        # Found again: a study may have gone on until it was held.
        found = find(folders, names, into)
        await_writable(into)
        for each in found:
            file = _file(each)
            _make(each, into, file)
            say(each.line(into, file))


def find(folders: Sequence[Path], names: Sequence[str], into: Locations) -> list[Merge]:
    """Returns what is to be brought together; nothing is changed.

    Raises:
        MergeError: Something is in the way.
    """
    problems: list[str] = []
    parts: dict[str, list[Part]] = {}
    for folder in _once(folders, into, problems):
        try:
            for name in _studies(folder):
                if name in names or not names:
                    parts.setdefault(name, []).append(_part(name, folder))
        except (ArchiveError, StoreError) as error:
            problems.append(str(error))
    given = ", ".join(map(str, folders))
    problems += [f"study: must be in {given}, but got {n!r}." for n in names if n not in parts]
    if not (parts or problems):
        problems.append(f"folders: must hold studies of this bench, but {given} hold none.")
    check_stores(into)
    for name in parts:
        if holds_study(into.tracking_uri, name):
            problems.append(
                f"{name}: must be new in {into.tracking_uri}, but is there. Bring it into another "
                "--folder, and name this one among the folders."
            )
    found = [_joined(name, of_study, problems) for name, of_study in parts.items()]
    if problems:
        raise MergeError("\n".join(problems))
    return found


def _once(folders: Sequence[Path], into: Locations, problems: list[str]) -> list[Path]:
    """Returns the folders without those that are named twice, or are the goal."""
    known: dict[str, Path] = {}
    for folder in folders:
        uri = Locations(folder).tracking_uri
        if uri in known:
            problems.append(f"folders: must be named once, but got {folder} twice.")
        elif uri == into.tracking_uri:
            problems.append(
                f"folders: must be others than the goal, but got {folder}. Name another --folder."
            )
        known.setdefault(uri, folder)
    return [folder for uri, folder in known.items() if uri != into.tracking_uri]


def _studies(folder: Path) -> list[str]:
    """Returns the names of a folder's studies; those that were put aside are not among them."""
    locations = Locations(folder)
    check_store(locations)
    check_stores(locations)
    return [name for name in stored_names(locations) if ASIDE not in name]


def _part(name: str, folder: Path) -> Part:
    """Returns a study as a folder holds it.

    Raises:
        StoreError: It is no study of this bench, or not all of it is there.
    """
    locations = Locations(folder)
    reader = StudyReader(locations.tracking_uri, name)
    identity = reader.identity()
    if identity is None:
        raise StoreError(
            f"{name}: must be a study of this bench, but in {folder} is not. Name those that are "
            "with --study."
        )
    if (lost := missing_artifacts(reader)) is not None:
        raise StoreError(f"{name}: {lost}")
    if (waiting := locations.waiting_records(name)).exists():
        raise StoreError(
            f"{name}: no records must wait for a store, but some do in {waiting}. Store them: "
            f"harness run {name}{locations.options}"
        )
    frame = reader.runs()
    ended = set(frame[is_done(frame)]["run_id"])
    rows = reader.search()
    kept = [row for row in rows if phase_of(row) == ARM_PHASE or row.run_id in ended]
    return Part(locations, reader, identity, reader.notes(), tuple(kept), len(rows) - len(kept))


def _joined(name: str, parts: Sequence[Part], problems: list[str]) -> Merge:
    """Returns a study of several parts, and tells what keeps them apart."""
    owners: dict[str, int] = {}
    for number, part in enumerate(parts):
        for other in parts[:number]:
            problems += _conflicts(name, other, part)
        owners |= {arm: number for arm in part.ended()}
    for number, part in enumerate(parts):  # arms of which no run has ended anywhere
        for arm in (*part.identity["arms"], *map(_arm, part.runs)):
            owners.setdefault(arm, number)
    return Merge(name, tuple(parts), owners)


def _conflicts(name: str, first: Part, second: Part) -> Iterator[str]:
    """Yields why two parts are not one study: they differ, or both have run an arm."""
    folders = f"{first.folder} and {second.folder}"
    for difference in merged.conflicts(first.identity, second.identity):
        yield f"{name}: must be one study in {folders}, but {difference}. Rename one of them."
    ended, others = first.ended(), second.ended()
    for arm in ended.keys() & others.keys():
        doubled = [place for place in ended[arm] if place in others[arm]]
        num_first, num_second = len(ended[arm]), len(others[arm])
        fewer, where = (first if num_first < num_second else second), "one"
        if num_first != num_second:
            few, many = sorted((num_first, num_second))
            where = f"{fewer.folder}, which has {few} of its runs, and the other {many}"
        remedy = f"harness clean {name} --arm {arm}{fewer.locations.options} --yes"
        yield (
            f"{name}: {arm} must have run in one folder alone, but has in {folders} "
            f"({_described(doubled, ended[arm], others[arm])}). Remove it from {where}: {remedy}"
        )
    pins = {arm: pin for arm, pin in first.notes.pinned.items() if arm in second.notes.pinned}
    others_pins = {arm: second.notes.pinned[arm] for arm in pins}
    for difference in merged.differences(pins, others_pins):
        yield (
            f"{name}: what was resolved when an arm first ran must agree, but of {folders} "
            f"{difference}. Name text and engine in the study, and run one of them again."
        )


def _described(doubled: Sequence[str], ended: Mapping[str, RunRow], others: Any) -> str:
    """Returns which runs are there twice, and in what they differ."""
    if not doubled:
        return "with different runs, of which one search can hold only its own"
    shown = ", ".join(doubled[:MAX_LISTED])
    more = len(doubled) - MAX_LISTED
    text = f"{_count(len(doubled), 'run')} twice: {shown}{f' and {more} more' if more > 0 else ''}"
    pairs = [(fingerprint(ended[place]), fingerprint(others[place])) for place in doubled]
    other = {name for a, b in pairs for name in {**a, **b} if a.get(name) != b.get(name)}
    return f"{text}; they differ in {', '.join(sorted(other))}" if other else text


def _file(found: Merge) -> Study | str | None:
    """Returns the study of all parts; why there is none; None where there is one part."""
    if len(found.parts) == 1:
        return None
    return merged.whole(found.name, [part.locations for part in found.parts], found.identity())


def _make(found: Merge, into: Locations, file: Study | str | None) -> None:
    """Makes a study whole and names it; of one that was not finished nothing is left."""
    from harness.store.copying import StudyCopy  # loads MLflow

    name = found.name + UNFINISHED
    _remove(name, into)
    with ExitStack() as undo:
        undo.callback(_remove, name, into)
        with closing(StudyCopy(into.tracking_uri, name, into.artifacts)) as copy:
            notes = found.notes()
            if isinstance(file, Study):
                copy.keep_study_file(file.text)
                path = None if file.path is None else str(file.path)
                notes = replace(notes, origin=Origin(path, file.overrides))
            copy.describe(found.identity(), notes, found.tags())
            for part, run in found.runs():
                copy.add(part.reader, run)
            for number, part in enumerate(found.parts):
                arms = {arm for arm, owner in found.owners.items() if owner == number}
                _copy_searches(found.name, part, arms, into.storage_url, copy.birth)
            copy.finish(found.name)
        undo.pop_all()


def _copy_searches(name: str, part: Part, arms: set[str], url: str, birth: str) -> None:
    """Copies the searches of a part's arms; a storage that was lost is restored by a launch."""
    path = sqlite_path(part.locations.storage_url)
    if path is None or not path.exists():
        return
    from harness.tuning import storage as storages  # loads Optuna

    start, end = search_affixes(name, part.reader.birth)
    _, new_end = search_affixes(name, birth)
    with storages.opened(part.locations.storage_url) as source, storages.opened(url) as target:
        for search in storages.stored(source):
            unit = search.removeprefix(start).removesuffix(end)
            is_of_study = search == f"{start}{unit}{end}"
            if is_of_study and str(Unit.parse(unit).first_repeat) in arms:
                storages.copy(source, search, target, f"{start}{unit}{new_end}")


def _remove(name: str, into: Locations) -> None:
    """Removes what an earlier merge left that did not come to its end."""
    if holds_study(into.tracking_uri, name):
        with suppress(ArchiveError):  # it holds nothing yet, and is gone on with
            clean.find(name, into).carry_out()


def _arm(run: RunRow) -> str:
    return str(unit_of(run).first_repeat)


def _place(run: RunRow) -> str:
    """Returns the place of a run in its arm: ``trial/3``, ``1:replicate/0.2`` in a repeat."""
    repeat = f"{unit_of(run).repeat}:" if unit_of(run).repeat else ""
    draw = f".{run.tags['draw']}" if run.tags.get("draw", "0") != "0" else ""
    return f"{repeat}{phase_of(run)}/{run.tags['index']}{draw}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
