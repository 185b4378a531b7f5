"""What engine ``cpu`` compiles once for all cells, from ``kernels/``.

That is products, cross-entropy, the draws of masks, and the steps of optimizers.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from harness.engine.cpu import compiler
from harness.engine.cpu.memory import memory
from harness.engine.rounding import dtype_of

OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")
"""What ``lend`` in ``kernels/products.cpp`` takes, in its order."""
REAL = {torch.float32: "float", torch.float64: "double"}
PLAIN = {torch.float32: "float32", torch.float64: "float64"}
"""Dtype -> the precision that rounds no operand."""
MANTISSA = {"tf32": 10, "bf16": 7}
"""Precision that rounds -> the bits of mantissa that an operand keeps."""


@functools.cache
def products(precision: str) -> ctypes.CDLL:
    """Returns the compiled products of a precision."""
    macros = [f"REAL={REAL[dtype_of(precision)]}"]
    if precision in MANTISSA:
        macros.append(f"MANTISSA={MANTISSA[precision]}")
    library = compiler.load("products", compiler.source_of("products.cpp"), *macros)
    long, pointer, double = ctypes.c_long, ctypes.c_void_p, ctypes.c_double
    rows = [long, long, long, pointer, long]
    signatures = {
        "pack": [long] * 5 + [pointer, long, pointer],
        "pack_transposed": [long] * 3 + [pointer, long, pointer],
        "product_on_threads": [long] * 4 + [pointer, long, long, pointer, pointer, long, long],
        "multiply": [long] * 5 + [pointer] * 4 + [long] * 2,
        "outer": [long] * 3 + [pointer, long, pointer, long, pointer, long, long, long],
        "scatter_part": [long] * 5 + [pointer, pointer, long, pointer, long, long, long],
        "sum_part": [long] * 2 + [pointer, long, pointer, long, long, long],
        "draw": [ctypes.c_int64, ctypes.c_int64, long] + [double] * 3 + [pointer],
        "cross_entropy": rows + [pointer] * 4 + [double] * 2 + [pointer] * 4 + [long],
    }
    for name, types in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    library.kernels.restype = pointer
    library.operands_at_once.restype = long
    library.first_outside.argtypes, library.first_outside.restype = [long, pointer, long], long
    if (threads := threads_of_torch()) is not None:
        library.lend(threads)
    return library


def threads_of_torch() -> ctypes.Array[ctypes.c_void_p] | None:
    """Returns what ``lend`` takes: the OpenMP functions that torch calls; None without them."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        library = ctypes.CDLL(str(path))
        functions = [getattr(library, name) for name in OPENMP]
    except (OSError, AttributeError):  # a torch that was built with other threads
        return None
    return (ctypes.c_void_p * len(OPENMP))(
        *(ctypes.cast(function, ctypes.c_void_p) for function in functions)
    )


@functools.cache
def optimizer_step(dtype: torch.dtype) -> Callable[..., float]:
    """Returns the compiled step of an optimizer, which :mod:`harness.training.optimizer` calls."""
    function = compiler.load(
        "optimizer", compiler.source_of("optimizer.cpp"), f"REAL={REAL[dtype]}"
    ).step
    long, pointer, double = ctypes.c_long, ctypes.c_void_p, ctypes.c_double
    function.argtypes = [long, long, *[pointer] * 5, long, *[double] * 5, pointer]
    function.restype = double
    compiled: Callable[..., float] = function
    return compiled


def address(values: Tensor, n: int) -> int:
    """Returns where run ``n`` of ``values`` (N, ...) begins."""
    return values.data_ptr() + n * values.stride(0) * values.element_size()


def check_range(kernels: ctypes.CDLL, indices: Tensor, size: int, what: str) -> None:
    """Checks the indices at which compiled code would read or write.

    Args:
        kernels: The products of any precision, those that the caller has at hand.
        indices: Int64, in one piece.
        size: They must lie below.
        what: Their name in the error.

    Raises:
        IndexError: An index lies outside.
    """
    position = kernels.first_outside(indices.numel(), indices.data_ptr(), size)
    if position >= 0:
        got = indices.flatten()[position].item()
        raise IndexError(f"{what}: must lie in 0 to {size - 1}, but got {got}.")


def drawn(
    keys: Tensor, update: int, count: int, rates: Tensor, hit: Tensor, miss: Tensor
) -> Tensor:
    """Returns every run's ``hit`` at its rate, and else its ``miss``, (N, count).

    The draws are those of :mod:`harness.model.masks`.

    Args:
        keys: (N,), int64.
        update: What the counters of one draw begin with.
        count: How many of each run.
        rates: (N,), float64.
        hit: (N,).
        miss: (N,), of the same dtype.
    """
    values = memory.empty((len(keys), count), hit.dtype)
    columns = (column.tolist() for column in (keys, rates, hit, miss))
    for n, (key, rate, one, other) in enumerate(zip(*columns, strict=True)):
        products(PLAIN[hit.dtype]).draw(
            key, update << 32, count, rate, one, other, address(values, n)
        )
    return values


def cross_entropy(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    shares: Tensor | None,
    scale: float,
    gradients: tuple[Tensor, Tensor, Tensor] | None,
    threads: int = 1,
    smoothing: Tensor | None = None,
    precision: str | None = None,
) -> Tensor:
    """Returns ``scale`` times every run's summed cross-entropy, (N,); not differentiable.

    Args:
        rows: (N, M, H), the H of a row side by side.
        weight: (N, H, V).
        bias: (N, V).
        targets: (N, M), int64.
        shares: How often each row counts, (N, M); None where each counts once.
        scale: What the losses are multiplied by.
        gradients: Where to write those of rows, weight and bias; None where they are not wanted.
        threads: For the products; the result does not depend on it.
        smoothing: The share of every target that goes to all outputs alike, (N,), in the gradients
            alone; None for none.
        precision: What the operands of products are rounded to; None: nothing.

    Raises:
        ValueError: Rows and weight do not fit.
        IndexError: A target is none of the V outputs.
    """
    if rows.shape[2] != weight.shape[1]:
        raise ValueError(
            f"read-out: rows must have weight's size={weight.shape[1]}, "
            f"but got size={rows.shape[2]}."
        )
    kernels = products(precision or PLAIN[rows.dtype])
    num_runs, num_rows, size = rows.shape
    targets = targets.contiguous()
    check_range(kernels, targets, weight.shape[2], "target")
    rows = rows if rows.stride(2) == 1 else rows.contiguous()
    weight, bias = weight.contiguous(), bias.contiguous()
    shares = None if shares is None else shares.to(rows.dtype).contiguous()
    losses = torch.empty(num_runs, dtype=torch.float64)
    smoothed = [0.0] * num_runs if smoothing is None else smoothing.tolist()
    for n in range(num_runs):
        ends = (None, None, None) if gradients is None else [address(g, n) for g in gradients]
        kernels.cross_entropy(
            num_rows, size, weight.shape[2], address(rows, n), rows.stride(1),
            address(weight, n), address(bias, n), address(targets, n),
            None if shares is None else address(shares, n), scale, smoothed[n],
            address(losses, n), *ends, threads,
        )  # fmt: skip
    return losses.to(rows.dtype)
