"""Whether Triton works here: that its package is found says little.

Triton needs a C compiler, a driver that is new enough for its machine code, and libraries of its
own. So one tiny kernel is compiled, run and compared, once in a process.
"""

import functools
import importlib.util

import torch
from torch import Tensor

from harness import timing
from harness.engine.gpu import triton_source
from harness.engine.gpu.launches import Buffer, Buffers, Load, Piece, Place, by_torch
from harness.engine.tracing.program import Node

SIZE, ROWS = 5, 2
NODES = (
    Node("input"),
    Node("input"),
    Node("tanh", (0,)),  # of CUDA's libdevice
    Node("div", (2, 1)),  # rounded right, which Triton's own division is not
    Node("row_sum", (3,), kind="row"),
)
RELATIVE_ERROR = 1e-5


@functools.cache
def failure(device: str = "cuda") -> str | None:
    """Returns why Triton's kernels cannot be used on the device, in one line, or None.

    The first call compiles a kernel and waits for it, so it must lie before a capture.

    Raises:
        torch.OutOfMemoryError: There is no memory to try it with.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return "there is no CUDA device"
    try:
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
        wrong = _wrong(torch.device(device))
    except Exception as error:  # of any kind, import included: torch's operations remain
        if timing.out_of_memory(error):  # it says nothing of Triton, and is no answer to keep
            raise torch.OutOfMemoryError(str(error)) from error
        return f"Triton does not work here: {type(error).__name__}: {_line(error)}"
    return f"Triton computes another {' and '.join(wrong)} than torch" if wrong else None


def _wrong(device: torch.device) -> list[str]:
    """Returns the operations whose values are not torch's."""
    piece = _piece()
    module = triton_source.loaded(triton_source.text_of((piece,), torch.float32))
    given = torch.linspace(0.5, 3.0, 2 * SIZE * ROWS, device=device).view(1, 1, ROWS, 2 * SIZE)
    ours, theirs = _buffers(piece, given), _buffers(piece, given)
    triton_source.bind(module, ours, given.shape, piece)(range(1))
    by_torch(theirs, {}, piece)(range(1))
    return [
        NODES[i].op
        for place, i in piece.stores
        if i is not None and not _close(ours[place.buffer.name], theirs[place.buffer.name])
    ]


def _piece() -> Piece:
    """Returns a piece that loads two rows of values and stores all that it makes of them."""
    given = Buffer("given", 2 * SIZE, extra=1)
    loads = tuple(Load(i, NODES[i], (Place(given, i * SIZE, SIZE),)) for i in range(2))
    made = tuple(enumerate(NODES))[2:]
    widths = {i: 1 if node.kind == "row" else SIZE for i, node in made}
    stores = tuple(
        (Place(Buffer(f"made.{i}", width, extra=1), 0, width), i) for i, width in widths.items()
    )
    return Piece("trial", SIZE, loads, made, stores)


def _buffers(piece: Piece, given: Tensor) -> Buffers:
    nan = float("nan")
    made = {p.buffer.name: given.new_full((1, 1, ROWS, p.width), nan) for p, _ in piece.stores}
    return made | {"given": given}


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=RELATIVE_ERROR, atol=0.0)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
