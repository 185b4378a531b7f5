"""From a cell's ``step`` to a :class:`Program`: the equations and their gradient, as torch itself differentiates them.

The step runs once on tensors without values, under ``make_fx``, its recurrent products as operators of their own
that know their gradients; the flat list of ATen operations that results is written in the few of ``program``.
"""

import functools
import inspect
import math
import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx

from cells.base import Cell, split_gates
from harness.engine.base import Layer
from harness.engine.program import Builder, Node, Outer, Program, Ref

ROWS = 3
"""Rows of the batch in a trace; any number would do."""


class Untraceable(ValueError):
    """A step does what the generated engines cannot; the message names the operation."""


@torch.library.custom_op("harness::product", mutates_args=())
def _product(h: Tensor, matrix: Tensor) -> Tensor:
    return h @ matrix


@_product.register_fake
def _(h: Tensor, matrix: Tensor) -> Tensor:
    return h.new_empty(h.shape[0], matrix.shape[1])


@torch.library.custom_op("harness::transposed", mutates_args=())
def _transposed(gradient: Tensor, matrix: Tensor) -> Tensor:
    return gradient @ matrix.t()


@_transposed.register_fake
def _(gradient: Tensor, matrix: Tensor) -> Tensor:
    return gradient.new_empty(gradient.shape[0], matrix.shape[0])


@torch.library.custom_op("harness::outer", mutates_args=())
def _outer(h: Tensor, gradient: Tensor) -> Tensor:
    return h.t() @ gradient


@_outer.register_fake
def _(h: Tensor, gradient: Tensor) -> Tensor:
    return h.new_empty(h.shape[1], gradient.shape[1])


def _product_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    h, matrix = ctx.saved_tensors
    return _transposed(gradient, matrix), _outer(h, gradient)


_product.register_autograd(
    _product_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


@dataclass(frozen=True)
class Leaves:
    """What a step is a function of, by name: (B, H) gates and states, (H, g*H) matrices, (1, H) vectors."""

    x: dict[str, Tensor]
    state: dict[str, Tensor]
    matrix: dict[str, Tensor]
    vector: dict[str, Tensor]
    cotangent: dict[str, Tensor]

    def named(self) -> list[tuple[str, Tensor]]:
        """Returns all of them, ``group.name`` -> tensor, in a fixed order."""
        return [(f"{group}.{name}", t) for group, tensors in vars(self).items() for name, t in tensors.items()]


_lock = threading.Lock()  # tracing sets state of the whole process


@functools.lru_cache(maxsize=256)
def trace(layer: Layer) -> Program:
    """Returns the program of a layer's step. Constants that depend on H, as in a mean, are those of this H.

    Raises:
        Untraceable: The step uses an operation outside the table, or mixes rows or units in a way outside it.
    """
    with _lock, torch.enable_grad():
        graph, names = _graph(layer)
    return _Lowering(layer, graph, names).program()


def vector_names(layer: Layer) -> tuple[str, ...]:
    """Returns the names of everything of size H that a step reads: vectors, and recurrent biases gate by gate."""
    found = []
    for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases):
        if spec.kind == "vector":
            found.append(spec.name)
        elif spec.kind == "recurrent_bias":
            found += [f"{spec.name}.{gate}" for gate in spec.gates]
    return tuple(found)


def _graph(layer: Layer) -> tuple[fx.Graph, list[str]]:
    """Returns the joint graph of one step, and the names of its placeholders."""
    from torch.fx.experimental.proxy_tensor import make_fx

    cell, size = layer.cell, layer.hidden_size
    specs = {spec.name: spec for spec in cell.parameters(1, size, layer.biases)}

    def empty(*shape: int, differentiable: bool = True) -> Tensor:
        return torch.zeros(shape, requires_grad=differentiable)

    leaves = Leaves(
        {gate: empty(ROWS, size) for gate in cell.gates},
        {state: empty(ROWS, size) for state in cell.state},
        {name: empty(size, len(gates) * size) for name, gates in cell.recurrent_products().items()},
        {name: empty(1, size) for name in vector_names(layer)},
        {state: empty(ROWS, size, differentiable=False) for state in cell.state},
    )
    named = leaves.named()

    def joint(*tensors: Tensor) -> list[Tensor | None]:
        values = dict(zip([name for name, _ in named], tensors, strict=True))
        group = {g: {n.partition(".")[2]: t for n, t in values.items() if n.startswith(f"{g}.")} for g in vars(leaves)}
        p = _bind(specs, group["matrix"], group["vector"])
        new = cell().step(p, SimpleNamespace(**group["x"]), *group["state"].values())
        inputs = [t for g in ("x", "state", "matrix", "vector") for t in group[g].values()]
        reached = [(s, g) for s, g in zip(new, group["cotangent"].values(), strict=True) if s.requires_grad]
        outputs, cotangents = zip(*reached, strict=True)
        return [*new, *torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)]

    try:
        graph = make_fx(joint, tracing_mode="fake")(*[t for _, t in named]).graph
    except Exception as error:  # whatever a step may do that has no values to do it with
        raise Untraceable(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
    return graph, [name for name, _ in named]


def _bind(specs: dict, matrices: dict[str, Tensor], vectors: dict[str, Tensor]) -> SimpleNamespace:
    """Returns the ``p`` of ``Cell.step``; a product's bias is added gate by gate."""

    def product(name: str, matrix: Tensor) -> Callable[[Tensor], SimpleNamespace]:
        def call(h: Tensor) -> SimpleNamespace:
            gates = vars(split_gates(_product(h, matrix), specs[name].gates))
            biases = {gate: vectors.get(f"b_{name}.{gate}") for gate in gates}
            return SimpleNamespace(**{g: v if biases[g] is None else v + biases[g] for g, v in gates.items()})

        return call

    products = {name: product(name, matrix) for name, matrix in matrices.items()}
    return SimpleNamespace(**products, **{name: v for name, v in vectors.items() if "." not in name})


@dataclass(frozen=True)
class _Matrix:
    """A gradient of a matrix: a sum of outer products."""

    name: str
    terms: tuple[Outer, ...]


class _Lowering:
    """Writes a graph of ATen operations as a program."""

    def __init__(self, layer: Layer, graph: fx.Graph, names: list[str]):
        self.layer, self.graph, self.names = layer, graph, names
        self.build = Builder()
        self.values: dict[fx.Node, Any] = {}

    def program(self) -> Program:
        names = iter(self.names)
        results: list[Any] = []
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._placeholder(next(names))
            elif node.op == "output":
                results = [None if a is None else self.values[a] for a in node.args[0]]
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            else:
                raise Untraceable(f"{node.op} {node.target}")
        return self._finished(results)

    def _placeholder(self, name: str) -> Ref | str:
        group, _, own = name.partition(".")
        if group == "matrix":
            return own
        return self.build.node("input", kind="vector" if group == "vector" else "full", name=name)

    def _call(self, node: fx.Node) -> Any:
        target: Any = node.target
        args = fx.map_arg(node.args, lambda n: self.values[n])
        kwargs = fx.map_arg(node.kwargs, lambda n: self.values[n])
        if target is operator.getitem:
            return args[0][args[1]]
        name = getattr(target, "overloadpacket", target).__name__
        rule = getattr(self, f"_{name}", None) if getattr(target, "namespace", "") == "harness" else RULES.get(name)
        if rule is None:
            raise Untraceable(f"operation {name}")
        shape = tuple(node.meta["val"].shape) if isinstance(node.meta.get("val"), Tensor) else ()
        if getattr(target, "namespace", "") == "harness":
            return rule(*args)
        call = _Call(self.build, self.layer.hidden_size, shape, name)
        known = inspect.signature(rule).parameters
        return rule(call, *args, **{k: v for k, v in kwargs.items() if k in known})

    def _product(self, h: Ref, matrix: str) -> list[Ref]:
        made = self.build.node("product", h, name=matrix)
        gates = self.layer.cell.recurrent_products()[matrix]
        return [self.build.node("gate", made, value=float(i)) for i in range(len(gates))]

    def _transposed(self, cotangent: list[Ref] | Ref, matrix: str) -> Ref:
        return self.build.node("transposed", *_stacked(cotangent), name=matrix)

    def _outer(self, h: Ref, cotangent: list[Ref] | Ref) -> _Matrix:
        term = Outer(h.index, tuple(c.index for c in _stacked(cotangent)))
        return _Matrix("", (term,))

    def _finished(self, results: list[Any]) -> Program:
        cell = self.layer.cell
        vectors, matrices = vector_names(self.layer), tuple(cell.recurrent_products())
        ends = iter(results)

        def take(count: int) -> list[int | None]:
            return [None if (r := next(ends)) is None else _single(r).index for _ in range(count)]

        new_state = take(len(cell.state))
        inputs, states = take(len(cell.gates)), take(len(cell.state))
        terms = [next(ends) for _ in matrices]
        found = Program(
            tuple(self.build.nodes),
            tuple(s for s in new_state if s is not None),
            tuple(inputs),
            tuple(states),
            dict(zip(vectors, take(len(vectors)), strict=True)),
            {name: () if t is None else t.terms for name, t in zip(matrices, terms, strict=True)},
        )
        return pruned(found)


def pruned(program: Program) -> Program:
    """Returns the program without the nodes that nothing asks for.

    Raises:
        Untraceable: A gradient mixes rows or units in a way that no back end computes.
    """
    roots = [*program.new_state, *program.input_gradients, *program.state_gradients]
    roots += [*program.vector_gradients.values()]
    for terms in program.matrix_gradients.values():
        for term in terms:
            roots += [term.operand, *term.cotangent]
    kept = sorted(program.ancestors(r for r in roots if r is not None))
    place = {old: new for new, old in enumerate(kept)}

    def moved(ids: tuple[int | None, ...]) -> tuple:
        return tuple(None if i is None else place[i] for i in ids)

    nodes = tuple(
        Node(n.op, tuple(place[a] for a in n.args), n.kind, n.value, n.name) for n in (program.nodes[i] for i in kept)
    )
    return Program(
        nodes,
        moved(program.new_state),
        moved(program.input_gradients),
        moved(program.state_gradients),
        {name: None if i is None else place[i] for name, i in program.vector_gradients.items()},
        {
            name: tuple(Outer(place[t.operand], moved(t.cotangent)) for t in terms)
            for name, terms in program.matrix_gradients.items()
        },
    )


def _single(value: Any) -> Ref:
    """Returns the value of a result of H units; the lone gate of a product is one."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if not isinstance(value, Ref):
        raise Untraceable("a product used whole, not gate by gate")
    return value


def _stacked(value: list[Ref] | Ref) -> list[Ref]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class _Call:
    """One ATen operation being lowered: the builder, H, and the shape of its result."""

    build: Builder
    hidden_size: int
    shape: tuple[int, ...]
    name: str

    def __call__(self, op: str, *operands: Any) -> Ref:
        """Returns an elementwise operation on references and numbers."""
        return self.build.apply(op, *(_single(o) if isinstance(o, list) else o for o in operands))

    def kind(self, value: Any) -> str:
        return self.build.get(_single(value)).kind


Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
"""ATen operation -> how it is written. Arguments are references, lists of them, or plain numbers."""


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return enter


def _elementwise(op: str) -> Rule:
    return lambda call, *operands: call(op, *operands)


for _name in ("mul", "neg", "abs", "minimum", "maximum", "where", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p"):
    RULES[_name] = _elementwise(_name)
RULES |= {name: _elementwise(name) for name in ("sigmoid", "tanh", "lt", "le", "eq")}
RULES |= {"sgn": _elementwise("sign"), "sign": _elementwise("sign")}
RULES |= {"logical_and": _elementwise("and"), "logical_or": _elementwise("or"), "logical_not": _elementwise("not")}
RULES |= {"bitwise_and": _elementwise("and"), "bitwise_or": _elementwise("or"), "bitwise_not": _elementwise("not")}


@_rule("add")
def _add(call: _Call, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, _Matrix):
        return _Matrix(a.name, a.terms + b.terms)
    if isinstance(a, list) and isinstance(b, list):
        return [call("add", x, y) for x, y in zip(a, b, strict=True)]
    return call("add", a, b if alpha == 1 else call("mul", b, alpha))


@_rule("sub")
def _sub(call: _Call, a: Any, b: Any, alpha: float = 1) -> Ref:
    return call("sub", a, b if alpha == 1 else call("mul", b, alpha))


@_rule("rsub")
def _rsub(call: _Call, a: Any, b: Any, alpha: float = 1) -> Ref:
    return _sub(call, b, a, alpha)


@_rule("div")
def _div(call: _Call, a: Any, b: Any, rounding_mode: str | None = None) -> Ref:
    if rounding_mode is not None:
        raise Untraceable(f"operation div with {rounding_mode=}")
    if not isinstance(b, (Ref, list)):  # a power of two divides exactly as its inverse multiplies
        return call("mul", a, 1.0 / b) if math.frexp(b)[0] in (0.5, -0.5) else call("div", a, b)
    return call("div", a, b)


@_rule("gt")
def _gt(call: _Call, a: Any, b: Any) -> Ref:
    return call("lt", b, a)


@_rule("ge")
def _ge(call: _Call, a: Any, b: Any) -> Ref:
    return call("le", b, a)


@_rule("ne")
def _ne(call: _Call, a: Any, b: Any) -> Ref:
    return call("not", call("eq", a, b))


@_rule("reciprocal")
def _reciprocal(call: _Call, x: Any) -> Ref:
    return call("div", 1.0, x)


@_rule("square")
def _square(call: _Call, x: Any) -> Ref:
    return call("mul", x, x)


@_rule("pow")
def _pow(call: _Call, x: Any, exponent: Any) -> Ref:
    if isinstance(exponent, (Ref, list)) or not isinstance(x, (Ref, list)):
        raise Untraceable("operation pow with an exponent that is no number")
    doubled = 2 * float(exponent)
    if not doubled.is_integer() or abs(doubled) > 16:
        raise Untraceable(f"operation pow with {exponent=}")
    size = abs(int(doubled))
    whole = functools.reduce(lambda a, b: call("mul", a, b), [x] * (size // 2)) if size > 1 else None
    half = call("sqrt", x) if size % 2 else None
    parts = [part for part in (whole, half) if part is not None]
    value = functools.reduce(lambda a, b: call("mul", a, b), parts) if parts else call("add", 1.0, call("mul", x, 0.0))
    return call("div", 1.0, value) if doubled < 0 else value


@_rule("relu")
def _relu(call: _Call, x: Any) -> Ref:
    return call("where", call("lt", x, 0.0), 0.0, x)


@_rule("threshold_backward")
def _threshold_backward(call: _Call, gradient: Any, x: Any, threshold: float) -> Ref:
    return call("where", call("le", x, threshold), 0.0, gradient)


@_rule("sigmoid_backward")
def _sigmoid_backward(call: _Call, gradient: Any, y: Any) -> Ref:
    return call("mul", gradient, call("mul", call("sub", 1.0, y), y))


@_rule("tanh_backward")
def _tanh_backward(call: _Call, gradient: Any, y: Any) -> Ref:
    return call("mul", gradient, call("sub", 1.0, call("mul", y, y)))


@_rule("clamp", "hardtanh")
def _clamp(call: _Call, x: Any, min: Any = None, max: Any = None) -> Ref:
    if call.name == "hardtanh":
        min, max = -1.0 if min is None else min, 1.0 if max is None else max
    value = x if min is None else call("maximum", x, min)
    return value if max is None else call("minimum", value, max)


@_rule("clamp_min")
def _clamp_min(call: _Call, x: Any, min: Any) -> Ref:
    return call("maximum", x, min)


@_rule("clamp_max")
def _clamp_max(call: _Call, x: Any, max: Any) -> Ref:
    return call("minimum", x, max)


@_rule("hardtanh_backward")
def _hardtanh_backward(call: _Call, gradient: Any, x: Any, low: float, high: float) -> Ref:
    return call("where", call("or", call("le", x, low), call("le", high, x)), 0.0, gradient)


@_rule("leaky_relu")
def _leaky_relu(call: _Call, x: Any, slope: float = 0.01) -> Ref:
    return call("where", call("lt", 0.0, x), x, call("mul", x, slope))


@_rule("leaky_relu_backward")
def _leaky_relu_backward(call: _Call, gradient: Any, x: Any, slope: float, is_result: bool) -> Ref:
    return call("where", call("lt", 0.0, x), gradient, call("mul", gradient, slope))


@_rule("elu")
def _elu(call: _Call, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Ref:
    below = call("mul", call("expm1", call("mul", x, input_scale)), alpha * scale)
    return call("where", call("lt", 0.0, x), call("mul", x, scale), below)


@_rule("elu_backward")
def _elu_backward(
    call: _Call, gradient: Any, alpha: float, scale: float, input_scale: float, is_result: bool, x: Any
) -> Ref:
    if is_result:
        below = call("mul", call("add", x, alpha * scale), input_scale)
    else:
        below = call("mul", call("exp", call("mul", x, input_scale)), input_scale * alpha * scale)
    return call("mul", gradient, call("where", call("lt", 0.0, x), scale, below))


@_rule("softplus")
def _softplus(call: _Call, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Ref:
    scaled = call("mul", x, beta)
    below = call("div", call("log1p", call("exp", scaled)), beta)
    return call("where", call("lt", threshold, scaled), x, below)


@_rule("softplus_backward")
def _softplus_backward(call: _Call, gradient: Any, x: Any, beta: float, threshold: float) -> Ref:
    scaled = call("mul", x, beta)
    return call("where", call("lt", threshold, scaled), gradient, call("mul", gradient, call("sigmoid", scaled)))


@_rule("log_sigmoid_forward")
def _log_sigmoid_forward(call: _Call, x: Any) -> list[Ref]:
    value = call("sub", call("minimum", x, 0.0), call("log1p", call("exp", call("neg", call("abs", x)))))
    return [value, value]  # torch's second result is a buffer for its own backward


@_rule("log_sigmoid_backward")
def _log_sigmoid_backward(call: _Call, gradient: Any, x: Any, buffer: Any) -> Ref:
    return call("mul", gradient, call("sigmoid", call("neg", x)))


@_rule("silu")
def _silu(call: _Call, x: Any) -> Ref:
    return call("mul", x, call("sigmoid", x))


@_rule("silu_backward")
def _silu_backward(call: _Call, gradient: Any, x: Any) -> Ref:
    s = call("sigmoid", x)
    return call("mul", gradient, call("mul", s, call("add", 1.0, call("mul", x, call("sub", 1.0, s)))))


@_rule("masked_fill")
def _masked_fill(call: _Call, x: Any, mask: Any, value: Any) -> Ref:
    return call("where", mask, value, x)


@_rule("_softmax")
def _softmax(call: _Call, x: Any, dim: int, half_to_float: bool) -> Ref:
    _over_units(call, dim)
    e = call("exp", call("sub", x, call.build.reduce("row_max", _full(call, x))))
    return call("div", e, call.build.reduce("row_sum", e))


@_rule("_softmax_backward_data")
def _softmax_backward(call: _Call, gradient: Any, y: Any, dim: int, input_dtype: Any) -> Ref:
    _over_units(call, dim)
    weighted = call("mul", gradient, y)
    return call("sub", weighted, call("mul", y, call.build.reduce("row_sum", _full(call, weighted))))


@_rule("sum")
def _sum(call: _Call, x: Any, dims: Any = None, keepdim: bool = False) -> Ref:
    if not keepdim or dims is None or len(dims) != 1:
        raise Untraceable("operation sum over all, or without keepdim=True")
    if dims[0] in (1, -1):
        return call.build.reduce("row_sum", _full(call, x))
    if call.kind(x) not in ("full", "row") or (call.kind(x) == "row" and call.hidden_size > 1):
        raise Untraceable(f"operation sum over the batch of a {call.kind(x)}")
    return call.build.node("batch_sum", _single(x), kind="vector")


@_rule("mean")
def _mean(call: _Call, x: Any, dims: Any = None, keepdim: bool = False) -> Ref:
    if not keepdim or dims is None or len(dims) != 1 or dims[0] not in (1, -1):
        raise Untraceable("operation mean over anything but the units, with keepdim=True")
    return call("mul", call.build.reduce("row_sum", _full(call, x)), 1.0 / call.hidden_size)


def _over_units(call: _Call, dim: int) -> None:
    if dim not in (1, -1):
        raise Untraceable(f"operation {call.name} over the batch")


def _full(call: _Call, x: Any) -> Ref:
    """Returns a value to be reduced over H; it must vary there, or H copies would have to be counted."""
    ref = _single(x)
    if call.build.get(ref).kind not in ("full",) and call.hidden_size > 1:
        raise Untraceable(f"operation {call.name} of a value that is equal in all units or rows")
    return ref


@_rule("detach", "alias", "clone", "contiguous", "lift_fresh_copy")
def _same(call: _Call, x: Any) -> Any:
    return x


@_rule("expand", "view", "_unsafe_view", "reshape")
def _shaped(call: _Call, x: Any, size: Any) -> Any:
    """A value of fewer axes stands for all its copies; anything else would move values between units or rows."""
    if isinstance(x, list) and len(x) > 1:
        raise Untraceable(f"operation {call.name} of a product's gates together")
    kept = {"full": ((ROWS, call.hidden_size),), "row": ((ROWS, 1), (ROWS, call.hidden_size))}
    kept |= {"vector": ((1, call.hidden_size), (ROWS, call.hidden_size)), "scalar": (call.shape,)}
    if call.shape not in kept[call.kind(x)]:
        raise Untraceable(f"operation {call.name} to {call.shape}")
    return x


@_rule("_to_copy")
def _to_copy(call: _Call, x: Any, dtype: Any = None) -> Ref:
    ref = _single(x)
    return call("where", ref, 1.0, 0.0) if call.build.get(ref).boolean else ref


@_rule("split", "split_with_sizes")
def _split(call: _Call, x: Any, size: Any, dim: int = 0) -> list:
    sizes = size if isinstance(size, (list, tuple)) else [size]
    if not isinstance(x, list) or dim not in (1, -1) or set(sizes) != {call.hidden_size}:
        raise Untraceable("operation split of anything but a product into its gates")
    return [[gate] for gate in x]


@_rule("cat")
def _cat(call: _Call, parts: list, dim: int = 0) -> list[Ref]:
    if dim not in (1, -1):
        raise Untraceable("operation cat over the batch")
    return [_single(part) for part in parts]


@_rule("zeros", "zeros_like", "new_zeros")
def _zeros(call: _Call, *ignored: Any) -> Ref:
    return call.build.constant(0.0)


@_rule("ones", "ones_like", "new_ones")
def _ones(call: _Call, *ignored: Any) -> Ref:
    return call.build.constant(1.0)


@_rule("full", "full_like", "new_full")
def _filled(call: _Call, like: Any, *values: Any) -> Ref:
    return call.build.constant(values[-1])


@_rule("scalar_tensor")
def _scalar_tensor(call: _Call, value: float) -> Ref:
    return call.build.constant(value)
