"""Scores of forecasts that are distributions, in closed form and in NumPy alone."""

import math
from collections.abc import Sequence

import numpy as np


def gaussian_crps(truth: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Returns the continuous ranked probability score of normal distributions, in truth's unit.

    Source: Gneiting, T. and Raftery, A. E. Strictly proper scoring rules, prediction, and
    estimation. Journal of the American Statistical Association 102, 2007.

    Args:
        truth: Of any shape, as the others.
        mean: The forecasts' means.
        deviation: Their standard deviations, positive.
    """
    z = (truth - mean) / deviation
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    sides = np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2))  # 2 Phi(z) - 1
    score: np.ndarray = deviation * (z * sides + 2 * density - 1 / math.sqrt(math.pi))
    return score


def quantile_loss(truth: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Returns the pinball loss of each quantile, (..., Q).

    Source: Koenker, R. and Bassett, G. Regression quantiles. Econometrica 46, 1978.

    Args:
        truth: (...).
        quantiles: (..., Q), forecast.
        levels: The Q probabilities with which the truth is to lie below them.
    """
    error = truth[..., None] - quantiles
    given = np.asarray(levels, np.float64)
    loss: np.ndarray = np.maximum(given * error, (given - 1) * error)
    return loss


def quantile_crps(truth: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Returns twice the mean pinball loss over all levels from 0 to 1, (...).

    Over all of them it is the continuous ranked probability score. Between those that are forecast
    the trapezoidal rule has it, and at 0 and at 1 there is no loss.

    Args:
        truth: (...).
        quantiles: (..., Q), forecast.
        levels: Q probabilities between 0 and 1, in ascending order.
    """
    ends = np.array([0.0, *levels, 1.0])
    parts = (ends[2:] - ends[:-2]) / 2
    score: np.ndarray = 2 * quantile_loss(truth, quantiles, levels) @ parts
    return score


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns which share of the truth lies from ``low`` to ``high``, over the first axis."""
    share: np.ndarray = ((low <= truth) & (truth <= high)).mean(axis=0)
    return share
