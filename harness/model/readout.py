"""The read-out and its cross-entropy in one.

The scores of a chunk of rows exist at a time, never those of all rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness.engine import product
from harness.engine.cpu.memory import memory
from harness.engine.cpu.products import cross_entropy
from harness.engine.rounding import round_operand

CHUNK_BYTES = {"cpu": 4 * 2**20, "cuda": 64 * 2**20}
"""Bytes of one run's scores that exist at once, by the type of the device.

They fit a CPU's caches; on a GPU a cut costs some ten launches. Where there are more rows, their
shape alone decides where they are cut.
"""


class Gradients(NamedTuple):
    """The gradients of a loss.

    Attributes:
        rows: In what the read-out was given, (N, M, H).
        weight: (N, H, V).
        bias: (N, V).
    """

    rows: Tensor
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Readout:
    """The last product of a model.

    Attributes:
        weight: (N, H, V).
        bias: (N, V).
        precision: What the operands are rounded to.
        threads: Where given, the losses come from compiled kernels on so many threads; else from
            torch's operations.
        homes: Where the kernels write the gradients of weight and bias; None: into new tensors.
        smoothing: The share of every target that goes to all outputs alike, (N,): it changes the
            gradients, and no loss. None: none does.
    """

    weight: Tensor
    bias: Tensor
    precision: str
    threads: int | None = None
    homes: tuple[Tensor, Tensor] | None = None
    smoothing: Tensor | None = None

    def scores(self, rows: Tensor) -> Tensor:
        """Returns the scores (N, M, V) of ``rows`` (N, M, H)."""
        return product(rows, self.weight, self.precision) + self.bias.unsqueeze(1)

    def gradients(self, rows: Tensor, slopes: Tensor) -> Gradients:
        """Returns the gradients of a loss, given those of the scores, ``slopes`` (N, M, V).

        For losses other than the cross-entropy, which has few outputs: all scores exist at once.
        """
        ahead = product(slopes, self.weight.transpose(1, 2), self.precision)
        weight = product(rows.transpose(1, 2), slopes, self.precision)
        return Gradients(ahead, weight, slopes.sum(1))

    def losses(self, rows: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns every run's summed cross-entropy in nats, (N,); not differentiable.

        Args:
            rows: (N, M, H).
            targets: The index of each row's true output, (N, M), int64.
            weights: How often each row's cross-entropy counts, (N, M); None where each counts once.
        """
        return self._losses(rows, targets, weights, 1.0, None)

    def losses_and_gradients(
        self, rows: Tensor, targets: Tensor, weights: Tensor | None = None, *, scale: float
    ) -> tuple[Tensor, Gradients]:
        """Returns ``scale`` times :meth:`losses`, and that product's gradients.

        Where targets are smoothed, the gradients are those of the cross-entropy with the smoothed.
        They are taken while a chunk's scores are at hand: a backward pass would have to keep them
        or make them again.
        """
        if self.threads is None or self.homes is None:
            homes = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        else:
            homes = self.homes
        ahead = (
            rows.new_empty(rows.shape)
            if self.threads is None
            else memory.empty(rows.shape, rows.dtype)
        )
        gradients = Gradients(ahead, *homes)
        return self._losses(rows, targets, weights, scale, gradients), gradients

    def _losses(
        self,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        scale: float,
        gradients: Gradients | None,
    ) -> Tensor:
        """Returns the losses, and writes their gradients where these are given.

        The gradient of the rows is overwritten; those of the parameters are added to.
        """
        rows = rows if weights is None else without_padding(rows, weights)
        if self.threads is not None:
            return cross_entropy(
                rows, self.weight, self.bias, targets, weights, scale, gradients, self.threads,
                self.smoothing, self.precision,
            )  # fmt: skip
        rows, weight = self._operand(rows), self._operand(self.weight)
        targets = targets.unsqueeze(2)
        losses = rows.new_zeros(rows.shape[0])
        num_bytes = CHUNK_BYTES[rows.device.type]
        size = max(1, num_bytes // (weight.shape[2] * weight.element_size()))
        for start in range(0, rows.shape[1], size):
            share = None if weights is None else _part(weights, start, size).unsqueeze(2)
            chunk_gradients = (
                None
                if gradients is None
                else gradients._replace(rows=_part(gradients.rows, start, size))
            )
            chunk = _part(rows, start, size), _part(targets, start, size), share
            self._add_chunk(losses, chunk_gradients, weight, *chunk, scale)
        return losses

    def _add_chunk(
        self,
        losses: Tensor,
        gradients: Gradients | None,
        weight: Tensor,
        rows: Tensor,
        targets: Tensor,
        share: Tensor | None,
        scale: float,
    ) -> None:
        scores = torch.baddbmm(self.bias.unsqueeze(1), rows, weight)
        torch.log_softmax(scores, 2, out=scores)  # row by row: each is read before it is written
        logs = scores.gather(2, targets)
        losses.add_((logs if share is None else logs * share).sum((1, 2)), alpha=-scale)
        if gradients is None:
            return
        # The softmax, less 1 at the target.
        slopes = scores.exp_().scatter_(2, targets, logs.expm1_())
        if self.smoothing is not None:
            moved = self.smoothing.view(-1, 1, 1)
            slopes.sub_(moved / slopes.shape[2])
            slopes.scatter_add_(2, targets, moved.expand_as(targets))
        slopes = slopes if share is None else slopes.mul_(share)
        gradients.bias.add_(slopes.sum(1), alpha=scale)
        slopes = self._operand(slopes)
        gradients.rows.baddbmm_(slopes, weight.transpose(1, 2), beta=0, alpha=scale)
        gradients.weight.baddbmm_(rows.transpose(1, 2), slopes, alpha=scale)

    def _operand(self, x: Tensor) -> Tensor:
        """Returns ``x`` as :func:`harness.engine.product` multiplies it."""
        return x if self.precision in ("float32", "float64") else round_operand(x, self.precision)


def without_padding(rows: Tensor, weights: Tensor) -> Tensor:
    """Returns rows (..., H) that are 0 where weights (...) are.

    A state may overflow where nothing counts any more, and 0 times infinity is no number.
    """
    return rows.masked_fill((weights == 0).unsqueeze(-1), 0)


def _part(x: Tensor, start: int, size: int) -> Tensor:
    """Returns ``size`` rows of ``x`` (N, M, ...), or as many as there are."""
    return x if size >= x.shape[1] else x[:, start : start + size]
