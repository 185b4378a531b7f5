"""What a forecaster's outputs say of each value that it predicts; NumPy alone.

Shapes: O values are predicted; the read-out is K times as wide, where K is the outputs per value.
All values' first outputs come first, then all their second ones, and so on.
"""

import numpy as np

LEVELS: tuple[float, ...] = tuple(number / 20 for number in range(1, 20))
"""The probabilities with which the truth is to lie below the quantiles: 0.05 to 0.95."""
SPACING = 1 / 20
"""Between two levels, and before the first and after the last: what a level counts for in a mean
over all that there are, by the trapezoidal rule, since at 0 and at 1 there is no loss.
"""
OUTPUTS_PER_VALUE = {"value": 1, "gaussian": 2, "quantiles": len(LEVELS)}
"""Head -> K: the value; a normal distribution's mean and log-variance; quantiles at LEVELS."""
LEAST_VARIANCE = 1e-6
"""What a normal distribution's variance is above, in units of the training part's: no series is
known more exactly, and without a bound the likelihood of one that is would have none either.
"""


def points(outputs: np.ndarray, head: str) -> np.ndarray:
    """Returns the forecasts that errors are told of, (..., O): the mean, or the median.

    Args:
        outputs: (..., K * O).
        head: One of ``OUTPUTS_PER_VALUE``.
    """
    by_value = outputs.reshape(*outputs.shape[:-1], OUTPUTS_PER_VALUE[head], -1)
    chosen: np.ndarray = by_value[..., LEVELS.index(0.5) if head == "quantiles" else 0, :]
    return chosen
