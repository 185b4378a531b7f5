"""The report of a study where MLflow's pages show it first."""

import math
import shutil
from collections.abc import Collection
from numbers import Real

from harness.report import Report
from harness.runner import live_page, page_texts
from harness.runner.finished import report_digest
from harness.runner.runtime_phase import timing_plans
from harness.runner.scheduler import Scheduler
from harness.store.reader import StudyReader
from harness.study.demand import demand
from harness.study.units import Phase, Unit
from harness.tasks.objective import loss_of, objective_of

HEADROOM = 0.05
"""Nats between the outermost curve and the edge of its chart."""


def publish(scheduler: Scheduler, report: Report, going_on: Collection[Unit] = ()) -> None:
    """Writes each arm's summary and the verdict, and clears what a whole study needs no more.

    A report that says what the last one said is not written again where nothing was trained. The
    own runs of arms that are ``going_on`` do not end.
    """
    study = scheduler.study
    digest = report_digest(report)
    if scheduler.has_recorded or scheduler.notes.reported != digest:
        _write(scheduler, report, going_on)
        scheduler.note(reported=digest)
    if not report.missing:
        looks = {*scheduler.notes.looks, study.num_pairs}
        complete = None if timing_plans(scheduler) else demand(study)
        scheduler.note(looks=tuple(sorted(looks)), complete=complete)
        shutil.rmtree(scheduler.locations.checkpoints(study.name), ignore_errors=True)


def _write(scheduler: Scheduler, report: Report, going_on: Collection[Unit]) -> None:
    """Writes summaries, files, description, colours and views.

    The files are with the first baseline's own run: an experiment has no place for files.
    """
    study, writer = scheduler.study, scheduler.writer
    key = objective_of(study.measure.objective).key  # its numbers are stored with their split
    report_run = None
    results = [result for each in report.conditions for result in each.results]
    for row, result in zip(report.table.to_dict("records"), results, strict=True):
        unit = Unit(row["arm"], row["condition"])
        metrics = {
            f"{row['split']}_{name}" if str(name).startswith(key) else str(name): float(value)
            for name, value in row.items()
            if isinstance(value, Real) and math.isfinite(value)
        }
        files = report.files(png=False) if str(unit) == study.baseline.key else {}
        page = scheduler.page
        tags = page.ended(unit) | page_texts.cells(result, row["split"]) | page.tags(unit)
        is_over = unit not in going_on
        run_id = writer.summarize_arm(unit, metrics, files, tags, is_over)
        report_run = run_id if files else report_run
    writer.call(lambda own: own.color(scheduler.page.colors))
    links = page_texts.links(writer.experiment_id, live_page.keys(study), report_run)
    writer.describe(page_texts.description(report, links))
    live_page.set_views(study, writer, levels=_levels(scheduler))


def _levels(scheduler: Scheduler) -> tuple[float, float] | None:
    """Returns the numbers between which curves are shown; None: as the page chooses.

    A seed that diverged is drawn as far as guessing: it would take the axis from all others.
    """
    metric = scheduler.study.measure.objective
    objective, column = objective_of(metric), loss_of(metric)
    curves = scheduler.writer.read(StudyReader.curves)
    if column not in curves:
        return None
    losses = curves.loc[curves["phase"] == Phase.REPLICATE, column].dropna()
    guess = max(objective.chance(data) for data in scheduler.datasets.values())
    if not (losses > guess + HEADROOM).any():
        return None
    return objective.level_ends(losses.min() - HEADROOM, guess + HEADROOM)
