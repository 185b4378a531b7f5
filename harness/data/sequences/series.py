"""Time series: what one is, and those that are generated from a seed; NumPy alone.

Shapes: L points of C columns.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness import randomness
from harness.data.errors import DataError
from harness.randomness import Name

_WARM_UP = 1000  # points that are left out: by then a start is forgotten
_MACKEY_GLASS_DELAY = 17  # samples, each one unit of time after the last
_LORENZ_SPACING = 0.02  # units of time from a sample to the next


@dataclass(frozen=True)
class Series:
    """Values at equal steps of time.

    Attributes:
        name: What it is, in one line.
        times: (L,), ascending: float64, such as years; or datetime64, in UTC where it has a zone.
        values: (L, C), float64, finite.
        columns: The names of the C columns.
        is_measured: (L,), bool: False where the value of any column was filled in.
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    is_measured: np.ndarray

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.times), len(self.columns))
        assert self.is_measured.shape == self.times.shape

    def __len__(self) -> int:
        return len(self.times)

    @property
    def measured_values(self) -> np.ndarray:
        """The values, (L, C), with NaN at the points that were filled in."""
        return np.where(self.is_measured[:, None], self.values, np.nan)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all that a model could see."""
        digest = hashlib.sha256(repr(self.columns).encode())
        for array in (self.times, self.values, self.is_measured):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _generated(name: str, columns: Sequence[str], spacing: float, values: np.ndarray) -> Series:
    length = len(values)
    return Series(
        name, np.arange(length) * spacing, values, tuple(columns), np.ones(length, np.bool_)
    )


def sine(seed: Sequence[Name], length: int, *, period: float = 25.0, noise: float = 0.1) -> Series:
    """Returns a sine of amplitude 1 and a phase of the seed, with noise.

    No forecast has a mean squared error below ``noise`` squared.

    Args:
        seed: Names the draws.
        length: L.
        period: Points from a crest to the next.
        noise: The standard deviation of the normal noise.
    """
    phase = randomness.uniform(*seed, "sine", "phase", shape=(1,))
    drawn = randomness.normal(*seed, "sine", "noise", shape=(length,))
    values = np.sin(2 * np.pi * (np.arange(length) / period + phase)) + noise * drawn
    return _generated("a sine with noise", ["sine"], 1.0, values[:, None])


def mackey_glass(seed: Sequence[Name], length: int) -> Series:
    """Returns a piece of the Mackey-Glass series with a delay of 17, a sample a unit of time.

    The seed chooses the constant history, and the first thousand samples are left out.

    Source: Mackey, M. C. and Glass, L. Oscillation and chaos in physiological control systems.
    Science 197, 1977.
    """
    drawn = randomness.uniform(*seed, "mackey-glass", "history", shape=(1,))
    path = mackey_glass_path(1.1 + 0.2 * float(drawn[0]), _WARM_UP + length)
    return _generated("the Mackey-Glass series", ["x"], 1.0, path[_WARM_UP:, None])


def mackey_glass_path(history: float, num_samples: int, steps_per_unit: int = 10) -> np.ndarray:
    """Returns x(0), x(1), ... of dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t).

    The steps are Runge and Kutta's of order 4. Halfway along a step the delayed value is Hermite's
    cubic of the two ends and their slopes, so the order stays 4.

    Args:
        history: x(t) of all t up to 0.
        num_samples: How many values are returned.
        steps_per_unit: Steps from a sample to the next.
    """
    step = 1.0 / steps_per_unit
    delay = _MACKEY_GLASS_DELAY * steps_per_unit
    values = [history] * (delay + 1)  # the last is x(0)
    middles = [history] * delay  # halfway from each value to the next
    for index in range((num_samples - 1) * steps_per_unit):
        early, middle, late = map(_growth, (values[index], middles[index], values[index + 1]))
        before = values[-1]
        slope_1 = early - 0.1 * before
        slope_2 = middle - 0.1 * (before + step / 2 * slope_1)
        slope_3 = middle - 0.1 * (before + step / 2 * slope_2)
        slope_4 = late - 0.1 * (before + step * slope_3)
        after = before + step / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
        end_slope = late - 0.1 * after
        middles.append((before + after) / 2 + step / 8 * (slope_1 - end_slope))
        values.append(after)
    return np.array(values[delay::steps_per_unit])


def _growth(delayed: float) -> float:
    return 0.2 * delayed / (1.0 + math.pow(delayed, 10))


def lorenz(seed: Sequence[Name], length: int) -> Series:
    """Returns x, y and z of a piece of the Lorenz system, a sample every 0.02 units of time.

    The seed chooses the start, and the first thousand samples are left out.

    Source: Lorenz, E. N. Deterministic nonperiodic flow. Journal of the Atmospheric Sciences 20,
    1963; with its parameters: sigma 10, rho 28, beta 8/3.
    """
    start = 1.0 + randomness.uniform(*seed, "lorenz", "start", shape=(3,))
    path = lorenz_path(start, _WARM_UP + length)[_WARM_UP:]
    return _generated("the Lorenz system", ["x", "y", "z"], _LORENZ_SPACING, path)


def lorenz_path(start: np.ndarray, num_samples: int, steps_per_sample: int = 2) -> np.ndarray:
    """Returns (``num_samples``, 3): x, y and z every 0.02 units of time from ``start`` (3,).

    The steps are Runge and Kutta's of order 4.
    """
    step = _LORENZ_SPACING / steps_per_sample
    path = [start]
    for _ in range(num_samples - 1):
        state = path[-1]
        for _ in range(steps_per_sample):
            slope_1 = lorenz_slope(state)
            slope_2 = lorenz_slope(state + step / 2 * slope_1)
            slope_3 = lorenz_slope(state + step / 2 * slope_2)
            slope_4 = lorenz_slope(state + step * slope_3)
            state = state + step / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
        path.append(state)
    return np.stack(path)


def lorenz_slope(state: np.ndarray) -> np.ndarray:
    """Returns the slope (3,) of the Lorenz system at x, y and z."""
    x, y, z = state.tolist()
    return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


GENERATED: dict[str, Callable[[Sequence[Name], int], Series]] = {
    "sine": sine,
    "mackey-glass": mackey_glass,
    "lorenz": lorenz,
}
"""The series that are generated, by the names of their corpora."""


def generated(name: str, seed: Sequence[Name], length: int) -> Series:
    """Returns ``length`` points of the series ``name``, the same for the same arguments.

    Raises:
        DataError: It has no point.
    """
    if length < 1:
        raise DataError(
            f"{name}: must have at least 1 point, but got {length=}. Ask for a longer series."
        )
    return GENERATED[name](seed, length)
