"""The report of a study where MLflow's pages show it first."""

import math
import shutil
from numbers import Real

from harness.metrics import perplexity
from harness.report import Report
from harness.runner import live_page, page_texts, signals
from harness.runner.finished import demand, report_digest
from harness.runner.runtime_phase import timing_plans
from harness.runner.scheduler import Scheduler
from harness.study import num_pairs
from harness.study.units import Phase, Unit

HEADROOM = 0.05
"""Nats between the outermost curve and the edge of its chart."""


def publish(scheduler: Scheduler, report: Report) -> None:
    """Writes each arm's summary and the verdict, and clears what a whole study needs no more.

    A report that says what the last one said is not written again.
    """
    study = scheduler.study
    digest = report_digest(report)
    if scheduler.notes.reported != digest:
        _write(scheduler, report)
        scheduler.note(reported=digest)
    if not report.missing:
        looks = {*scheduler.notes.looks, num_pairs(study)}
        complete = None if timing_plans(scheduler) else demand(study)
        scheduler.note(looks=tuple(sorted(looks)), complete=complete)
        shutil.rmtree(scheduler.locations.checkpoints(study.name), ignore_errors=True)


@signals.held()
def _write(scheduler: Scheduler, report: Report) -> None:
    """Writes summaries, files, description, colours and views.

    The files are with the first baseline's own run: an experiment has no place for files.
    """
    study, writer = scheduler.study, scheduler.writer
    report_run = None
    results = [result for each in report.conditions for result in each.results]
    for row, result in zip(report.table.to_dict("records"), results, strict=True):
        unit = Unit(row["arm"], row["condition"])
        metrics = {
            _named(str(name), row["split"]): float(value)
            for name, value in row.items()
            if isinstance(value, Real) and math.isfinite(value)
        }
        files = report.files(png=False) if str(unit) == study.baseline.key else {}
        tags = page_texts.cells(result, row["split"]) | scheduler.page.tags(unit)
        run_id = writer.summarize_arm(unit, metrics, artifacts=files, tags=tags)
        report_run = run_id if files else report_run
    writer.color(scheduler.page.colors)
    links = page_texts.links(writer.experiment_id, live_page.keys(study), report_run)
    writer.describe(page_texts.description(report, links))
    live_page.set_views(study, writer, _levels(scheduler))


def _levels(scheduler: Scheduler) -> tuple[float, float] | None:
    """Returns the perplexities between which curves are shown; None: as the page chooses.

    A seed that diverged is drawn as far as guessing: it would take the axis from all others.
    """
    column = scheduler.study.measure.objective.replace("perplexity", "loss")
    curves = scheduler.writer.reader.curves()
    if column not in curves:
        return None
    nats = curves.loc[curves["phase"] == Phase.REPLICATE, column].dropna()
    guess = max(math.log(len(data.vocabulary)) for data in scheduler.datasets.values())
    if not (nats > guess + HEADROOM).any():
        return None
    return perplexity(nats.min() - HEADROOM), perplexity(guess + HEADROOM)


def _named(column: str, split: str) -> str:
    """Returns the name of a number of the report's table, a perplexity with its split."""
    return f"{split}_{column}" if column.startswith("perplexity") else column
