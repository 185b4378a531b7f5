"""What a precision rounds, and the products of what it has rounded; the one place where it acts."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def dtype_of(precision: str) -> torch.dtype:
    """Returns the dtype of weights, state and results.

    Only float64 changes it: the other precisions round the operands of products.
    """
    return torch.float64 if precision == "float64" else torch.float32


def product(a: Tensor, b: Tensor, precision: str) -> Tensor:
    """Returns (N, M, K) times (N, K, P), with operands rounded as ``precision`` says.

    The backward pass rounds its operands too.
    """
    if precision in ("float32", "float64"):
        return torch.bmm(a, b)
    return _rounded_product(a, b, precision)


def operand(x: Tensor, precision: str) -> Tensor:
    """Returns ``x`` rounded, as :func:`multiplied` takes it.

    It comes in bfloat16 where the hardware multiplies that.
    """
    if precision in ("float32", "float64"):
        return x
    if precision == "bf16" and x.is_cuda and _multiplies_bf16():
        return x.to(torch.bfloat16)
    return round_operand(x, precision)


def multiplied(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns (N, M, K) times (N, K, P) of rounded operands.

    Those in bfloat16 too are accumulated and returned in float32.
    """
    if a.dtype == b.dtype == torch.bfloat16:
        # The dtype of the result can be given since torch 2.8, and on CUDA alone.
        return torch.bmm(a, b, torch.float32, out=out)
    return torch.bmm(a.to(b.dtype), b, out=out)  # float32 holds what bfloat16 does


@functools.cache
def _multiplies_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def has_tf32(device: str) -> bool:
    """Returns whether a type of device rounds to tf32: a GPU that multiplies bf16 does.

    Where there is no GPU to ask, one is taken to be such.
    """
    return device == "cuda" and (not torch.cuda.is_available() or _multiplies_bf16())


def round_operand(x: Tensor, precision: str) -> Tensor:
    """Returns float32 values that a float of that precision can hold.

    Products of them accumulate in float32. tf32 keeps 10 bits of the mantissa, bf16 7; both round
    to nearest, ties to even, and keep float32's exponent.
    """
    if precision == "bf16":
        return x.to(torch.bfloat16).to(torch.float32)
    if x.is_cuda and _multiplies_bf16():  # such hardware rounds to tf32, too; see `allow_tf32`
        return x
    bits = x.contiguous().view(torch.int32)
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return torch.where(torch.isfinite(x), rounded.view(torch.float32), x)


def allow_tf32(precision: str) -> None:
    """Tells torch whether CUDA may round operands to tf32.

    It may for tf32, and for bf16, whose values tf32 keeps.
    """
    _hear_torch_out()
    allowed = precision in ("tf32", "bf16")
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@functools.cache
def _hear_torch_out() -> None:
    """Lets torch 2.9 say, once in a process and unheard, that these settings get other names.

    The other names are not for us: its compiler reads these, and refuses a mixture.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        torch.backends.cudnn.allow_tf32 = False  # to read it may be refused


class _RoundedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, precision: str) -> Tensor:
        a, b = operand(a, precision), operand(b, precision)
        ctx.save_for_backward(a, b)
        ctx.precision = precision
        return multiplied(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b = ctx.saved_tensors
        gradient = operand(gradient, ctx.precision)
        return (
            multiplied(gradient, b.transpose(1, 2)),
            multiplied(a.transpose(1, 2), gradient),
            None,
        )


_rounded_product: Callable[[Tensor, Tensor, str], Tensor] = _RoundedProduct.apply
