"""Cells that are linear in their state, all time steps at once.

The step s' = a * s + b is a scan, and so is its gradient. ``scan`` multiplies and adds;
``scan-log`` does the same on logarithms, as the papers of min-gru and min-lstm do, for cells whose
a and b are positive. Neither divides by a product of many a, which underflows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell, split_gates
from harness.engine.base import ByAutograd, Layer, Parameters, State, emitted, prepared
from harness.engine.reference import bind, input_product, lookup
from harness.engine.scan.affine import Affine, NotLinear, affine, logarithmic

STEPS_FROM = 2048
"""The units times rows of a run from which a CPU scans step after step.

From there on the time goes into arithmetic, and no longer into starting operations. Measured on one
AVX-512 core in float32: a step after a step took as long as the tree at 128 steps of 2048 values,
half as long at 8192 (0.35 ms for 35 steps, 11 ms for 1024), and 15 times as long at 1024 steps of
64.
"""


class Scan(ByAutograd):
    """Cells whose step is s' = a * s + b, with a and b free of every state.

    It runs on every device and in every precision.
    """

    name = "scan"

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns how a state enters that is not linear, or None."""
        try:
            affine(_any_size(cell, precision))
        except NotLinear as error:
            return f"{cell.name} is not linear in its state: {error}"
        return None

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; see :class:`harness.engine.base.Engine`.

        Raises:
            NotLinear: The cell is not linear in its state.
        """
        return _run(affine(layer), _Scan.apply, layer, parameters, inputs, state, noise)


class ScanLog(ByAutograd):
    """As :class:`Scan`, on log a and log b, for positive a and b; a state below 0 becomes NaN.

    Large cumulative sums of log a cost digits: use it to compare with what was published, not to be
    more exact.
    """

    name = "scan-log"

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns how a state enters that is not linear, or what may be 0 or below, or None."""
        if below := sorted(name for name, value in cell.start.items() if value < 0):
            return f"{cell.name} has no form in logarithms: {', '.join(below)} starts below 0"
        try:
            logarithmic(_any_size(cell, precision))
        except NotLinear as error:
            return f"{cell.name} has no form in logarithms: {error}"
        return None

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; see :class:`harness.engine.base.Engine`.

        Raises:
            NotLinear: The cell is not linear in its state, or something of it may be 0 or below.
        """
        return _run(logarithmic(layer), _ScanLog.apply, layer, parameters, inputs, state, noise)


def _any_size(cell: type[Cell], precision: str) -> Layer:
    """Returns a small layer: whether a step is linear does not depend on the sizes."""
    return Layer(cell, 2, 1, precision)


def _run(
    step: Affine,
    scan_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    layer: Layer,
    parameters: Parameters,
    inputs: Tensor,
    state: State,
    noise: Tensor | None,
) -> tuple[Tensor, State]:
    coefficients, offsets = _values(step, layer, prepared(layer, parameters, inputs), inputs, noise)
    results = [
        scan_of(a, b, start) for a, b, start in zip(coefficients, offsets, state, strict=True)
    ]
    return emitted(layer, parameters, results[0]), tuple(result[-1] for result in results)


def _values(
    step: Affine, layer: Layer, parameters: Parameters, inputs: Tensor, noise: Tensor | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Returns each state's coefficients and offsets, (T, N, B, H) each.

    Where a batch has more tokens than there are rows of W, they are computed once a row and then
    looked up; not with noise, which is another in every row of the batch.
    """
    num_steps, num_runs, batch_size = inputs.shape[:3]
    num_rows = 0 if inputs.is_floating_point() else parameters["W"].shape[1]
    if noise is None and not inputs.is_floating_point() and num_rows < num_steps * batch_size:
        every = torch.arange(num_rows, device=inputs.device).view(-1, 1, 1).expand(-1, num_runs, 1)
        coefficients, offsets = _values(step, layer, parameters, every, None)
        return _looked_up(coefficients, inputs), _looked_up(offsets, inputs)
    x = input_product(layer, parameters, inputs)
    named = {
        f"x.{gate}": value
        for gate, value in vars(split_gates(x, layer.cell.input_products())).items()
    }
    named |= {f"vector.{name}": value for name, value in vars(bind(layer, parameters)).items()}
    if noise is not None:
        named |= {
            f"noise.{name}": value
            for name, value in vars(split_gates(noise, layer.cell.noise)).items()
        }
    shape = (num_steps, num_runs, batch_size, layer.hidden_size)
    coefficients, offsets = step.values(named, x)
    return [a.expand(shape) for a in coefficients], [b.expand(shape) for b in offsets]


def _looked_up(tables: list[Tensor], tokens: Tensor) -> list[Tensor]:
    """Returns the rows of tables (V, N, 1, H) for ``tokens`` (T, N, B)."""
    return [lookup(table.squeeze(2).transpose(0, 1), tokens) for table in tables]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        result = scan(a, b, start)
        ctx.save_for_backward(a, result, start)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, result, start = ctx.saved_tensors
        return _gradients(a, result, start, gradient)


class _ScanLog(torch.autograd.Function):
    """A carried state enters as its logarithm.

    The logarithm of 0 is minus infinity, which adds nothing to the sum. The gradient is that of the
    plain scan, so that at a state of 0 it is finite, where that of the logarithm is not.
    """

    @staticmethod
    def forward(ctx: Any, log_a: Tensor, log_b: Tensor, start: Tensor) -> Tensor:
        decay = log_a.cumsum(0)
        terms = torch.cat([start.log().unsqueeze(0), log_b - decay])
        result = (decay + terms.logcumsumexp(0)[1:]).exp()
        ctx.save_for_backward(log_a, log_b, result, start)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_a, log_b, result, start = ctx.saved_tensors
        a = log_a.exp()
        of_a, of_b, of_start = _gradients(a, result, start, gradient)
        return of_a * a, of_b * log_b.exp(), of_start


def _gradients(
    a: Tensor, result: Tensor, start: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of a, b and the start.

    That of b_t is g_t + a_(t+1) times that of b_(t+1).
    """
    of_b = torch.empty_like(result)
    of_b[-1] = gradient[-1]
    of_b[:-1] = scan(a[1:], gradient[:-1], gradient[-1], reverse=True)
    of_a = torch.empty_like(result)
    torch.mul(of_b[0], start, out=of_a[0])
    torch.mul(of_b[1:], result[:-1], out=of_a[1:])
    return of_a, of_b, of_b[0] * a[0]


def scan(a: Tensor, b: Tensor, start: Tensor, *, reverse: bool = False) -> Tensor:
    """Returns all states of s' = a * s + b.

    Args:
        a: (T, N, B, H), of any size and sign.
        b: (T, N, B, H).
        start: The state before the first step, (N, B, H).
        reverse: Whether the last time step is the first of the recurrence.
    """
    result = torch.empty_like(b, memory_format=torch.contiguous_format)
    if b.device.type == "cpu" and b.shape[-2:].numel() >= STEPS_FROM:
        parts = zip(a.unbind(0), b.unbind(0), result.unbind(0), strict=True)
        for a_t, b_t, result_t in reversed(list(parts)) if reverse else parts:
            start = torch.addcmul(b_t, a_t, start, out=result_t)
    elif reverse:
        return scan(a.flip(0), b.flip(0), start).flip(0)
    elif len(b) > 0:
        _tree(a, b, start, result)
    return result


def _tree(a: Tensor, b: Tensor, start: Tensor, result: Tensor) -> None:
    """Scans into ``result`` in 2 log2 T rounds.

    Every two steps are one of (a2 a1, a2 b1 + b2), and so on. After Brent and Kung: all rounds
    together do some 3 T multiplications, so no more than a small multiple of a loop.
    """
    steps = len(b)
    if steps == 1:
        torch.addcmul(b, a, start, out=result)
        return
    first, second = slice(0, steps - 1, 2), slice(1, None, 2)
    _tree(
        a[second] * a[first], torch.addcmul(b[second], a[second], b[first]), start, result[second]
    )
    torch.addcmul(b[0], a[0], start, out=result[0])
    torch.addcmul(b[2::2], a[2::2], result[1 : steps - 1 : 2], out=result[2::2])
