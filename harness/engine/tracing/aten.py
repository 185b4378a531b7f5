"""ATen operations in the operations of :mod:`harness.engine.tracing.program`: one rule each.

Gradients' operations are among them. An operation without a rule cannot be traced; a new one is a
few lines here.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from harness.engine.tracing.program import Builder, Outer, Ref

ROWS = 3
"""Rows of the batch in a trace; any number would do."""


class Untraceable(ValueError):
    """A step does what the generated engines cannot; the message names the operation."""


@dataclass(frozen=True)
class Matrix:
    """A recurrent matrix."""

    name: str


@dataclass(frozen=True)
class Transposed:
    """A matrix or a product's operand, rows and columns exchanged."""

    value: Any


@dataclass(frozen=True)
class Flipped:
    """A value whose units come in the reverse order, as in the gradient of a cumulative sum."""

    value: Ref


@dataclass(frozen=True)
class Outers:
    """A gradient of a matrix: a sum of outer products."""

    terms: tuple[Outer, ...]


def single(value: Any) -> Ref:
    """Returns the value of a result of H units; the lone gate of a product is one."""
    if isinstance(value, list) and len(value) == 1:
        gate: Ref = value[0]
        return gate
    if isinstance(value, Flipped):
        raise Untraceable("operation flip")
    if not isinstance(value, Ref):
        raise Untraceable("a product used whole, not gate by gate")
    return value


def stacked(value: list[Ref] | Ref) -> list[Ref]:
    """Returns the gates of a product, or the lone one."""
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Call:
    """One ATen operation being lowered: the builder, H, and the shape of its result."""

    build: Builder
    hidden_size: int
    shape: tuple[int, ...]
    name: str

    def __call__(self, op: str, *operands: Any) -> Ref:
        """Returns an elementwise operation on references and numbers.

        It takes booleans where the operation does.
        """
        refs = [single(o) if isinstance(o, list) else o for o in operands]
        masks = {"where": 1, "and": 2, "or": 2, "not": 1}.get(op, 0)
        return self.build.apply(
            op, *(self.mask(r) for r in refs[:masks]), *(self.number(r) for r in refs[masks:])
        )

    def number(self, value: Any) -> Any:
        """Returns a boolean as 0 or 1, anything else as it is."""
        boolean = isinstance(value, Ref) and self.build.get(value).boolean
        return self.build.apply("where", value, 1.0, 0.0) if boolean else value

    def mask(self, value: Any) -> Any:
        """Returns whether a number is not 0; a boolean as it is."""
        boolean = isinstance(value, Ref) and self.build.get(value).boolean
        return value if boolean else self.build.apply("not", self.build.apply("eq", value, 0.0))

    def kind(self, value: Any) -> str:
        """Returns the kind of a value."""
        return self.build.get(single(value)).kind


Rule = Callable[..., Any]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}
"""ATen operation -> how it is written; one in place, ``mul_``, as ``mul``.

Arguments are references or numbers.
"""


def _rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    def enter(rule: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return enter


def _elementwise(op: str) -> Rule:
    return lambda call, *operands: call(op, *operands)


for _name in (
    "mul",
    "neg",
    "abs",
    "minimum",
    "maximum",
    "where",
    "sqrt",
    "rsqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
):
    RULES[_name] = _elementwise(_name)
RULES |= {name: _elementwise(name) for name in ("sigmoid", "tanh", "lt", "le", "eq")}
RULES |= {"sgn": _elementwise("sign"), "sign": _elementwise("sign")}
RULES |= {
    "logical_and": _elementwise("and"),
    "logical_or": _elementwise("or"),
    "logical_not": _elementwise("not"),
}
RULES |= {
    "bitwise_and": _elementwise("and"),
    "bitwise_or": _elementwise("or"),
    "bitwise_not": _elementwise("not"),
}


@_rule("add")
def _add(call: Call, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, Outers):
        return Outers(a.terms + b.terms)
    if isinstance(a, list) and isinstance(b, list):
        return [call("add", x, y) for x, y in zip(a, b, strict=True)]
    return _scaled_sum(call, a, b, alpha)


def _scaled_sum(call: Call, a: Any, b: Any, scale: float) -> Ref:
    return call("add", a, b if scale == 1 else call("mul", b, scale))


@_rule("sub")
def _sub(call: Call, a: Any, b: Any, alpha: float = 1) -> Ref:
    return call("sub", a, b if alpha == 1 else call("mul", b, alpha))


@_rule("rsub")
def _rsub(call: Call, a: Any, b: Any, alpha: float = 1) -> Ref:
    return _sub(call, b, a, alpha)


@_rule("div")
def _div(call: Call, a: Any, b: Any, rounding_mode: str | None = None) -> Ref:
    if rounding_mode is not None:
        raise Untraceable(f"operation div with {rounding_mode=}")
    if not isinstance(b, (Ref, list)):  # a power of two divides exactly as its inverse multiplies
        return call("mul", a, 1.0 / b) if math.frexp(b)[0] in (0.5, -0.5) else call("div", a, b)
    return call("div", a, b)


@_rule("gt")
def _gt(call: Call, a: Any, b: Any) -> Ref:
    return call("lt", b, a)


@_rule("ge")
def _ge(call: Call, a: Any, b: Any) -> Ref:
    return call("le", b, a)


@_rule("ne")
def _ne(call: Call, a: Any, b: Any) -> Ref:
    return call("not", call("eq", a, b))


@_rule("lerp")
def _lerp(call: Call, a: Any, b: Any, weight: Any) -> Ref:
    """As torch has it, exact at both ends: from the nearer one."""
    step = call("sub", b, a)
    from_a = call("add", a, call("mul", weight, step))
    from_b = call("sub", b, call("mul", step, call("sub", 1.0, weight)))
    if isinstance(weight, (Ref, list)):
        return call("where", call("lt", call("abs", weight), 0.5), from_a, from_b)
    return from_a if abs(weight) < 0.5 else from_b


@_rule("addcmul")
def _addcmul(call: Call, a: Any, b: Any, c: Any, value: float = 1) -> Ref:
    return _scaled_sum(call, a, call("mul", b, c), value)


@_rule("addcdiv")
def _addcdiv(call: Call, a: Any, b: Any, c: Any, value: float = 1) -> Ref:
    return _scaled_sum(call, a, call("div", b, c), value)


@_rule("reciprocal")
def _reciprocal(call: Call, x: Any) -> Ref:
    return call("div", 1.0, x)


@_rule("square")
def _square(call: Call, x: Any) -> Ref:
    return call("mul", x, x)


@_rule("pow")
def _pow(call: Call, x: Any, exponent: Any) -> Any:
    if isinstance(exponent, (Ref, list)) or not isinstance(x, (Ref, list)):
        raise Untraceable("operation pow with an exponent that is no number")
    doubled = 2 * float(exponent)
    if not doubled.is_integer() or abs(doubled) > 16:
        raise Untraceable(f"operation pow with {exponent=}")
    size = abs(int(doubled))
    factors = [x] * (size // 2) + ([call("sqrt", x)] if size % 2 else [])
    if factors:
        value = functools.reduce(lambda a, b: call("mul", a, b), factors)
    else:
        value = call("add", 1.0, call("mul", x, 0.0))
    return call("div", 1.0, value) if doubled < 0 else value


@_rule("relu")
def _relu(call: Call, x: Any) -> Ref:
    return call("where", call("lt", x, 0.0), 0.0, x)


@_rule("threshold_backward")
def _threshold_backward(call: Call, gradient: Any, x: Any, threshold: float) -> Ref:
    return call("where", call("le", x, threshold), 0.0, gradient)


@_rule("sigmoid_backward")
def _sigmoid_backward(call: Call, gradient: Any, y: Any) -> Ref:
    return call("mul", gradient, call("mul", call("sub", 1.0, y), y))


@_rule("tanh_backward")
def _tanh_backward(call: Call, gradient: Any, y: Any) -> Ref:
    return call("mul", gradient, call("sub", 1.0, call("mul", y, y)))


@_rule("clamp", "hardtanh")
def _clamp(call: Call, x: Any, min: Any = None, max: Any = None) -> Ref:
    if call.name == "hardtanh":
        min, max = -1.0 if min is None else min, 1.0 if max is None else max
    value = x if min is None else call("maximum", x, min)
    return value if max is None else call("minimum", value, max)


@_rule("clamp_min")
def _clamp_min(call: Call, x: Any, min: Any) -> Ref:
    return call("maximum", x, min)


@_rule("clamp_max")
def _clamp_max(call: Call, x: Any, max: Any) -> Ref:
    return call("minimum", x, max)


@_rule("hardtanh_backward")
def _hardtanh_backward(call: Call, gradient: Any, x: Any, low: float, high: float) -> Ref:
    return call("where", call("or", call("le", x, low), call("le", high, x)), 0.0, gradient)


@_rule("leaky_relu")
def _leaky_relu(call: Call, x: Any, slope: float = 0.01) -> Ref:
    return call("where", call("lt", 0.0, x), x, call("mul", x, slope))


@_rule("leaky_relu_backward")
def _leaky_relu_backward(call: Call, gradient: Any, x: Any, slope: float, is_result: bool) -> Ref:
    return call("where", call("lt", 0.0, x), gradient, call("mul", gradient, slope))


@_rule("elu")
def _elu(
    call: Call, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Ref:
    below = call("mul", call("expm1", call("mul", x, input_scale)), alpha * scale)
    return call("where", call("lt", 0.0, x), call("mul", x, scale), below)


@_rule("elu_backward")
def _elu_backward(
    call: Call,
    gradient: Any,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    x: Any,
) -> Ref:
    if is_result:
        below = call("mul", call("add", x, alpha * scale), input_scale)
    else:
        below = call("mul", call("exp", call("mul", x, input_scale)), input_scale * alpha * scale)
    return call("mul", gradient, call("where", call("lt", 0.0, x), scale, below))


@_rule("softplus")
def _softplus(call: Call, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Ref:
    scaled = call("mul", x, beta)
    below = call("div", call("log1p", call("exp", scaled)), beta)
    return call("where", call("lt", threshold, scaled), x, below)


@_rule("softplus_backward")
def _softplus_backward(call: Call, gradient: Any, x: Any, beta: float, threshold: float) -> Ref:
    scaled = call("mul", x, beta)
    return call(
        "where",
        call("lt", threshold, scaled),
        gradient,
        call("mul", gradient, call("sigmoid", scaled)),
    )


@_rule("log_sigmoid_forward")
def _log_sigmoid_forward(call: Call, x: Any) -> list[Ref]:
    value = call(
        "sub", call("minimum", x, 0.0), call("log1p", call("exp", call("neg", call("abs", x))))
    )
    return [value, value]  # torch's second result is a buffer for its own backward


@_rule("log_sigmoid_backward")
def _log_sigmoid_backward(call: Call, gradient: Any, x: Any, buffer: Any) -> Ref:
    return call("mul", gradient, call("sigmoid", call("neg", x)))


@_rule("silu")
def _silu(call: Call, x: Any) -> Ref:
    return call("mul", x, call("sigmoid", x))


@_rule("silu_backward")
def _silu_backward(call: Call, gradient: Any, x: Any) -> Ref:
    s = call("sigmoid", x)
    return call(
        "mul", gradient, call("mul", s, call("add", 1.0, call("mul", x, call("sub", 1.0, s))))
    )


@_rule("masked_fill")
def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> Ref:
    return call("where", mask, value, x)


@_rule("_softmax")
def _softmax(call: Call, x: Any, dim: int, half_to_float: bool) -> Ref:
    _over_units(call, dim)
    e = call("exp", call("sub", x, call.build.reduce("row_max", _full(call, x))))
    return call("div", e, call.build.reduce("row_sum", e))


@_rule("_softmax_backward_data")
def _softmax_backward(call: Call, gradient: Any, y: Any, dim: int, input_dtype: Any) -> Ref:
    _over_units(call, dim)
    weighted = call("mul", gradient, y)
    return call(
        "sub", weighted, call("mul", y, call.build.reduce("row_sum", _full(call, weighted)))
    )


@_rule("flip")
def _flip(call: Call, x: Any, dims: Any) -> Any:
    _over_units(call, *dims)
    return x.value if isinstance(x, Flipped) else Flipped(single(x))


@_rule("cumsum")
def _cumsum(call: Call, x: Any, dim: int) -> Any:
    """Of a flipped value: what the sum of all its units is from each one on."""
    _over_units(call, dim)
    flipped = isinstance(x, Flipped)
    value = single(x.value if flipped else x)
    if call.hidden_size == 1:
        return value
    up_to = call("cumsum", _full(call, value))
    if not flipped:
        return up_to
    return Flipped(call("add", call("sub", call.build.reduce("row_sum", value), up_to), value))


@_rule("sum")
def _sum(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Ref:
    if not keepdim or dims is None or len(dims) != 1:
        raise Untraceable("operation sum over all, or without keepdim=True")
    if dims[0] in (1, -1):
        return call.build.reduce("row_sum", _full(call, x))
    if call.kind(x) not in ("full", "row") or (call.kind(x) == "row" and call.hidden_size > 1):
        raise Untraceable(f"operation sum over the batch of a {call.kind(x)}")
    return call.build.node("batch_sum", single(x), kind="vector")


@_rule("mean")
def _mean(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Ref:
    if not keepdim or dims is None or len(dims) != 1 or dims[0] not in (1, -1):
        raise Untraceable("operation mean over anything but the units, with keepdim=True")
    return call("mul", call.build.reduce("row_sum", _full(call, x)), 1.0 / call.hidden_size)


def _over_units(call: Call, *dims: int) -> None:
    if len(dims) != 1 or dims[0] not in (1, -1):
        raise Untraceable(f"operation {call.name} over the batch")


def _full(call: Call, x: Any) -> Ref:
    """Returns a value to be reduced over H.

    It must vary there, or H copies would have to be counted.
    """
    ref: Ref = call.number(single(x))
    if call.build.get(ref).kind != "full" and call.hidden_size > 1:
        raise Untraceable(f"operation {call.name} of a value that is equal in all units or rows")
    return ref


@_rule("detach", "alias", "clone", "contiguous", "lift_fresh_copy")
def _same(call: Call, x: Any) -> Any:
    return x


@_rule("expand", "view", "_unsafe_view", "reshape")
def _shaped(call: Call, x: Any, size: Any) -> Any:
    """Returns the value itself, since one of fewer axes stands for all its copies.

    Any other shape would move values between units or rows.
    """
    if isinstance(x, list) and len(x) > 1:
        raise Untraceable(f"operation {call.name} of a product's gates together")
    kept: dict[str, tuple[tuple[int, ...], ...]] = {
        "full": ((ROWS, call.hidden_size),),
        "row": ((ROWS, 1), (ROWS, call.hidden_size)),
    }
    kept |= {"vector": ((1, call.hidden_size), (ROWS, call.hidden_size)), "scalar": (call.shape,)}
    if call.shape not in kept[call.kind(x)]:
        raise Untraceable(f"operation {call.name} to {call.shape}")
    return x


@_rule("_to_copy")
def _to_copy(call: Call, x: Any, dtype: Any = None) -> Ref:
    if dtype not in (None, torch.float32, torch.float64):
        raise Untraceable(f"operation _to_copy to {dtype}")
    number: Ref = call.number(single(x))
    return number


@_rule("split", "split_with_sizes")
def _split(call: Call, x: Any, size: Any, dim: int = 0) -> list[list[Ref]]:
    sizes = size if isinstance(size, (list, tuple)) else [size]
    if not isinstance(x, list) or dim not in (1, -1) or set(sizes) != {call.hidden_size}:
        raise Untraceable("operation split of anything but a product into its gates")
    return [[gate] for gate in x]


@_rule("t")
def _t(call: Call, x: Any) -> Transposed:
    return Transposed(x)


@_rule("cat")
def _cat(call: Call, parts: list[Any], dim: int = 0) -> list[Ref]:
    if dim not in (1, -1):
        raise Untraceable("operation cat over the batch")
    return [single(part) for part in parts]


@_rule("zeros", "zeros_like", "new_zeros", "empty_like")  # empty: torch fills it afterwards
def _zeros(call: Call, *ignored: Any) -> Ref:
    return call.build.constant(0.0)


@_rule("ones", "ones_like", "new_ones")
def _ones(call: Call, *ignored: Any) -> Ref:
    return call.build.constant(1.0)


@_rule("full", "full_like", "new_full", "fill")
def _filled(call: Call, like: Any, *values: Any) -> Ref:
    return call.build.constant(values[-1])


@_rule("scalar_tensor")
def _scalar_tensor(call: Call, value: float) -> Ref:
    return call.build.constant(value)
