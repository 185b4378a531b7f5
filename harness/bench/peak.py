"""What the machine reaches: the yardstick of every GFLOP/s in the tables.

On a CPU these are multiply-adds among registers, which no product exceeds: a library's moves its
operands, too. Elsewhere, and without a compiler, the library's best product stands for the peak.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from harness import timing
from harness.bench.cost.roof import Compiled, rate
from harness.bench.record import Peak
from harness.engine.cpu.compiler import CompileError
from harness.engine.cpu.products import REAL

CPU_SIZES = (512, 1024, 2048)
CUDA_SIZES = (2048, 4096, 8192)


class Yardsticks:
    """Multiply-adds among registers, and products of square matrices.

    One product is computed on all threads, and then one on each thread, into memory that is
    allocated already.
    """

    def __init__(self, shape: str, threads: int, device: torch.device, precision: str):
        self._threads, self._device = threads, device
        self._pool = ThreadPoolExecutor(
            threads, "product", initializer=torch.set_num_threads, initargs=(1,)
        )
        cuda = device.type == "cuda"
        dtype = {"float64": torch.float64, "bf16": torch.bfloat16}.get(precision, torch.float32)
        if not cuda and dtype is torch.bfloat16:
            # The engines round operands to bf16 on a CPU, and multiply in float32.
            dtype = torch.float32
        self._together = f"one product on {device.type if cuda else f'{threads} threads'}"
        apart = [] if cuda or threads == 1 else [f"{threads} products on a thread each"]
        sizes = CUDA_SIZES if cuda else CPU_SIZES
        self._operands = {n: torch.randn(2, n, n, device=device).to(dtype) for n in sizes}
        self._results = {
            n: [self._operands[n][0].clone() for _ in range(threads if apart else 1)] for n in sizes
        }
        self._loops = None if cuda else _loops(REAL[dtype])
        self._among_registers = f"multiply-adds among registers on {threads} threads"
        forms = [] if self._loops is None else [Peak(shape, self._among_registers, 0)]
        self.peaks = forms + [Peak(shape, f, n) for f in [self._together, *apart] for n in sizes]

    def measure(self, seconds: float) -> None:
        """Adds one figure to each of ``peaks``, each measured for ``seconds`` at least."""
        for peak in self.peaks:
            if self._loops is not None and peak.form == self._among_registers:
                work = [self._loops.multiply_add] * self._threads
                peak.gflops.append(rate(self._pool, work, seconds))
                continue
            self._seconds(peak, 1)
            count = math.ceil(seconds / self._seconds(peak, 1))
            products = count * (1 if peak.form == self._together else self._threads)
            peak.gflops.append(products * 2 * peak.size**3 / self._seconds(peak, count) / 1e9)

    def _seconds(self, peak: Peak, count: int) -> float:
        operands, results = self._operands[peak.size], self._results[peak.size]
        torch.set_num_threads(self._threads)
        with timing.Watch() as watch:
            if peak.form == self._together:
                _multiply(operands, results[0], count)
                timing.synchronize(self._device)
            else:
                list(self._pool.map(lambda result: _multiply(operands, result, count), results))
        return watch.seconds

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()


def _loops(real: str) -> Compiled | None:
    """Returns what multiplies and adds among registers, None without a compiler."""
    try:
        return Compiled(real)
    except CompileError:
        return None


def _multiply(operands: Tensor, result: Tensor, count: int) -> None:
    for _ in range(count):
        torch.mm(operands[0], operands[1], out=result)
