"""The memory of engine ``cpu``: rows of buffers, buffers in a block, blocks to borrow."""

import contextlib
import ctypes
import math
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.cpu.compiler import DEPTH, ROUND, SLICE
from harness.engine.cpu.interface import Buffer

SMALL = 1 << 16
"""Bytes below which a tensor is torch's own: a lease costs some 6 microseconds."""
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
    """Blocks of memory that calls borrow.

    Fresh ones would cost a page fault for every 4 KiB of every update.

    Args:
        most_bytes: So much lies idle at most; the block given back longest ago goes first.
    """

    def __init__(self, most_bytes: int = 1 << 30):
        self._free: list[Tensor] = []
        self._back: deque[Tensor] = deque()
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> Tensor:
        """Returns a block of that size, its content arbitrary, beginning at a multiple of 64."""
        with self._lock:
            self._sort_in()
            for i in reversed(range(len(self._free))):
                if self._free[i].numel() == num_bytes:
                    return self._free.pop(i)
        return _block(num_bytes)

    def give(self, block: Tensor) -> None:
        """Takes a block back.

        Waits for no lock: a finalizer may come in the middle of :meth:`take`.
        """
        self._back.append(block)

    def clear(self) -> None:
        """Gives all that lies idle back to the system."""
        with self._lock:
            self._sort_in()
            self._free.clear()

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns a tensor of arbitrary content.

        Its block comes back when nothing refers to its storage any more.
        """
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < SMALL:
            return torch.empty(shape, dtype=dtype)
        block = self.take(num_bytes)
        # The tensor's storage keeps the lease alive.
        lease = (ctypes.c_byte * num_bytes).from_address(block.data_ptr())
        weakref.finalize(lease, self.give, block).atexit = False
        return torch.frombuffer(lease, dtype=dtype).view(*shape)

    def _sort_in(self) -> None:
        while self._back:
            self._free.append(self._back.popleft())
        idle = sum(block.numel() for block in self._free)
        while idle > self._most_bytes:
            idle -= self._free.pop(0).numel()


def _block(num_bytes: int) -> Tensor:
    """Returns fresh memory, in large pages where the system has them: rows lie pages apart."""
    if num_bytes < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(num_bytes, dtype=torch.uint8)
    # Private pages, since shared ones are never large.
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)


memory = Memory()


@dataclass(frozen=True)
class Shape:
    """The sizes of a call.

    Attributes:
        num_steps: T.
        batch_size: B.
        hidden_size: H.
        inputs: V for tokens, I for floats.
        tokens: Whether the inputs are tokens.
        itemsize: The bytes of a number.
        training: Whether the backward call follows.
    """

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
        return min(self.num_steps, max(1, DEPTH // self.batch_size))

    @property
    def slices(self) -> int:
        """The shares of the batch that threads can take."""
        return -(-self.batch_size // SLICE)

    def rows(self, blocks: int) -> int:
        """Returns the numbers in a buffer's row."""
        return row_length(blocks, self.hidden_size, self.itemsize)

    def elements(self, buffer: Buffer) -> int:
        """Returns the numbers of a buffer."""
        wide = buffer.blocks * padded(self.hidden_size)
        width = 0 if self.tokens else padded(self.inputs)
        matrices = {
            "matrix": self.hidden_size * wide,
            "inputs": 0 if self.tokens else self.inputs * wide,
            "transposed_inputs": width * buffer.blocks * self.hidden_size,
            "input_rows": self.chunk * self.batch_size * width,
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


def layout(buffers: tuple[Buffer, ...], shape: Shape) -> tuple[tuple[int, ...], int]:
    """Returns where each buffer begins in a block, in bytes, and the block's size."""
    offsets, end = [], 0
    for buffer in buffers:
        offsets.append(end)
        end += -(-shape.elements(buffer) * shape.itemsize // 64) * 64
    return tuple(offsets), end
