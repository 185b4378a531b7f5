"""The report of a study where MLflow's pages show it first."""

import math
import shutil
from numbers import Real

from harness.report import Report
from harness.report.arm_results import split_of
from harness.runner import signals
from harness.runner.finished import demand, report_digest
from harness.runner.runtime_phase import timing_plans
from harness.runner.scheduler import Scheduler
from harness.store import views
from harness.study import num_pairs
from harness.study.units import Unit


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
    """Writes summaries, files, description and views.

    The files are with the first baseline's own run: an experiment has no place for files.
    """
    study, writer = scheduler.study, scheduler.writer
    for row in report.table.to_dict("records"):
        unit = Unit(row["arm"], row["condition"])
        metrics = {
            _named(str(name), row["split"]): float(value)
            for name, value in row.items()
            if isinstance(value, Real) and math.isfinite(value)
        }
        files = report.files(png=False) if str(unit) == study.baseline.key else {}
        writer.summarize_arm(unit, metrics, artifacts=files)
    writer.describe(report.note())
    for view in views.of_study(
        study.units,
        study.measure.objective,
        tuned=study.tune.space if study.tune else (),
        num_seeds=study.tune.seeds if study.tune else 1,
        is_timed=study.measure.runtime is not None,
        split=split_of(study),
        known=report.table.columns[report.table.notna().any()],
    ):
        writer.set_view(view)


def _named(column: str, split: str) -> str:
    """Returns the name of a number of the report's table, a perplexity with its split."""
    return f"{split}_{column}" if column.startswith("perplexity") else column
