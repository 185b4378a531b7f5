"""The face between training and an engine, and the one place where precision acts."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cells.base import Cell

Parameters = dict[str, Tensor]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Layer:
    """One recurrent layer as an engine sees it; a call's parameters follow ``cell.parameters``, with a leading N."""

    cell: type[Cell]
    hidden_size: int
    biases: int
    precision: str
    threads: int = 1


class Engine(Protocol):
    """How a cell's recurrence is executed."""

    name: str

    def refusal(self, cell: type[Cell], device: str, precision: str) -> str | None:
        """Returns why this engine does not run the cell there, or None where it does."""
        ...

    def run(self, layer: Layer, parameters: Parameters, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; differentiable in every float argument.

        Args:
            layer: What to run.
            parameters: Name -> (N, ...).
            inputs: Tokens (T, N, B), int64, for which W's rows are looked up; or (T, N, B, I).
            state: One (N, B, H) a state of the cell.

        Returns:
            The outputs (T, N, B, H) and the final state.
        """
        ...


def initial_state(cell: type[Cell], num_runs: int, batch_size: int, hidden_size: int, like: Tensor) -> State:
    """Returns the state at the start of a stream, one (N, B, H) a state, of ``like``'s dtype and device."""
    shape = (num_runs, batch_size, hidden_size)
    return tuple(like.new_full(shape, cell.start.get(name, 0.0)) for name in cell.state)


def product(a: Tensor, b: Tensor, precision: str) -> Tensor:
    """Returns (N, M, K) times (N, K, P), operands rounded as ``precision`` says, forward and backward."""
    if precision in ("float32", "float64"):
        return torch.bmm(a, b)
    return _RoundedProduct.apply(a, b, precision)


def round_operand(x: Tensor, precision: str) -> Tensor:
    """Returns float32 values that a float of that precision can hold; products of them accumulate in float32.

    tf32 keeps 10 bits of the mantissa, bf16 7; both round to nearest, ties to even, and keep float32's exponent.
    """
    if precision == "bf16":
        return x.to(torch.bfloat16).to(torch.float32)
    if x.device.type == "cuda":  # the hardware rounds; see `allow_tf32`
        return x
    bits = x.contiguous().view(torch.int32)
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return torch.where(torch.isfinite(x), rounded.view(torch.float32), x)


def allow_tf32(precision: str) -> None:
    """Tells torch whether CUDA may round operands to tf32: for tf32, and for bf16, whose values that keeps."""
    allowed = precision in ("tf32", "bf16")
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class _RoundedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, precision):
        a, b = round_operand(a, precision), round_operand(b, precision)
        ctx.save_for_backward(a, b)
        ctx.precision = precision
        return torch.bmm(a, b)

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        gradient = round_operand(gradient, ctx.precision)
        return torch.bmm(gradient, b.transpose(1, 2)), torch.bmm(a.transpose(1, 2), gradient), None
