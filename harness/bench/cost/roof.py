"""What the machine reaches: multiply-adds among registers, and reads of memory and of a cache.

A library's product is no peak: it moves its operands, too, and code of ours exceeds it.
"""

import ctypes
import functools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from harness import timing
from harness.bench.cost.record import Roof
from harness.engine.cpu import compiler

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
LEAST_MEMORY_BYTES = 2**28
"""Read for the bandwidth of memory, at least: several times what most caches hold."""
CACHES_EXCEEDED = 4
"""Times the largest cache that are read for the bandwidth of memory, at least."""
CACHE_BYTES = 2**18
"""Read by each core for the bandwidth of its own cache."""
GROUP = 8 * 16
"""Numbers that a read takes together, on the widest vectors; sizes are whole multiples."""
PRODUCT_SIZE = {"cpu": 1024, "cuda": 4096}
"""Of the square matrices whose product stands for the peak where nothing can be compiled."""


class Machine(Protocol):
    """What does arithmetic and reads memory, so many times on each of so many threads."""

    how: str

    def multiply_add(self, rounds: int) -> float:
        """Returns the operations of so many rounds on one thread, when they are done."""
        ...

    def reader(self, num_bytes: int) -> Callable[[int], float]:
        """Returns what reads a new block so many times, and then returns the bytes that were."""
        ...


class Compiled:
    """A CPU, by loops compiled for it."""

    how = "fused multiply-adds among registers"

    def __init__(self, real: str = "float") -> None:
        """Compiles them for numbers of a type of C++.

        Raises:
            compiler.CompileError: They cannot be compiled.
        """
        self._library = _library(real)

    def multiply_add(self, rounds: int) -> float:
        """See :class:`Machine`."""
        self._library.multiply_add(rounds)
        return float(rounds * self._library.operations())

    def reader(self, num_bytes: int) -> Callable[[int], float]:
        """See :class:`Machine`."""
        block = _block(num_bytes, "cpu")

        def read(rounds: int) -> float:
            self._library.read_all(block.data_ptr(), block.numel(), rounds)
            return float(rounds * block.nbytes)

        return read


@functools.cache
def _library(real: str = "float") -> ctypes.CDLL:
    source = Path(__file__).with_name("roof.cpp").read_text(encoding="utf-8")
    library = compiler.load("roof", source, f"REAL={real}")
    library.operations.restype = ctypes.c_long
    library.multiply_add.argtypes = [ctypes.c_long]
    library.read_all.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.multiply_add.restype = library.read_all.restype = ctypes.c_double
    return library


class OfLibrary:
    """A device by torch's own product and sum, where no loop of ours is compiled for it."""

    def __init__(self, device: torch.device, why: str):
        """Takes the device, and why there are no loops of ours."""
        self.how = f"a product of torch, since {why}"
        self._device = device
        size = PRODUCT_SIZE[device.type]
        self._operands = torch.randn(2, size, size, device=device)
        self._result = torch.empty(size, size, device=device)

    def multiply_add(self, rounds: int) -> float:
        """See :class:`Machine`."""
        for _ in range(rounds):
            torch.mm(self._operands[0], self._operands[1], out=self._result)
        timing.synchronize(self._device)
        return 2.0 * rounds * len(self._result) ** 3

    def reader(self, num_bytes: int) -> Callable[[int], float]:
        """See :class:`Machine`."""
        block = _block(num_bytes, self._device.type)

        def read(rounds: int) -> float:
            for _ in range(rounds):
                block.sum()
            timing.synchronize(self._device)
            return float(rounds * block.nbytes)

        return read


def _block(num_bytes: int, device: str) -> Tensor:
    count = max(1, num_bytes // (4 * GROUP)) * GROUP
    return torch.ones(count, dtype=torch.float32, device=device)


def machine(device: str) -> Machine:
    """Returns what measures the device."""
    if device != "cpu":
        return OfLibrary(torch.device(device), f"no loop of ours runs on {device}")
    try:
        return Compiled()
    except compiler.CompileError as error:
        return OfLibrary(torch.device(device), str(error).splitlines()[0].rstrip("."))


class Roofs:
    """The machine on one thread, and on all of them."""

    def __init__(self, device: str, threads: int):
        """Allocates what is read."""
        self._machine = machine(device)
        counts = (1,) if device != "cpu" else tuple(sorted({1, threads}))
        self._pool = ThreadPoolExecutor(
            max(counts), "roof", initializer=torch.set_num_threads, initargs=(1,)
        )
        self.roofs = [Roof(count, self._machine.how) for count in counts]
        of_memory = memory_bytes() // max(counts)
        self._memory = [self._machine.reader(of_memory) for _ in range(max(counts))]
        self._cache = [self._machine.reader(CACHE_BYTES) for _ in range(max(counts))]

    def measure(self, seconds: float) -> None:
        """Adds one figure of each kind to each of ``roofs``, each of ``seconds`` at least."""
        for roof in self.roofs:
            arithmetic = [self._machine.multiply_add] * roof.threads
            memory, cache = self._memory[: roof.threads], self._cache[: roof.threads]
            roof.gflops.append(rate(self._pool, arithmetic, seconds))
            roof.memory_gigabytes.append(rate(self._pool, memory, seconds))
            roof.cache_gigabytes.append(rate(self._pool, cache, seconds))

    def reading_seconds(self, num_bytes: int) -> Callable[[float], float]:
        """Returns what measures how long one thread reads so many bytes, from where they lie."""
        read = self._machine.reader(num_bytes)

        def measure(seconds: float) -> float:
            return num_bytes / (1e9 * rate(self._pool, [read], seconds))

        return measure

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()


def rate(pool: Executor, works: Sequence[Callable[[int], float]], seconds: float) -> float:
    """Returns what threads do together in a nanosecond, over ``seconds`` at least.

    Args:
        pool: The threads, one for each of ``works`` at least.
        works: Each does so many rounds, and returns what was done.
        seconds: How long, at least.
    """
    rounds, spent, done = 1, _timed(pool, works, 1)[0], 0.0
    while True:
        rounds = max(2 * rounds, math.ceil(rounds * seconds / max(spent, 1e-9)))
        spent, done = _timed(pool, works, rounds)
        if spent >= seconds:
            return done / spent / 1e9


def _timed(
    pool: Executor, works: Sequence[Callable[[int], float]], rounds: int
) -> tuple[float, float]:
    """Returns the seconds of so many rounds on every thread, and what was done."""
    begun = time.perf_counter()
    done = list(pool.map(lambda work: work(rounds), works))
    return time.perf_counter() - begun, sum(done)


def memory_bytes(caches: Path = CACHES) -> int:
    """Returns how much is read for the bandwidth of memory: several times the largest cache."""
    sizes = [_size(path) for path in caches.glob("index*/size")]
    return max(LEAST_MEMORY_BYTES, CACHES_EXCEEDED * max(sizes, default=0))


def _size(path: Path) -> int:
    """Returns the bytes of a text such as 512K; 0 where it is none."""
    text = path.read_text(encoding="ascii").strip()
    number, unit = text[:-1], {"K": 2**10, "M": 2**20}.get(text[-1:], 0)
    return int(number) * unit if number.isdecimal() else 0
