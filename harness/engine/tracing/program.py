"""A cell's step as a small program: one time step, forward and backward, on any machine.

A node is an operation on earlier nodes. Its kind says along which axes it varies: ``full`` (B, H),
``row`` (B, 1), ``vector`` (1, H), ``scalar``. Equal nodes are one node, constants are folded, and
what nothing asks for is gone.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["full", "row", "vector", "scalar"]


@dataclass(frozen=True)
class Operation:
    """An elementwise operation: what it means, and whether it costs more than a load from memory.

    ``meaning`` takes tensors; NaN and infinity go through as IEEE 754 and torch have them.
    """

    meaning: Callable[..., Tensor]
    costly: bool = False
    boolean: bool = False


def _part(x: Tensor, other: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Returns x in the units from ``start`` to before ``end``, and elsewhere another value."""
    x, other = torch.broadcast_tensors(x, other)
    units = torch.arange(x.shape[-1], device=x.device)
    return torch.where((units >= start) & (units < end), x, other)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Returns x turned by so many units; no value is asked of the device."""
    units = torch.arange(x.shape[-1], device=x.device)
    return x.index_select(-1, ((units - turn) % x.shape[-1]).long())


OPERATIONS: dict[str, Operation] = {
    "add": Operation(torch.add),
    "sub": Operation(torch.sub),
    "mul": Operation(torch.mul),
    "div": Operation(torch.div, costly=True),
    "neg": Operation(torch.neg),
    "abs": Operation(torch.abs),
    "sign": Operation(torch.sign),
    "minimum": Operation(torch.minimum),
    "maximum": Operation(torch.maximum),
    "where": Operation(torch.where),
    "sqrt": Operation(torch.sqrt, costly=True),
    "rsqrt": Operation(torch.rsqrt, costly=True),
    "exp": Operation(torch.exp, costly=True),
    "expm1": Operation(torch.expm1, costly=True),
    "log": Operation(torch.log, costly=True),
    "log1p": Operation(torch.log1p, costly=True),
    "sigmoid": Operation(torch.sigmoid, costly=True),
    "tanh": Operation(torch.tanh, costly=True),
    "sin": Operation(torch.sin, costly=True),
    "cos": Operation(torch.cos, costly=True),
    "atan": Operation(torch.atan, costly=True),
    "erf": Operation(torch.erf, costly=True),
    "fmod": Operation(torch.fmod, costly=True),
    "cumsum": Operation(lambda x: x.cumsum(-1), costly=True),
    "roll": Operation(_turned, costly=True),
    "flip": Operation(lambda x: x.flip(-1), costly=True),
    "part": Operation(_part),
    "lt": Operation(torch.lt, boolean=True),
    "le": Operation(torch.le, boolean=True),
    "eq": Operation(torch.eq, boolean=True),
    "and": Operation(torch.logical_and, boolean=True),
    "or": Operation(torch.logical_or, boolean=True),
    "not": Operation(torch.logical_not, boolean=True),
}
"""The operations of a pointwise piece.

``cumsum``, ``roll`` (by a constant) and ``flip`` are over the units, of (B, H) values alone.
``part`` is one value in the units from a constant to before another, and elsewhere a second value.
"""
MOVES = ("roll", "flip")
"""Those that read other units of a row than the one that they write."""

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "row_sum": lambda x: x.sum(-1, keepdim=True),
    "row_max": lambda x: x.amax(-1, keepdim=True),
}
"""The reductions over H, within a row.

``batch_sum`` besides adds the rows of all time steps into a vector's gradient.
"""


@dataclass(frozen=True)
class Node:
    """One value of a time step.

    Besides OPERATIONS and REDUCTIONS, ``op`` is one of: ``constant`` (``value``); ``input``
    (``name`` says which, such as x.i, state.h, vector.p, noise.m, cotangent.h); ``product`` (of a
    (B, H) node with the matrix ``name``, all its gates side by side); ``gate`` (block ``value`` of
    a product); ``transposed`` (of a product's cotangent, its gates the arguments, with the
    transposed matrix ``name``); ``batch_sum``.
    """

    op: str
    args: tuple[int, ...] = ()
    kind: Kind = "full"
    value: float = 0.0
    name: str = ""

    @property
    def boolean(self) -> bool:
        """Whether the values are true or false."""
        return self.op in OPERATIONS and OPERATIONS[self.op].boolean


@dataclass(frozen=True)
class Outer:
    """One term of a matrix's gradient.

    That is operand^T times the cotangent's gates, summed over all time steps and rows.
    """

    operand: int
    cotangent: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """One time step, forward and backward. A gradient of None is zero.

    Attributes:
        nodes: In an order of computation.
        new_state: The state after the step.
        input_gradients: One a gate.
        state_gradients: One a state, of the state before the step.
        vector_gradients: By the vector's name; each a ``batch_sum``, or pointwise of kind
            ``vector`` in such sums.
        matrix_gradients: By the matrix's name, the terms to add.
    """

    nodes: tuple[Node, ...]
    new_state: tuple[int, ...]
    input_gradients: tuple[int | None, ...]
    state_gradients: tuple[int | None, ...]
    vector_gradients: dict[str, int | None]
    matrix_gradients: dict[str, tuple[Outer, ...]]

    def forward(self) -> set[int]:
        """Returns the nodes that the new state depends on."""
        return self.ancestors(self.new_state)

    def ancestors(self, roots: Iterable[int]) -> set[int]:
        """Returns ``roots`` and everything that they depend on."""
        ancestors: set[int] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node not in ancestors:
                ancestors.add(node)
                waiting.extend(self.nodes[node].args)
        return ancestors

    def products(self, within: Iterable[int], op: str = "product") -> list[int]:
        """Returns the product nodes (or the ``transposed`` ones) among ``within``, in order."""
        return [i for i in sorted(within) if self.nodes[i].op == op]


@dataclass(frozen=True)
class Ref:
    """A node of a program under construction."""

    index: int


@dataclass
class Builder:
    """Makes a program's nodes, each once."""

    nodes: list[Node] = field(default_factory=list)
    _known: dict[tuple[Node, float], int] = field(default_factory=dict)

    def node(
        self, op: str, *args: Ref, kind: Kind = "full", value: float = 0.0, name: str = ""
    ) -> Ref:
        """Returns the node, the one that there is where there is one."""
        node = Node(op, tuple(a.index for a in args), kind, value, name)
        key = node, math.copysign(1, value)  # 0.0 equals -0.0
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(node)
        return Ref(self._known[key])

    def constant(self, value: float) -> Ref:
        """Returns a scalar."""
        return self.node("constant", kind="scalar", value=float(value))

    def get(self, ref: Ref) -> Node:
        """Returns the node behind a reference."""
        return self.nodes[ref.index]

    def apply(self, op: str, *operands: Ref | float) -> Ref:
        """Returns an elementwise operation's node, or the simpler one that equals it."""
        args = tuple(a if isinstance(a, Ref) else self.constant(a) for a in operands)
        nodes = [self.get(a) for a in args]
        is_foldable = not OPERATIONS[op].boolean and op != "where"
        if is_foldable and all(n.op == "constant" and not n.boolean for n in nodes):
            values = [torch.tensor(n.value, dtype=torch.float64) for n in nodes]
            return self.constant(OPERATIONS[op].meaning(*values).item())
        same = self._same(op, args, nodes)
        if same is not None:
            return same
        return self.node(op, *args, kind=joined(n.kind for n in nodes))

    def _same(self, op: str, args: tuple[Ref, ...], nodes: list[Node]) -> Ref | None:
        """Returns an argument or a simpler node that has the same value for all inputs, or None."""

        def constant(position: int, value: float) -> bool:
            node = nodes[position]
            return (
                node.op == "constant" and node.value == value and math.copysign(1, node.value) > 0
            )

        if op in ("add", "mul"):
            neutral = 0.0 if op == "add" else 1.0
            for here, other in ((0, 1), (1, 0)):
                if constant(here, neutral):
                    return args[other]
        if (op == "sub" and constant(1, 0.0)) or (op == "div" and constant(1, 1.0)):
            return args[0]
        if op == "where" and args[1] == args[2]:
            return args[1]
        if op == "neg" and nodes[0].op == "neg":
            return Ref(nodes[0].args[0])
        if op == "add" and nodes[1].op == "neg":
            return self.apply("sub", args[0], Ref(nodes[1].args[0]))
        return None

    def reduce(self, op: str, ref: Ref) -> Ref:
        """Returns a reduction over H."""
        return self.node(op, ref, kind="row")


def joined(kinds: Iterable[Kind]) -> Kind:
    """Returns the kind of an elementwise operation on values of these kinds."""
    present = set(kinds)
    if "full" in present or {"row", "vector"} <= present:
        return "full"
    return "row" if "row" in present else "vector" if "vector" in present else "scalar"
