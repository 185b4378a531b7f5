"""What guesses score, exactly."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from harness.data.sequences import Level, Sequences
from harness.data.sequences.heads import LEAST_VARIANCE, LEVELS, SPACING

PERFECT = Level(loss=0.0, accuracy=1.0)
LUCK = 3.0
"""The standard errors of a guess's score by which a model that has learned something is better."""


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


def guess_of_classes(sequences: Sequences, num_classes: int) -> dict[str, float]:
    """Returns what the best constant prediction scores on sequences, by the metric's key.

    ``cross_entropy`` is the entropy of the targets; ``accuracy`` the share of the most frequent
    class, and ``macro_f1`` its F1 over the number of those that are there.
    """
    counted = sequences.weights > 0
    targets, weights = sequences.targets[counted], sequences.weights[counted]
    counts = np.bincount(targets, weights, minlength=num_classes)
    shares = counts[counts > 0] / counts.sum()
    most = float(shares.max())
    return {
        "cross_entropy": float(-(shares * np.log(shares)).sum()),
        "accuracy": most,
        "macro_f1": 2 * most / (1 + most) / len(shares),
    }


def guess_by_value(sequences: Sequences, head: str = "value") -> dict[str, np.ndarray]:
    """Returns what the best constant prediction scores on each value, (O,), by the measure's name.

    ``squares`` are those of the errors of the mean, ``distances`` those of the median. A normal
    distribution with their mean and variance has the ``nll`` and the ``coverage``; no distribution
    has a lower ``crps`` than their own, which is half the mean distance of two of them. Of
    quantiles these are those of their own quantiles.

    Args:
        sequences: Whose targets are values.
        head: What a prediction says of each value, one of ``heads.OUTPUTS_PER_VALUE``.
    """
    counted = sequences.weights > 0
    targets, weights = sequences.targets[counted], sequences.weights[counted]
    errors = targets - np.average(targets, axis=0, weights=weights)
    squares, distances = errors**2, np.abs(targets - np.median(targets, axis=0))
    found = {
        "squares": np.average(squares, axis=0, weights=weights),
        "distances": np.average(distances, axis=0, weights=weights),
    }
    if head == "gaussian":
        variance = found["squares"] + LEAST_VARIANCE
        half = NormalDist().inv_cdf(LEVELS[-1]) * np.sqrt(variance)
        found["nll"] = 0.5 * (np.log(2.0 * np.pi * variance) + 1.0)
        found["crps"] = _half_mean_difference(targets)
        found["coverage"] = (np.abs(errors) <= half).mean(axis=0)
    if head == "quantiles":
        quantiles = np.quantile(targets, LEVELS, axis=0, method="inverted_cdf")  # (Q, O)
        levels, beyond = np.reshape(LEVELS, (-1, 1, 1)), targets - quantiles[:, None]
        losses = np.maximum(levels * beyond, (levels - 1) * beyond)
        found["crps"] = 2 * SPACING * losses.mean(axis=1).sum(axis=0)
        covered = (quantiles[0] <= targets) & (targets <= quantiles[-1])
        found["coverage"] = covered.mean(axis=0)
    return found


def guess_of_values(sequences: Sequences, head: str = "value") -> dict[str, float]:
    """Returns the means of :func:`guess_by_value` over the values, by the metric's key."""
    scores = {name: float(each.mean()) for name, each in guess_by_value(sequences, head).items()}
    squares, distances = scores.pop("squares"), scores.pop("distances")
    return {"mse": squares, "mae": distances, "rmse": squares**0.5, **scores}


def _half_mean_difference(values: np.ndarray) -> np.ndarray:
    """Returns half the mean distance of two values of each column, (O,), of values (S, O)."""
    count = len(values)
    ranks = 2.0 * np.arange(count) - (count - 1.0)
    half: np.ndarray = ranks @ np.sort(values, axis=0) / count**2
    return half


def beyond_luck(
    chance: Mapping[str, float], sequences: Sequences, predicts_classes: bool, num_outputs: int
) -> dict[str, float]:
    """Returns what a model must be better than to have learned something, by the metric's key.

    What a guess scores is known exactly, but a set of sequences is a draw, and all runs are judged
    by the same: one that has learned nothing may score better there by luck. So it is asked to be
    better by :data:`LUCK` standard errors of a guess's score on so many sequences; on a set of a
    few, by half of all that there is to be learned at most.

    Args:
        chance: What a guess scores, exactly.
        sequences: Those that models are judged by, independent of each other.
        predicts_classes: Whether targets are classes.
        num_outputs: The number of classes, or of values.
    """
    score = _by_step if predicts_classes else _by_constant
    found = {}
    for key, scores in score(sequences, num_outputs).items():
        error = _standard_error(scores, sequences.weights)
        if key == "accuracy":  # of which more is better
            found[key] = 1.0 - _better(1.0 - chance[key], error)
        else:
            found[key] = _better(chance[key], error)
    return found


def _better(loss: float, error: float) -> float:
    return max(loss - LUCK * error, loss / 2)


def _standard_error(scores: np.ndarray, weights: np.ndarray) -> float:
    """Returns that of the mean of scores, (S, T), whose sequences alone are independent."""
    total = weights.sum()
    mean = (scores * weights).sum() / total
    of_sequences = ((scores - mean) * weights).sum(axis=1)
    return float(np.sqrt((of_sequences**2).sum()) / total)


def _by_constant(sequences: Sequences, _: int) -> dict[str, np.ndarray]:
    """Returns what the best constant scores at every step, (S, T), by the metric's key."""
    targets, counted = sequences.targets, sequences.weights > 0
    middle, median = targets[counted].mean(axis=0), np.median(targets[counted], axis=0)
    squares, distances = (targets - middle) ** 2, np.abs(targets - median)
    return {"mse": squares.mean(axis=2), "mae": distances.mean(axis=2)}


def _by_step(sequences: Sequences, num_classes: int) -> dict[str, np.ndarray]:
    """Returns what the best guess by the step scores there, (S, T), by the metric's key."""
    targets, num_steps = sequences.targets, sequences.weights.shape[1]
    places = np.arange(num_steps) * num_classes + targets
    counts = np.bincount(places.ravel(), sequences.weights.ravel(), num_steps * num_classes)
    counts = counts.reshape(num_steps, num_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0.0)
    steps = np.arange(num_steps)
    return {"cross_entropy": -logs[steps, targets], "accuracy": targets == shares.argmax(axis=1)}
