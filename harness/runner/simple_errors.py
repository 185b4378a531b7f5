"""What the arms of a forecasting study must beat: the errors of simple forecasters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.data import Data
from harness.data.sequences.sets import SequenceDataset
from harness.study import Study
from harness.study.units import Unit
from harness.tasks.forecast_metrics import baseline_errors, metric_names


def simple_errors(
    study: Study,
    datasets: Mapping[Unit, Data],
    known: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Returns condition -> the errors of simple forecasters, as a study's notes keep them.

    They are those on the windows of the condition's baseline; columns are called as in the metrics
    of runs. A condition in which nothing is forecast is left out.

    Args:
        study: All its conditions.
        datasets: By the arms' units of the first repeat.
        known: What an earlier launch noted of the same series: it is not computed again.
    """
    found = dict(known)
    for name in study.conditions:
        if name in known:
            continue
        dataset = datasets[Unit.parse(study.under(name).baseline.key)]
        if isinstance(dataset, SequenceDataset) and dataset.windows is not None:
            columns = dataset.windows.series.columns
            names = dict(zip(columns, metric_names(columns), strict=True))
            rows = baseline_errors(dataset.windows)
            found[name] = [asdict(row) | {"column": names[row.column]} for row in rows]
    return found
