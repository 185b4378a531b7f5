"""A cell's step and its gradient, run once while every ATen operation is written down."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cells.base import Parameter, split_gates, unchanged
from cells.faults import words_of
from harness.engine.base import Layer
from harness.engine.rounding import dtype_of
from harness.engine.tracing.calls import ROWS, Untraceable


class _Product(torch.autograd.Function):
    """A recurrent product whose gradient is always the same two products, whatever the strides."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(h, matrix)
        return torch.mm(h, matrix)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        h, matrix = ctx.saved_tensors
        return torch.mm(gradient, matrix.t()), torch.mm(h.t(), gradient)


class _Number(torch.autograd.Function):
    """A number that has the gradient of the new states' cotangents: (B, H) of each, in order.

    Torch's ``grad`` loads SymPy, in a third of a second, where it is given cotangents itself.
    """

    @staticmethod
    def forward(ctx: Any, cotangents: tuple[Tensor, ...], *new: Tensor) -> Tensor:
        ctx.cotangents = cotangents
        return new[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.cotangents


_product: Callable[[Tensor, Tensor], Tensor] = _Product.apply
_number: Callable[..., Tensor] = _Number.apply


@dataclass(frozen=True)
class Operation:
    """One ATen operation as it was called; the tensors are kept, for they tell which is which."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Recorder(TorchDispatchMode):
    """Writes down every operation while it is on."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.operations: list[Operation] = []


def _record(
    self: _Recorder,
    function: Any,
    types: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    result = function(*args, **(kwargs or {}))
    self.operations.append(Operation(function, args, kwargs or {}, result))
    return result


# Set afterwards: torch wraps a method that stands in the class body, and loads its compiler to do
# so, in a second.
_Recorder.__torch_dispatch__ = _record  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class Leaves:
    """What a step is a function of, by name.

    Attributes:
        x: Gates, (B, H).
        state: (B, H).
        matrix: (H, g*H).
        vector: (1, H).
        cotangent: Of the new states, (B, H).
        noise: (B, H).
    """

    x: dict[str, Tensor]
    state: dict[str, Tensor]
    matrix: dict[str, Tensor]
    vector: dict[str, Tensor]
    cotangent: dict[str, Tensor]
    noise: dict[str, Tensor]

    def named(self) -> list[tuple[str, Tensor]]:
        """Returns all of them, ``group.name`` -> tensor, in a fixed order."""
        return [
            (f"{group}.{name}", t)
            for group, tensors in vars(self).items()
            for name, t in tensors.items()
        ]


def recorded(layer: Layer, value: float) -> tuple[Leaves, list[Operation], list[Tensor | None]]:
    """Returns what a step and its gradient do where every input has one value.

    Returns:
        What the step is given; the operations; the new state, then the gradients of gates, states,
        matrices and vectors, None where nothing depends on one.

    Raises:
        Untraceable: The step raises, or its new state is none that could be learned.
    """
    recorder = _Recorder()
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
            leaves = _leaves(layer, value)
            results = _joint(layer, leaves, recorder)
    except Untraceable:
        raise
    except Exception as error:  # whatever a step may do that it does not do on such values
        raise Untraceable(words_of(error)) from error
    return leaves, recorder.operations, results


def vector_names(layer: Layer) -> tuple[str, ...]:
    """Returns the names of everything of size H that a step reads.

    These are vectors, and recurrent biases gate by gate.
    """
    names = []
    for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases):
        if spec.kind == "vector":
            names.append(spec.name)
        elif spec.kind == "recurrent_bias":
            names += [f"{spec.name}.{gate}" for gate in spec.gates]
    return tuple(names)


def _leaves(layer: Layer, value: float) -> Leaves:
    cell, size, dtype = layer.cell, layer.hidden_size, dtype_of(layer.precision)

    def full(*shape: int, differentiable: bool = True) -> Tensor:
        return torch.full(shape, value, dtype=dtype, requires_grad=differentiable)

    return Leaves(
        {gate: full(ROWS, size) for gate in cell.input_products()},
        {state: full(ROWS, size) for state in cell.state},
        {name: full(size, len(gates) * size) for name, gates in cell.recurrent_products().items()},
        {name: full(1, size) for name in vector_names(layer)},
        {state: full(ROWS, size, differentiable=False) for state in cell.state},
        {name: full(ROWS, size, differentiable=False) for name in cell.noise},
    )


def _joint(layer: Layer, leaves: Leaves, recorder: _Recorder) -> list[Tensor | None]:
    """Returns the new state, then the gradients of gates, states, matrices and vectors."""
    specs = {spec.name: spec for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases)}
    p = _bind(specs, leaves.matrix, leaves.vector)
    vars(p).update(leaves.noise)
    with recorder:
        new = layer.cell().step(p, SimpleNamespace(**leaves.x), *leaves.state.values())
    inputs = [t for _, t in leaves.named() if t.requires_grad]
    reached = [
        (s, g) for s, g in zip(new, leaves.cotangent.values(), strict=True) if s.requires_grad
    ]
    if not reached:
        raise Untraceable("a new state that depends on nothing that could be learned")
    for state, cotangent in reached:
        if state.shape != cotangent.shape:
            shapes = f"{tuple(cotangent.shape)}, but got {tuple(state.shape)}"
            raise Untraceable(f"a new state must have the shape (B, H), here {shapes}")
    outputs, cotangents = zip(*reached, strict=True)
    number = _number(cotangents, *outputs)
    with recorder:
        gradients = torch.autograd.grad(number, inputs, allow_unused=True)
    recorder.operations = _without(number, recorder.operations)
    return [*new, *gradients]


def _without(number: Tensor, operations: list[Operation]) -> list[Operation]:
    """Returns the operations but those on a number and on what was made of it."""
    kept, made = [], [number]
    for operation in operations:
        if any(argument is tensor for argument in operation.args for tensor in made):
            made.append(operation.result)
        else:
            kept.append(operation)
    return kept


def _bind(
    specs: dict[str, Parameter], matrices: dict[str, Tensor], vectors: dict[str, Tensor]
) -> SimpleNamespace:
    """Returns the ``p`` of ``Cell.step``; a product's bias is added gate by gate."""

    def product(name: str, matrix: Tensor) -> Callable[[Tensor], SimpleNamespace]:
        def call(h: Tensor) -> SimpleNamespace:
            gates = vars(split_gates(_product(h, matrix), specs[name].gates))
            biases = {gate: vectors.get(f"b_{name}.{gate}") for gate in gates}
            return SimpleNamespace(
                **{g: v if biases[g] is None else v + biases[g] for g, v in gates.items()}
            )

        return call

    products = {name: product(name, matrix) for name, matrix in matrices.items()}
    return SimpleNamespace(
        **products, **{name: v for name, v in vectors.items() if "." not in name}, drop=unchanged
    )
