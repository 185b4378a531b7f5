"""Where runs stand at an evaluation point: what is measured of them there."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from harness.engine import Parameters
from harness.training import state_measurement
from harness.training.fields import Sample
from harness.training.forecast_file import forecast_csv
from harness.training.patience import is_early_end
from harness.training.plan import Run
from harness.training.resolved import ResolvedPlan
from harness.training.shard import Progress, Shard
from harness.training.state_statistics import StateStatistics


@dataclass
class Standing:
    """A shard at an evaluation point.

    ``tests``, ``forecasts`` and ``states`` are there only where a run ends, and ``samples`` there
    and on demand.

    Attributes:
        progress: What it did since the last point.
        validation: The means of every run's evaluation on the validation split.
        ending: Which of its runs end here: their budget is spent, or their patience.
        tests: Likewise on every test split.
        samples: What its runs wrote.
        states: What their states are like.
        forecasts: What they forecast of the test split.
    """

    progress: Progress
    validation: list[list[float]] | None
    ending: list[bool]
    tests: dict[str, list[list[float]]] = field(default_factory=dict)
    samples: list[list[Sample]] = field(default_factory=list)
    states: list[StateStatistics | None] | None = None
    forecasts: list[str | None] | None = None


def evaluate(resolved: ResolvedPlan, shard: Shard) -> Standing:
    """Returns where a shard stands; its best parameters are those of now where they are better."""
    task, plan = resolved.task, resolved.plan
    progress = shard.progress()
    means = shard.evaluate("validation") if "validation" in task.splits else None
    if progress.update_seconds:  # none where a resumed run had only to finish
        criteria = [task.criterion(each) for each in means or []]
        if means is not None:
            shard.hear(criteria)
        if resolved.objective_key == "train/loss":  # the last evaluation counts, not the lowest
            shard.best_nats.fill_(torch.inf)
            shard.keep_best(progress.train_nats)
        else:
            shard.keep_best(criteria)
    is_last = shard.update == resolved.num_updates
    ending = [
        is_last or is_early_end(run.settings, heard)
        for run, heard in zip(shard.runs, shard.heard, strict=True)
    ]
    standing = Standing(progress, means, ending)
    if any(ending):
        if plan.read_test:
            standing.tests = {
                split: shard.evaluate(split, of_best=True) for split in task.test_splits
            }
            if "test" in standing.tests:
                standing.forecasts = _forecasts(resolved, shard)
        if plan.states:
            standing.states = _measure_states(resolved, shard, progress)
    request, number = plan.samples, resolved.points.index(shard.update) + 1
    is_asked = bool(request.every) and number % (request.every or 1) == 0
    standing.samples = [
        shard.samples(index, request, shard.best if is_end else shard.evaluated)
        if is_end or is_asked
        else []
        for index, is_end in enumerate(ending)
    ]
    return standing


def _measure_states(
    resolved: ResolvedPlan, shard: Shard, progress: Progress
) -> list[StateStatistics | None]:
    """Returns what the states of every run are like that has not diverged."""
    return [
        state_measurement.measure(resolved.task, resolved.model, run, parameters)
        if bad < 0
        else None
        for (run, parameters), bad in zip(_best(shard), progress.bad_update, strict=True)
    ]


def _forecasts(resolved: ResolvedPlan, shard: Shard) -> list[str | None]:
    """Returns what every run forecasts of the test split."""
    return [forecast_csv(resolved.task, resolved.model, *each) for each in _best(shard)]


def _best(shard: Shard) -> Iterator[tuple[Run, Parameters]]:
    """Yields every run with its best parameters, (1, ...) each."""
    for index, run in enumerate(shard.runs):
        yield run, {name: values[index : index + 1] for name, values in shard.best.items()}
