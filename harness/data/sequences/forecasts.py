"""Forecasters that a recurrent one must beat.

Shapes: L points of C columns; S windows with a history of T points; h points ahead, the horizon.
Forecasts are (S, h, C), in the series' own units, for the windows of a split in their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences.series_windows import SeriesWindows

_NUMBERS_AT_ONCE = 2**20  # in a block of the least squares
_TREND_DEGREE = 2
_NEARLY = 0.9
_ROUNDING = 1e-20  # the share of a variance that is left of a trend and nothing else


def naive(windows: SeriesWindows, split: str) -> np.ndarray:
    """Returns forecasts that repeat the last value."""
    return seasonal_naive(windows, split, 1)


def seasonal_naive(windows: SeriesWindows, split: str, period: int) -> np.ndarray:
    """Returns forecasts that repeat the last season, which may begin before the history.

    Args:
        windows: Of a series.
        split: Whose windows are forecast.
        period: Points from a season to the next; 1: the last value is repeated.

    Raises:
        DataError: A season is longer than what lies before a window's targets.
    """
    ahead = windows.ahead(windows.starts(split))
    seasons = 1 + np.arange(windows.horizon) // max(1, period)
    points = ahead - period * seasons
    if period < 1 or points.min() < 0:
        raise DataError(
            f"seasonal naive: period must be from 1 to {int(ahead.min())}, the points before those "
            f"of {split}, but got {period=}. Correct it."
        )
    repeated: np.ndarray = windows.series.values[points]
    return repeated


def season_of(windows: SeriesWindows) -> int | None:
    """Returns the period of the training part, in points; None where there is none to be seen.

    It is where the autocorrelation, as a mean over the columns, peaks beyond its first fall below
    zero; two periods must lie in the training part. Multiples of a period peak as well, so of
    nearly equal peaks the first is meant. A trend is taken out before, and what white noise would
    reach is no peak.
    """
    train = windows.scaling.scaled(windows.series.values[: windows.splits["train"].stop])
    length = len(train)
    trend = np.vander(np.linspace(-1.0, 1.0, length), _TREND_DEGREE + 1)
    rest = train - trend @ np.linalg.lstsq(trend, train, rcond=None)[0]
    spectrum = np.abs(np.fft.rfft(rest, 2 * length, axis=0)) ** 2
    products = np.fft.irfft(spectrum, axis=0)[: length // 2 + 1]
    correlation = (products / np.maximum(products[0], length * _ROUNDING)).mean(axis=1)
    before, at, after = correlation[:-2], correlation[1:-1], correlation[2:]
    is_peak = (before < at) & (at >= after) & (at > 1.96 / np.sqrt(length))
    is_peak &= np.minimum.accumulate(before) < 0
    if not is_peak.any():
        return None
    first = 1 + int(np.flatnonzero(is_peak & (at >= _NEARLY * at[is_peak].max()))[0])
    # Noise may have peaks on the way up to the crest.
    below = np.flatnonzero(correlation[first:] < 0)
    end = first + int(below[0]) if len(below) else None
    return first + int(np.argmax(correlation[first:end]))


@dataclass(frozen=True)
class LinearAutoregression:
    """A linear function of the history, for each column and each step ahead a function of its own.

    Attributes:
        coefficients: (T * C + 1, h * C), the constants last, of what is scaled.
    """

    coefficients: np.ndarray

    @classmethod
    def fitted(cls, windows: SeriesWindows) -> "LinearAutoregression":
        """Returns the least squares over the windows of the training part, with nothing added.

        Raises:
            DataError: There are no more windows than coefficients.
        """
        starts = windows.starts("train")
        num_coefficients = windows.history * windows.num_inputs + 1
        if len(starts) <= num_coefficients:
            raise DataError(
                "linear autoregression: train must have more windows than coefficients, but got "
                f"{len(starts):,} and {num_coefficients:,}. Use a longer series, a shorter history "
                "or fewer columns."
            )
        # The triangle of a block and of the triangle before it is that of all blocks: the products
        # of a history with itself, which would square the condition, are never made.
        triangle = np.zeros((0, num_coefficients + windows.num_outputs))
        for block in _blocks(starts, num_coefficients):
            targets = windows.scaling.scaled(windows.series.values[windows.ahead(block)])
            read, predicted = _with_constant(windows, block), targets.reshape(len(block), -1)
            rows = np.concatenate([triangle, np.concatenate([read, predicted], axis=1)])
            triangle = np.linalg.qr(rows).R
        square, right = np.split(triangle[:num_coefficients], [num_coefficients], axis=1)
        rounding = np.finfo(np.float64).eps * len(starts)
        return cls(np.linalg.lstsq(square, right, rcond=rounding)[0])

    def forecast(self, windows: SeriesWindows, split: str) -> np.ndarray:
        """Returns the forecasts of a split."""
        blocks = _blocks(windows.starts(split), len(self.coefficients))
        outputs = [_with_constant(windows, block) @ self.coefficients for block in blocks]
        return windows.unscaled(np.concatenate(outputs))


def _blocks(starts: np.ndarray, num_coefficients: int) -> Iterator[np.ndarray]:
    size = max(1, _NUMBERS_AT_ONCE // num_coefficients)
    for first in range(0, len(starts), size):
        yield starts[first : first + size]


def _with_constant(windows: SeriesWindows, starts: np.ndarray) -> np.ndarray:
    """Returns histories and a one: (S, T * C + 1)."""
    histories = windows.inputs(starts).reshape(len(starts), -1)
    return np.concatenate([histories, np.ones((len(starts), 1))], axis=1)
