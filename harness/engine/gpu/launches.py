"""What every launch reads and writes, and what does its work by torch's operations.

Every buffer has the axes N, time, B and then the values of a row, in this order of memory: what a
product over all time steps needs is a view, and so is what one time step needs.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.tracing.program import OPERATIONS, REDUCTIONS, Node
from harness.engine.tracing.schedule import Schedule

Buffers = dict[str, Tensor]
Call = Callable[[range], None]
"""Does its work at each of some time steps, in their order."""


@dataclass(frozen=True)
class Buffer:
    """A tensor (N, length, B, width), contiguous.

    Attributes:
        name: As ``state.0``.
        width: The values of a row.
        per_step: Whether the length is T, and else 0.
        extra: What the length is besides.
        shared: Whether all rows of a run share one: (N, length, 1, width).
        is_rounded: Whether it holds bfloat16.
    """

    name: str
    width: int
    per_step: bool = False
    extra: int = 0
    shared: bool = False
    is_rounded: bool = False

    @property
    def outlives(self) -> bool:
        """Whether what the forward pass writes is still there in the backward pass."""
        return self.per_step or self.shared

    def shape(self, num_steps: int, num_runs: int, batch_size: int) -> tuple[int, ...]:
        """Returns the shape: the length is T if ``per_step``, and ``extra`` besides."""
        return (
            num_runs,
            num_steps * self.per_step + self.extra,
            1 if self.shared else batch_size,
            self.width,
        )


@dataclass(frozen=True)
class Place:
    """Values ``first`` to ``first + width`` of a buffer's rows.

    They lie at (t + ahead) modulo the buffer's length.
    """

    buffer: Buffer
    first: int
    width: int
    ahead: int = 0

    def at(self, buffers: Buffers, t: int) -> Tensor:
        """Returns the values at time step ``t``: (N, B or 1, width)."""
        whole = buffers[self.buffer.name]
        return whole[:, (t + self.ahead) % whole.shape[1], :, self.first : self.first + self.width]

    def over_time(self, buffers: Buffers, num_steps: int) -> Tensor:
        """Returns the values of all time steps: (N, T, B, width)."""
        whole = buffers[self.buffer.name]
        return whole[
            :, self.ahead : self.ahead + num_steps, :, self.first : self.first + self.width
        ]


@dataclass(frozen=True)
class Load:
    """A value that a piece reads: the sum of what lies in its places."""

    index: int
    node: Node
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Piece:
    """A pointwise piece, one launch: loads, then nodes in order, then stores.

    A store's node of None is zero.

    Attributes:
        is_alone: Whether there is nothing else in its direction of the time loop, no product, so
            that one launch does all time steps.
    """

    name: str
    hidden_size: int
    loads: tuple[Load, ...]
    nodes: tuple[tuple[int, Node], ...]
    stores: tuple[tuple[Place, int | None], ...]
    is_alone: bool = False

    def places(self) -> list[Place]:
        """Returns every place that it reads or writes."""
        return [place for load in self.loads for place in load.places] + [
            place for place, _ in self.stores
        ]


@dataclass(frozen=True)
class Product:
    """One batched product: operand times the matrix, or times its transpose."""

    operand: Place
    matrix: str
    transposed: bool
    result: Place

    def places(self) -> list[Place]:
        """Returns what it reads and writes."""
        return [self.operand, self.result]


Step = Piece | Product


@dataclass(frozen=True, eq=False)
class Layout:
    """A schedule with a place for everything.

    Attributes:
        vectors: The vectors' nodes, and those of the prologue -> where they lie.
        forward: The launches of one time step, in order.
        backward: Likewise.
        carries: For each state, the terms of the gradient of the state before time step 0.
        sums: ``batch_sum`` node -> what to sum over T and B.
        outers: By the matrix's name, (operand, cotangent) of each term of its gradient.
        input_gradient: Of W x + b, all gates side by side.
    """

    schedule: Schedule
    hidden_size: int
    vectors: dict[int, Place]
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    carries: tuple[tuple[Place, ...], ...]
    sums: dict[int, Place]
    outers: dict[str, tuple[tuple[Place, Place], ...]]
    input_gradient: Place

    @functools.cached_property
    def buffers(self) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
        """The buffers of the forward and of the backward pass, by name."""
        after = [place for terms in self.outers.values() for term in terms for place in term]
        after += [*self.sums.values(), self.input_gradient]
        vectors = list(self.vectors.values())
        forward = vectors + [place for step in self.forward for place in step.places()]
        backward = vectors + [place for step in self.backward for place in step.places()] + after
        by_name = [{p.buffer.name: p.buffer for p in places} for places in (forward, backward)]
        return by_name[0], by_name[1]

    def numbers(self, like: Tensor) -> dict[int, Tensor]:
        """Returns the values of the program's scalars, on ``like``'s device."""
        nodes = [(i, n) for i, n in enumerate(self.schedule.program.nodes) if n.kind == "scalar"]
        values = {i: like.new_full((), n.value) for i, n in nodes if n.op == "constant"}
        evaluate(((i, n) for i, n in nodes if n.op != "constant"), values)
        return values

    def vector_values(self, buffers: Buffers, like: Tensor) -> dict[int, Tensor]:
        """Returns the values of scalars and vectors, each vector (N, 1, H)."""
        nodes = self.schedule.program.nodes
        return self.numbers(like) | {
            i: _read(nodes[i], (place,), buffers, 0) for i, place in self.vectors.items()
        }


def evaluate(nodes: Iterable[tuple[int, Node]], values: dict[int, Tensor]) -> None:
    """Adds the values of ``nodes``, by torch's operations, to those of their arguments."""
    for i, node in nodes:
        meaning = REDUCTIONS[node.op] if node.op in REDUCTIONS else OPERATIONS[node.op].meaning
        values[i] = meaning(*(values[a] for a in node.args))


def by_torch(buffers: Buffers, numbers: dict[int, Tensor], piece: Piece) -> Call:
    """Returns what does the piece by torch's operations."""
    nodes = [(i, node) for i, node in piece.nodes if i not in numbers]

    def step(t: int) -> None:
        values = numbers | {
            load.index: _read(load.node, load.places, buffers, t) for load in piece.loads
        }
        evaluate(nodes, values)
        for place, i in piece.stores:
            target = place.at(buffers, t)
            target.zero_() if i is None else target.copy_(values[i])

    def call(times: range) -> None:
        for t in times:
            step(t)

    return call


def _read(node: Node, places: tuple[Place, ...], buffers: Buffers, t: int) -> Tensor:
    value = functools.reduce(torch.add, (place.at(buffers, t) for place in places))
    return value != 0 if node.boolean else value  # buffers hold numbers
