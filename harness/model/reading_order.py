"""The order in which a direction reads the time steps of sequences from their ends."""

import torch
from torch import Tensor


def from_the_end(inputs: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns which time step of ``inputs`` (T, N, B, ...) is read when, (T, N, B), int64.

    A sequence ends with its last time step that counts. What stands behind it keeps its place, and
    so it is read after all that counts: padding changes nothing.

    Args:
        inputs: Of all sequences.
        weights: How often each time step counts, (T, N, B); None where all count.
    """
    steps = torch.arange(len(inputs), device=inputs.device).view(-1, 1, 1)
    if weights is None:
        return steps.flip(0).expand(inputs.shape[:3])
    lengths = ((weights != 0) * (steps + 1)).amax(0)
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


def reordered(values: Tensor, order: Tensor) -> Tensor:
    """Returns ``values`` (T, N, B, ...) in an order of :func:`from_the_end`, its own inverse.

    The gradients of both are treated alike.
    """
    width = values.shape[3:]
    return values.gather(
        0, order.view(*order.shape, *(1 for _ in width)).expand(-1, -1, -1, *width)
    )
