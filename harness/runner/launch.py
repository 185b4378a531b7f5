"""From a study file to its verdict: what ``harness run`` does."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cells.registry import held_files
from harness.runner.progress import Display, screen
from harness.store.kept import ASIDE, load_study
from harness.store.locations import Locations
from harness.store.presence import await_readable, await_writable
from harness.study import Study

if TYPE_CHECKING:  # these load MLflow, pandas, Optuna and torch: a wrong study is told before that
    from harness.data import Data
    from harness.report import Report
    from harness.runner.scheduler import Scheduler
    from harness.store.configuration import ExecutorKind
    from harness.store.lock import Assure

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""At most, while runs train."""
LATE = ("harness.report.drawing", "scipy.interpolate", "scipy.optimize")
"""What a report takes long to load."""


@dataclass(frozen=True)
class Overhead:
    """Where the seconds of a ``run`` went; the bench costs all but ``train`` and ``timing``.

    Attributes:
        total: Wall seconds since the person began to wait.
        train: Training; a report sums the runs' own clocks instead, which begin with their packs.
        timing: The runtime phase.
        start_up: Until the first plan was known.
        stores: MLflow and Optuna.
        first_update: Until the first training update had ended; None where nothing was trained.
    """

    total: float
    train: float
    timing: float
    start_up: float
    stores: float
    first_update: float | None = None

    def __str__(self) -> str:
        outside = self.total - self.train - self.timing
        rest = outside - self.start_up - self.stores
        first = (
            "" if self.first_update is None else f"; first update after {self.first_update:.1f} s"
        )
        return (
            f"This launch took {self.total:.0f} s by the wall clock: {self.train:.0f} s training, "
            f"{self.timing:.0f} s timing, {outside:.1f} s outside these (start-up "
            f"{self.start_up:.1f}, MLflow and Optuna {self.stores:.1f}, "
            f"checks and report {rest:.1f}){first}"
        )


def run(
    path: str | Path | Mapping[str, Any],
    *,
    overrides: tuple[str, ...] = (),
    locations: Locations | None = None,
    force: bool = False,
    new: bool = False,
    console: Console | None = None,
    begun: float | None = None,
    verbose: bool = False,
    executor: "ExecutorKind" = "inline",
    address: str = "auto",
) -> "Report":
    """Runs what a study still lacks and returns its report; a finished study trains nothing.

    Args:
        path: The study's YAML; or its name in the store, which kept the file; or the values that
            the file would hold.
        overrides: ``fix.hidden_size=128`` each; recorded with the runs.
        locations: Where the results live; the working directory by default.
        force: Run a design that cannot reach its own threshold.
        new: Put an earlier study of this name aside.
        console: Where progress and report are printed; standard output by default.
        begun: When the person began to wait, by ``time.monotonic``; now by default.
        verbose: Print the whole report, and not the verdicts alone.
        executor: Where packs train: ``inline``, in this process, or on a cluster of ``ray``.
        address: The cluster's: ``auto``, ``local`` or HOST:PORT.

    Raises:
        ValueError: The study, its data or its stores are wrong; the message says all that is.
        LockedError: The study is being run.
        KeyboardInterrupt: As it came; the next run goes on from there.
    """
    begun = time.monotonic() if begun is None else begun
    locations = locations or Locations(Path.cwd())
    display = Display(console or screen())
    with held_study(path, overrides, locations, force, new=new) as (study, assure):
        from harness.runner.finished import finished_report
        from harness.store.source import holds_study

        if not new:
            _put_aside_what_never_ran(study, locations, display)
            _tell_of_missing_artifacts(study, locations, display)
            report = finished_report(study, locations)
            if report is not None:
                overhead = Overhead(time.monotonic() - begun, 0.0, 0.0, 0.0, 0.0)
                _show(report, overhead, study, locations, display, verbose)
                return report
        is_first = new or not holds_study(locations.tracking_uri, study.name)
        texts = _texts_of_sound_runs(study, display) if is_first else {}
        from harness.runner.executors import open_executor  # late: it takes torch along

        checkpoints = locations.checkpoints(study.name)
        with closing(open_executor(executor, address, checkpoints, display.say)) as trains:
            if new:
                put_aside(study.name, locations)
            scheduler = open_scheduler(study, locations, display, assure)
            scheduler.executor = trains
            texts.clear()  # the scheduler holds them, and needed to read none of them again
            with closing(scheduler):
                return _run(scheduler, begun, verbose, is_checked=is_first)


def _texts_of_sound_runs(study: Study, display: Display) -> "dict[str, Data]":
    """Returns every arm's text.

    Raises:
        RunFault: Every run of an arm would fail; no store has been made or changed.
    """
    with _trial(display, len(study.arms)) as tell:  # torch is loaded first, which takes seconds
        from harness.preflight.design import told_with_all
        from harness.preflight.faults import check_runs
        from harness.preflight.resolve import resolve

        with told_with_all(study, force=True):  # its design was checked
            settings, _ = resolve(study)
        return check_runs(study, settings, tell)


@contextmanager
def _trial(display: Display, num_arms: int) -> Iterator[Callable[[str], None]]:
    """Shows how far the arms have been tried; yields what is told of each before it is.

    A cell is compiled for it, which takes seconds, and minutes where the machine is busy.
    """
    num_told = 0

    def tell(arm: str) -> None:
        nonlocal num_told
        display.advance(int(num_told > 0), arm)
        num_told += 1

    with display.stage("trying", num_arms, what="arms, with one update each"):
        yield tell


@contextmanager
def held_study(
    path: str | Path | Mapping[str, Any],
    overrides: tuple[str, ...],
    locations: Locations,
    force: bool,
    new: bool = False,
) -> Iterator[tuple[Study, "Assure"]]:
    """Holds the lock of a study that was found right, and whose stores were found whole.

    Its own cells stay what they were, whoever edits their files meanwhile.

    Yields it, and what makes sure that it is still held.

    Raises:
        ValueError: As :func:`run`.
    """
    await_readable(locations)
    with held_files():
        study = load_study(path, overrides, locations)
        from harness.preflight.design import check_design, told_with_all
        from harness.store.lock import locked
        from harness.store.soundness import check_stores

        with told_with_all(study, force):
            check_design(study, force)
        check_stores(locations, new=new)
        with locked(study.name, locations) as assure:
            yield study, assure


def open_scheduler(
    study: Study, locations: Locations, display: Display, assure: "Assure"
) -> "Scheduler":
    """Opens the stores of a study that is held; ``assure`` makes sure that it still is."""
    from harness.runner.scheduler import Scheduler

    await_writable(locations)
    return Scheduler(study, locations, display, assure)


def _run(scheduler: "Scheduler", begun: float, verbose: bool, is_checked: bool) -> "Report":
    """Runs what is missing, after a look at whether it can train where none was taken before."""
    from harness.engine import beside
    from harness.preflight.faults import check_runs
    from harness.runner import publisher, runtime_phase

    study, display = scheduler.study, scheduler.display
    start_up = time.monotonic() - begun - scheduler.store_seconds
    plans = scheduler.next_plans()
    if plans or runtime_phase.timing_plans(scheduler):
        if not is_checked:
            units = runtime_phase.first_repeats(scheduler)
            with _trial(display, len(units)) as tell:
                check_runs(study, {str(unit): scheduler.settings[unit] for unit in units}, tell)
        _say_what_will_run(scheduler)
    loading = beside.begin(_load_for_report) if plans else None
    with _often_collected():
        while plans:
            scheduler.train(plans)
            if loading is not None:
                beside.outcome(loading)  # two threads that load the same may get half a module
            plans = scheduler.next_plans()
    timing_seconds = 0.0
    try:
        timing_seconds = runtime_phase.measure(scheduler)
    except (RuntimeError, MemoryError) as error:
        # The replicates stand; the report says that the timings are missing.
        display.say(f"runtime: not measured, {type(error).__name__}: {error}", "yellow")
    report = scheduler.report()
    publisher.publish(scheduler, report)
    first_update = scheduler.first_update
    overhead = Overhead(
        total=time.monotonic() - begun,
        train=scheduler.train_seconds,
        timing=timing_seconds,
        start_up=start_up,
        stores=scheduler.store_seconds,
        first_update=None if first_update is None else first_update - begun,
    )
    _show(report, overhead, study, scheduler.locations, display, verbose)
    return report


@contextmanager
def _often_collected() -> Iterator[None]:
    """Searches for garbage oftener than the command does: a user's step may leave memory in it."""
    before = gc.get_threshold()
    if before[0] > OBJECTS_BETWEEN_COLLECTIONS:  # else this is no process of the command's own
        gc.freeze()  # what is loaded stays
    gc.set_threshold(min(before[0], OBJECTS_BETWEEN_COLLECTIONS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _load_for_report() -> None:
    """Loads what a report needs while runs train, and not when a person waits for it."""
    for name in LATE:
        with suppress(Exception):  # the report says what is wrong
            import_module(name)


def _say_what_will_run(scheduler: "Scheduler") -> None:
    """Prints a line per arm: its engine, size, runs, and about how long they take."""
    from harness.preflight.probe import probe_arm
    from harness.runner.runtime_phase import first_repeats

    for unit in first_repeats(scheduler):
        settings = scheduler.settings[unit]
        probe = probe_arm(scheduler.study, str(unit), settings, is_brief=True)
        scheduler.display.say(
            f"{unit}: {probe.settings.engine}, hidden_size {probe.hidden_size}, "
            f"{probe.num_parameters:,} parameters, {probe.num_runs} runs of "
            f"{probe.num_updates:,} updates, about {probe.seconds:.0f} s"
        )


def _show(
    report: "Report",
    overhead: Overhead,
    study: Study,
    locations: Locations,
    display: Display,
    verbose: bool,
) -> None:
    """Prints the report below what the launch has to say: the answer is read last."""
    display.say(str(overhead))
    page = f"harness ui {study.name}{locations.reading_options}"
    display.say(f"{page}  opens the runs in MLflow\n", "bold")
    report.terminal(display.console, verbose)


def _put_aside_what_never_ran(study: Study, locations: Locations, display: Display) -> None:
    """Puts a study of this name aside that is something else, where no run of it has a result.

    So a mistake in a study file is mended without --new: there is nothing to lose.
    """
    from harness.store.reader import StudyReader
    from harness.store.source import holds_study

    if not holds_study(locations.tracking_uri, study.name):
        return
    reader = StudyReader(locations.tracking_uri, study.name)
    stored = reader.identity()
    changes = [] if stored is None else study.changes_since(stored)
    if changes and not reader.has_result():
        lines = "\n".join(f"  {change}" for change in changes)
        display.say(f"the earlier {study.name} is put aside, no run of it has a result:\n{lines}")
        put_aside(study.name, locations)


def _tell_of_missing_artifacts(study: Study, locations: Locations, display: Display) -> None:
    from harness.store.missing import missing_artifacts
    from harness.store.reader import StudyReader
    from harness.store.source import holds_study

    if holds_study(locations.tracking_uri, study.name):
        lost = missing_artifacts(StudyReader(locations.tracking_uri, study.name))
        if lost is not None:
            display.say(lost, "yellow")


def put_aside(study_name: str, locations: Locations) -> None:
    """Renames an earlier study's experiment, so that the name is free; nothing of it is lost."""
    from harness.store.connection import rename_study

    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    rename_study(locations.tracking_uri, study_name, f"{study_name}{ASIDE}{now}")
