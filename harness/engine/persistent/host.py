"""The kernels compiled for the host, where threads stand for the threads of the blocks."""

import ctypes
import functools
from collections.abc import Callable

from torch import Tensor

from harness.engine.cpu import compiler
from harness.engine.persistent.source import INTEGERS, Source

Kernel = Callable[[tuple[int, ...], Tensor | None, dict[str, Tensor]], None]
"""Takes :data:`INTEGERS`, the tokens, and the tensors by the names of the source's pointers."""


def kernels(source: Source) -> tuple[Kernel, Kernel]:
    """Returns the forward and the backward kernel.

    Raises:
        CompileError: There is no compiler, or it refuses.
    """
    forward, backward = _functions(source.on("host"))
    return _kernel(forward, source.pointers), _kernel(backward, source.pointers)


@functools.lru_cache(maxsize=256)
def _functions(text: str) -> tuple[Callable[..., None], Callable[..., None]]:
    library = compiler.load("persistent", text)
    return library.forward, library.backward


def _kernel(function: Callable[..., None], pointers: tuple[str, ...]) -> Kernel:
    def call(integers: tuple[int, ...], tokens: Tensor | None, tensors: dict[str, Tensor]) -> None:
        assert all(t.is_contiguous() for t in tensors.values())
        addresses = [0 if tokens is None else tokens.data_ptr()]
        addresses += [tensors[name].data_ptr() if name in tensors else 0 for name in pointers]
        fields = [*integers, *addresses]  # of 8 bytes each
        function((ctypes.c_int64 * (len(INTEGERS) + len(pointers) + 1))(*fields))

    return call
