"""A step that is linear in its state, read off its program: s' = coefficient * s + offset.

Both are free of every state. A node of the program is split into what multiplies each state and
what stands alone, or refused with a reason. Where coefficient and offset are positive whatever the
inputs are, their logarithms are written too, without a log of what may have underflowed.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.engine.base import Layer
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS, Builder, Node, Program, Ref
from harness.engine.tracing.trace import Untraceable, trace

OF_LOGARITHMS: dict[str, Callable[..., Tensor]] = {
    "logsigmoid": torch.nn.functional.logsigmoid,
    "logaddexp": torch.logaddexp,
}
"""What logarithms need besides OPERATIONS; no cell uses them."""


class NotLinear(ValueError):
    """A step is not linear in its state, or has no logarithm; the message says where."""


@dataclass(frozen=True)
class Affine:
    """The coefficients and offsets of all states, in the cell's order.

    Attributes:
        nodes: A program.
        coefficients: One node a state.
        offsets: Likewise.
    """

    nodes: tuple[Node, ...]
    coefficients: tuple[int, ...]
    offsets: tuple[int, ...]

    def values(self, inputs: dict[str, Tensor], like: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns coefficients and offsets, one a state.

        Args:
            inputs: By node name; they broadcast.
            like: Gives the constants' dtype and device.
        """
        results: dict[int, Tensor] = {}

        def value(index: int) -> Tensor:
            if index not in results:
                node = self.nodes[index]
                results[index] = _meaning(node, inputs, like)(*(value(a) for a in node.args))
            return results[index]

        return [value(i) for i in self.coefficients], [value(i) for i in self.offsets]


def _meaning(node: Node, inputs: dict[str, Tensor], like: Tensor) -> Callable[..., Tensor]:
    if node.op == "constant":
        return lambda: like.new_full((), node.value)
    if node.op == "input":
        return lambda: inputs[node.name]
    if node.op in OPERATIONS:
        return OPERATIONS[node.op].meaning
    return OF_LOGARITHMS[node.op] if node.op in OF_LOGARITHMS else REDUCTIONS[node.op]


@functools.lru_cache(maxsize=256)
def affine(layer: Layer) -> Affine:
    """Returns the layer's step as coefficients and offsets.

    Raises:
        NotLinear: A state enters in any other way, or the step cannot be traced.
    """
    try:
        program = trace(layer)
    except Untraceable as error:
        raise NotLinear(f"its step cannot be traced: {error}") from error
    return _Splitting(layer.cell.state, program).affine()


@functools.lru_cache(maxsize=256)
def logarithmic(layer: Layer) -> Affine:
    """Returns the logarithms of the layer's coefficients and offsets.

    Raises:
        NotLinear: As :func:`affine`, or one of them may be 0 or below.
    """
    plain = affine(layer)
    build = Builder()
    for node in plain.nodes:
        build.node(node.op, *map(Ref, node.args), kind=node.kind, value=node.value, name=node.name)
    logarithms = _Logarithms(build)

    def logs(what: str, nodes: tuple[int, ...]) -> tuple[int, ...]:
        indices = []
        for name, i in zip(layer.cell.state, nodes, strict=True):
            logarithm = logarithms.of(Ref(i))
            if logarithm is None:
                raise NotLinear(f"the {what} of {name} is not known to be positive")
            indices.append(logarithm.index)
        return tuple(indices)

    coefficients, offsets = logs("coefficient", plain.coefficients), logs("offset", plain.offsets)
    return Affine(tuple(build.nodes), coefficients, offsets)


@dataclass(frozen=True)
class _Form:
    """A value as a sum: coefficients by state, and an offset, each None or absent where it is 0."""

    offset: Ref | None
    coefficients: dict[str, Ref] = field(default_factory=dict)

    def mapped(self, function: Callable[[Ref], Ref]) -> "_Form":
        """Returns the form under a function that is linear."""
        offset = None if self.offset is None else function(self.offset)
        return _Form(offset, {name: function(c) for name, c in self.coefficients.items()})


class _Splitting:
    """Writes a program's forward part as forms."""

    def __init__(self, states: tuple[str, ...], program: Program):
        self.states, self.program = states, program
        self.build = Builder()

    def affine(self) -> Affine:
        nodes, forward = self.program.nodes, sorted(self.program.forward())
        if products := self.program.products(forward):
            raise NotLinear(f"it has a recurrent product, {nodes[products[0]].name}")
        forms: dict[int, _Form] = {}
        for index in forward:
            forms[index] = self._form(nodes[index], [forms[a] for a in nodes[index].args])
        zero = self.build.constant(0.0)
        coefficients, offsets = [], []
        for name, index in zip(self.states, self.program.new_state, strict=True):
            form = forms[index]
            if others := sorted(set(form.coefficients) - {name}):
                raise NotLinear(f"the new {name} sees {', '.join(others)}")
            coefficients.append(form.coefficients.get(name, zero).index)
            offsets.append((form.offset or zero).index)
        return Affine(tuple(self.build.nodes), tuple(coefficients), tuple(offsets))

    def _form(self, node: Node, args: list[_Form]) -> _Form:
        if node.op == "input" and node.name.startswith("state."):
            return _Form(None, {node.name.removeprefix("state."): self.build.constant(1.0)})
        if any(a.coefficients for a in args):
            rule: Callable[..., _Form] | None = getattr(self, f"_{node.op}", None)
            if rule is None:
                seen = sorted({name for a in args for name in a.coefficients})
                raise NotLinear(f"{node.op} of {', '.join(seen)}")
            return rule(*args)
        # These are all offsets, since a form of no state has one.
        offsets = [a.offset for a in args if a.offset is not None]
        if node.op in OPERATIONS:
            return _Form(self.build.apply(node.op, *offsets))
        return _Form(
            self.build.node(node.op, *offsets, kind=node.kind, value=node.value, name=node.name)
        )

    def _add(self, x: _Form, y: _Form) -> _Form:
        return self._joined(x, y, lambda a, b: self.build.apply("add", a, b) if a and b else a or b)

    def _sub(self, x: _Form, y: _Form) -> _Form:
        return self._add(x, self._neg(y))

    def _neg(self, x: _Form) -> _Form:
        return x.mapped(lambda a: self.build.apply("neg", a))

    def _mul(self, x: _Form, y: _Form) -> _Form:
        linear, factor = (x, y) if x.coefficients else (y, x)
        return linear.mapped(
            lambda a: self.build.apply("mul", a, self._free(factor, "a product of states"))
        )

    def _div(self, x: _Form, y: _Form) -> _Form:
        return x.mapped(
            lambda a: self.build.apply("div", a, self._free(y, "a quotient by a state"))
        )

    def _where(self, condition: _Form, x: _Form, y: _Form) -> _Form:
        chosen = self._free(condition, "a choice by a state")
        return self._joined(
            x, y, lambda a, b: self.build.apply("where", chosen, a or 0.0, b or 0.0)
        )

    def _free(self, form: _Form, otherwise: str) -> Ref:
        if form.coefficients or form.offset is None:
            raise NotLinear(otherwise)
        return form.offset

    def _joined(
        self, x: _Form, y: _Form, function: Callable[[Ref | None, Ref | None], Ref | None]
    ) -> _Form:
        """Returns the form of both, the parts that neither has left out."""
        names = [*x.coefficients, *(name for name in y.coefficients if name not in x.coefficients)]
        joined = {
            name: function(x.coefficients.get(name), y.coefficients.get(name)) for name in names
        }
        offset = None if x.offset is None and y.offset is None else function(x.offset, y.offset)
        return _Form(offset, {name: c for name, c in joined.items() if c is not None})


@dataclass(frozen=True)
class _Branch:
    """Where a value counts.

    Attributes:
        condition: The node that decides; None everywhere.
        holds: Whether it must hold, or must not.
        not_negative: The nodes that are not below 0 there.
    """

    condition: Ref | None = None
    holds: bool = True
    not_negative: frozenset[int] = frozenset()


_EVERYWHERE = _Branch()


class _Logarithms:
    """Writes the logarithms of nodes that are positive."""

    def __init__(self, build: Builder):
        self.build = build

    def of(self, ref: Ref, branch: _Branch = _EVERYWHERE) -> Ref | None:
        """Returns the logarithm, or None where the value may be 0 or below.

        It is finite wherever the value is of a sane size.
        """
        node = self.build.get(ref)
        args = tuple(map(Ref, node.args))
        if node.op == "constant":
            return self.build.constant(math.log(node.value)) if node.value > 0 else None
        if node.op == "exp":
            return args[0]
        if node.op == "sigmoid":
            return self._logsigmoid(args[0])
        rule = getattr(self, f"_{node.op}", None)
        return None if rule is None else rule(ref, branch, *args)

    def _logsigmoid(self, ref: Ref) -> Ref:
        return self.build.node("logsigmoid", ref, kind=self.build.get(ref).kind)

    def _mul(self, ref: Ref, branch: _Branch, x: Ref, y: Ref) -> Ref | None:
        a, b = self.of(x, branch), self.of(y, branch)
        return self.build.apply("add", a, b) if a and b else None

    def _div(self, ref: Ref, branch: _Branch, x: Ref, y: Ref) -> Ref | None:
        a, below = self.of(x, branch), self.build.get(y)
        if below.op == "add" and x.index in below.args:
            # x / (x + z) = sigmoid(log x - log z), with nothing cancelled
            z = self.of(Ref(below.args[1 - below.args.index(x.index)]), branch)
            return self._logsigmoid(self.build.apply("sub", a, z)) if a and z else None
        b = self.of(y, branch)
        return self.build.apply("sub", a, b) if a and b else None

    def _sub(self, ref: Ref, branch: _Branch, x: Ref, y: Ref) -> Ref | None:
        one, other = self.build.get(x), self.build.get(y)
        if (one.op, one.value, other.op) != ("constant", 1.0, "sigmoid"):
            return None
        # 1 - sigmoid(u) = sigmoid(-u)
        return self._logsigmoid(self.build.apply("neg", Ref(other.args[0])))

    def _add(self, ref: Ref, branch: _Branch, x: Ref, y: Ref) -> Ref | None:
        a, b = self.of(x, branch), self.of(y, branch)
        if a and b:
            return self.build.node("logaddexp", a, b, kind=self.build.get(ref).kind)
        if (a and self._is_not_negative(y, branch)) or (b and self._is_not_negative(x, branch)):
            return self.build.apply("log", self._guarded(ref, branch))
        return None

    def _where(self, ref: Ref, branch: _Branch, condition: Ref, x: Ref, y: Ref) -> Ref | None:
        a, b = self.of(x, self._branch(condition, True)), self.of(y, self._branch(condition, False))
        return self.build.apply("where", condition, a, b) if a and b else None

    def _guarded(self, ref: Ref, branch: _Branch) -> Ref:
        """Returns the value, and 1 where the branch is not taken.

        A log of 0 there would have a NaN gradient.
        """
        if branch.condition is None:
            return ref
        if branch.holds:
            return self.build.apply("where", branch.condition, ref, 1.0)
        return self.build.apply("where", branch.condition, 1.0, ref)

    def _branch(self, condition: Ref, holds: bool) -> _Branch:
        """Returns what is known where a condition holds or does not.

        Known are c <= u, and u < c, with c not below 0.
        """
        node = self.build.get(condition)
        known = frozenset[int]()
        if node.op in ("lt", "le"):
            bound, value = node.args if holds else reversed(node.args)
            limit = self.build.get(Ref(bound))
            if limit.op == "constant" and limit.value >= 0:
                known = frozenset({value})
        return _Branch(condition, holds, known)

    def _is_not_negative(self, ref: Ref, branch: _Branch) -> bool:
        node = self.build.get(ref)
        if ref.index in branch.not_negative or node.op in ("abs", "sqrt", "exp", "sigmoid"):
            return True
        if node.op == "constant":
            return node.value >= 0
        if node.op == "where":
            condition, x, y = map(Ref, node.args)
            return self._is_not_negative(
                x, self._branch(condition, True)
            ) and self._is_not_negative(y, self._branch(condition, False))
        parts = (self._is_not_negative(Ref(a), branch) for a in node.args)
        return any(parts) if node.op == "maximum" else node.op in ("add", "mul") and all(parts)
