"""The shape of a model and its costs, known without torch: parameters, states, FLOPs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cells
from cells.base import DRAWN, Cell
from harness.data import sources
from harness.settings import Settings
from harness.settings.values import shown

if TYPE_CHECKING:  # loads torch
    from harness.engine import Layer


class SizeError(ValueError):
    """No hidden size meets the budget of parameters or FLOPs closely enough."""


@dataclass(frozen=True)
class Slot:
    """One parameter of the model.

    Attributes:
        name: As ``layer0.R``.
        kind: What it is, as :class:`cells.base.Parameter` names it; or a part of the lookup or
            read-out.
        rows: The first axis; None for a vector.
        width: The size of one block of the last axis.
        gates: The blocks of the last axis, in their order.
        start: The value of a vector at the beginning, or ``DRAWN``.
    """

    name: str
    kind: str
    rows: int | None
    width: int
    gates: tuple[str, ...] = ("",)
    start: float | str = DRAWN

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one run's parameter."""
        last = self.width * len(self.gates)
        return (last,) if self.rows is None else (self.rows, last)


@dataclass(frozen=True)
class Direction:
    """One way through the time steps of a layer's inputs, with parameters and states of its own.

    Attributes:
        layer: The layer's index.
        is_reverse: Whether it reads a sequence from its end to its start.
    """

    layer: int
    is_reverse: bool

    @property
    def place(self) -> str | int:
        """What its parameters and its random masks are named after, as in ``layer0_reverse.R``."""
        return f"{self.layer}_reverse" if self.is_reverse else self.layer


@dataclass(frozen=True)
class Architecture:
    """The shape of a model, and its costs.

    ``num_inputs`` = ``num_outputs`` = V for a language model. Where ``reads_tokens`` is false,
    inputs are vectors of ``num_inputs`` values, and what looks tokens up multiplies instead.

    Where ``has_one_answer`` is true, the read-out of a bidirectional model gets what both
    directions put out once each has read all of a sequence.
    """

    cell: type[Cell]
    num_inputs: int
    num_outputs: int
    hidden_size: int
    num_layers: int = 1
    embedding_size: int | None = None
    biases: int = 1
    precision: str = "float32"
    residual: bool = False
    tied: bool = False
    learned_start: bool = False
    projection_size: int | None = None
    reads_tokens: bool = True
    bidirectional: bool = False
    has_one_answer: bool = False

    @property
    def output_size(self) -> int:
        """The units of what a layer shows to the layer above, and the last one to the read-out."""
        size = self.cell.output_size(self.hidden_size, self.projection_size)
        return size * self._num_directions

    @property
    def _num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def layer(self) -> "Layer":
        """What an engine needs to know of a layer."""
        from harness.engine import Layer

        return Layer(self.cell, self.hidden_size, self.biases, self.precision)

    def slots(self) -> list[Slot]:
        """Returns the model's parameters in a fixed order: lookup, layers from below, read-out."""
        slots = []
        if self.embedding_size is not None:
            slots.append(Slot("lookup.W", "lookup", self.num_inputs, self.embedding_size))
        for each in self.directions():
            for spec in self.cell.parameters(
                self._input_size(each.layer), self.hidden_size, self.biases, self.projection_size
            ):
                name = f"layer{each.place}.{spec.name}"
                width = self.hidden_size if spec.width is None else spec.width
                slots.append(Slot(name, spec.kind, spec.rows, width, spec.gates, spec.start))
            for name in self.learned_states():
                start = self.cell.start.get(name, 0.0)
                slots.append(
                    Slot(
                        start_name(each.place, name), "vector", None, self.hidden_size, start=start
                    )
                )
        if not self.tied:
            slots.append(Slot("readout.W", "readout", self.output_size, self.num_outputs))
        slots.append(Slot("readout.b", "readout_bias", None, self.num_outputs))
        return slots

    def directions(self) -> list[Direction]:
        """Returns the directions of all layers, in the order of their parameters and states."""
        return [
            Direction(layer, bool(reverse))
            for layer in range(self.num_layers)
            for reverse in range(self._num_directions)
        ]

    def learned_states(self) -> tuple[str, ...]:
        """Returns the states whose start is learned: those that a step reads."""
        if not self.learned_start:
            return ()
        return tuple(s for s in self.cell.state if s not in self.cell.unread)

    def num_parameters(self) -> int:
        """Returns the number of one run's parameters."""
        return sum(math.prod(slot.shape) for slot in self.slots())

    def num_states(self) -> int:
        """Returns the floats of state that one stream carries."""
        num_read = len(self.cell.state) - len(self.cell.unread)
        return len(self.directions()) * num_read * self.hidden_size

    def flops_per_token(self) -> int:
        """Returns the forward FLOPs of all products per time step; lookups cost none."""
        sizes = [
            None
            if each.layer == 0 and self.embedding_size is None and self.reads_tokens
            else self._input_size(each.layer)
            for each in self.directions()
        ]
        embedding = 0 if self.reads_tokens else 2 * self.num_inputs * (self.embedding_size or 0)
        recurrent = sum(
            self.cell.flops_per_token(size, self.hidden_size, self.projection_size)
            for size in sizes
        )
        return embedding + recurrent + 2 * self.output_size * self.num_outputs

    def _input_size(self, index: int) -> int:
        first = self.num_inputs if self.embedding_size is None else self.embedding_size
        return first if index == 0 else self.output_size


def single_layer(cell: type[Cell], num_tokens: int, hidden_size: int) -> Architecture:
    """Returns a language model of one layer and one bias a gate.

    It has an embedding table where the cell reads its input.
    """
    embedding_size = hidden_size if cell.reads_input else None
    return Architecture(cell, num_tokens, num_tokens, hidden_size, embedding_size=embedding_size)


def start_name(place: int | str, state: str) -> str:
    """Returns the parameter that is a learned state at the start of a stream.

    Args:
        place: A layer's index, or the place of a :class:`Direction`.
        state: The state's name.
    """
    return f"start{place}.{state}"


def architecture(
    settings: Settings, num_inputs: int, num_outputs: int, reads_tokens: bool = True
) -> Architecture:
    """Returns the architecture that ``settings`` describe.

    The hidden size is solved where a budget of parameters or FLOPs is given instead.

    Raises:
        cells.UnknownCell: The cell is unknown.
        SizeError: The nearest hidden size is more than 1 % off the budget, or the inputs have
            another size than the one that they must have.
    """
    cell = cells.find(settings.cell)

    def sized(hidden_size: int) -> Architecture:
        return Architecture(
            cell,
            num_inputs,
            num_outputs,
            hidden_size,
            settings.num_layers,
            settings.embedding_size,
            settings.biases,
            settings.precision,
            settings.residual,
            settings.tied,
            settings.learned_start,
            settings.projection_size,
            reads_tokens,
            settings.bidirectional,
            sources.has_one_answer(settings),
        )

    if settings.tied and not (reads_tokens and num_inputs == num_outputs):
        raise SizeError(
            "tied: inputs and outputs must be the same tokens, since one table serves both, but "
            f"got {num_inputs} {'tokens' if reads_tokens else 'values'} in and {num_outputs} out. "
            "Leave tied out."
        )
    if settings.bidirectional and (settings.tied or cell.reads_input and settings.num_layers > 1):
        what = "tied" if settings.tied else f"cell {cell.name}"
        raise SizeError(
            f"{what}: must stand without bidirectional here, since the outputs of a layer are then "
            "wider than what it reads, but got bidirectional=true and "
            f"num_layers={settings.num_layers}. Leave bidirectional out."
        )
    needs = [("tied", "one table serves both")] if settings.tied else []
    needs += [(f"cell {cell.name}", "its step reads the input itself")] if cell.reads_input else []
    field = "projection_size" if cell.projects else "hidden_size"
    for what, reason in needs:
        size = getattr(settings, field)
        if settings.embedding_size is None or settings.embedding_size != size:
            got = f"embedding_size={shown(settings.embedding_size)} and {field}={shown(size)}"
            raise SizeError(
                f"{what}: embedding_size must be {field}, for {reason}, but got {got}. "
                "Give both one."
            )
    if settings.hidden_size is not None:
        return sized(settings.hidden_size)
    if settings.num_parameters is not None:
        return sized(
            _solve("num_parameters", lambda h: sized(h).num_parameters(), settings.num_parameters)
        )
    if settings.flops_per_token is not None:
        return sized(
            _solve(
                "flops_per_token", lambda h: sized(h).flops_per_token(), settings.flops_per_token
            )
        )
    raise SizeError(
        "hidden_size: one of hidden_size, num_parameters, flops_per_token must be given, "
        "but none is."
    )


def _solve(field: str, cost: Callable[[int], int], budget: int) -> int:
    """Returns the hidden size whose cost is nearest to ``budget``.

    The cost grows from one size to the next of the same remainder modulo 4; in a cell of blocks,
    whose number divides the size, it does not grow from each to the next.
    """
    near = {size for first in range(1, 5) for size in _around(first, cost, budget)}
    best = min(sorted(near), key=lambda size: abs(cost(size) - budget))
    if abs(cost(best) - budget) > 0.01 * budget:
        below = max((size for size in near if cost(size) <= budget), key=cost, default=best)
        above = min((size for size in near if cost(size) > budget), key=cost, default=best)
        neighbours = ", ".join(
            f"hidden_size {size} has {cost(size)}" for size in sorted({below, above})
        )
        raise SizeError(
            f"{field}: a hidden_size must come within 1 % of it, but got {field}={budget}. "
            f"Take one of the nearest: {neighbours}."
        )
    return best


def _around(first: int, cost: Callable[[int], int], budget: int) -> tuple[int, int]:
    """Returns the sizes below and above the budget among ``first``, ``first`` + 4, ..."""
    high = 1
    while cost(first + 4 * high) < budget:
        high *= 2
    low = 0
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if cost(first + 4 * middle) < budget else (low, middle)
    return first + 4 * max(0, low - 1), first + 4 * low
