"""Runs the Triton kernels of cells in Triton's interpreter, on CPU tensors, and compiles some for a
GPU not there.

A program of its own: Triton reads TRITON_INTERPRET when it is imported. It prints a line for
everything that is wrong. The interpreter cannot call CUDA's libdevice; NumPy's functions stand in
for it.
"""

import functools
import os
import pathlib
import sys
import warnings

sys.path[:0] = [str(parent) for parent in pathlib.Path(__file__).resolve().parents[:4]]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from agreement import ALL_CELLS, case, differences, errors, results  # noqa: E402
from corner_cells import CORNERS  # noqa: E402
from odd_cells import ODD_CELLS  # noqa: E402

import cells  # noqa: E402
from harness import engine  # noqa: E402
from harness.engine.gpu import gpu, triton_source  # noqa: E402
from harness.engine.gpu.layout import Buffer, Load, Piece, Place, by_torch, layout  # noqa: E402
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS, Node  # noqa: E402

CELLS = {name: cells.find(name) for name in ALL_CELLS} | CORNERS | ODD_CELLS
COMPILED = (
    "lstm",
    "lstm-on",
    "gru-reset-before",
    "DependentReductions",
    "Compared",
    "MadeOfVectors",
)


def stand_in(function):
    from triton.runtime.interpreter import TensorHandle

    def call(x):
        values = function(x.handle.data).astype(x.handle.data.dtype)
        return tl.tensor(TensorHandle(values, x.dtype.scalar), x.type)

    return staticmethod(call)


def library():
    """Returns what the kernels use of libdevice."""
    names = ("tanh", "exp", "expm1", "log", "log1p")
    functions = {name: getattr(np, name) for name in names} | {"rsqrt": lambda x: 1 / np.sqrt(x)}
    return type("Library", (), {name: stand_in(function) for name, function in functions.items()})


SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.3,
    -2.5,
    1e-30,
    90.0,
    -90.0,
    1e30,
    torch.inf,
    -torch.inf,
    torch.nan,
)
BOTH = ("add", "sub", "mul", "div", "minimum", "maximum", "lt", "le", "eq")
ARGUMENTS = {"where": (2, 0, 1), "and": (2, 3), "or": (2, 3), "not": (2,)} | dict.fromkeys(
    BOTH, (0, 1)
)
"""Of nodes: 0 and 1 are numbers, 2 and 3 comparisons of them."""


def every_operation(size):
    """Returns a piece of all operations and reductions of two rows of values that it loads."""
    nodes = [Node("input"), Node("input"), Node("lt", (0, 1)), Node("le", (0, 1))]
    nodes += [Node(op, ARGUMENTS.get(op, (0,))) for op in OPERATIONS]
    nodes += [Node(op, (0,), kind="row") for op in REDUCTIONS]
    given = Buffer("given", 2 * size, extra=1)
    loads = tuple(Load(i, nodes[i], (Place(given, i * size, size),)) for i in range(2))
    numbered = tuple(enumerate(nodes))[2:]
    widths = {i: 1 if node.kind == "row" else size for i, node in numbered}
    stores = tuple(
        (Place(Buffer(f"made.{i}", width, extra=1), 0, width), i) for i, width in widths.items()
    )
    return Piece("operations", size, loads, numbered, stores)


def interpret_operations():
    """Compares every operation on every pair of special values: with the others in one row, finite
    ones in another.
    """
    pairs = (
        torch.tensor([(a, b) for a in SPECIAL for b in SPECIAL], dtype=torch.float64).t().flatten()
    )
    rows = torch.stack([pairs, pairs.nan_to_num(0.1, 2.0, -2.0)])[None, None]
    piece = every_operation(len(SPECIAL) ** 2)
    module = triton_source.kernels(
        type("Plan", (), {"forward": (piece,), "backward": ()}), torch.float64
    )
    module.libdevice = library()

    def made(bind):
        buffers = {
            p.buffer.name: torch.full((1, 1, 2, p.width), torch.nan).double()
            for p, _ in piece.stores
        }
        bind(buffers=buffers | {"given": rows}, piece=piece)(0)
        return buffers

    ours = made(functools.partial(triton_source.bind, module, sizes=(1, 1, 2)))
    theirs = made(functools.partial(by_torch, numbers={}))
    for place, i in piece.stores:
        name = place.buffer.name
        if not torch.allclose(ours[name], theirs[name], rtol=1e-12, atol=0, equal_nan=True):
            print(f"{dict(piece.nodes)[i].op}: {ours[name]} for {theirs[name]}")


def interpret_cells():
    """Compares every cell in float64, and in float32 at a size that fills its block."""
    lib = library()

    def pieces_for(plan, buffers, like):
        module = triton_source.kernels(plan, like.dtype)
        module.libdevice = lib
        return functools.partial(triton_source.bind, module, buffers, like.shape)

    gpu.pieces_for = pieces_for
    gpu._empty = lambda shape, like: like.new_full(shape, torch.nan)
    engine.ENGINES = (gpu.Gpu(("cpu",)), *engine.ENGINES)
    for name, cell in CELLS.items():
        for problem in differences("gpu", case(cell, steps=2, runs=2, batch=2, hidden=5, biases=2)):
            print(f"{name}: {problem}")
        single = case(cell, steps=2, batch=2, hidden=8, inputs="tokens").to("float32")
        worst = max(errors(results("gpu", single), results("reference", single)).values())
        if not worst < 1e-5:
            print(f"{name}: float32 differs by {worst}")


def compile_for_a_gpu():
    """Compiles to machine code of an H100, which needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for name in COMPILED:
        for size, dtype, pointer in ((256, torch.float32, "*fp32"), (5, torch.float64, "*fp64")):
            plan = layout(case(CELLS[name], hidden=size).layer)
            module = triton_source.kernels(plan, dtype)
            for piece in (
                step for step in (*plan.forward, *plan.backward) if isinstance(step, Piece)
            ):
                kernel = getattr(module, piece.name)
                signature = {
                    arg: "i32" if arg in ("t", "T", "B") else pointer for arg in kernel.arg_names
                }
                source = ASTSource(kernel, signature, {})
                options = {"num_warps": 2, "enable_fp_fusion": True}
                made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
                if not made.asm["cubin"]:
                    print(f"{name}: {piece.name} has no machine code")


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of the padding of a block
    if os.environ.get("TRITON_INTERPRET") == "1":
        interpret_operations()
        interpret_cells()
    else:
        compile_for_a_gpu()
