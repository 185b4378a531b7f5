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
    """

    def __init__(self, settings: Sequence[Settings], device: torch.device, dtype: torch.dtype):
        """Takes every run's settings, and the device and type of its parameters."""

        def factors(value: Callable[[Settings], float]) -> Tensor | None:
            values = [value(run) for run in settings]
            return torch.tensor(values, device=device, dtype=dtype) if any(values) else None

        self.label_smoothing = factors(lambda run: run.label_smoothing)
