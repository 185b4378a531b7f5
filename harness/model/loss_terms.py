"""What changes the loss of training besides the targets; what is evaluated knows nothing of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.model.readout import without_padding
from harness.settings import Settings


class LossTerms:
    """The terms of runs that advance together, each with factors of its own.

    The losses that a run reports are without them: they act on the gradients alone.

    Attributes:
        label_smoothing: The share of every target that goes to all V outputs alike, (N,); None
            where no run has any (Szegedy et al., "Rethinking the Inception architecture for
            computer vision", 2016).
        activation: How much of the mean square of the read-out's inputs counts, likewise.
        temporal: How much of that of the differences of the last layer's outputs from time step to
            time step counts, likewise (Merity, McCann & Socher, "Revisiting activation
            regularization for language RNNs", 2017, has both).
    """

    def __init__(self, settings: Sequence[Settings], device: torch.device, dtype: torch.dtype):
        """Takes every run's settings, and the device and type of its parameters."""

        def factors(value: Callable[[Settings], float]) -> Tensor | None:
            values = [value(run) for run in settings]
            return torch.tensor(values, device=device, dtype=dtype) if any(values) else None

        self.label_smoothing = factors(lambda run: run.label_smoothing)
        self.activation = factors(lambda run: run.activation_regularization)
        self.temporal = factors(lambda run: run.temporal_activation_regularization)

    def with_activation(
        self, gradient: Tensor, values: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Returns the gradient of the read-out's inputs ``values`` (T, N, B, H) with their own.

        Args:
            gradient: Likewise.
            values: Of every time step.
            weights: How often each counts in the mean, (T, N, B); None where all count once.
        """
        if self.activation is None:
            return gradient
        return gradient + _slope(self.activation, values, weights) * _counted(values, weights)

    def with_temporal(
        self, gradient: Tensor, values: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Returns the gradient of the last layer's outputs (T, N, B, H) with their differences'.

        A difference counts as the later one of its time steps does in :meth:`with_activation`.
        """
        if self.temporal is None or len(values) == 1:
            return gradient
        steps = values.diff(dim=0)
        later = None if weights is None else weights[1:]
        steps = _slope(self.temporal, steps, later) * _counted(steps, later)
        gradient = gradient.clone()
        gradient[1:] += steps
        gradient[:-1] -= steps
        return gradient


def _counted(values: Tensor, weights: Tensor | None) -> Tensor:
    return values if weights is None else without_padding(values, weights)


def _slope(factors: Tensor, values: Tensor, weights: Tensor | None) -> Tensor:
    """Returns what a mean square's gradient multiplies every run's ``values`` by.

    Returns:
        (N, 1, 1), or with weights (T, N, B, 1).
    """
    of_run = factors.view(-1, 1, 1)
    if weights is None:
        return of_run * (2 * len(factors) / values.numel())
    total = weights.sum((0, 2), keepdim=True)
    shares = weights / total.where(total > 0, 1.0)  # where nothing counts there is no gradient
    return of_run * (2 / values.shape[3]) * shares.unsqueeze(3)
