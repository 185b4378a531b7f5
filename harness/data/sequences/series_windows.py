"""What a forecaster reads of a series and what it predicts: splits by time, scaling, windows.

Shapes: L points of C columns; S windows with a history of T points; h points ahead, the horizon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences import Sequences
from harness.data.sequences.series import Series
from harness.data.sequences.splits import SPLITS, cuts_by_shares


@dataclass(frozen=True)
class Scaling:
    """Standard scaling: a mean of 0 and a standard deviation of 1 on what it was fitted to.

    Attributes:
        mean: (C,).
        deviation: (C,), positive.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Returns values (..., C) in units of the deviation from the mean."""
        scaled: np.ndarray = (values - self.mean) / self.deviation
        return scaled

    def unscaled(self, values: np.ndarray) -> np.ndarray:
        """Returns values (..., C) in the series' own units; the inverse of :meth:`scaled`."""
        own: np.ndarray = values * self.deviation + self.mean
        return own


@dataclass(frozen=True)
class SeriesWindows:
    """The windows of a series that is split by time.

    The targets of a window lie in its split. Its history may begin before, so that the first
    targets of a split are predicted too. A position is scored where it and all of its targets were
    measured: nothing is judged by a value that was filled in, and since a gap ends at a measured
    value, no history holds a value that was filled in from what it is to predict.

    Attributes:
        series: All of it.
        history: T, the points that a forecast is made from.
        horizon: h, the points that it is made for.
        splits: Split -> its points.
    """

    series: Series
    history: int
    horizon: int
    splits: Mapping[str, range]

    @property
    def num_inputs(self) -> int:
        """I = C: a position reads a value of each column."""
        return len(self.series.columns)

    @property
    def num_outputs(self) -> int:
        """O = h * C: a position predicts all columns one step ahead, then two, and so on."""
        return self.horizon * self.num_inputs

    @cached_property
    def scaling(self) -> Scaling:
        """That of the measured values of the training part."""
        values = self.series.measured_values[: self.splits["train"].stop]
        return Scaling(np.nanmean(values, axis=0), np.nanstd(values, axis=0))

    @cached_property
    def _scaled(self) -> np.ndarray:
        return self.scaling.scaled(self.series.values)

    @cached_property
    def _is_scored(self) -> np.ndarray:
        """Whether a position and its targets were measured: (L - h,), bool."""
        spans = np.lib.stride_tricks.sliding_window_view(self.series.is_measured, self.horizon + 1)
        scored: np.ndarray = np.logical_and.reduce(spans, axis=1)
        return scored

    def starts(self, split: str) -> np.ndarray:
        """Returns int64 (S,): where the windows of a split begin that are scored at their end."""
        points = self.splits[split]
        first = max(0, points.start - self.history)
        starts = np.arange(first, points.stop - self.history - self.horizon + 1)
        scored: np.ndarray = starts[self._is_scored[starts + self.history - 1]]
        return scored

    def sequences(self, starts: np.ndarray) -> Sequences:
        """Returns the windows that begin at ``starts``, (S,), scaled: I = C and O = h * C.

        The last position is scored alone, where the history is whole.

        Args:
            starts: Some of :meth:`starts`.
        """
        positions = starts[:, None] + np.arange(self.history)
        ahead = positions[..., None] + 1 + np.arange(self.horizon)
        weights = np.zeros(positions.shape)
        weights[:, -1] = self._is_scored[positions[:, -1]]
        targets = self._scaled[ahead].reshape(*positions.shape, self.num_outputs)
        return Sequences(self._scaled[positions], targets, weights)

    def inputs(self, starts: np.ndarray) -> np.ndarray:
        """Returns the histories that begin at ``starts``, scaled: (S, T, C)."""
        histories: np.ndarray = self._scaled[starts[:, None] + np.arange(self.history)]
        return histories

    def ahead(self, starts: np.ndarray) -> np.ndarray:
        """Returns the points that follow the histories: int64 (S, h)."""
        points: np.ndarray = starts[:, None] + self.history + np.arange(self.horizon)
        return points

    def truth(self, split: str) -> np.ndarray:
        """Returns what follows each window of a split, in the series' own units: (S, h, C)."""
        values: np.ndarray = self.series.values[self.ahead(self.starts(split))]
        return values

    def unscaled(self, outputs: np.ndarray) -> np.ndarray:
        """Returns outputs (..., h * C) in the series' own units: (..., h, C)."""
        shape = (*outputs.shape[:-1], self.horizon, self.num_inputs)
        return self.scaling.unscaled(outputs.reshape(shape))


def windows_of(
    series: Series,
    history: int,
    horizon: int,
    *,
    cuts: tuple[int, int] | None = None,
) -> SeriesWindows:
    """Returns the windows of a series that is split by time.

    Args:
        series: All of it.
        history: T.
        horizon: h.
        cuts: The first points of validation and of test; None: after 0.8 and 0.9 of the points.

    Raises:
        DataError: A split has no window that is scored, the training part of a column is constant,
            or a number is not what it must be. The message has a line for every problem.
    """
    problems = [
        f"{name}: must be 1 at least, but got {name}={value}. Enlarge it."
        for name, value in (("history", history), ("horizon", horizon))
        if value < 1
    ]
    if problems:
        raise DataError(*problems)
    ends = (0, *(cuts or cuts_by_shares(len(series))), len(series))
    splits = {split: range(*ends[i : i + 2]) for i, split in enumerate(SPLITS)}
    windows = SeriesWindows(series, history, horizon, splits)
    problems = _constant_columns(windows)
    problems += _too_short(windows) or _without_windows(windows)
    if problems:
        raise DataError(*problems)
    return windows


def _too_short(windows: SeriesWindows) -> list[str]:
    """Returns which splits have too few points for a window."""
    history, horizon = windows.history, windows.horizon
    problems = []
    for split, points in windows.splits.items():
        # The history of the others lies before them.
        num_needed = horizon + (history if split == "train" else 0)
        if len(points) < num_needed:
            problems.append(
                f"{split} of {windows.series.name}: must have at least {num_needed:,} points for a "
                f"window ({history=}, {horizon=}), but got {len(points):,} of "
                f"{len(windows.series):,}. Use a longer series, a larger part of it, or a shorter "
                "history or horizon."
            )
    return problems


def _without_windows(windows: SeriesWindows) -> list[str]:
    """Returns which splits have gaps wherever a window could end."""
    return [
        f"{split} of {windows.series.name}: must have a window that ends without a gap, but got "
        f"none (horizon={windows.horizon}). Use a series with fewer gaps, or a shorter horizon."
        for split in SPLITS
        if len(windows.starts(split)) == 0
    ]


def _constant_columns(windows: SeriesWindows) -> list[str]:
    """Returns which columns cannot be scaled."""
    values = windows.series.measured_values[: windows.splits["train"].stop]
    low, high = (end.reduce(values, axis=0, initial=np.nan) for end in (np.fmin, np.fmax))
    return [
        f"train of {windows.series.name}: column {name!r} must take two values at least, but got "
        f"{value:g} alone. Leave the column out, or use a longer series."
        for name, value, is_constant in zip(windows.series.columns, low, high == low, strict=True)
        if is_constant
    ]
