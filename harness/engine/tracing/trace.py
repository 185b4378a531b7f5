"""From a cell's ``step`` to a :class:`Program`: the equations and their gradient.

Both are those of torch itself: the step and its gradient run once, on tensors of one value, while a
dispatch mode writes down every ATen operation; the flat list that results is written in the few
operations of ``program``.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cells.base import Cell, Parameter, split_gates, unchanged
from harness.engine.base import Layer, dtype_of
from harness.engine.tracing import activations, aten, units
from harness.engine.tracing.calls import (
    ROWS,
    RULES,
    Call,
    Flipped,
    Matrix,
    Outers,
    Transposed,
    Untraceable,
    single,
    stacked,
)
from harness.engine.tracing.program import Builder, Node, Outer, Program, Ref

__all__ = ["Untraceable", "trace", "untraceable", "vector_names"]

_RULES_FROM = (activations, aten, units)
"""They enter their rules as they are imported."""


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


_product: Callable[[Tensor, Tensor], Tensor] = _Product.apply


@dataclass(frozen=True)
class _Operation:
    """One ATen operation as it was called; the tensors are kept, for they tell which is which."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Recorder(TorchDispatchMode):
    """Writes down every operation while it is on."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.operations: list[_Operation] = []


def _record(
    self: _Recorder,
    function: Any,
    types: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    result = function(*args, **(kwargs or {}))
    self.operations.append(_Operation(function, args, kwargs or {}, result))
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


@functools.lru_cache(maxsize=256)
def trace(layer: Layer) -> Program:
    """Returns the program of a layer's step.

    Constants that depend on H, as in a mean, are those of this H; those that depend on the dtype,
    as the epsilon of ``rms_norm``, are those of this precision.

    Raises:
        Untraceable: The step uses an operation outside the table, or mixes rows or units in a way
            outside it.
    """
    leaves, operations, results = _recorded(layer, 0.0)
    if [o.function for o in operations] != [o.function for o in _recorded(layer, 0.5)[1]]:
        raise Untraceable("operations that depend on the values")
    return _Lowering(layer, leaves).program(operations, results)


def untraceable(cell: type[Cell], precision: str = "float32") -> str | None:
    """Returns why the generated engines cannot run a cell anywhere, or None where they can."""
    try:
        trace(Layer(cell, 2, 1, precision))  # whether a step can be traced depends on no size
    except Untraceable as error:
        return f"{cell.name}: {error}"
    return None


def _recorded(layer: Layer, value: float) -> tuple[Leaves, list[_Operation], list[Tensor | None]]:
    """Returns what a step does where every input has one value.

    Returns:
        What it is given, its operations, its results.
    """
    recorder = _Recorder()
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
            leaves = _leaves(layer, value)
            with recorder:
                results = _joint(layer, leaves)
    except Untraceable:
        raise
    except Exception as error:  # whatever a step may do that it does not do on such values
        raise Untraceable(
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        ) from error
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


def _joint(layer: Layer, leaves: Leaves) -> list[Tensor | None]:
    """Returns the new state, then the gradients of gates, states, matrices and vectors."""
    specs = {spec.name: spec for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases)}
    p = _bind(specs, leaves.matrix, leaves.vector)
    vars(p).update(leaves.noise)
    new = layer.cell().step(p, SimpleNamespace(**leaves.x), *leaves.state.values())
    inputs = [t for _, t in leaves.named() if t.requires_grad]
    reached = [
        (s, g) for s, g in zip(new, leaves.cotangent.values(), strict=True) if s.requires_grad
    ]
    if not reached:
        raise Untraceable("a new state that depends on nothing that could be learned")
    outputs, cotangents = zip(*reached, strict=True)
    return [*new, *torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)]


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


class _Lowering:
    """Writes a list of ATen operations as a program."""

    def __init__(self, layer: Layer, leaves: Leaves):
        self.layer, self.build = layer, Builder()
        self.values: dict[int, Any] = {id(t): self._leaf(name) for name, t in leaves.named()}
        self.tensors = [t for _, t in leaves.named()]

    def program(self, operations: list[_Operation], results: list[Tensor | None]) -> Program:
        for operation in operations:
            value = self._lowered(operation)
            is_list = isinstance(operation.result, (list, tuple))
            parts = operation.result if is_list else [operation.result]
            values = value if is_list else [value]
            for part, lowered in zip(parts, values, strict=True):
                self.values[id(part)] = lowered
            self.tensors += [part for part in parts if isinstance(part, Tensor)]
        return self._finished(
            [None if r is None else self._unflipped(self._value(r)) for r in results]
        )

    def _leaf(self, name: str) -> Ref | Matrix:
        group, _, short_name = name.partition(".")
        if group == "matrix":
            return Matrix(short_name)
        return self.build.node("input", kind="vector" if group == "vector" else "full", name=name)

    def _value(self, argument: Any) -> Any:
        """Returns what a tensor stands for, in lists too; anything else as it is."""
        if isinstance(argument, (list, tuple)):
            return [self._value(a) for a in argument]
        if not isinstance(argument, Tensor):
            return argument
        if id(argument) not in self.values:
            raise Untraceable("a tensor that was made outside the step")
        return self.values[id(argument)]

    def _lowered(self, operation: _Operation) -> Any:
        name = operation.function.overloadpacket.__name__
        args = self._value(operation.args)
        if name == "mm":
            return self._product(*map(self._unflipped, args))
        if name.endswith("_"):
            self._refuse_shared(name, operation.args[0])
        if name not in ("cumsum", "flip"):
            args = [self._unflipped(a) for a in args]
        rule = RULES.get(name, RULES.get(name.removesuffix("_")))
        if rule is None:
            raise Untraceable(f"operation {name}")
        shape = tuple(operation.result.shape) if isinstance(operation.result, Tensor) else ()
        call = Call(self.build, self.layer.hidden_size, shape, name, _widths(operation.args))
        known = inspect.signature(rule).parameters
        return rule(
            call, *args, **{k: self._value(v) for k, v in operation.kwargs.items() if k in known}
        )

    def _unflipped(self, value: Any) -> Any:
        """Returns a flipped value as one of its own, in lists too; anything else as it is."""
        if isinstance(value, list):
            return [self._unflipped(v) for v in value]
        return self.build.apply("flip", value.value) if isinstance(value, Flipped) else value

    def _refuse_shared(self, name: str, target: Tensor) -> None:
        """Refuses to change in place what another tensor shows too.

        That one would seem to keep its value.
        """
        memory = target.untyped_storage().data_ptr()
        if any(t is not target and t.untyped_storage().data_ptr() == memory for t in self.tensors):
            raise Untraceable(f"operation {name} on memory that is shared")

    def _product(self, a: Any, b: Any) -> Any:
        """Returns what a product of :class:`_Product` stands for.

        That is a product's gates, a transposed product, or a matrix's gradient.
        """
        if isinstance(b, Matrix):
            operand = single(a)
            if self.build.get(operand).kind != "full":
                raise Untraceable("a product of what is equal in all units or rows")
            whole = self.build.node("product", operand, name=b.name)
            gates = self.layer.cell.recurrent_products()[b.name]
            return [self.build.node("gate", whole, value=float(i)) for i in range(len(gates))]
        if isinstance(b, Transposed) and isinstance(b.value, Matrix):
            return self.build.node("transposed", *stacked(a), name=b.value.name)
        if isinstance(a, Transposed):
            return Outers((Outer(single(a.value).index, tuple(c.index for c in stacked(b))),))
        raise Untraceable("operation mm")

    def _finished(self, results: list[Any]) -> Program:
        cell = self.layer.cell
        vectors, matrices = vector_names(self.layer), tuple(cell.recurrent_products())
        ends = iter(results)

        def take(count: int) -> list[int | None]:
            return [None if (r := next(ends)) is None else single(r).index for _ in range(count)]

        new_state = take(len(cell.state))
        inputs, states = take(len(cell.input_products())), take(len(cell.state))
        terms = [next(ends) for _ in matrices]
        program = Program(
            tuple(self.build.nodes),
            tuple(s for s in new_state if s is not None),
            tuple(inputs),
            tuple(states),
            dict(zip(vectors, take(len(vectors)), strict=True)),
            {name: () if t is None else t.terms for name, t in zip(matrices, terms, strict=True)},
        )
        return pruned(program)


def _widths(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Returns how many units each tensor of the first argument has, where that is a list."""
    listed = arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else ()
    return tuple(t.shape[-1] for t in listed if isinstance(t, Tensor) and t.dim())


def pruned(program: Program) -> Program:
    """Returns the program without the nodes that nothing asks for."""
    roots = [*program.new_state, *program.input_gradients, *program.state_gradients]
    roots += [*program.vector_gradients.values()]
    for terms in program.matrix_gradients.values():
        for term in terms:
            roots += [term.operand, *term.cotangent]
    kept = sorted(program.ancestors(r for r in roots if r is not None))
    place = {old: new for new, old in enumerate(kept)}

    def moved(index: int | None) -> int | None:
        return None if index is None else place[index]

    def outer(term: Outer) -> Outer:
        return Outer(place[term.operand], tuple(place[i] for i in term.cotangent))

    nodes = tuple(
        Node(n.op, tuple(place[a] for a in n.args), n.kind, n.value, n.name)
        for n in (program.nodes[i] for i in kept)
    )
    return Program(
        nodes,
        tuple(place[i] for i in program.new_state),
        tuple(moved(i) for i in program.input_gradients),
        tuple(moved(i) for i in program.state_gradients),
        {name: moved(i) for name, i in program.vector_gradients.items()},
        {name: tuple(map(outer, terms)) for name, terms in program.matrix_gradients.items()},
    )
