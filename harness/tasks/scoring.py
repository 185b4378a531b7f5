"""How predictions of sequences are scored: classes by their cross-entropy, values by errors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harness.model.readout import Gradients, Readout, without_padding
from harness.tasks.objective import CROSS_ENTROPY, MSE, OF_CLASSES, OF_VALUES, Objective


class Scoring(Protocol):
    """A loss that training follows, and what an evaluation adds up.

    Attributes:
        objectives: What models may be judged by.
        trained: The one that training follows.
        names: What the sums are of, (K,): their means are metrics of an evaluation.
    """

    objectives: tuple[Objective, ...]
    trained: Objective
    names: tuple[str, ...]

    def sums(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Returns what an evaluation adds up, (N, K), float64.

        Args:
            readout: The model's.
            rows: (N, M, H).
            targets: (N, M), int64; or (N, M, O).
            weights: (N, M).
        """
        ...

    def mean_losses(
        self, readout: Readout, rows: Tensor, targets: Tensor, shares: Tensor
    ) -> tuple[Tensor, Gradients]:
        """Returns the mean losses, (N,), and their gradients; ``shares`` come to 1 for each run."""
        ...

    def metrics(self, means: Sequence[float]) -> dict[str, float]:
        """Returns the metrics of an evaluation of the means of its sums."""
        ...

    def point(self, outputs: Tensor) -> Tensor:
        """Returns what outputs (..., V) say of each value, (..., O); of classes themselves."""
        ...


CHUNK_SCORES = 2**22
"""So many scores of one run exist at once: 32 MiB in float64."""


class ClassScoring:
    """One class of several at every step that counts."""

    objectives: tuple[Objective, ...] = OF_CLASSES
    trained = CROSS_ENTROPY

    def __init__(self, num_classes: int) -> None:
        """Takes the number of classes."""
        self._num_classes = num_classes
        counts = [
            f"{kind}/{number}"
            for kind in ("hits", "predicted", "true")
            for number in range(num_classes)
        ]
        self.names = ("cross_entropy", "errors", *counts)

    def sums(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`Scoring`; hits, predictions and targets are counted by class.

        The scores of some rows exist at a time, as in the read-out.
        """
        size = max(1, CHUNK_SCORES // self._num_classes)
        parts = zip(
            rows.split(size, 1), targets.split(size, 1), weights.split(size, 1), strict=True
        )
        sums = [self._sums_of(readout, *part) for part in parts]
        return torch.stack(sums).sum(0)

    def _sums_of(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        scores = readout.scores(without_padding(rows, weights)).double()
        weights = weights.double()
        losses = torch.logsumexp(scores, 2) - scores.gather(2, targets.unsqueeze(2)).squeeze(2)
        predicted = scores.argmax(2)
        hits = (predicted == targets) * weights
        columns = [(losses * weights).sum(1), (weights - hits).sum(1)]
        counts = [
            weights.new_zeros(len(rows), self._num_classes).scatter_add_(1, classes, counted)
            for classes, counted in ((targets, hits), (predicted, weights), (targets, weights))
        ]
        return torch.cat([torch.stack(columns, 1), *counts], 1)

    def mean_losses(
        self, readout: Readout, rows: Tensor, targets: Tensor, shares: Tensor
    ) -> tuple[Tensor, Gradients]:
        """See :class:`Scoring`."""
        return readout.losses_and_gradients(rows, targets, shares, scale=1.0)

    def metrics(self, means: Sequence[float]) -> dict[str, float]:
        """See :class:`Scoring`.

        ``macro_f1`` is the mean of the classes' F1, over those that are there or are predicted.
        """
        cross_entropy, errors, *counts = means
        size = self._num_classes
        hits, predicted, true = (counts[k * size : (k + 1) * size] for k in range(3))
        scores = [2 * h / (p + t) for h, p, t in zip(hits, predicted, true, strict=True) if p + t]
        return {
            "cross_entropy": cross_entropy,
            "accuracy": 1.0 - errors,
            "macro_f1": sum(scores) / len(scores),
        }

    def point(self, outputs: Tensor) -> Tensor:
        """See :class:`Scoring`."""
        return outputs


class ValueScoring:
    """One value or several at every step that counts; what is measured is a mean over them.

    Attributes:
        measures: What is measured of each value: the sums are those of each measure in turn.
    """

    objectives: tuple[Objective, ...] = OF_VALUES
    trained: Objective = MSE
    measures: tuple[str, ...] = ("squares", "distances")

    def __init__(self, num_values: int = 1) -> None:
        """Takes O, the number of values."""
        self._num_values = num_values
        self.names = tuple(f"{kind}/{n}" for kind in self.measures for n in range(num_values))

    def point(self, outputs: Tensor) -> Tensor:
        """See :class:`Scoring`; the values themselves."""
        return outputs

    def sums(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`Scoring`."""
        outputs = readout.scores(without_padding(rows, weights)).double()
        measured = self._measured(outputs, targets.double())
        return torch.cat([(each * weights.unsqueeze(2)).sum(1) for each in measured], 1)

    def _measured(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Returns every one of ``measures``, (N, M, O) each.

        Args:
            outputs: The read-out's, (N, M, V), float64.
            targets: (N, M, O), float64.
        """
        errors = outputs - targets
        return errors.square(), errors.abs()

    def mean_losses(
        self, readout: Readout, rows: Tensor, targets: Tensor, shares: Tensor
    ) -> tuple[Tensor, Gradients]:
        """See :class:`Scoring`."""
        rows = without_padding(rows, shares)
        losses, slopes = self._losses_and_slopes(readout.scores(rows), targets)
        slopes = slopes * (shares.unsqueeze(2) * (1.0 / losses.shape[2]))
        return (losses.mean(2) * shares).sum(1), readout.gradients(rows, slopes)

    def _losses_and_slopes(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loss of each value, (N, M, O), and its slopes in its outputs, (N, M, V)."""
        errors = outputs - targets
        return errors.square(), 2.0 * errors

    def by_value(self, means: Sequence[float]) -> dict[str, np.ndarray]:
        """Returns measure -> its mean of each value, (O,)."""
        rows = np.reshape(means, (len(self.measures), self._num_values))
        return dict(zip(self.measures, rows, strict=True))

    def metrics(self, means: Sequence[float]) -> dict[str, float]:
        """See :class:`Scoring`."""
        mean = {name: float(values.mean()) for name, values in self.by_value(means).items()}
        squares = mean.pop("squares")
        return {"mse": squares, "mae": mean.pop("distances"), "rmse": squares**0.5, **mean}
