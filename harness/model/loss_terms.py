"""What changes the loss of training besides the targets; what is evaluated knows nothing of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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

    def with_activation(self, gradient: Tensor, values: Tensor) -> Tensor:
        """Returns the gradient of the read-out's inputs ``values`` (T, N, B, H) with their own."""
        if self.activation is None:
            return gradient
        return gradient + _slope(self.activation, values) * values

    def with_temporal(self, gradient: Tensor, values: Tensor) -> Tensor:
        """Returns the gradient of the last layer's outputs (T, N, B, H) with their differences'."""
        if self.temporal is None or len(values) == 1:
            return gradient
        steps = values.diff(dim=0)
        steps = _slope(self.temporal, steps) * steps
        gradient = gradient.clone()
        gradient[1:] += steps
        gradient[:-1] -= steps
        return gradient


def _slope(factors: Tensor, values: Tensor) -> Tensor:
    """Returns what a mean square's gradient multiplies every run's ``values`` by, (N, 1, 1)."""
    return factors.view(-1, 1, 1) * (2 * len(factors) / values.numel())
