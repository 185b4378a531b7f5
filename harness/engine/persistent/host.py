"""The kernels compiled for the host, where threads stand for the threads of the blocks."""

import functools
from collections.abc import Callable
from dataclasses import replace

from harness.engine.cpu import compiler
from harness.engine.gpu.launches import Layout
from harness.engine.persistent.arguments import Call, Kernels
from harness.engine.persistent.source import source
from harness.engine.persistent.tiling import Tiling, tilings

THREADS = 2
"""Of a block: two that must wait for one another are as good as 256."""


def tiling(hidden_size: int) -> Tiling:
    """Returns how a layer is cut where threads of the host stand for those of the blocks."""
    return replace(tilings(hidden_size)[0], num_threads=THREADS)


@functools.lru_cache(maxsize=256)
def kernels(plan: Layout, precision: str, tile: Tiling) -> Kernels:
    """Returns a layout's kernels.

    Raises:
        CompileError: There is no compiler, or it refuses.
    """
    code = source(plan, precision, tile)
    library = compiler.load("persistent", code.on("host"))

    def calling(function: Callable[..., None]) -> Callable[[Call], None]:
        return lambda call: function(call.packed(code.pointers))

    return Kernels(code, calling(library.forward), calling(library.backward))
