"""What a kernel is called with, on a device and on the host alike."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from harness.engine.persistent.source import INTEGERS, Source


@dataclass(frozen=True)
class Call:
    """The arguments of one call.

    Attributes:
        runs: N.
        steps: T.
        batch: B.
        tokens: (N, T, B), where x is a table; None where x has a row of each.
        tensors: By the names of the source's pointers; those that a direction does not use may be
            missing.
    """

    runs: int
    steps: int
    batch: int
    tokens: Tensor | None
    tensors: dict[str, Tensor]

    def packed(self, pointers: tuple[str, ...]) -> "ctypes.Array[ctypes.c_int64]":
        """Returns the kernel's ``Arguments``, whose fields have 8 bytes each."""
        assert all(tensor.is_contiguous() for tensor in self.tensors.values())
        # The kernels count rows in 32 bits: of one number each they would be 16 GB.
        assert self.runs * (self.steps + 1) * self.batch < 2**32
        vocabulary = 0 if self.tokens is None else self.tensors["x"].shape[1]
        assert self.runs * vocabulary < 2**32
        integers = [self.runs, self.steps, self.batch, vocabulary]
        assert len(integers) == len(INTEGERS)
        addresses = [0 if self.tokens is None else self.tokens.data_ptr()]
        addresses += [
            self.tensors[name].data_ptr() if name in self.tensors else 0 for name in pointers
        ]
        fields = [*integers, *addresses]
        return (ctypes.c_int64 * len(fields))(*fields)


@dataclass(frozen=True)
class Kernels:
    """A layer's two kernels, ready to be called.

    Attributes:
        source: What they were compiled from.
        forward: Runs the forward time loop.
        backward: Runs the backward one.
    """

    source: Source
    forward: Callable[[Call], None]
    backward: Callable[[Call], None]
