"""How predictions of sequences are scored: classes by their cross-entropy, values by errors."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from harness.model.readout import Gradients, Readout
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


class ClassScoring:
    """One class of several at every step that counts."""

    objectives: tuple[Objective, ...] = OF_CLASSES
    trained = CROSS_ENTROPY

    def __init__(self, num_classes: int, floor: float | None = None) -> None:
        """Takes the number of classes, and the least cross-entropy of all, where it is known."""
        self._num_classes, self._floor = num_classes, floor
        counts = [
            f"{kind}/{number}"
            for kind in ("hits", "predicted", "true")
            for number in range(num_classes)
        ]
        self.names = ("cross_entropy", "errors", *counts)

    def sums(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`Scoring`; hits, predictions and targets are counted by class."""
        scores, weights = readout.scores(rows).double(), weights.double()
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
        values = {
            "cross_entropy": cross_entropy,
            "accuracy": 1.0 - errors,
            "macro_f1": sum(scores) / len(scores),
        }
        return values if self._floor is None else values | {"excess": cross_entropy - self._floor}


class ValueScoring:
    """One value or several at every step that counts; errors are means over them."""

    objectives: tuple[Objective, ...] = OF_VALUES
    trained = MSE
    names: tuple[str, ...] = ("squares", "distances")

    def sums(self, readout: Readout, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See :class:`Scoring`."""
        errors = readout.scores(rows).double() - targets
        columns = (errors.square().mean(2), errors.abs().mean(2))
        return torch.stack([(each * weights).sum(1) for each in columns], 1)

    def mean_losses(
        self, readout: Readout, rows: Tensor, targets: Tensor, shares: Tensor
    ) -> tuple[Tensor, Gradients]:
        """See :class:`Scoring`; the loss is the mean squared error."""
        errors = readout.scores(rows) - targets
        losses = (errors.square().mean(2) * shares).sum(1)
        slopes = errors * (shares.unsqueeze(2) * (2.0 / errors.shape[2]))
        return losses, readout.gradients(rows, slopes)

    def metrics(self, means: Sequence[float]) -> dict[str, float]:
        """See :class:`Scoring`."""
        squares, distances = means
        return {"mse": squares, "mae": distances, "rmse": squares**0.5}
