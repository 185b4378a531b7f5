"""What the arms of a forecasting study must beat: the errors of simple forecasters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.data import Data
from harness.data.sequences.dataset import SequenceDataset
from harness.study import Study
from harness.study.units import Unit
from harness.tasks.forecast_metrics import baseline_errors


def simple_errors(
    study: Study, datasets: Mapping[Unit, Data]
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Returns condition -> the errors of simple forecasters, as a study's notes keep them.

    They are those on the windows of the condition's baseline. A condition in which nothing is
    forecast is left out.

    Args:
        study: All its conditions.
        datasets: By the arms' units of the first repeat.
    """
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    for name in study.conditions:
        dataset = datasets[Unit.parse(study.under(name).baseline.key)]
        if isinstance(dataset, SequenceDataset) and dataset.windows is not None:
            found[name] = [asdict(row) for row in baseline_errors(dataset.windows)]
    return found
