"""Lookup or projection -> stacked cells -> read-out. Every parameter has a leading run axis N."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import cells
from cells.base import DRAWN, Cell
from harness.engine import Engine, Layer, Parameters, State, initial_state, lookup, lookup_gradient
from harness.engine.base import Tape, by_run, by_time
from harness.model.masks import Masks
from harness.model.readout import Gradients, Readout
from harness.model.regularization import NONE, StepRegularization, regularization_of, regularized
from harness.settings import Settings


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
class Architecture:
    """The shape of a model, and its costs.

    ``num_inputs`` = ``num_outputs`` = V for a language model.
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

    @property
    def output_size(self) -> int:
        """The units of what a layer shows to the layer above."""
        return self.cell.output_size(self.hidden_size, self.projection_size)

    @property
    def layer(self) -> Layer:
        """What an engine needs to know of a layer."""
        return Layer(self.cell, self.hidden_size, self.biases, self.precision)

    def slots(self) -> list[Slot]:
        """Returns the model's parameters in a fixed order: lookup, layers from below, read-out."""
        slots = []
        if self.embedding_size is not None:
            slots.append(Slot("lookup.W", "lookup", self.num_inputs, self.embedding_size))
        for index in range(self.num_layers):
            for spec in self.cell.parameters(
                self._input_size(index), self.hidden_size, self.biases, self.projection_size
            ):
                name = f"layer{index}.{spec.name}"
                width = self.hidden_size if spec.width is None else spec.width
                slots.append(Slot(name, spec.kind, spec.rows, width, spec.gates, spec.start))
            for name in self.learned_states():
                start = self.cell.start.get(name, 0.0)
                slots.append(
                    Slot(start_name(index, name), "vector", None, self.hidden_size, start=start)
                )
        if not self.tied:
            slots.append(Slot("readout.W", "readout", self.output_size, self.num_outputs))
        slots.append(Slot("readout.b", "readout_bias", None, self.num_outputs))
        return slots

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
        return self.num_layers * (len(self.cell.state) - len(self.cell.unread)) * self.hidden_size

    def flops_per_token(self) -> int:
        """Returns the forward FLOPs of all products per token; lookups cost none."""
        sizes = [
            None if i == 0 and self.embedding_size is None else self._input_size(i)
            for i in range(self.num_layers)
        ]
        recurrent = sum(
            self.cell.flops_per_token(size, self.hidden_size, self.projection_size)
            for size in sizes
        )
        return recurrent + 2 * self.output_size * self.num_outputs

    def _input_size(self, index: int) -> int:
        first = self.num_inputs if self.embedding_size is None else self.embedding_size
        return first if index == 0 else self.output_size


def single_layer(cell: type[Cell], num_tokens: int, hidden_size: int) -> Architecture:
    """Returns a language model of one layer and one bias a gate.

    It has an embedding table where the cell reads its input.
    """
    embedding_size = hidden_size if cell.reads_input else None
    return Architecture(cell, num_tokens, num_tokens, hidden_size, embedding_size=embedding_size)


def start_name(layer: int, state: str) -> str:
    """Returns the parameter that is a learned state at the start of a stream."""
    return f"start{layer}.{state}"


def architecture(settings: Settings, num_inputs: int, num_outputs: int) -> Architecture:
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
        )

    needs = [("tied", "one table serves both")] if settings.tied else []
    needs += [(f"cell {cell.name}", "its step reads the input itself")] if cell.reads_input else []
    field = "projection_size" if cell.projects else "hidden_size"
    for what, reason in needs:
        size = getattr(settings, field)
        if settings.embedding_size is None or settings.embedding_size != size:
            got = f"embedding_size={settings.embedding_size} and {field}={size}"
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


class Model:
    """An architecture on an engine.

    Holds no parameters: they come with each call, (N, ...) each.
    """

    def __init__(
        self,
        arch: Architecture,
        engine: Engine,
        threads: int = 1,
        regularization: StepRegularization = NONE,
    ):
        """Takes the engine, how many threads a call may use, and what acts within a step."""
        self.arch = arch
        self.engine = engine
        self.threads = threads
        self.cell = regularized(arch.cell, regularization)
        self._layer = replace(arch.layer, cell=self.cell, threads=threads)
        names = [slot.name for slot in arch.slots()]
        prefixes = [f"layer{index}." for index in range(arch.num_layers)]
        self._names = [
            {n.removeprefix(prefix): n for n in names if n.startswith(prefix)}
            for prefix in prefixes
        ]

    def for_runs(self, settings: Sequence[Settings]) -> "Model":
        """Returns the model with the regularization of runs that advance together."""
        return Model(
            self.arch, self.engine, self.threads, regularization_of(self.arch.cell, settings)
        )

    def initial_states(self, parameters: Parameters, num_runs: int, batch_size: int) -> list[State]:
        """Returns the state at the start of a stream, one a layer."""
        arch, like, learned = self.arch, parameters["readout.b"], self.arch.learned_states()
        constant = initial_state(arch.cell, num_runs, batch_size, arch.hidden_size, like)

        def start(index: int, name: str, value: Tensor) -> Tensor:
            if name not in learned:
                return value
            return parameters[start_name(index, name)].unsqueeze(1).expand_as(value)

        named = list(zip(arch.cell.state, constant, strict=True))
        return [tuple(start(index, *each) for each in named) for index in range(arch.num_layers)]

    def readout(self, parameters: Parameters, gradients: Parameters | None = None) -> Readout:
        """Returns the read-out of the rows that a call returns.

        It may write the gradients of its parameters into ``gradients``.
        """
        threads = self.threads if self.engine.has_kernels else None
        if self.arch.tied:
            table = parameters["lookup.W"].transpose(1, 2).contiguous()
            return Readout(table, parameters["readout.b"], self.arch.precision, threads)
        homes = None if gradients is None else (gradients["readout.W"], gradients["readout.b"])
        return Readout(
            parameters["readout.W"], parameters["readout.b"], self.arch.precision, threads, homes
        )

    def __call__(
        self,
        parameters: Parameters,
        tokens: Tensor,
        states: list[State],
        masks: Masks | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns the rows for the read-out, (N, T*B, H), and the final states.

        The rows are the last layer's outputs.

        Args:
            parameters: Name -> (N, ...).
            tokens: (T, N, B), int64.
            states: One a layer.
            masks: Their means stand for them; needed where the cell has any ``noise``.
        """
        values = self._lookup(parameters, tokens)
        finals = []
        for index, (names, state) in enumerate(zip(self._names, states, strict=True)):
            given = None if masks is None else masks.expected(self.cell, state[0])
            outputs, final = self.engine.run(
                self._layer, _of_layer(parameters, names), values, state, given
            )
            values = self._with_skip(index, outputs, values)
            finals.append(final)
        return by_run(values), finals

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        tokens: Tensor,
        states: list[State],
        loss: Callable[[Readout, Tensor], tuple[Tensor, Gradients]],
        masks: Masks | None = None,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns the losses (N,) and the final states, and writes all ``gradients``.

        Args:
            parameters: Name -> (N, ...).
            gradients: Likewise, overwritten.
            tokens: (T, N, B), int64.
            states: One a layer; no gradient flows into them but where they are a learned start.
            loss: Maps the read-out and the last layer's rows to the losses (N,), and to the
                gradients to begin with.
            masks: Those of this update; needed where the cell has any ``noise``.
            begins: 1 where the states are the start of a stream, else 0, of no axes; needed for a
                learned start.
        """
        masks = Masks([], [], tokens.device) if masks is None else masks
        values = self._lookup(parameters, tokens)
        tapes = []
        for index, state in enumerate(states):
            values = values if index == 0 and values is tokens else masks.inputs(index, values)
            given = masks.steps(index, self.cell, state[0], len(tokens))
            layer_parameters = self._dropped(
                index, _of_layer(parameters, self._names[index]), masks
            )
            tapes.append(self.engine.forward(self._layer, layer_parameters, values, state, given))
            values = self._with_skip(index, tapes[-1].outputs, values)
            values = values if index == len(states) - 1 else masks.outputs(index, values)
        losses, readout_gradients = loss(self.readout(parameters, gradients), by_run(values))
        ahead: Tensor | None = by_time(readout_gradients.rows, len(values))
        for index in reversed(range(len(tapes))):
            assert ahead is not None
            ahead = ahead if index == len(tapes) - 1 else masks.outputs(index, ahead)
            ahead = self._back(index, tapes[index], ahead, gradients, masks, begins)
        if ahead is not None:
            gradients["lookup.W"].copy_(lookup_gradient(parameters["lookup.W"], tokens, ahead))
        self._take(readout_gradients, gradients)
        return losses, [tape.final for tape in tapes]

    def _back(
        self,
        index: int,
        tape: Tape,
        outputs: Tensor,
        gradients: Parameters,
        masks: Masks,
        begins: Tensor | None,
    ) -> Tensor | None:
        """Writes the gradients of a layer's parameters, given that of its outputs.

        Returns:
            The gradient of the layer's inputs, None for tokens.
        """
        layer_gradients = _of_layer(gradients, self._names[index])
        has_float_inputs = index > 0 or self.arch.embedding_size is not None
        start = [torch.empty_like(s) for s in tape.final] if self.arch.learned_start else None
        input_gradient = tape.backward(outputs, layer_gradients, has_float_inputs, start)
        for name, gradient in self._dropped(index, layer_gradients, masks).items():
            if gradient is not layer_gradients[name]:
                layer_gradients[name].copy_(gradient)
        if start is not None:
            assert begins is not None
            start_gradients = dict(zip(self.arch.cell.state, start, strict=True))
            for name in self.arch.learned_states():
                torch.mul(
                    start_gradients[name].sum(1), begins, out=gradients[start_name(index, name)]
                )
        if input_gradient is None:
            return None
        return masks.inputs(index, self._with_skip(index, input_gradient, outputs))

    def _take(self, readout_gradients: Gradients, gradients: Parameters) -> None:
        """Puts the read-out's gradients where they belong; it may have written them there."""
        if self.arch.tied:
            gradients["lookup.W"] += readout_gradients.weight.transpose(1, 2)
        elif readout_gradients.weight.data_ptr() != gradients["readout.W"].data_ptr():
            gradients["readout.W"].copy_(readout_gradients.weight)
        if readout_gradients.bias.data_ptr() != gradients["readout.b"].data_ptr():
            gradients["readout.b"].copy_(readout_gradients.bias)

    def _with_skip(self, index: int, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Returns a layer's outputs plus its inputs where there is a residual connection.

        The gradients of both are treated alike.
        """
        return outputs + inputs if self.arch.residual and index > 0 else outputs

    def _dropped(self, index: int, parameters: Parameters, masks: Masks) -> Parameters:
        """Returns a layer's parameters with DropConnect on the recurrent matrices.

        The gradients of both are treated alike.
        """
        return parameters | {
            name: masks.weights(index, name, parameters[name])
            for name in self.cell.recurrent_products()
        }

    def _lookup(self, parameters: Parameters, tokens: Tensor) -> Tensor:
        if self.arch.embedding_size is None:
            return tokens
        return lookup(parameters["lookup.W"], tokens)


def _of_layer(values: Parameters, names: dict[str, str]) -> Parameters:
    """Returns a layer's part of ``values``, under the names that its cell gives."""
    return {name: values[full] for name, full in names.items()}
