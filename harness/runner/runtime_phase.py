"""The runtime phase of a study: all arms in turn, timed with nothing else going on."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from harness.preflight.resolve import pack_of, study_pack_size
from harness.runner.scheduler import Scheduler
from harness.settings import to_dict
from harness.store import signals
from harness.study.units import Unit
from harness.training import runtime
from harness.training.plan import Plan
from harness.training.runtime import Measurement


def timing_plans(scheduler: Scheduler) -> dict[str, list[Plan]]:
    """Returns what is still to be timed: of every arm a pack of 1 and one of the study's size.

    An arm is timed once, at the settings that its first search chose. There are no plans where all
    arms have been measured together at the settings that are now chosen.
    """
    study = scheduler.study
    chosen = {unit: scheduler.missing.chosen(unit) for unit in first_repeats(scheduler)}
    known = {unit: settings for unit, settings in chosen.items() if settings is not None}
    if study.measure.runtime is None or not known or is_timed(scheduler):
        return {}
    plans = {}
    for unit, settings in known.items():
        sizes = sorted({1, study_pack_size(study, settings)})
        plans[str(unit)] = [pack_of(study, str(unit), settings, size) for size in sizes]
    return plans


def is_timed(scheduler: Scheduler) -> bool:
    """Returns whether all arms have been measured together at the settings that are now chosen."""
    return scheduler.notes.timed == _digest(scheduler)


def first_repeats(scheduler: Scheduler) -> list[Unit]:
    """Returns the units of the first repeat, one an arm."""
    return [unit for unit in scheduler.units if unit.repeat == 0]


def measure(scheduler: Scheduler) -> float:
    """Times all arms in turn where that is not done, and returns the seconds that it took.

    That is always done in this process: figures of workers beside others would be no figures. After
    each of them it is looked whether others have begun to work; none is kept where they have.

    Raises:
        RuntimeError: Others work where this process runs.
    """
    plans, phase = timing_plans(scheduler), scheduler.study.measure.runtime
    if not plans or phase is None:
        return 0.0
    scheduler.executor.rest()
    begun, display = time.monotonic(), scheduler.display
    num_packs = sum(len(sizes) for sizes in plans.values())
    num_timings = num_packs * phase.rounds * len(runtime.MODES)
    measurements = []
    with display.stage("runtime", num_timings, what="timings"):
        for timed in runtime.measure(plans, rounds=phase.rounds, seconds=phase.seconds):
            scheduler.executor.check_rest()
            measurements.append(timed)
            rate = f"{timed.tokens_per_second:,.0f} tokens/s"
            display.advance(1, f"{timed.arm}, {timed.mode}, pack {timed.pack}: {rate}")
    seconds = time.monotonic() - begun
    store_timings(scheduler, measurements)
    return seconds


@signals.held()
def store_timings(scheduler: Scheduler, measurements: Sequence[Measurement]) -> None:
    """Stores the runtime phase, whole."""
    timings = pd.DataFrame([asdict(timed) for timed in measurements])
    scheduler.writer.call(lambda writer: writer.store_timings(timings))
    scheduler.note(timed=_digest(scheduler))


def _digest(scheduler: Scheduler) -> str:
    """Returns what timings must agree in to stand: the phase, and every arm's settings."""
    phase = scheduler.study.measure.runtime
    chosen = {unit: scheduler.missing.chosen(unit) for unit in first_repeats(scheduler)}
    settings = {str(unit): None if s is None else to_dict(s) for unit, s in chosen.items()}
    asked = None if phase is None else asdict(phase)
    text = json.dumps([asked, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
