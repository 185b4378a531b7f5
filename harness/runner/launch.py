"""From a study file to its verdict: what ``harness run`` does, for the command line and for Python
alike.
"""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from harness import study
from harness.preflight import probe
from harness.runner import recorder, signals
from harness.runner.progress import Display
from harness.store.locations import Places
from harness.training import checkpoint, messages, runtime
from harness.training.messages import Record

if TYPE_CHECKING:  # these load Optuna, MLflow and matplotlib: a wrong study is told before that
    from harness.report import Report
    from harness.runner.scheduler import Driver


class LockedError(ValueError):
    """Another process runs the study; the message says which."""


@dataclass(frozen=True)
class Overhead:
    """Where the seconds of a ``run`` went: all but ``train`` and ``timing`` is what the bench
    costs.
    """

    total: float
    train: float
    timing: float
    start_up: float
    books: float

    def __str__(self) -> str:
        outside = self.total - self.train - self.timing
        rest = outside - self.start_up - self.books
        return (
            f"{self.total:.0f} s: {self.train:.0f} s training, {self.timing:.0f} s timing, {outside:.1f} s outside "
            f"these (start-up {self.start_up:.1f}, MLflow and Optuna {self.books:.1f}, checks and report {rest:.1f})"
        )


def run(
    path: str | Path,
    *,
    overrides: tuple[str, ...] = (),
    places: Places | None = None,
    force: bool = False,
    new: bool = False,
    console: Console | None = None,
    started: float | None = None,
) -> "Report":
    """Runs what a study still lacks and returns its report; a finished study trains nothing.

    Args:
        path: The study's YAML.
        overrides: ``fix.hidden_size=128`` each; recorded with the runs.
        places: Where the results live; the working directory by default.
        force: Run a design that cannot reach its own threshold.
        new: Put an earlier study of this name aside.
        console: Where progress and report are printed; standard output by default.
        started: When the person began to wait, in Unix seconds; now by default.

    Raises:
        ValueError: The study, its data or its places are wrong; the message says all that is.
        LockedError: The study is being run.
        KeyboardInterrupt: As it came; the next run goes on from there.
    """
    started = time.time() if started is None else started
    places, console = places or Places(Path.cwd()), console or Console()
    loaded = study.load(path, overrides)
    check_design(loaded, force)
    with locked(loaded.name, places):
        if new:
            put_aside(loaded.name, places)
        display = Display(console)
        return _run(_driver(loaded, places, display), display, started)


def _driver(loaded: study.Study, places: Places, display: Display) -> "Driver":
    from harness.runner.scheduler import Driver

    with signals.held():
        return Driver(loaded, places, display)


def check_design(loaded: study.Study, force: bool) -> None:
    """Raises DesignError where the study cannot reach its own threshold, unless forced."""
    problem = probe.design_problem(loaded)
    if problem is not None and not force:
        raise probe.DesignError(problem)


def _run(running: "Driver", display: Display, started: float) -> "Report":
    start_up = time.time() - started - running.book_seconds
    plans = running.next_plans()
    if plans or running.timing_plans():
        for arm in running.first_repeat():
            display.say(_pilot_line(probe.pilot(running.study, arm, running.settings[arm])))
    while plans:
        running.train(plans)
        plans = running.next_plans()
    try:
        running.measure()
    except (
        RuntimeError,
        MemoryError,
    ) as error:  # the replicates stand; the report says that this is missing
        display.say(f"runtime: not measured, {type(error).__name__}: {error}", "yellow")
    report = running.report()
    running.close_books(report)
    overhead = Overhead(
        time.time() - started,
        running.train_seconds,
        running.timing_seconds,
        start_up,
        running.book_seconds,
    )
    report.terminal(display.console)
    display.say(str(overhead))
    display.say(f"harness ui {running.study.name}  opens the runs in MLflow", "bold")
    return report


def _pilot_line(found: probe.Pilot) -> str:
    return (
        f"{found.arm}: {found.settings.engine}, hidden_size {found.hidden_size}, {found.num_parameters:,} parameters, "
        f"{found.num_runs} runs of {found.num_updates:,} updates, about {found.seconds:.0f} s"
    )


def write_plan(
    path: str | Path,
    target: Path,
    *,
    overrides: tuple[str, ...] = (),
    places: Places | None = None,
    force: bool = False,
) -> str:
    """Writes the next round's plans, to be trained elsewhere, and returns a line on what they hold.

    Raises:
        ValueError: As :func:`run`.
    """
    places = places or Places(Path.cwd())
    loaded = study.load(path, overrides)
    check_design(loaded, force)
    with locked(loaded.name, places):
        running = _driver(loaded, places, Display(Console(quiet=True)))
        plans = [
            replace(p, checkpoint_folder=None) for p in running.next_plans()
        ]  # a worker has no such folder
        phase = loaded.measure.runtime
        if plans:
            target.write_text(messages.plans_to_json(plans), encoding="utf-8")
            return f"{target}: {sum(len(p.runs) for p in plans)} runs in {len(plans)} packs"
        timing = running.timing_plans()
        if not timing or phase is None:
            return f"{target}: not written, nothing is missing"
        text = runtime.phase_to_json(timing, rounds=phase.rounds, seconds=phase.seconds)
        target.write_text(text, encoding="utf-8")
        return f"{target}: the runtime phase of {len(timing)} arms"


def book_records(
    path: str | Path, source: Path, *, overrides: tuple[str, ...] = (), places: Places | None = None
) -> str:
    """Books records that a worker wrote elsewhere, as if trained here, and returns a line on what
    they held.

    Raises:
        ValueError: As :func:`run`; or the file holds no records of this study.
    """
    places = places or Places(Path.cwd())
    loaded = study.load(path, overrides)
    records, measured = _answers(source)
    with locked(loaded.name, places):
        running = _driver(loaded, places, Display(Console(quiet=True)))
        wanted = {run.id: (p, run) for p in running.next_plans() for run in p.runs}
        ended = running.books.ends
        missing = [record for record in records if recorder.place_of(record.run) not in ended]
        for record in missing:
            _check_wanted(record, wanted, source)
        _book(running, missing)
        if measured:
            strange = {row.arm for row in measured} ^ set(running.timing_plans())
            if strange:
                raise recorder.RecordError(
                    f"{source}: timings must be of the arms that lack them, but got {strange}."
                )
            running.store_timings(measured)
        running.close_books(running.report())
    return (
        f"{source}: {sum(r.kind == 'end' for r in missing)} runs and {len(measured)} timings booked"
    )


def _answers(source: Path) -> "tuple[list[Record], list[runtime.Measurement]]":
    """Returns the records and the measurements of a worker's file."""
    records, measured = [], []
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise messages.PlanError(
            f"{source}: must be what a worker wrote, but is no UTF-8 ({error})."
        ) from error
    for line in lines:
        if line.startswith('{"measurement"'):
            measured.append(runtime.Measurement.from_json(line))
        elif line.strip():
            records.append(Record.from_json(line))
    return records, measured


def _check_wanted(record: Record, wanted: dict, source: Path) -> None:
    """Raises RecordError for a record of a run, or of settings, that the study does not lack."""
    if record.run not in wanted:
        raise recorder.RecordError(
            f"{source}: records must be of runs that this study lacks, but got run={record.run!r}. "
            "Write a new plan with --plan and train that."
        )
    if record.kind == "start":
        _, run = wanted[record.run]
        if record.info.get("digest") != checkpoint.digest(
            run, record.info.get("corpus_fingerprint", "")
        ):
            raise recorder.RecordError(
                f"{source}: records must be of this study's settings, but those of run={record.run!r} are of others. "
                "Write a new plan with --plan and train that."
            )


def _book(running: "Driver", records: list[Record]) -> None:
    """Books records one by one, as if they came in now: where a run would have been pruned here, it
    is.
    """
    pruned: set[str] = set()
    for record in records:
        if record.run in pruned:
            continue
        if running.listen([record]):
            pruned.add(record.run)
            split = running.study.measure.objective.partition("/")[0]
            metrics = {name: record.metrics[name] for name in ("tokens", "seconds")}
            metrics["objective"] = record.metrics[f"{split}/loss"]
            running.listen(
                [
                    Record(
                        record.run, "end", record.update, record.time, metrics, {"state": "pruned"}
                    )
                ]
            )
    running.tracker.flush()
    running.settle()


def put_aside(name: str, places: Places) -> None:
    """Renames an earlier study's experiment, so that the name is free; nothing of it is lost."""
    from harness.store import tracker

    tracker.rename(places.tracking_uri, name, f"{name} until {datetime.now():%Y-%m-%d %H:%M:%S}")


@contextmanager
def locked(name: str, places: Places) -> Iterator[None]:
    """Holds the study: a kernel's file lock beside the database, which dies with its process.

    Raises:
        LockedError: Another process holds it.
    """
    places.folder.mkdir(parents=True, exist_ok=True)
    lock_path = places.folder / f".{name}.lock"
    holder = places.folder / f".{name}.holder.lock"
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise LockedError(
            f"study: must be run by one process at a time, but {name!r} is held by {who}. Wait for it, or end it."
        ) from error
    try:
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        holder.write_text(
            f"process {os.getpid()} on {platform.node()} since {now}", encoding="utf-8"
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
