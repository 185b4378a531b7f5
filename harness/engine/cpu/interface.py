"""What the generated functions of engine ``cpu`` take: lengths, buffers and pointers.

:mod:`harness.engine.cpu.cpp` writes the functions, :mod:`harness.engine.cpu.call` calls them.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness.engine.tracing.program import Node
from harness.engine.tracing.schedule import Schedule, Stage


class Lengths(NamedTuple):
    """The integers of a call, in the order in which the generated functions read them.

    Attributes:
        num_steps: T.
        batch_size: B.
        hidden_size: H.
        num_inputs: I, or V where the inputs are tokens.
        training: Whether the backward call follows. Otherwise nothing is kept: every time step
            writes to the same place.
        x_length: The numbers from one row of W x to the next.
        noise_step: The rows from one time step's noise to the next one's: B, or 0 where all time
            steps have the same noise.
        chunk: The time steps that the backward call takes at once, whose gradients are multiplied
            while they are in a core's cache.
        threads: How many threads share the batch, or the units.
        by_units: Whether it is the units, of all rows, that they share.
    """

    num_steps: int
    batch_size: int
    hidden_size: int
    num_inputs: int
    training: bool
    x_length: int
    noise_step: int
    chunk: int
    threads: int
    by_units: bool


SYMBOLS = {"num_steps": "T", "batch_size": "B", "hidden_size": "H", "num_inputs": "I"}
"""Field of :class:`Lengths` -> its name in C++, where that is another."""

Span = Literal[
    "state",
    "time",
    "chunk",
    "step",
    "slice",
    "once",
    "matrix",
    "inputs",
    "transposed_inputs",
    "input_rows",
]


@dataclass(frozen=True)
class Buffer:
    """Memory of a call.

    Attributes:
        name: Its name in C++.
        span: How many rows it has: (T + 1) * B for ``state``, T * B for ``time``, chunk * B for
            ``chunk``, B for ``step``, one for every 16 of B for ``slice``, 1 for ``once``. The
            others are whole matrices: ``matrix`` has H rows, ``inputs`` I, and for the gradient of
            float inputs ``transposed_inputs`` is the transposed of that and ``input_rows`` has
            chunk * B rows of I.
        blocks: A row is so many times H units, or one vector register where this is 0.
        tape: Whether the backward call reads what the forward call wrote.
    """

    name: str
    span: Span
    blocks: int
    tape: bool = False


@dataclass(frozen=True)
class Interface:
    """What the generated functions take, in order.

    Each takes its buffers, then pointers from outside, of which the kernels are the last.
    """

    forward: tuple[Buffer, ...]
    backward: tuple[Buffer, ...]
    forward_outside: tuple[str, ...]
    backward_outside: tuple[str, ...]


def interface(
    schedule: Schedule,
    states: int,
    gates: int,
    multiplied: int,
    matrices: dict[str, int],
    vectors: tuple[str, ...],
) -> Interface:
    """Returns what a schedule's code takes.

    Args:
        schedule: What runs.
        states: The number of the cell's states.
        gates: The number of blocks of H units in what it has of its input.
        multiplied: How many of them are products with W; the last may be the input itself.
        matrices: Name -> gates that it feeds.
        vectors: The names of what has size H.
    """
    nodes = schedule.program.nodes
    tape = [Buffer(f"state_{s}", "state", 1, tape=True) for s in range(1, states)]
    tape += [Buffer(f"kept_{i}", "time", _blocks(nodes[i]), tape=True) for i in schedule.kept]
    common = [*tape, *_once(schedule, gates, matrices, len(vectors))]
    forward = _crossing(schedule.forward, nodes)
    forward += [
        Buffer(f"product_{i}", "step", matrices[nodes[i].name])
        for i in schedule.forward
        if isinstance(i, int)
    ]
    backward = _crossing(schedule.backward, nodes) + _gradients(
        schedule, states, gates, multiplied, matrices
    )
    outside = _outside(states, tuple(matrices), len(vectors))
    return Interface((*common, *forward), (*common, *backward), *outside)


def _blocks(node: Node) -> int:
    return 0 if node.kind == "row" else 1


def _crossing(steps: tuple[Stage | int, ...], nodes: tuple[Node, ...]) -> list[Buffer]:
    """Returns the buffers of values that one stage of a time step leaves for a later one."""
    stages = [step for step in steps if isinstance(step, Stage)]
    crossing = [i for stage in stages for i in stage.crossing]
    return [Buffer(f"cross_{i}", "step", _blocks(nodes[i])) for i in crossing]


def _once(
    schedule: Schedule, gates: int, matrices: dict[str, int], num_vectors: int
) -> list[Buffer]:
    """Returns the buffers that are written before the first time step."""
    buffers = [Buffer(f"vector_{v}", "once", 1) for v in range(num_vectors)]
    buffers += [Buffer("bias", "once", gates)]
    buffers += [Buffer(f"value_{i}", "once", 1) for i in schedule.prologue]
    return buffers + [Buffer(f"packed_{name}", "matrix", fed) for name, fed in matrices.items()]


def _gradients(
    schedule: Schedule, states: int, gates: int, multiplied: int, matrices: dict[str, int]
) -> list[Buffer]:
    """Returns the buffers of the backward call alone, but for those that cross stages."""
    nodes, stacks = schedule.program.nodes, schedule.stacks
    products = [i for i in schedule.backward if isinstance(i, int)]
    buffers = [Buffer(f"stack_{k}", "chunk", len(stack)) for k, stack in enumerate(stacks)]
    buffers += [Buffer(f"carry_{s}_{side}", "step", 1) for s in range(states) for side in (0, 1)]
    buffers += [Buffer(f"transposed_{i}", "step", 1) for i in products]
    buffers += [Buffer(f"sum_{i}", "slice", 1) for i, n in enumerate(nodes) if n.op == "batch_sum"]
    buffers += [Buffer(f"value_{i}", "once", 1) for i in schedule.epilogue]
    buffers += [Buffer("unpacked_output_gradient", "step", 1), Buffer("bias_sum", "once", gates)]
    buffers += [Buffer(f"wide_gradient_{name}", "matrix", fed) for name, fed in matrices.items()]
    buffers += [Buffer("wide_gradient_W", "inputs", multiplied)]
    buffers += [Buffer("packed_W", "transposed_inputs", multiplied)]
    return buffers + [Buffer("wide_input_gradients", "input_rows", 1)]


def _outside(
    states: int, matrices: tuple[str, ...], num_vectors: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the pointers from outside that the forward and the backward call take."""
    common = ["tokens", "x", "W", "b", "noise"] + [f"given_vector_{v}" for v in range(num_vectors)]
    common += [f"given_{name}" for name in matrices] + ["state_0"]
    forward = [*common]
    forward += [f"{end}_state_{s}" for end in ("first", "last") for s in range(states)]
    backward = [*common, "inputs", "output_gradients"]
    backward += [f"{end}_gradient_{s}" for end in ("last", "first") for s in range(states)]
    backward += [f"vector_gradient_{v}" for v in range(num_vectors)]
    backward += [f"gradient_{name}" for name in matrices]
    backward += ["gradient_W", "gradient_b", "input_gradients"]
    return (*forward, "kernels"), (*backward, "kernels")
