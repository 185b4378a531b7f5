"""The Triton kernels of cells as machine code of a GPU that need not be there.

Kernels go through Triton's own path from a call to machine code (binding of arguments,
specialisation, launch options), on buffers that engine `gpu` itself makes. A stand-in says which
GPU is to be compiled for, and nothing is launched.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import jit
from triton.runtime.driver import driver

from cells import Cell
from harness.engine.base import Layer
from harness.engine.gpu import gpu, optimizer_step, triton_source
from harness.engine.gpu.launches import Buffer, Layout, Piece
from harness.engine.rounding import dtype_of

SHAPES = ((1, 4, 32), (16, 5, 32), (2, 3, 1), (3, 3, 17))
"""N, T, B that a kernel is called with.

Triton may specialise on 1 and on multiples of 16, so both are among them.
"""

Facts = tuple[str, int, str, int]
"""Cell, hidden size, precision and architecture, with which a row begins."""

OPTIMIZER = "optimizer"
"""Stands for a cell's name in the rows of the kernels that no cell has."""


class StandIn:
    """All that Triton asks of a driver before a launch."""

    def __init__(self, architecture: int):
        self._architecture = architecture

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._architecture, 32)

    def get_current_device(self) -> int:
        return self._architecture  # Triton keeps what it compiled by device

    def get_current_stream(self, device: Any = None) -> int:
        return 0

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return divmod(self._architecture, 10)


@dataclass(frozen=True)
class Job:
    """One cell's kernels of both directions at one hidden size, in one precision."""

    name: str
    cell: type[Cell]
    hidden_size: int
    precision: str
    architecture: int
    biases: int = 1


@dataclass(frozen=True)
class Kernel:
    """A kernel, compiled, or what went wrong: ``problem`` says what."""

    cell: str
    hidden_size: int
    precision: str
    architecture: int
    name: str
    problem: str | None = None
    num_warps: int = 0
    num_versions: int = 0
    """How many times it was compiled over all SHAPES and time steps: once is right."""
    registers: int = 0
    shared_bytes: int = 0
    stack_bytes: int = 0
    """Of a thread: registers that were spilled lie there."""


@cache
def _compiled() -> list[Any]:
    """Returns the list that every kernel is added to; from here on no call launches any."""
    made: list[Any] = []
    run = jit.JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        made.append(run(self, *arguments, grid=grid, warmup=True, **options))
        return made[-1]

    jit.JITFunction.run = compile_only
    return made


def compile_job(job: Job) -> list[Kernel]:
    """Returns a row a kernel; a cell that has none, or that cannot be laid out, is a problem."""
    torch.set_num_threads(1)
    driver.set_active(StandIn(job.architecture))
    facts = (job.name, job.hidden_size, job.precision, job.architecture)
    try:
        plan = gpu._plan(Layer(job.cell, job.hidden_size, job.biases, job.precision))
        kernels = [
            _kernel(job, facts, plan, piece, buffers)
            for steps, buffers in zip((plan.forward, plan.backward), plan.buffers, strict=True)
            for piece in steps
            if isinstance(piece, Piece)
        ]
    except Exception as error:  # of any kind: it costs this cell its rows, and no other
        return [Kernel(*facts, "all", _line(error))]
    return kernels or [Kernel(*facts, "all", "there is no pointwise piece")]


def _kernel(
    job: Job, facts: Facts, plan: Layout, piece: Piece, wanted: dict[str, Buffer]
) -> Kernel:
    def launch(shape: tuple[int, int, int]) -> None:
        like = torch.empty((*shape, 1), dtype=dtype_of(job.precision))
        buffers = gpu._allocated(wanted, {}, like)
        module = triton_source.kernels(plan, like.dtype)
        call = triton_source.bind(module, buffers, like.shape, piece)
        for times in (range(shape[1]), range(shape[1] - 1, -1, -1)):
            call(times)

    return _launched(facts, piece.name, launch)


def optimizer_kernels(architecture: int) -> list[Kernel]:
    """Returns a row a kernel of the optimizers' step; in each, all that can act does."""
    torch.set_num_threads(1)
    driver.set_active(StandIn(architecture))
    kernels = []
    for precision in ("float32", "float64"):
        for name in optimizer_step.KINDS:

            def launch(
                shape: tuple[int, int, int], name: str = name, like: str = precision
            ) -> None:
                num_runs, dtype = shape[0], dtype_of(like)
                rows = torch.empty(num_runs, 16 * shape[2], dtype=dtype)  # P, a multiple of 16
                column = rows[:, :1].contiguous()
                alive = column.to(torch.int32 if dtype == torch.float32 else torch.int64)
                optimizer_step.step(
                    name, rows, rows, [rows, rows], alive, column, column[:, 0],
                    torch.empty(3, num_runs, 1, dtype=dtype), (column,) * 4,
                    (True,) * 4, (0.9, 0.999),
                )  # fmt: skip

            kernels.append(_launched((OPTIMIZER, 0, precision, architecture), name, launch))
    return kernels


def _launched(facts: Facts, name: str, launch: Callable[[tuple[int, int, int]], None]) -> Kernel:
    """Returns the kernel that is compiled when it is launched with every one of ``SHAPES``."""
    made = _compiled()
    try:
        versions = set()
        for shape in SHAPES:
            made.clear()
            launch(shape)
            versions |= {kernel.hash for kernel in made}
        kernel = made[-1]
        used = resources(kernel.asm["cubin"])
    except Exception as error:  # likewise
        return Kernel(*facts, name, _line(error))
    return Kernel(
        *facts,
        name,
        num_warps=kernel.metadata.num_warps,
        num_versions=len(versions),
        registers=used["REG"],
        shared_bytes=max(used["SHARED"], kernel.metadata.shared),
        stack_bytes=used["STACK"] + used["LOCAL"],
    )


def resources(machine_code: bytes) -> dict[str, int]:
    """Returns what a kernel's machine code uses, as the cuobjdump that comes with Triton tells it.

    Raises:
        ValueError: It tells nothing of the kind.
    """
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin", delete=False) as file:
        file.write(machine_code)
    try:
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True)
    finally:
        os.unlink(file.name)
    used = {name: int(count) for name, count in re.findall(r"\b([A-Z]+):(\d+)", done.stdout)}
    if not {"REG", "STACK", "SHARED", "LOCAL"} <= used.keys():
        raise ValueError(f"cuobjdump tells no resources: {_line(done.stderr or done.stdout)}")
    return used


def _line(error: object) -> str:
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    words = " ".join(str(error).split())
    # Triton's errors begin with the kernel and end with the cause.
    return kind + (words if len(words) <= 300 else f"{words[:100]} ... {words[-200:]}")
