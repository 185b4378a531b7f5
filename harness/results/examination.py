"""What `harness doctor` finds in one study: one place after another, nothing changed."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.results import doubled
from harness.results.file_faults import artifact_fault, checkpoint_fault
from harness.store import soundness
from harness.store.address import JOURNAL, StoreError, sqlite_path
from harness.store.counting import counting, counting_arm, has_result, is_over
from harness.store.kept import search_affixes
from harness.store.locations import Locations
from harness.store.lock import holder_of
from harness.store.reader import ARM_PHASE, StudyReader, key_of, phase_of
from harness.store.reader import unit_of as unit_of_run
from harness.store.rows import MetricPoint, RunRow
from harness.store.spool import unused
from harness.study.units import Phase, RunKey, Unit
from harness.training.files import checkpoint_name
from harness.training.messages import RESULTS, RunState

if TYPE_CHECKING:
    from harness.store.remover import StudyRemover

TOLERANCE = 1e-12
"""How far a trial's value may lie from the mean of its runs: both stores keep whole floats."""
MAX_LISTED = 10
OPEN = ("running", "waiting")
"""The states of trials that Optuna has not been told of."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        place: What was looked at: databases, folders, runs, searches, artifacts, checkpoints or
            engine.
        text: What is wrong, and where.
        remedy: The way out; empty where the text says it.
        mend: Puts it right without losing anything; None where a person must.
    """

    place: str
    text: str
    remedy: str
    mend: Callable[[], None] | None = None


class Examination:
    """One study, looked over: counts by place of what was looked at, and what was found.

    Attributes:
        looked_at: How many things of each place were looked at.
        holder: The process that runs the study; None where none does.
    """

    def __init__(
        self, name: str, locations: Locations, *, whole: bool, is_held: bool = False
    ) -> None:
        """Opens the study.

        Args:
            name: The study's.
            locations: Where it is.
            whole: Read every file, too.
            is_held: This process holds the study, so that no other runs it.

        Raises:
            StoreError: The store cannot be read.
        """
        self.name, self.locations, self.whole = name, locations, whole
        self.looked_at: Counter[str] = Counter()
        self.holder = None if is_held else holder_of(name, locations)
        self._reader = StudyReader(locations.tracking_uri, name).at_once()
        self._runs: dict[RunKey, list[RunRow]] = {}
        self._arms: dict[Unit, list[RunRow]] = {}
        self._rows = self._reader.search()
        for row in self._rows:
            if phase_of(row) == ARM_PHASE:
                self._arms.setdefault(unit_of_run(row), []).append(row)
            elif key := key_of(row):
                self._runs.setdefault(key, []).append(row)

    def findings(self) -> Iterator[Finding]:
        """Yields what is wrong with the study."""
        for examine in (
            self._of_runs,
            self._of_searches,
            self._of_artifacts,
            self._of_checkpoints,
            self._of_waiting_records,
        ):
            yield from examine()

    # Commands that are ways out

    @property
    def _run(self) -> str:
        return f"harness run {shlex.quote(self.name)}{self.locations.options}"

    @property
    def _page(self) -> str:
        return f"harness ui {shlex.quote(self.name)}{self.locations.reading_options}"

    @property
    def _run_again(self) -> str:
        return f"`{self._run}` goes on from there"

    @property
    def _search_again(self) -> str:
        return (
            "MLflow's runs are what is reported; to have the search agree with them, move Optuna's "
            f"storage away: `{self._run}` restores it from MLflow"
        )

    # Runs

    def _of_runs(self) -> Iterator[Finding]:
        self.looked_at["runs"] += len(self._rows)
        for row in self._reader.unreadable():
            text = f"run {row.run_id}: its tags do not say where it belongs"
            yield Finding("runs", text, f"delete that run in MLflow: {self._page}")
        yield from self._of_doubled_runs()
        open_rows = [row for row in self._rows if row.status == "RUNNING"]
        if self.holder is None and open_rows:
            yield self._without_driver(open_rows)
        for row in self._rows:
            if row.status == "FINISHED" and not row.tags.get("state"):
                text = f"{self._called(row)}: FINISHED in MLflow, but how it ended is not stored"
                yield Finding("runs", text, f"delete that run in MLflow: {self._page}")
        yield from self._of_points()

    def _of_doubled_runs(self) -> Iterator[Finding]:
        for arm, rows in self._arms.items():
            if len(rows) > 1:
                yield self._doubled(f"{arm}/{ARM_PHASE}", rows, counting_arm(rows, self._rows))
        for key, rows in self._runs.items():
            if len(rows) > 1:
                yield self._doubled(str(key), rows, counting(rows))

    def _doubled(self, place: str, rows: list[RunRow], kept: RunRow) -> Finding:
        def mend() -> None:
            remover = self._remover()
            for row in rows:
                if row is not kept:
                    remover.put_aside(row)
            # What was put aside may hold the arm's timings: the next launch measures them again.
            remover.forget_report(timings=phase_of(kept) == ARM_PHASE)

        text = f"{place}: stored {len(rows)} times ({', '.join(row.run_id for row in rows)})"
        if differing := doubled.contradictions(rows):
            text = f"{text}, with other values of {listed(differing)}"
            remedy = f"delete in MLflow what must not count: {self._page}"
            return Finding("runs", text, remedy)
        repair = f"harness doctor {shlex.quote(self.name)} --repair{self.locations.options}"
        remedy = f"`{repair}` keeps {kept.run_id} and puts the rest aside"
        return Finding("runs", text, remedy, mend)

    def _of_points(self) -> Iterator[Finding]:
        """Yields metrics with two values at one update; a server is asked where all is read.

        An arm's own numbers change with every launch that adds to the study, and all are kept.
        """
        called = {row.run_id: self._called(row) for row in self._rows if phase_of(row) != ARM_PHASE}
        of_runs: dict[str, list[str]] = {}
        for run_id, metric, update in self._doubled_points():
            of_runs.setdefault(run_id, []).append(f"{metric} at update {update}")
        for run_id, points in of_runs.items():
            if run_id in called:
                text = f"{called[run_id]}: stored more than once: {listed(points)}"
                yield Finding("runs", text, "the values are equal; nothing has to be done")

    def _doubled_points(self) -> list[tuple[str, str, int]]:
        path = sqlite_path(self.locations.tracking_uri)
        if path is not None:
            return soundness.doubled_points(path)
        return [
            (row.run_id, metric, update)
            for row in (self._rows if self.whole else ())
            if phase_of(row) != ARM_PHASE
            for metric, update in _booked_twice(self._reader.points(row))
        ]

    def _without_driver(self, rows: list[RunRow]) -> Finding:
        def mend() -> None:
            remover = self._remover()
            for row in rows:
                remover.end_killed(row.run_id)

        names = listed([self._called(row) for row in rows])
        text = f"{self.name}: RUNNING, but no process runs the study: {names}"
        return Finding("runs", text, self._run_again, mend)

    def _remover(self) -> "StudyRemover":
        from harness.store.remover import StudyRemover  # loads MLflow

        reader, root = self._reader, self.locations.artifacts
        return StudyRemover(reader.uri, reader.experiment_id, root)

    # Searches

    def _of_searches(self) -> Iterator[Finding]:
        of_trials = {key: rows for key, rows in self._runs.items() if key.phase is Phase.TRIAL}
        trials = {key: counting(rows) for key, rows in of_trials.items()}
        path = file_of(self.locations.storage_url)
        if path is not None and not path.is_file():
            if not trials:
                return
            text = f"{path} is missing, and with it the searches of {len(trials)} runs"
            yield Finding("searches", text, f"{self._run_again}: it is restored from MLflow")
            return
        from harness.tuning.storage import SearchError, stored_trials  # they load Optuna

        start, end = search_affixes(self.name, self._reader.birth)
        try:
            searches = stored_trials(self.locations.storage_url, start, end)
        except (SearchError, StoreError, OSError) as error:
            yield Finding("searches", told(error), "put the storage right first")
            return
        for unit in dict.fromkeys([*(str(key.unit) for key in trials), *searches]):
            runs: dict[int, list[RunRow]] = {}
            for key, row in trials.items():
                if str(key.unit) == unit:
                    runs.setdefault(key.index, []).append(row)
            known = {trial.number: trial for trial in searches.get(unit, [])}
            self.looked_at["searches"] += len(known)
            if lacking := sorted(runs.keys() - known.keys()):
                text = f"{unit}: Optuna lacks trials {listed(lacking)}, whose runs MLflow holds"
                yield Finding("searches", text, f"{self._run_again}: they are restored from MLflow")
            are_over = all(is_over(row) for rows in runs.values() for row in rows)
            for number, trial in known.items():
                fault = _disagreement(trial.state, trial.nats, runs.get(number, []), are_over)
                if fault and self.holder is None:
                    text = f"{unit} trial {number}: {fault}"
                    remedy = self._run_again if trial.state in OPEN else self._search_again
                    yield Finding("searches", text, remedy)

    # Files

    def _of_artifacts(self) -> Iterator[Finding]:
        lost = self._reader.missing_artifacts()
        for folder, count in lost.items():
            yield Finding(
                "artifacts",
                f"{folder}: the artifacts of {count} runs are missing; the results are not",
                "move the folder back, or beside mlflow.db; nothing has to be trained again",
            )
        for key, rows in self._runs.items():
            for row in rows:
                if row.status != "FINISHED" or row.tags.get("state") not in RESULTS:
                    continue
                self.looked_at["artifacts"] += 1
                if not lost and self.whole and (fault := artifact_fault(self._reader, row)):
                    text = f"{key}: {fault}"
                    remedy = "the results are in the database; a copy of artifacts/ has the file"
                    yield Finding("artifacts", text, remedy)

    def _of_checkpoints(self) -> Iterator[Finding]:
        folder = self.locations.checkpoints(self.name)
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        if self.holder is not None:
            return
        ended = {
            checkpoint_name(str(key)): key
            for key, rows in self._runs.items()
            if any(map(has_result, rows))
        }
        for path in files:
            self.looked_at["checkpoints"] += 1
            if path.suffix == ".partial":
                text = f"{path}: half written by a process that was killed"
                yield Finding("checkpoints", text, "remove the file", path.unlink)
            elif path.name in ended:
                text = f"{path}: of {ended[path.name]}, which has ended"
                yield Finding("checkpoints", text, "remove the file", path.unlink)
            elif fault := checkpoint_fault(path):
                text = f"{path}: {fault}; its run begins anew"
                yield Finding("checkpoints", text, "remove the file", path.unlink)

    def _of_waiting_records(self) -> Iterator[Finding]:
        waiting = self.locations.waiting_records(self.name)
        aside = unused(waiting)
        if self.holder is None and waiting.exists():
            text = f"{waiting}: {waiting.stat().st_size:,} bytes of records wait for the store"
            yield Finding("checkpoints", text, f"`{self._run}` stores them first")
        if aside.exists():
            text = f"{aside}: records that no launch uses, since the store refused them"
            remedy = "their runs are trained again; remove the file once nobody wants to look at it"
            yield Finding("checkpoints", text, remedy)

    def _called(self, row: RunRow) -> str:
        """Returns what a run is called."""
        phase = phase_of(row)
        place = "" if phase == ARM_PHASE else f"/{row.tags['index']}"
        return f"{unit_of_run(row)}/{phase}{place}"


def file_of(url: str) -> Path | None:
    """Returns the file of a store, SQLite's or a journal's; None for a server's."""
    return Path(url.removeprefix(JOURNAL)) if url.startswith(JOURNAL) else sqlite_path(url)


def _booked_twice(points: Sequence[MetricPoint]) -> Iterator[tuple[str, int]]:
    """Yields (metric, update) of what was stored more than once.

    At its last update a run has a metric twice, once as a point and once in its summary.
    """
    last = max((point.update for point in points), default=0)
    counts = Counter((point.metric, point.update) for point in points)
    for (metric, update), count in counts.items():
        if count > (2 if update == last else 1):
            yield metric, update


def _disagreement(state: str, nats: float | None, runs: list[RunRow], are_over: bool) -> str | None:
    """Returns in what a trial and its runs differ; None where they agree."""
    if state in OPEN:
        return "all its runs have ended, but Optuna was not told" if runs and are_over else None
    states = [run.tags.get("state") for run in runs if is_over(run)]
    shown = ", ".join(map(str, states)) or "no run"
    if state == "pruned":
        agrees = RunState.PRUNED in states
    elif state == "failed":
        agrees = RunState.FAILED in states
    else:
        agrees = bool(states) and all(
            each in (RunState.FINISHED, RunState.DIVERGED) for each in states
        )
    if not agrees:
        return f"{state} in Optuna, but {shown} in MLflow"
    if state != "complete":
        return None
    mean = sum(run.metrics.get("objective", math.nan) for run in runs) / len(runs)
    if nats is None or not math.isclose(mean, nats, rel_tol=TOLERANCE):
        return f"worth {nats} nats in Optuna, but {mean} in MLflow"
    return None


def told(error: Exception) -> str:
    """Returns an error in one line, one of the system's by its file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    return " ".join(str(error).split())


def listed(things: Sequence[object]) -> str:
    """Returns the first things, and how many more there are."""
    shown = ", ".join(map(str, things[:MAX_LISTED]))
    more = len(things) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
