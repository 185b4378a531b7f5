"""A synchronised clock, the machine's other work, quantiles, memory."""

import contextlib
import ctypes
import functools
import gc
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

BUSY_CORES = 0.25
"""Other processes' use of the processor above which a measurement is marked as disturbed."""
WORDS_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "[CUDA]: out of memory",
)
"""Of torch on a CPU, of CUDA where torch's own allocator is not asked, of its libraries, Triton."""


def cpu_count() -> int:
    """Returns the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Clock:
    """Marks the ends of updates without waiting for the device; reads the durations when asked.

    On CUDA a mark is an event in the stream, on the CPU the time of day, where every operation has
    ended by then.
    """

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []
        self.mark()

    def mark(self) -> None:
        """Notes the present moment of the device."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def durations(self) -> list[float]:
        """Returns the seconds between successive marks, and begins again at the last mark.

        It waits for the device.
        """
        marks, self._marks = self._marks, self._marks[-1:]
        if self._cuda:
            marks[-1].synchronize()
            return [a.elapsed_time(b) / 1e3 for a, b in zip(marks, marks[1:], strict=False)]
        return [b - a for a, b in zip(marks, marks[1:], strict=False)]


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def quantile(values: list[float], fraction: float) -> float:
    """Returns the quantile of ``values``, linearly interpolated; NaN of none.

    It is asked at every evaluation point of every run, of a few values: an operation of torch's
    would wake its threads, which then take the cores of those that train.
    """
    if not values:
        return float("nan")
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def reset_peak_memory(device: torch.device) -> None:
    """Begins :func:`peak_memory_bytes` again, where the device can.

    A process's own peak cannot be taken back.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Returns the most memory in use, in bytes.

    On a GPU that is what was allocated since the reset; else what was ever resident in this
    process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def out_of_memory(error: BaseException) -> bool:
    """Returns whether memory was the cause: torch's allocator on a GPU has a class for it."""
    is_of_class = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_of_class or any(words in str(error) for words in WORDS_OF_MEMORY)


def give_back_memory() -> None:
    """Gives back all that is no longer used, and what torch keeps of a GPU's for later use."""
    gc.collect()  # parts of what was trained refer to one another
    if torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # after a fault every call raises it again
            torch.cuda.empty_cache()


class Watch:
    """Wall seconds of a block, and whether other processes kept the processor busy meanwhile.

    Leave the block when the device has done its work.
    """

    seconds: float
    busy: bool

    def __enter__(self) -> "Watch":
        self._others, self._begun = _other_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        before, after = self._others, _other_seconds()
        self.busy = (
            before is not None and after is not None and after - before > busy_seconds(self.seconds)
        )


def busy_seconds(seconds: float) -> float:
    """Returns the processor seconds of others that disturb a measurement of ``seconds``.

    Two ticks are free: both the machine's time and the process's own are counted in them.
    """
    return BUSY_CORES * seconds + 2.0 / os.sysconf("SC_CLK_TCK")


def _other_seconds() -> float | None:
    """Returns the processor seconds of other processes since start-up, or None.

    It is None where /proc does not say.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    used = sum(int(fields[i]) for i in (0, 1, 2, 5, 6)) / ticks  # user, nice, system, irq, softirq
    process = os.times()
    return used - process.user - process.system


@functools.cache
def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed, up to 32 MB a block.

    Else an update's tensors would be new pages each time.

    A page costs its first touch; at 256 units that was a twentieth of an update. Threads share one
    arena, since glibc gives back what is free at the end of any other. Elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # names in malloc.h
        mallopt(arena_max, 1)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)
