"""From a layout to C++: a time loop for each direction, which is one kernel.

The launches of a time step, as :mod:`harness.engine.gpu.layout` has them, become its phases, and
``kernels/recurrence.h`` has what the phases are made of.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from harness.engine.base import Layer
from harness.engine.gpu.launches import Buffer, Layout, Piece, Place
from harness.engine.gpu.layout import layout
from harness.engine.persistent.places import Direction
from harness.engine.persistent.tiling import ROWS, Tiling, left_width
from harness.engine.persistent.time_loop import TimeLoop

KERNELS = Path(__file__).parent / "kernels"
REAL_BYTES = {"float": 4, "double": 8}
PAIRS = (
    # What is written as halves is read as words.
    "typedef unsigned short __attribute__((may_alias)) Factor;",
    "typedef unsigned __attribute__((may_alias)) Word;",
)
"""The types of a number of an operand and of a word, where two numbers make a word."""
SINGLE = ("typedef real Factor;", "typedef real Word;")
DROPPED_BITS = {"float64": 0, "float32": 0, "tf32": 13, "bf16": 16}
"""Of the mantissa of a product's operands, by precision."""


@dataclass(frozen=True)
class Source:
    """A layer's two kernels.

    Attributes:
        text: C++ that stands after ``device.h`` or ``host.h``.
        opening: What stands before them.
        pointers: The names of the tensors that a call gives, in order.
        shared_bytes: The shared memory of a block, of the larger kernel.
        tiling: How the layer is cut.
    """

    opening: str
    text: str
    pointers: tuple[str, ...]
    shared_bytes: int
    tiling: Tiling

    def on(self, side: str) -> str:
        """Returns the whole of it for the ``device`` or for the ``host``."""
        primitives = (KERNELS / f"{side}.h").read_text(encoding="utf-8")
        return "\n".join([self.opening, primitives, self.text])


INTEGERS = ("runs", "steps", "batch", "vocabulary")
"""The fields of ``Arguments`` before its pointers, of which the first is that of the tokens."""


def plan_of(layer: Layer) -> Layout:
    """Returns a layer's layout, whose sums over T the time loop adds up in registers, row by row.

    Raises:
        Untraceable: The step cannot be traced.
    """
    return with_sums_in_registers(layout(layer))


@functools.lru_cache(maxsize=256)
def with_sums_in_registers(plan: Layout) -> Layout:
    """Returns a layout as engine ``gpu`` has it with its sums where :func:`plan_of` says."""
    size = plan.hidden_size
    steps = tuple(
        _without_sums(step) if isinstance(step, Piece) else step for step in plan.backward
    )
    sums = {i: Place(Buffer(f"sum_{i}", size, extra=1), 0, size) for i in plan.sums}
    return replace(plan, backward=steps, sums=sums)


def _without_sums(piece: Piece) -> Piece:
    stores = [store for store in piece.stores if not store[0].buffer.name.startswith("sum.")]
    return replace(piece, stores=tuple(stores))


def source(plan: Layout, precision: str, tiling: Tiling) -> Source:
    """Returns the kernels of a layout; equal layouts give equal text."""
    real, packed = "double" if precision == "float64" else "float", tiling.packed(precision)
    directions = [Direction(plan, precision, is_backward, tiling) for is_backward in (False, True)]
    pointers = sorted({name for direction in directions for name in direction.pointers})
    sizes = {
        "H": tiling.hidden_size,
        "C": tiling.num_blocks,
        "U": tiling.num_units,
        "ROWS": ROWS,
        "THREADS": tiling.num_threads,
        "PER": tiling.num_elements,
        "OPERAND_WIDTH": left_width(-(-tiling.hidden_size // packed)),
        "PACKED": packed,
        "TERMS_WIDTH": tiling.terms_width,
    }
    opening = [
        f"#define CLUSTERS {int(tiling.is_cluster)}",
        f"#define DROPPED_BITS {DROPPED_BITS[precision]}",
        f"#define TENSOR_CORES {int(tiling.uses_tensor_cores(precision))}",
        f"#define PAIRS {int(packed == 2)}",
        f"typedef {real} real;",
        *(PAIRS if packed == 2 else SINGLE),
        *(f"constexpr int {name} = {size};" for name, size in sizes.items()),
    ]
    arguments = [
        "struct Arguments {",
        f"  long long {', '.join(INTEGERS)};",
        "  const long long* tokens;",
        *(f"  real* {name};" for name in pointers),
        "};",
    ]
    common = (KERNELS / "recurrence.h").read_text(encoding="utf-8")
    loops = [line for direction in directions for line in TimeLoop(direction).text()]
    num_shared = max(direction.num_shared for direction in directions)
    return Source(
        "\n".join(opening),
        "\n".join([*arguments, common, *loops, ""]),
        tuple(pointers),
        num_shared * REAL_BYTES[real],
        tiling,
    )
