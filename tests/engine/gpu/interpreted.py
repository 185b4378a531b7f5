"""Runs the Triton kernels of cells in Triton's interpreter, on CPU tensors.

``python interpreted.py [CELL ...]`` is a program of its own, since Triton reads TRITON_INTERPRET
when it is imported. It prints a line for everything that differs from the definition, and ends with
1 if anything does. The interpreter cannot call CUDA's libdevice; NumPy's functions stand in for it.
"""

import functools
import os
import pathlib
import sys
import tempfile
import warnings

os.environ["TRITON_INTERPRET"] = "1"
parents = pathlib.Path(__file__).resolve().parents
sys.path[:0] = [str(folder) for folder in (*parents[:4], parents[2] / "tasks")]

import numpy as np  # noqa: E402
import scipy.special  # noqa: E402
import torch  # noqa: E402
import triton.language as tl  # noqa: E402
from agreement import ALL_CELLS, case, differences, errors, results  # noqa: E402
from corner_cells import CORNERS  # noqa: E402
from odd_cells import ODD_CELLS  # noqa: E402
from sequence_training import parameters_after, small_tasks  # noqa: E402
from variant_steps import COMPILED, together  # noqa: E402

import cells  # noqa: E402
from harness import engine  # noqa: E402
from harness.engine.gpu import gpu, trial, triton_source  # noqa: E402
from harness.engine.gpu.launches import Buffer, Load, Piece, Place, by_torch  # noqa: E402
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS, Node  # noqa: E402

CELLS = {name: cells.find(name) for name in ALL_CELLS} | CORNERS | ODD_CELLS
CELLS["variants"] = together(COMPILED)
BOUNDS = {"float32": 1e-5, "tf32": 2e-4, "bf16": 2e-5}
"""Of errors: sums in another order, another exp, and what rounding of operands makes of them.

An operand that lies between two numbers of tf32 may be rounded the other way for its last bit: a
share of 2**-11 of one term. Between two of bfloat16 it lies eight times as rarely.
"""


def stand_in(function):
    from triton.runtime.interpreter import TensorHandle

    def call(x, *others):
        given = (x.handle.data, *(other.handle.data for other in others))
        values = function(*given).astype(x.handle.data.dtype)
        return tl.tensor(TensorHandle(values, x.dtype.scalar), x.type)

    return staticmethod(call)


def library():
    """Returns what the kernels use of libdevice."""
    names = ("tanh", "exp", "expm1", "log", "log1p", "sin", "cos", "fmod")
    functions = {name: getattr(np, name) for name in names}
    functions |= {"rsqrt": lambda x: 1 / np.sqrt(x), "atan": np.arctan, "erf": scipy.special.erf}
    return type("Library", (), {name: stand_in(function) for name, function in functions.items()})


def rounded(x):
    """Rounds to bfloat16, to nearest and ties to even as a GPU does: the interpreter cuts off."""
    from triton.runtime.interpreter import TensorHandle

    values = torch.from_numpy(np.ascontiguousarray(x.handle.data)).to(torch.bfloat16)
    bits = values.view(torch.int16).numpy().view(np.uint16)
    of_type = tl.block_type(tl.bfloat16, x.shape) if x.type.is_block() else tl.bfloat16
    return tl.tensor(TensorHandle(bits, tl.bfloat16), of_type)


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
BOTH = ("add", "sub", "mul", "div", "minimum", "maximum", "fmod", "lt", "le", "eq")
ARGUMENTS = {"where": (2, 0, 1), "and": (2, 3), "or": (2, 3), "not": (2,)} | dict.fromkeys(
    BOTH, (0, 1)
)
ARGUMENTS |= {"roll": (0, 4), "part": (0, 1, 4, 5)}
"""Of nodes: 0 and 1 are numbers, 2 and 3 comparisons of them, 4 and 5 constants."""


def every_operation(size):
    """Returns a piece of all operations and reductions of two rows of values that it loads."""
    nodes = [Node("input"), Node("input"), Node("lt", (0, 1)), Node("le", (0, 1))]
    nodes += [Node("constant", kind="scalar", value=value) for value in (3.0, size - 2.0)]
    nodes += [Node(op, ARGUMENTS.get(op, (0,))) for op in OPERATIONS]
    nodes += [Node(op, (0,), kind="row") for op in REDUCTIONS]
    given = Buffer("given", 2 * size, extra=1)
    loads = tuple(Load(i, nodes[i], (Place(given, i * size, size),)) for i in range(2))
    numbered = tuple(enumerate(nodes))[2:]
    widths = {i: 1 if node.kind == "row" else size for i, node in numbered if node.op != "constant"}
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
    module = triton_source.loaded(triton_source.text_of((piece,), torch.float64))

    def made(bind):
        buffers = {
            p.buffer.name: torch.full((1, 1, 2, p.width), torch.nan).double()
            for p, _ in piece.stores
        }
        bind(buffers=buffers | {"given": rows}, piece=piece)(range(1))
        return buffers

    ours = made(functools.partial(triton_source.bind, module, sizes=(1, 1, 2)))
    numbers = {i: torch.tensor(n.value) for i, n in piece.nodes if n.op == "constant"}
    theirs = made(functools.partial(by_torch, numbers=numbers))
    for place, i in piece.stores:
        name = place.buffer.name
        if not torch.allclose(ours[name], theirs[name], rtol=1e-12, atol=0, equal_nan=True):
            yield f"{dict(piece.nodes)[i].op}: {ours[name]} for {theirs[name]}"


def prepare():
    """Makes the interpreter what engine `gpu` runs on, on a CPU, in memory that is full of NaN."""
    lib, loaded = library(), triton_source.loaded

    def loaded_with_library(text):
        module = loaded(text)
        module.libdevice, module.rounded = lib, rounded
        return module

    def pieces_for(plan, buffers, like):
        module = triton_source.kernels(plan, like.dtype)
        return functools.partial(triton_source.bind, module, buffers, like.shape)

    triton_source.loaded = loaded_with_library
    gpu.pieces_for = pieces_for
    gpu._empty = lambda shape, like: like.new_full(shape, torch.nan)
    engine.ENGINES = (gpu.Gpu(("cpu",)), *engine.ENGINES)


def interpret_cell(name):
    """Compares a cell in float64, and in the other precisions at a size that fills its block."""
    cell = CELLS[name]
    for inputs in ("rows", "tokens"):
        given = case(cell, steps=2, runs=2, batch=2, hidden=5, biases=2, inputs=inputs)
        yield from (f"float64, {inputs}: {problem}" for problem in differences("gpu", given))
    for precision, bound in BOUNDS.items():
        single = case(cell, steps=2, batch=2, hidden=8, inputs="tokens", scale=0.5).to(precision)
        worst = max(errors(results("gpu", single), results("reference", single)).values())
        if not worst < bound:
            yield f"{precision} differs by {worst:.1e}"


def interpret_tasks():
    """Compares what tasks that read vectors train to, with what the definition does."""
    with tempfile.TemporaryDirectory() as folder:
        for name, task in small_tasks(pathlib.Path(folder)).items():
            wanted, found = (parameters_after(task, engine=e) for e in ("reference", "gpu"))
            for parameter, value in wanted.items():
                if not torch.allclose(found[parameter], value, rtol=1e-9, atol=1e-12):
                    yield f"{name}: {parameter} differs after training"


def main(names):
    """Prints what differs and returns how many lines that are."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of the padding of a block
    prepare()
    found = [f"operations: {problem}" for problem in interpret_operations()]
    found += [f"trial: {failure}"] if (failure := trial.failure("cpu")) else []
    found += [f"task {problem}" for problem in interpret_tasks()]
    for name in names:
        try:
            found += [f"{name}: {problem}" for problem in interpret_cell(name)]
        except Exception as error:  # of any kind: the other cells are looked at all the same
            found.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    print("".join(f"{line}\n" for line in found), end="")
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(CELLS)) > 0)
