"""What guesses score, exactly."""

import math

import numpy as np

from harness.data.sequences import Level, Sequences
from harness.data.sequences.heads import LEAST_VARIANCE

PERFECT = Level(loss=0.0, accuracy=1.0)


def uniform_guess(num_classes: int) -> Level:
    """Returns the score where every class is equally likely at every target.

    >>> uniform_guess(2)
    Level(loss=0.6931471805599453, accuracy=0.5)
    """
    return Level(loss=math.log(num_classes), accuracy=1.0 / num_classes)


def guess_by_step(expected: np.ndarray) -> Level:
    """Returns the score of predicting, at every step, how often each class is there the target.

    Args:
        expected: (T, O): the mean weight of a target of each class at each step.
    """
    totals = expected.sum(axis=1, keepdims=True)
    shares = np.divide(expected, totals, out=np.zeros_like(expected), where=totals > 0.0)
    total = float(totals.sum())
    return Level(
        loss=float((totals[:, 0] * entropy(shares)).sum()) / total,
        accuracy=float(expected.max(axis=1).sum()) / total,
    )


def entropy(shares: np.ndarray) -> np.ndarray:
    """Returns the entropy in nats, (...), of distributions, (..., O)."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0.0)
    found: np.ndarray = -(shares * logs).sum(axis=-1)
    return found


def chance_of(sequences: Sequences, predicts_classes: bool, num_outputs: int) -> dict[str, float]:
    """Returns what the best constant prediction scores on sequences, by the objective's key.

    Of classes it is ``cross_entropy``, the entropy of the targets, and ``accuracy``, the share of
    the most frequent; of values ``mse``, their variance, ``mae``, the mean distance from their
    median, ``crps``, half the mean distance of two of them, which their own distribution scores,
    and ``nll``, that of the normal distribution with their mean and variance.
    """
    counted = sequences.weights > 0
    targets, weights = sequences.targets[counted], sequences.weights[counted]
    if predicts_classes:
        counts = np.bincount(targets, weights, minlength=num_outputs)
        shares = counts[counts > 0] / counts.sum()
        return {
            "cross_entropy": float(-(shares * np.log(shares)).sum()),
            "accuracy": float(shares.max()),
        }
    mean = np.average(targets, axis=0, weights=weights)
    squares, distances = (targets - mean) ** 2, np.abs(targets - np.median(targets, axis=0))
    variance = np.average(squares, axis=0, weights=weights) + LEAST_VARIANCE
    return {
        "mse": float(np.average(squares.mean(1), weights=weights)),
        "mae": float(np.average(distances.mean(1), weights=weights)),
        "crps": float(_half_mean_difference(targets).mean()),
        "nll": float(0.5 * np.mean(np.log(2.0 * np.pi * variance) + 1.0)),
    }


def _half_mean_difference(values: np.ndarray) -> np.ndarray:
    """Returns half the mean distance of two values of each column, (O,), of values (S, O)."""
    count = len(values)
    ranks = 2.0 * np.arange(count) - (count - 1.0)
    half: np.ndarray = ranks @ np.sort(values, axis=0) / count**2
    return half
