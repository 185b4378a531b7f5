"""How good forecasts are, in closed form, and how good simple forecasters are; NumPy alone.

Shapes: L points of C columns; S windows, h points ahead. An error is per column, since columns
have units of their own.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences import forecasts
from harness.data.sequences.series_windows import SeriesWindows

# Of a forecast that is a value


def mean_absolute_error(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Returns the mean absolute difference over all axes but the last: (C,)."""
    return _mean(np.abs(truth - forecast))


def root_mean_squared_error(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Returns the root of the mean of (truth - forecast)^2 over all axes but the last: (C,)."""
    root: np.ndarray = np.sqrt(_mean((truth - forecast) ** 2))
    return root


def seasonal_scale(train: np.ndarray, period: int) -> np.ndarray:
    """Returns the mean absolute error on the training part of repeating the season before: (C,).

    The mean absolute error of a forecast divided by it is the MASE.

    Source: Hyndman, R. J. and Koehler, A. B. Another look at measures of forecast accuracy.
    International Journal of Forecasting 22, 2006.

    Args:
        train: (L, C), with NaN where nothing was measured.
        period: Points from a season to the next; 1: the value before is repeated.

    Raises:
        DataError: No two measured values are a season apart.
    """
    differences = np.abs(train[period:] - train[:-period] if period > 0 else train[:0])
    if np.isnan(differences).all(axis=0).any():
        raise DataError(
            f"MASE: period must be that of two values of the {len(train):,} of train, but got "
            f"{period=}. Correct it."
        )
    scale: np.ndarray = np.nanmean(differences, axis=0)
    return scale


# Of a forecast that is a distribution


def gaussian_interval(
    mean: np.ndarray, deviation: np.ndarray, nominal: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the central intervals of normal distributions begin and end.

    Args:
        mean: The forecasts' means.
        deviation: Their standard deviations.
        nominal: The probability of each interval, between 0 and 1.
    """
    half = NormalDist().inv_cdf((1 + nominal) / 2) * deviation
    return mean - half, mean + half


def _mean(values: np.ndarray) -> np.ndarray:
    mean: np.ndarray = values.mean(axis=tuple(range(values.ndim - 1)))
    return mean


# Of several forecasters


@dataclass(frozen=True)
class ErrorRow:
    """The errors of a forecaster in one column of a split.

    Attributes:
        forecaster: What it is called.
        split: Which.
        column: Which.
        mae: The mean absolute error, in the column's own unit; None where there is no forecast.
        rmse: The root of the mean squared error, in the column's own unit; likewise.
        mase: The mean absolute error over that of the seasonal naive forecast on the training part;
            None also where that has no error.
        remark: Why there is no forecast; else what else is to be known of it.
    """

    forecaster: str
    split: str
    column: str
    mae: float | None
    rmse: float | None
    mase: float | None
    remark: str = ""


def error_rows(
    forecaster: str,
    split: str,
    windows: SeriesWindows,
    forecast: np.ndarray,
    scale: np.ndarray,
    remark: str = "",
) -> list[ErrorRow]:
    """Returns the errors of a forecaster, a row a column.

    Args:
        forecaster: What it is called.
        split: Which was forecast.
        windows: Of the series.
        forecast: (S, h, C), in the series' own units.
        scale: :func:`seasonal_scale` of the training part, (C,).
        remark: What is to be known of it.
    """
    truth = windows.truth(split)
    absolute = mean_absolute_error(truth, forecast)
    squared = root_mean_squared_error(truth, forecast)
    return [
        ErrorRow(
            forecaster,
            split,
            column,
            float(absolute[index]),
            float(squared[index]),
            float(absolute[index] / scale[index]) if scale[index] else None,
            remark,
        )
        for index, column in enumerate(windows.series.columns)
    ]


def error_scale(windows: SeriesWindows, period: int | None = None) -> np.ndarray:
    """Returns what an absolute error is divided by in the MASE: (C,).

    Args:
        windows: Of a series.
        period: Points from a season to the next; None: what is found on the training part, or 1.

    Raises:
        DataError: As :func:`seasonal_scale`.
    """
    train = windows.series.measured_values[: windows.splits["train"].stop]
    return seasonal_scale(train, forecasts.season_of(windows) or 1 if period is None else period)


def column_metrics(
    windows: SeriesWindows, scale: np.ndarray, means: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the metrics of every column, in its own unit, over all points ahead.

    They are ``mae_COLUMN``, ``rmse_COLUMN`` and ``mase_COLUMN``, and where forecasts are
    distributions ``crps_COLUMN`` and ``coverage_COLUMN``. Where repeating the season before has no
    error on the training part, there is no MASE.

    Args:
        windows: Of the series.
        scale: :func:`error_scale` of them, (C,).
        means: Measure -> its mean of each output in units of the scaling, (h * C,): ``squares`` and
            ``distances`` of errors, perhaps ``crps`` and ``coverage``.
    """
    mean = {
        name: values.reshape(windows.horizon, windows.num_inputs).mean(axis=0)
        for name, values in means.items()
    }
    told: dict[str, float] = {}
    for index, column in enumerate(metric_names(windows.series.columns)):
        deviation = float(windows.scaling.deviation[index])
        absolute = float(mean["distances"][index]) * deviation
        told[f"mae_{column}"] = absolute
        told[f"rmse_{column}"] = math.sqrt(mean["squares"][index]) * deviation
        if scale[index]:
            told[f"mase_{column}"] = absolute / float(scale[index])
        if "crps" in mean:
            told[f"crps_{column}"] = float(mean["crps"][index]) * deviation
            told[f"coverage_{column}"] = float(mean["coverage"][index])
    return told


def metric_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Returns what metrics call columns, each by a name of its own that MLflow takes.

    >>> metric_names(["CO2 in ppm", "p/e", "p:e"])
    ('CO2 in ppm', 'p_e', 'p_e_2')
    """
    names: list[str] = []
    for column in columns:
        # MLflow allows a slash, too, but here it stands after a split.
        safe = re.sub(r"[^\w .-]", "_", column, flags=re.ASCII)
        number, name = 1, safe
        while name in names:
            number += 1
            name = f"{safe}_{number}"
        names.append(name)
    return tuple(names)


def baseline_errors(
    windows: SeriesWindows,
    period: int | None = None,
    splits: Sequence[str] = ("validation", "test"),
) -> list[ErrorRow]:
    """Returns the errors of simple forecasters, which a recurrent one must beat.

    They are the last value, the last season, and a linear autoregression on the same history.
    Those that cannot be made have rows, too, which say why.

    Args:
        windows: Of a series.
        period: Points from a season to the next; None: it is found on the training part.
        splits: Those that are forecast.

    Raises:
        DataError: The period that was given has no room in the series.
    """
    season = forecasts.season_of(windows) if period is None else period
    scale = error_scale(windows, season or 1)
    model: forecasts.LinearAutoregression | None = None
    fault = ""
    try:
        model = forecasts.LinearAutoregression.fitted(windows)
    except DataError as error:
        fault = str(error)
    rows: list[ErrorRow] = []
    for split in splits:
        last = forecasts.naive(windows, split)
        rows += error_rows("naive", split, windows, last, scale)
        if season is None:
            rows += _no_rows("seasonal naive", split, windows, "no season is seen in train")
        else:
            repeated = forecasts.seasonal_naive(windows, split, season)
            remark = f"period {season}, {'found on train' if period is None else 'as given'}"
            rows += error_rows("seasonal naive", split, windows, repeated, scale, remark)
        if model is None:
            rows += _no_rows("linear autoregression", split, windows, fault)
        else:
            linear = model.forecast(windows, split)
            rows += error_rows("linear autoregression", split, windows, linear, scale)
    return rows


def _no_rows(forecaster: str, split: str, windows: SeriesWindows, why: str) -> list[ErrorRow]:
    return [
        ErrorRow(forecaster, split, column, None, None, None, why)
        for column in windows.series.columns
    ]
