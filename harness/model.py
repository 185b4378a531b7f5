"""Lookup or projection -> stacked cells -> read-out. Every parameter has a leading run axis N."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import cells
from cells.base import DRAWN, Cell
from harness import randomness
from harness.engine import Engine, Layer, Parameters, State, initial_state, lookup, lookup_gradient
from harness.readout import Gradients, Readout
from harness.settings import Settings

INITIAL_STDDEV = 0.01
"""Of ``initialization: normal`` where no scale is given."""


class SizeError(ValueError):
    """No hidden size meets the budget of parameters or FLOPs closely enough."""


@dataclass(frozen=True)
class Slot:
    """One parameter of the model: its name, what it is, and the blocks of its last axis, one a gate."""

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
    """The shape of a model, and its costs. ``num_inputs`` = ``num_outputs`` = V for a language model."""

    cell: type[Cell]
    num_inputs: int
    num_outputs: int
    hidden_size: int
    num_layers: int = 1
    embedding_size: int | None = None
    biases: int = 1
    precision: str = "float32"

    @property
    def layer(self) -> Layer:
        """What an engine needs to know of a layer."""
        return Layer(self.cell, self.hidden_size, self.biases, self.precision)

    def slots(self) -> list[Slot]:
        """Returns the model's parameters in a fixed order: lookup, layers from below, read-out."""
        found = []
        if self.embedding_size is not None:
            found.append(Slot("lookup.W", "lookup", self.num_inputs, self.embedding_size))
        for index in range(self.num_layers):
            for p in self.cell.parameters(self._input_size(index), self.hidden_size, self.biases):
                found.append(Slot(f"layer{index}.{p.name}", p.kind, p.rows, self.hidden_size, p.gates, p.start))
        found.append(Slot("readout.W", "readout", self.hidden_size, self.num_outputs))
        found.append(Slot("readout.b", "readout_bias", None, self.num_outputs))
        return found

    def num_parameters(self) -> int:
        """Returns the number of one run's parameters."""
        return sum(math.prod(slot.shape) for slot in self.slots())

    def num_states(self) -> int:
        """Returns the floats of state that one stream carries."""
        return self.num_layers * len(self.cell.state) * self.hidden_size

    def flops_per_token(self) -> int:
        """Returns the forward FLOPs of all products per token; lookups cost none."""
        sizes = [
            None if i == 0 and self.embedding_size is None else self._input_size(i) for i in range(self.num_layers)
        ]
        recurrent = sum(self.cell.flops_per_token(size, self.hidden_size) for size in sizes)
        return recurrent + 2 * self.hidden_size * self.num_outputs

    def _input_size(self, index: int) -> int:
        first = self.num_inputs if self.embedding_size is None else self.embedding_size
        return first if index == 0 else self.hidden_size


def architecture(settings: Settings, num_inputs: int, num_outputs: int) -> Architecture:
    """Returns the architecture that ``settings`` describe, its hidden size solved where a budget is given instead.

    Raises:
        cells.UnknownCell: The cell is unknown.
        SizeError: The nearest hidden size is more than 1 % off the budget.
    """

    def sized(hidden_size: int) -> Architecture:
        return Architecture(
            cells.find(settings.cell),
            num_inputs,
            num_outputs,
            hidden_size,
            settings.num_layers,
            settings.embedding_size,
            settings.biases,
            settings.precision,
        )

    if settings.hidden_size is not None:
        return sized(settings.hidden_size)
    if settings.num_parameters is not None:
        return sized(_solve("num_parameters", lambda h: sized(h).num_parameters(), settings.num_parameters))
    if settings.flops_per_token is not None:
        return sized(_solve("flops_per_token", lambda h: sized(h).flops_per_token(), settings.flops_per_token))
    raise SizeError("hidden_size: one of hidden_size, num_parameters, flops_per_token must be given, but none is.")


def _solve(field: str, cost: Callable[[int], int], budget: int) -> int:
    """Returns the hidden size whose cost, which grows with it, is nearest to ``budget``."""
    high = 1
    while cost(high) < budget:
        high *= 2
    low = 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if cost(middle) < budget else (low, middle)
    below = max(1, low - 1)
    best = min((below, low), key=lambda h: abs(cost(h) - budget))
    if abs(cost(best) - budget) > 0.01 * budget:
        neighbours = ", ".join(f"hidden_size {h} has {cost(h)}" for h in sorted({below, low}))
        raise SizeError(
            f"{field}: a hidden_size must come within 1 % of it, but got {field}={budget}. "
            f"Take one of the nearest: {neighbours}."
        )
    return best


def initial_parameters(arch: Architecture, settings: Settings, seed: tuple[randomness.Name, ...]) -> Parameters:
    """Returns one run's initial parameters without the run axis, float64 on the CPU.

    Each gate's block is a pure function of (seed, layer, parameter, gate), so that equal names and shapes in
    different arms get equal numbers.
    """
    return {slot.name: torch.from_numpy(_initial(slot, arch, settings, seed)) for slot in arch.slots()}


def _initial(slot: Slot, arch: Architecture, settings: Settings, seed: tuple[randomness.Name, ...]) -> np.ndarray:
    if slot.kind == "vector" and slot.start != DRAWN:
        return np.full(slot.shape, float(slot.start))
    stacked = settings.initialization == "keras" and slot.kind in ("input", "recurrent")
    blocks = [slot.gates] if stacked else [(gate,) for gate in slot.gates]
    drawn = []
    for gates in blocks:
        names = (*seed, "weights", slot.name, "" if stacked else gates[0])
        shape = (*slot.shape[:-1], slot.width * len(gates))
        values = _draw(slot.kind, shape, arch.hidden_size, settings, names)
        drawn.append(_with_forget_bias(values, slot.kind, gates[0], arch.cell, settings))
    return np.concatenate(drawn, axis=-1)


def _draw(kind: str, shape: tuple[int, ...], hidden_size: int, settings: Settings, names: tuple) -> np.ndarray:
    scheme, scale = settings.initialization, settings.initial_scale
    if scheme == "uniform":
        bound = scale if scale is not None else 1.0 / math.sqrt(hidden_size)
        return bound * (2.0 * randomness.uniform(*names, shape=shape) - 1.0)
    if "bias" in kind:
        return np.zeros(shape)
    if scheme == "normal":
        return (INITIAL_STDDEV if scale is None else scale) * randomness.normal(*names, shape=shape)
    gain = 1.0 if scale is None else scale
    if kind == "recurrent" and scheme in ("orthogonal", "keras"):
        return gain * _orthogonal(shape, names)
    fans = shape if len(shape) == 2 else (hidden_size, hidden_size)
    bound = gain * math.sqrt(6.0 / sum(fans))
    return bound * (2.0 * randomness.uniform(*names, shape=shape) - 1.0)


def _orthogonal(shape: tuple[int, ...], names: tuple) -> np.ndarray:
    """Returns (rows, columns) with orthonormal rows or columns, whichever are fewer, uniform over such matrices."""
    rows, columns = shape
    tall = randomness.normal(*names, shape=(max(shape), min(shape)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def _with_forget_bias(values: np.ndarray, kind: str, gate: str, cell: type[Cell], settings: Settings) -> np.ndarray:
    if kind != "bias" or gate not in cell.forget_gates:
        return values
    if settings.forget_bias is not None:
        return np.full_like(values, settings.forget_bias)
    return np.ones_like(values) if settings.initialization == "keras" else values


class Model:
    """An architecture on an engine. Holds no parameters: they come with each call, (N, ...) each."""

    def __init__(self, arch: Architecture, engine: Engine, threads: int = 1):
        """Takes what runs it, and how many threads a call may use."""
        self.arch = arch
        self.engine = engine
        self.threads = threads
        self._layer = replace(arch.layer, threads=threads)
        names = [slot.name for slot in arch.slots()]
        prefixes = [f"layer{index}." for index in range(arch.num_layers)]
        self._names = [{n.removeprefix(prefix): n for n in names if n.startswith(prefix)} for prefix in prefixes]

    def initial_states(self, num_runs: int, batch_size: int, like: Tensor) -> list[State]:
        """Returns the state at the start of a stream, one a layer."""
        size = self.arch.hidden_size
        return [initial_state(self.arch.cell, num_runs, batch_size, size, like) for _ in range(self.arch.num_layers)]

    @property
    def compiled(self) -> bool:
        """Whether what stands around the layers is compiled as they are."""
        return self.engine.name == "cpu"

    def readout(self, parameters: Parameters, gradients: Parameters | None = None) -> Readout:
        """Returns what makes scores of the rows that a call returns; it may write its gradients in ``gradients``."""
        threads = self.threads if self.compiled else None
        homes = None if gradients is None else (gradients["readout.W"], gradients["readout.b"])
        return Readout(parameters["readout.W"], parameters["readout.b"], self.arch.precision, threads, homes)

    def __call__(self, parameters: Parameters, tokens: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """Returns the last layer's outputs as rows for the read-out, (N, T*B, H), and the final states.

        Args:
            parameters: Name -> (N, ...).
            tokens: (T, N, B), int64.
            states: One a layer.
        """
        values = self._lookup(parameters, tokens)
        finals = []
        for names, state in zip(self._names, states, strict=True):
            values, final = self.engine.run(self._layer, _own(parameters, names), values, state)
            finals.append(final)
        return _rows(values), finals

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        tokens: Tensor,
        states: list[State],
        loss: Callable[[Readout, Tensor], tuple[Tensor, Gradients]],
        dropout: Callable[[int, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Returns every run's loss and the final states, and writes the loss's ``gradients`` of every parameter.

        Args:
            parameters: Name -> (N, ...).
            gradients: Likewise, overwritten.
            tokens: (T, N, B), int64.
            states: One a layer; no gradient flows into them.
            loss: Of the read-out and the last layer's rows: the losses and the gradients to begin with.
            dropout: Multiplies the outputs (T, N, B, H) of each layer but the last, given its index, and their
                gradients, by the same numbers.
        """
        values, last = self._lookup(parameters, tokens), len(states) - 1
        tapes = []
        for index, (names, state) in enumerate(zip(self._names, states, strict=True)):
            tapes.append(self.engine.forward(self._layer, _own(parameters, names), values, state))
            values = tapes[-1].outputs
            if dropout is not None and index < last:
                values = dropout(index, values)
        losses, found = loss(self.readout(parameters, gradients), _rows(values))
        for name, gradient in (("readout.W", found.weight), ("readout.b", found.bias)):
            if gradient.data_ptr() != gradients[name].data_ptr():  # the read-out may have written it where it belongs
                gradients[name].copy_(gradient)
        num_steps, num_runs, batch_size, width = values.shape
        ahead: Tensor | None = found.rows.view(num_runs, num_steps, batch_size, width).transpose(0, 1)
        for index in reversed(range(len(tapes))):
            assert ahead is not None
            if dropout is not None and index < last:
                ahead = dropout(index, ahead)
            below = index > 0 or self.arch.embedding_size is not None
            ahead = tapes[index].backward(ahead, _own(gradients, self._names[index]), below)
        if ahead is not None:
            gradients["lookup.W"].copy_(lookup_gradient(parameters["lookup.W"], tokens, ahead))
        return losses, [tape.final for tape in tapes]

    def _lookup(self, parameters: Parameters, tokens: Tensor) -> Tensor:
        return tokens if self.arch.embedding_size is None else lookup(parameters["lookup.W"], tokens)


def _own(values: Parameters, names: dict[str, str]) -> Parameters:
    """Returns a layer's part of ``values``, under the names that its cell gives."""
    return {name: values[full] for name, full in names.items()}


def _rows(values: Tensor) -> Tensor:
    """Returns (T, N, B, H) as (N, T*B, H)."""
    return values.transpose(0, 1).flatten(1, 2)
