"""From a cell's ``step`` to a :class:`Program`: the equations and their gradient.

Both are those of torch itself: ``recording`` runs the step and its gradient, and the flat list of
ATen operations that results is written in the few operations of ``program``.
"""

import functools
import inspect
from typing import Any

from torch import Tensor

from cells.base import Cell
from harness.engine.base import Layer
from harness.engine.tracing import activations, aten, units
from harness.engine.tracing.calls import (
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
from harness.engine.tracing.recording import Leaves, Operation, recorded, vector_names

__all__ = ["Untraceable", "trace", "untraceable", "vector_names"]

_RULES_FROM = (activations, aten, units)
"""They enter their rules as they are imported."""


@functools.lru_cache(maxsize=256)
def trace(layer: Layer) -> Program:
    """Returns the program of a layer's step.

    Constants that depend on H, as in a mean, are those of this H; those that depend on the dtype,
    as the epsilon of ``rms_norm``, are those of this precision.

    Raises:
        Untraceable: The step uses an operation outside the table, or mixes rows or units in a way
            outside it.
    """
    leaves, operations, results = recorded(layer, 0.0)
    if [o.function for o in operations] != [o.function for o in recorded(layer, 0.5)[1]]:
        raise Untraceable("operations that depend on the values")
    return _Lowering(layer, leaves).program(operations, results)


def untraceable(cell: type[Cell], precision: str = "float32") -> str | None:
    """Returns why the generated engines cannot run a cell anywhere, or None where they can."""
    try:
        trace(Layer(cell, 2, 1, precision))  # whether a step can be traced depends on no size
    except Untraceable as error:
        return f"{cell.name}: {error}"
    return None


class _Lowering:
    """Writes a list of ATen operations as a program."""

    def __init__(self, layer: Layer, leaves: Leaves):
        self.layer, self.build = layer, Builder()
        self.values: dict[int, Any] = {id(t): self._leaf(name) for name, t in leaves.named()}
        self.tensors = [t for _, t in leaves.named()]

    def program(self, operations: list[Operation], results: list[Tensor | None]) -> Program:
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

    def _lowered(self, operation: Operation) -> Any:
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
