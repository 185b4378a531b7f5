"""What `harness doctor` looks at, and what it finds: one place after another, nothing changed."""

import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.store import soundness
from harness.store.address import StoreError, sqlite_path
from harness.store.kept import search_affixes
from harness.store.locations import Locations
from harness.store.lock import holder_of
from harness.store.reader import ARM_PHASE, SUPERSEDED_PHASE, StudyReader, draw_of, phase_of
from harness.store.reader import unit_of as unit_of_run
from harness.store.rows import RunRow
from harness.study.units import Phase, RunKey, Unit
from harness.training.files import FORECAST_FILE, MODEL_FILE, STATES_FILE, checkpoint_name
from harness.training.messages import RESULTS, RunState

CHECKSUM_BYTES = 32
TOLERANCE = 1e-12
"""How far a trial's value may lie from the mean of its runs: both stores keep whole floats."""
MAX_LISTED = 10
RUN_AGAIN = "`harness run` goes on from there"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        place: What was looked at: databases, folders, runs, searches, artifacts, checkpoints or
            engine.
        text: What is wrong, and where.
        remedy: The way out.
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
        self._reader = StudyReader(locations.tracking_uri, name)
        self._runs: dict[RunKey, list[RunRow]] = {}
        self._rows = self._reader.search()
        for row in self._rows:
            if phase_of(row) not in (ARM_PHASE, SUPERSEDED_PHASE):
                place = Phase(phase_of(row)), int(row.tags["index"]), draw_of(row)
                self._runs.setdefault(RunKey(unit_of_run(row), *place), []).append(row)

    def findings(self) -> Iterator[Finding]:
        """Yields what is wrong with the study."""
        for examine in (self._of_runs, self._of_searches, self._of_artifacts, self._of_checkpoints):
            yield from examine()

    # Runs

    def _of_runs(self) -> Iterator[Finding]:
        self.looked_at["runs"] += len(self._rows)
        for row in self._reader.unreadable():
            text = f"run {row.run_id}: its tags do not say where it belongs"
            yield Finding("runs", text, "delete that run in MLflow: harness ui")
        for key, rows in self._runs.items():
            if len(rows) > 1:
                ids = ", ".join(row.run_id for row in rows)
                yield Finding("runs", f"{key}: stored {len(rows)} times ({ids})", self._clean(key))
        open_rows = [row for row in self._rows if row.status == "RUNNING"]
        if self.holder is None and open_rows:
            yield self._without_driver(open_rows)
        for row in self._rows:
            if row.status == "FINISHED" and not row.tags.get("state"):
                text = f"{self._called(row)}: FINISHED in MLflow, but how it ended is not stored"
                yield Finding("runs", text, "delete that run in MLflow: harness ui")
        yield from self._of_points()

    def _of_points(self) -> Iterator[Finding]:
        """Yields metrics with two values at one update; only a SQLite file is asked."""
        path = sqlite_path(self.locations.tracking_uri)
        if path is None:
            return
        called = {row.run_id: self._called(row) for row in self._rows}
        doubled: dict[str, list[str]] = {}
        for run_id, metric, update in soundness.doubled_points(path):
            doubled.setdefault(run_id, []).append(f"{metric} at update {update}")
        for run_id, points in doubled.items():
            if run_id in called:
                text = f"{called[run_id]}: stored more than once: {_listed(points)}"
                yield Finding("runs", text, "the values are equal; nothing has to be done")

    def _without_driver(self, rows: list[RunRow]) -> Finding:
        def mend() -> None:
            from harness.store.remover import StudyRemover  # loads MLflow

            reader, root = self._reader, self.locations.artifacts
            remover = StudyRemover(reader.uri, reader.experiment_id, root)
            for row in rows:
                remover.end_killed(row.run_id)

        names = _listed([self._called(row) for row in rows])
        text = f"{self.name}: RUNNING, but no process runs the study: {names}"
        return Finding("runs", text, RUN_AGAIN, mend)

    # Searches

    def _of_searches(self) -> Iterator[Finding]:
        trials = {key: rows[-1] for key, rows in self._runs.items() if key.phase is Phase.TRIAL}
        path = sqlite_path(self.locations.storage_url)
        if not trials:
            return
        if path is not None and not path.is_file():
            text = f"{path} is missing, and with it the searches of {len(trials)} runs"
            yield Finding("searches", text, f"{RUN_AGAIN}: it is restored from MLflow")
            return
        from harness.tuning.storage import SearchError  # loads Optuna
        from harness.tuning.told import stored_trials

        start, end = search_affixes(self.name, self._reader.birth)
        try:
            searches = stored_trials(self.locations.storage_url, start, end)
        except SearchError as error:
            yield Finding("searches", str(error), "put the storage right first")
            return
        for unit in dict.fromkeys(str(key.unit) for key in trials):
            runs: dict[int, list[RunRow]] = {}
            for key, row in trials.items():
                if str(key.unit) == unit:
                    runs.setdefault(key.index, []).append(row)
            known = {trial.number: trial for trial in searches.get(unit, [])}
            self.looked_at["searches"] += len(known)
            if lacking := sorted(runs.keys() - known.keys()):
                text = f"{unit}: Optuna lacks trials {_listed(lacking)}, whose runs MLflow holds"
                yield Finding("searches", text, f"{RUN_AGAIN}: they are restored from MLflow")
            is_over = all(_is_over(row) for rows in runs.values() for row in rows)
            for number, trial in known.items():
                told = _disagreement(trial.state, trial.nats, runs.get(number, []), is_over)
                if told and self.holder is None:
                    text = f"{unit} trial {number}: {told}"
                    yield Finding("searches", text, RUN_AGAIN)

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
                if not lost and (fault := self._artifact_fault(row)):
                    text = f"{key}: {fault}"
                    remedy = "the results are in the database; a copy of artifacts/ has the file"
                    yield Finding("artifacts", text, remedy)

    def _artifact_fault(self, row: RunRow) -> str | None:
        """Returns what is wrong with the files of a run that ended; None where nothing is."""
        read = self._reader.artifact
        if not self.whole:
            return None
        curve = read(row.run_id, "curve.csv")
        if curve is None:
            return "curve.csv is missing"
        for name, whole in (
            ("curve.csv", _is_curve),
            ("samples.json", _is_json),
            (FORECAST_FILE, _is_forecast),
            (STATES_FILE, _is_json),
            (MODEL_FILE, _is_model),
        ):
            content = curve if name == "curve.csv" else read(row.run_id, name)
            if content is not None and not whole(content):
                return f"{name} is damaged"
        return None

    def _of_checkpoints(self) -> Iterator[Finding]:
        folder = self.locations.checkpoints(self.name)
        files = sorted(folder.glob("*")) if folder.is_dir() else []
        if self.holder is not None:
            return
        ended = {
            checkpoint_name(str(key)): key
            for key, rows in self._runs.items()
            if any(row.tags.get("state") in RESULTS and _is_over(row) for row in rows)
        }
        for path in files:
            self.looked_at["checkpoints"] += 1
            if path.suffix == ".partial":
                text = f"{path}: half written by a process that was killed"
                yield Finding("checkpoints", text, "remove the file", path.unlink)
            elif path.name in ended:
                text = f"{path}: of {ended[path.name]}, which has ended"
                yield Finding("checkpoints", text, "remove the file", path.unlink)
            elif fault := _checkpoint_fault(path):
                text = f"{path}: {fault}; its run begins anew"
                yield Finding("checkpoints", text, "remove the file", path.unlink)

    def _called(self, row: RunRow) -> str:
        """Returns what a run is called."""
        phase = phase_of(row)
        place = "" if phase == ARM_PHASE else f"/{row.tags['index']}"
        return f"{unit_of_run(row)}/{phase}{place}"

    def _clean(self, key: RunKey) -> str:
        return f"delete one of them in MLflow: harness ui {self.name}; {key} counts once"


def of_databases(locations: Locations, *, whole: bool) -> tuple[int, list[Finding]]:
    """Returns how many database files there are, and what is wrong with them."""
    findings = []
    count = 0
    for uri in (locations.tracking_uri, locations.storage_url):
        path = sqlite_path(uri)
        if path is None or not path.exists():
            continue
        count += 1
        if fault := soundness.database_fault(path, whole=whole):
            findings.append(Finding("databases", f"{path}: {fault}", soundness.REMEDY))
    try:
        if not findings:
            soundness.check_stores(locations)
    except StoreError as error:
        findings.append(Finding("databases", str(error), "as it says"))
    return count, findings


def of_folders(locations: Locations) -> tuple[int, list[Finding]]:
    """Returns how many places must be writable, and which are not."""
    places: list[Path | None] = [locations.folder, locations.artifacts]
    places += [sqlite_path(uri) for uri in (locations.tracking_uri, locations.storage_url)]
    found = [path for path in places if path is not None and path.exists()]
    closed = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    return len(found), [
        Finding("folders", f"{path}: must be readable and writable", f"chmod u+rw {path}")
        for path in closed
    ]


def of_engine() -> tuple[int, list[Finding]]:
    """Returns how many compiled cells are kept, and which of them would be made again."""
    from harness.cache import cache_folder
    from harness.engine.cpu.compiler import checksum_file, is_sound

    folder = cache_folder() / "engine"
    libraries = sorted(folder.glob("*.so")) if folder.is_dir() else []
    # One without a checksum is of an earlier version, and is never run.
    unsound = [path for path in libraries if checksum_file(path).exists() and not is_sound(path)]

    def mend() -> None:
        for path in unsound:
            path.unlink()

    if not unsound:
        return len(libraries), []
    names = _listed([path.name for path in unsound])
    text = f"{folder}: cut off, changed, or open to others to write: {names}"
    return len(libraries), [Finding("engine", text, "remove them; they are compiled again", mend)]


def _disagreement(state: str, nats: float | None, runs: list[RunRow], is_over: bool) -> str | None:
    """Returns in what a trial and its runs differ; None where they agree."""
    if state in ("running", "waiting"):
        return "all its runs have ended, but Optuna was not told" if runs and is_over else None
    states = [run.tags.get("state") for run in runs if _is_over(run)]
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


def _is_over(row: RunRow) -> bool:
    return row.status not in ("RUNNING", "KILLED", "SCHEDULED")


def _checkpoint_fault(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint's file; None where nothing is."""
    from harness.training import npz

    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if hashlib.sha256(content[CHECKSUM_BYTES:]).digest() != content[:CHECKSUM_BYTES]:
        return "damaged"
    try:
        npz.from_bytes(content[CHECKSUM_BYTES:])
    except npz.ArraysError:
        return "holds what this bench does not write"
    return None


def _is_curve(content: bytes) -> bool:
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(content))
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError):
        return not content.strip()
    return "update" in frame and frame["update"].is_monotonic_increasing


def _is_forecast(content: bytes) -> bool:
    from harness.store import frames

    try:
        return not frames.forecasts([(Unit(""), content)])["truth"].isna().any()
    except (KeyError, OverflowError, ValueError):  # pandas' own errors are ValueErrors
        return False


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _is_model(content: bytes) -> bool:
    from harness.training import npz

    try:
        npz.from_bytes(content)
    except npz.ArraysError:
        return False
    return True


def _listed(things: Sequence[object]) -> str:
    shown = ", ".join(map(str, things[:MAX_LISTED]))
    more = len(things) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
