"""The memory of engine ``cpu``: how long a buffer's rows are, where buffers lie in a block, and blocks to borrow."""

import contextlib
import mmap
import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine import cpp

ROUND = 16
"""Rows of buffers are whole multiples of it; as in ``kernels/vector.h``."""
SLICE = 16
"""Rows of the batch whose sums are taken together; as in ``kernels/layer.h``."""
CHUNK_ROWS = 192
"""Rows of the time steps that the backward pass takes before it multiplies their gradients: as deep as a pass of
``outer_part`` in ``kernels/products.cpp``, and few enough to stay in a core's cache."""
LARGE = 1 << 21
"""Bytes from which a block asks for large pages."""


def padded(size: int) -> int:
    """Returns the units of a buffer's row that hold ``size`` units."""
    return -(-size // ROUND) * ROUND


def row_length(blocks: int, size: int, itemsize: int) -> int:
    """Returns the numbers from one row of a buffer to the next; as in ``kernels/vector.h``."""
    length = blocks * padded(size)
    return length + ROUND if length * itemsize % 2048 == 0 else length


class Memory:
    """Blocks of memory that calls borrow: fresh ones would cost a page fault every 4 KiB of every update."""

    def __init__(self, most: int = 16):
        self._free: list[Tensor] = []
        self._most = most
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> Tensor:
        """Returns a block of that size, its content arbitrary, beginning at a multiple of 64."""
        with self._lock:
            for i in reversed(range(len(self._free))):
                if self._free[i].numel() == num_bytes:
                    return self._free.pop(i)
        return _block(num_bytes)

    def give(self, block: Tensor) -> None:
        """Takes a block back; the oldest one goes where there are many."""
        with self._lock:
            self._free.append(block)
            del self._free[: -self._most]


def _block(num_bytes: int) -> Tensor:
    """Returns fresh memory, in large pages where the system has them: rows lie pages apart."""
    if num_bytes < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(num_bytes, dtype=torch.uint8)
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones are never large
    with contextlib.suppress(OSError):  # a system without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)


memory = Memory()


@dataclass(frozen=True)
class Shape:
    """The sizes of a call; ``inputs`` are V for tokens and I for floats."""

    num_steps: int
    batch_size: int
    hidden_size: int
    inputs: int
    tokens: bool
    itemsize: int
    training: bool

    @property
    def chunk(self) -> int:
        """The time steps of the backward pass between two products over them."""
        return min(self.num_steps, max(1, CHUNK_ROWS // self.batch_size))

    @property
    def slices(self) -> int:
        """The shares of the batch that threads can take."""
        return -(-self.batch_size // SLICE)

    def rows(self, blocks: int) -> int:
        """Returns the numbers in a buffer's row."""
        return row_length(blocks, self.hidden_size, self.itemsize)

    def elements(self, buffer: cpp.Buffer) -> int:
        """Returns the numbers of a buffer."""
        wide = buffer.blocks * padded(self.hidden_size)
        matrices = {
            "matrix": self.hidden_size * wide,
            "inputs": 0 if self.tokens else self.inputs * wide,
            "transposed_inputs": 0 if self.tokens else padded(self.inputs) * buffer.blocks * self.hidden_size,
            "input_rows": 0 if self.tokens else self.chunk * self.batch_size * padded(self.inputs),
        }
        if buffer.span in matrices:
            return matrices[buffer.span]
        batch = self.batch_size
        count = {
            "state": (self.num_steps + 1 if self.training else 2) * batch,
            "time": (self.num_steps if self.training else 1) * batch,
            "chunk": self.chunk * batch,
            "step": batch,
            "slice": self.slices,
            "once": 1,
        }[buffer.span]
        return count * (self.rows(buffer.blocks) if buffer.blocks else 64 // self.itemsize)


def layout(buffers: tuple[cpp.Buffer, ...], shape: Shape) -> tuple[tuple[int, ...], int]:
    """Returns where each buffer begins in a block, in bytes, and the block's size."""
    offsets, end = [], 0
    for buffer in buffers:
        offsets.append(end)
        end += -(-shape.elements(buffer) * shape.itemsize // 64) * 64
    return tuple(offsets), end
