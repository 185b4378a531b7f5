"""ATen operations in the operations of :mod:`harness.engine.tracing.program`: one rule each.

Here is arithmetic, and what changes no number; :mod:`harness.engine.tracing.activations` and
:mod:`harness.engine.tracing.units` hold the others. Gradients' operations are among them. An
operation without a rule cannot be traced; a new one is a few lines.
"""

import functools
import math
from typing import Any

import torch

from harness.engine.tracing.calls import (
    ROWS,
    RULES,
    Call,
    Flat,
    Outers,
    Part,
    Transposed,
    Untraceable,
    elementwise,
    is_value,
    rule,
    single,
)

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
    "sin",
    "cos",
    "atan",
    "erf",
    "fmod",
):
    RULES[_name] = elementwise(_name)
RULES |= {name: elementwise(name) for name in ("sigmoid", "tanh", "lt", "le", "eq")}
RULES |= {"sgn": elementwise("sign"), "sign": elementwise("sign")}
RULES |= {
    "logical_and": elementwise("and"),
    "logical_or": elementwise("or"),
    "logical_not": elementwise("not"),
}
RULES |= {
    "bitwise_and": elementwise("and"),
    "bitwise_or": elementwise("or"),
    "bitwise_not": elementwise("not"),
}


@rule("add")
def _add(call: Call, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, Outers):
        return Outers(a.terms + b.terms)
    if isinstance(a, list) and isinstance(b, list):
        return [call("add", x, y) for x, y in zip(a, b, strict=True)]
    return _scaled_sum(call, a, b, alpha)


def _scaled_sum(call: Call, a: Any, b: Any, scale: float) -> Any:
    return call("add", a, b if scale == 1 else call("mul", b, scale))


@rule("sub")
def _sub(call: Call, a: Any, b: Any, alpha: float = 1) -> Any:
    return call("sub", a, b if alpha == 1 else call("mul", b, alpha))


@rule("rsub")
def _rsub(call: Call, a: Any, b: Any, alpha: float = 1) -> Any:
    return _sub(call, b, a, alpha)


@rule("div")
def _div(call: Call, a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise Untraceable(f"operation div with {rounding_mode=}")
    if not is_value(b):  # a power of two divides exactly as its inverse multiplies
        return call("mul", a, 1.0 / b) if math.frexp(b)[0] in (0.5, -0.5) else call("div", a, b)
    return call("div", a, b)


@rule("gt")
def _gt(call: Call, a: Any, b: Any) -> Any:
    return call("lt", b, a)


@rule("ge")
def _ge(call: Call, a: Any, b: Any) -> Any:
    return call("le", b, a)


@rule("ne")
def _ne(call: Call, a: Any, b: Any) -> Any:
    return call("not", call("eq", a, b))


@rule("isnan")
def _isnan(call: Call, x: Any) -> Any:
    return call("not", call("eq", x, x))


@rule("lerp")
def _lerp(call: Call, a: Any, b: Any, weight: Any) -> Any:
    """As torch has it, exact at both ends: from the nearer one."""
    step = call("sub", b, a)
    from_a = call("add", a, call("mul", weight, step))
    from_b = call("sub", b, call("mul", step, call("sub", 1.0, weight)))
    if is_value(weight):
        return call("where", call("lt", call("abs", weight), 0.5), from_a, from_b)
    return from_a if abs(weight) < 0.5 else from_b


@rule("remainder")
def _remainder(call: Call, x: Any, y: Any) -> Any:
    """As torch has it, with the sign of y."""
    rest = call("fmod", x, y)
    if is_value(y):
        below = call("and", call("lt", rest, 0.0), call("lt", 0.0, y))
        is_other = call("or", below, call("and", call("lt", 0.0, rest), call("lt", y, 0.0)))
    else:
        is_other = call("lt", rest, 0.0) if y > 0 else call("lt", 0.0, rest)
    return call("where", is_other, call("add", rest, y), rest)


@rule("addcmul")
def _addcmul(call: Call, a: Any, b: Any, c: Any, value: float = 1) -> Any:
    return _scaled_sum(call, a, call("mul", b, c), value)


@rule("addcdiv")
def _addcdiv(call: Call, a: Any, b: Any, c: Any, value: float = 1) -> Any:
    return _scaled_sum(call, a, call("div", b, c), value)


@rule("reciprocal")
def _reciprocal(call: Call, x: Any) -> Any:
    return call("div", 1.0, x)


@rule("square")
def _square(call: Call, x: Any) -> Any:
    return call("mul", x, x)


@rule("pow")
def _pow(call: Call, x: Any, exponent: Any) -> Any:
    if not is_value(x):
        if x <= 0:
            raise Untraceable(f"operation pow of {x}")
        return call("exp", call("mul", exponent, math.log(x)))
    if is_value(exponent):
        raise Untraceable("operation pow of a value with an exponent that is no number")
    doubled = 2 * float(exponent)
    if not float(exponent).is_integer() and (not doubled.is_integer() or abs(doubled) > 16):
        return call(
            "exp", call("mul", call("log", x), exponent)
        )  # NaN below 0, as of torch down to -infinity
    if abs(doubled) > 16:
        raise Untraceable(f"operation pow with {exponent=}")
    size = abs(int(doubled))
    factors = [x] * (size // 2) + ([call("sqrt", x)] if size % 2 else [])
    if factors:
        value = functools.reduce(lambda a, b: call("mul", a, b), factors)
    else:
        value = call("add", 1.0, call("mul", x, 0.0))
    return call("div", 1.0, value) if doubled < 0 else value


@rule("exp2")
def _exp2(call: Call, x: Any) -> Any:
    return call("exp", call("mul", x, math.log(2.0)))


@rule("log2", "log10")
def _log_of_base(call: Call, x: Any) -> Any:
    return call("mul", call("log", x), 1.0 / math.log(float(call.name[3:])))


@rule("logaddexp")
def _logaddexp(call: Call, a: Any, b: Any) -> Any:
    """Where both are equal, infinite ones among them, there is no difference to take."""
    below = call("neg", call("abs", call("sub", a, b)))
    apart = call("add", call("maximum", a, b), call("log1p", call("exp", below)))
    return call("where", call("eq", a, b), call("add", a, math.log(2.0)), apart)


@rule("frac")
def _frac(call: Call, x: Any) -> Any:
    return call("sub", x, _trunc(call, x))


@rule("trunc")
def _trunc(call: Call, x: Any) -> Any:
    """Exact, since x and what is left of it by 1 are multiples of one number."""
    whole = call("sub", x, call("fmod", x, 1.0))
    return call("where", call("eq", call("abs", x), math.inf), x, whole)


@rule("floor")
def _floor(call: Call, x: Any) -> Any:
    whole = _trunc(call, x)
    return call("where", call("lt", x, whole), call("sub", whole, 1.0), whole)


@rule("ceil")
def _ceil(call: Call, x: Any) -> Any:
    whole = _trunc(call, x)
    return call("where", call("lt", whole, x), call("add", whole, 1.0), whole)


@rule("round")
def _round(call: Call, x: Any, decimals: int = 0) -> Any:
    """As torch has it: a half to the even side."""
    if decimals:
        raise Untraceable(f"operation round with {decimals=}")
    whole = _trunc(call, x)
    rest = call("abs", call("sub", x, whole))
    is_odd = call("eq", call("abs", call("fmod", whole, 2.0)), 1.0)
    is_up = call("or", call("lt", 0.5, rest), call("and", call("eq", rest, 0.5), is_odd))
    return call("where", is_up, call("add", whole, call("sign", x)), whole)


@rule("clamp", "hardtanh")
def _clamp(call: Call, x: Any, min: Any = None, max: Any = None) -> Any:
    if call.name == "hardtanh":
        min, max = -1.0 if min is None else min, 1.0 if max is None else max
    value = x if min is None else call("maximum", x, min)
    return value if max is None else call("minimum", value, max)


@rule("clamp_min")
def _clamp_min(call: Call, x: Any, min: Any) -> Any:
    return call("maximum", x, min)


@rule("clamp_max")
def _clamp_max(call: Call, x: Any, max: Any) -> Any:
    return call("minimum", x, max)


@rule("masked_fill")
def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> Any:
    return call("where", mask, value, x)


@rule("detach", "alias", "clone", "contiguous", "lift_fresh_copy")
def _same(call: Call, x: Any) -> Any:
    return x


@rule("expand", "view", "_unsafe_view", "reshape")
def _shaped(call: Call, x: Any, size: Any) -> Any:
    """Returns the value itself, since one of fewer axes stands for all its copies.

    Any other shape would move values between units or rows.
    """
    if isinstance(x, list) and len(x) > 1:
        raise Untraceable(f"operation {call.name} of a product's gates together")
    if isinstance(x, Flat) and call.shape == (ROWS, 1):
        return x.value
    if call.shape == (ROWS,) and (isinstance(x, Flat) or call.kind(x) == "row"):
        return x if isinstance(x, Flat) else Flat(single(x))
    width = call.count(x)
    kept: dict[str, tuple[tuple[int, ...], ...]] = {
        "full": ((ROWS, width),),
        "row": ((ROWS, 1), (ROWS, width)),
        "vector": ((1, width), (ROWS, width)),
        "scalar": (call.shape,),
    }
    is_row_of_part = call.kind(x) == "row" and call.name == "expand" and call.shape[0] == ROWS
    if call.shape not in kept[call.kind(x)] and not is_row_of_part:
        raise Untraceable(f"operation {call.name} to {call.shape}")
    return x


@rule("_to_copy")
def _to_copy(call: Call, x: Any, dtype: Any = None) -> Any:
    if dtype not in (None, torch.float32, torch.float64):
        raise Untraceable(f"operation _to_copy to {dtype}")
    if isinstance(x, Part):
        return call("mul", x, 1.0)  # 0 or 1 of a boolean
    return call.number(single(x))


@rule("t")
def _t(call: Call, x: Any) -> Transposed:
    return Transposed(x)


@rule("zeros", "zeros_like", "new_zeros", "empty_like")  # empty: torch fills it afterwards
def _zeros(call: Call, *ignored: Any) -> Any:
    return call.build.constant(0.0)


@rule("ones", "ones_like", "new_ones")
def _ones(call: Call, *ignored: Any) -> Any:
    return call.build.constant(1.0)


@rule("full", "full_like", "new_full", "fill")
def _filled(call: Call, like: Any, *values: Any) -> Any:
    return call.build.constant(values[-1])


@rule("scalar_tensor")
def _scalar_tensor(call: Call, value: float) -> Any:
    return call.build.constant(value)
