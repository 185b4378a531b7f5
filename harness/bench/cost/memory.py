"""How much memory a piece of work adds to this process at its most."""

import contextlib
import ctypes
import gc
from pathlib import Path

import torch

from harness.engine.cpu.memory import memory

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
"""What Linux takes in ``clear_refs`` to begin the peak again at what is resident."""


class PeakMemory:
    """Most bytes of a block beyond those before it.

    On a GPU they are torch's, else those of the process that are resident. What was freed before,
    and kept for later use, is given back first, so that it hides nothing.

    Attributes:
        source: How they are taken, or why they are not.
        num_bytes: None: not reported.
    """

    def __init__(self, device: str, process: Path = PROCESS):
        """Looks whether the system tells."""
        self._on_cuda, self._process = device == "cuda", process
        self.num_bytes: int | None = None
        self.source = "torch's peak on the GPU, less what was there before"
        if self._on_cuda:
            return
        try:
            self._begin_again()
            self._status("VmHWM")
            self.source = "peak of the process's resident memory, less what was there before"
        except (OSError, KeyError):
            self.source = f"not reported: {process}/clear_refs does not begin the peak again here"

    def __enter__(self) -> "PeakMemory":
        self.num_bytes = None
        gc.collect()
        if self._on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        elif not self.source.startswith("not reported"):
            memory.clear()
            _trim()
            self._begin_again()
            self._before = self._status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_cuda:
            self.num_bytes = torch.cuda.max_memory_allocated() - self._before
        elif not self.source.startswith("not reported"):
            self.num_bytes = max(0, self._status("VmHWM") - self._before)

    def _begin_again(self) -> None:
        (self._process / "clear_refs").write_text(RESET_PEAK, encoding="ascii")

    def _status(self, name: str) -> int:
        """Returns a line of the process's status, in bytes."""
        lines = (self._process / "status").read_text(encoding="utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return 1024 * int(fields[name].split()[0])


def _trim() -> None:
    """Gives what glibc keeps of freed memory back to the system."""
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
