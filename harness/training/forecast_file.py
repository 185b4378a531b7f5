"""What a trained run forecasts of the test split, as a file of rows that is kept with the run."""

import csv
import io

import numpy as np
import torch

from harness.data.sequences import forecasts, heads
from harness.data.sequences.series_windows import SeriesWindows
from harness.engine import Parameters
from harness.model.masks import Masks
from harness.model.network import Model
from harness.tasks.forecast_metrics import gaussian_interval
from harness.tasks.forecast_scoring import NOMINAL
from harness.tasks.sequence_prediction import SequencePrediction
from harness.tasks.task import Task
from harness.training.plan import Run

MOST_ROWS = 5_000
"""The most rows of a file; what comes later in the split is left out, column by column alike."""
_HEADER = ("time", "column", "steps_ahead", "truth", "naive", "forecast")
_ENDS = ("low", "high")


def forecast_csv(task: Task, model: Model, run: Run, parameters: Parameters) -> str | None:
    """Returns the forecasts of one run, a row a point and column; None where it forecasts nothing.

    They are those that are made the whole horizon ahead, in the series' own units, with the last
    value that was known then as ``naive``. A head that has intervals has ``low`` and ``high`` too.

    Args:
        task: The run's.
        model: Of any number of runs.
        run: Which.
        parameters: Its own, (1, ...) each.
    """
    if not isinstance(task, SequencePrediction) or task.dataset.windows is None:
        return None
    windows, head = task.dataset.windows, task.dataset.head
    count = num_points(windows)
    outputs = _outputs(task, model, run, parameters, count)
    values = [
        windows.truth("test")[:count],
        forecasts.naive(windows, "test")[:count],
        windows.unscaled(heads.points(outputs, head)),
        *(windows.unscaled(end) for end in _ends(outputs, head)),
    ]
    return _written(windows, values, header_of(head))


def header_of(head: str) -> tuple[str, ...]:
    """Returns the names of a row's entries, the place first: time, column and steps ahead."""
    return _HEADER if head == "value" else (*_HEADER, *_ENDS)


def num_points(windows: SeriesWindows) -> int:
    """Returns of how many points a file tells, each in a row a column."""
    return min(len(windows.starts("test")), max(1, MOST_ROWS // windows.num_inputs))


@torch.no_grad()
def _outputs(task: Task, model: Model, run: Run, parameters: Parameters, count: int) -> np.ndarray:
    """Returns what the read-out says at the end of the first windows of test, (count, V)."""
    model = model.for_runs([run.settings])
    masks = Masks([run.seed], [run.settings], parameters["readout.b"].device)
    found: list[torch.Tensor] = []
    for batch in task.evaluation("test", 1):
        size = batch.inputs.shape[2]
        if len(found) * size >= count:
            break
        states = model.initial_states(parameters, 1, size)
        rows, _ = model(parameters, batch.inputs, states, masks)
        found.append(model.readout(parameters).scores(rows[:, -size:])[0])
    outputs: np.ndarray = torch.cat(found)[:count].double().cpu().numpy()
    return outputs


def _ends(outputs: np.ndarray, head: str) -> tuple[np.ndarray, ...]:
    """Returns where the intervals of the nominal coverage begin and end; nothing: there are none.

    Args:
        outputs: (..., K * O), as :mod:`harness.data.sequences.heads` has them.
        head: What they say.
    """
    if head == "value":
        return ()
    if head == "quantiles":
        by_level = outputs.reshape(*outputs.shape[:-1], len(heads.LEVELS), -1)
        return by_level[..., 0, :], by_level[..., -1, :]
    mean, log_variance = np.split(outputs, 2, axis=-1)
    return gaussian_interval(mean, np.sqrt(np.exp(log_variance) + heads.LEAST_VARIANCE), NOMINAL)


def _written(windows: SeriesWindows, values: list[np.ndarray], header: tuple[str, ...]) -> str:
    """Returns the text of the file; ``values`` are (S, h, C) each."""
    points = windows.ahead(windows.starts("test"))[: len(values[0]), -1]
    times = windows.series.times[points]
    if np.issubdtype(times.dtype, np.datetime64):
        times = np.datetime_as_string(times, unit="auto")
    last = np.stack([each[:, -1] for each in values], axis=2).tolist()  # (S, C, ...)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for time, of_columns in zip(times.tolist(), last, strict=True):
        for column, numbers in zip(windows.series.columns, of_columns, strict=True):
            writer.writerow([time, column, windows.horizon, *numbers])
    return file.getvalue()
