"""A synchronised clock, quantiles, peak memory."""

import resource
import sys
import time

import torch


class Clock:
    """Marks the ends of updates without waiting for the device; reads the durations when asked.

    On CUDA a mark is an event in the stream, on the CPU the time of day, where every operation has ended by then.
    """

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._marks: list = []
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
        """Returns the seconds between successive marks, waiting for the device, and begins again at the last mark."""
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
    """Returns the quantile of ``values``, linearly interpolated; NaN of none."""
    if not values:
        return float("nan")
    return float(torch.quantile(torch.tensor(values, dtype=torch.float64), fraction))


def reset_peak_memory(device: torch.device) -> None:
    """Begins :func:`peak_memory_bytes` again, where the device can: a process's own peak cannot be taken back."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Returns the most memory in use: allocated on the GPU since the reset, or ever resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
