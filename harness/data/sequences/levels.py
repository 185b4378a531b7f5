"""What guesses score, exactly."""

import math

import numpy as np

from harness.data.sequences import Level

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
