"""What mixes units: sums, norms and the like, the order of the units, and parts of them."""

from dataclasses import replace
from typing import Any

from harness.engine.tracing.calls import ROWS, Call, Flat, Flipped, Part, Untraceable, rule, single
from harness.engine.tracing.program import Ref


@rule("_softmax")
def _softmax(call: Call, x: Any, dim: int, half_to_float: bool) -> Any:
    call.over_units(dim)
    e = call("exp", call("sub", x, call.reduced("row_max", x)))
    return call("div", e, call.reduced("row_sum", e))


@rule("_softmax_backward_data")
def _softmax_backward(call: Call, gradient: Any, y: Any, dim: int, input_dtype: Any) -> Any:
    call.over_units(dim)
    weighted = call("mul", gradient, y)
    return call("sub", weighted, call("mul", y, call.reduced("row_sum", weighted)))


@rule("_log_softmax")
def _log_softmax(call: Call, x: Any, dim: int, half_to_float: bool) -> Any:
    call.over_units(dim)
    shifted = call("sub", x, call.reduced("row_max", x))
    return call("sub", shifted, call("log", call.reduced("row_sum", call("exp", shifted))))


@rule("_log_softmax_backward_data")
def _log_softmax_backward(call: Call, gradient: Any, y: Any, dim: int, input_dtype: Any) -> Any:
    call.over_units(dim)
    total = call.reduced("row_sum", gradient) if call.kind(gradient) == "full" else None
    if total is None:  # equal in all units, so that no sum is needed
        total = call("mul", gradient, float(call.count(y)))
    return call("sub", gradient, call("mul", call("exp", y), total))


@rule("logsumexp")
def _logsumexp(call: Call, x: Any, dims: Any, keepdim: bool = False) -> Any:
    most = call.reduced("row_max", x)
    total = call.reduced("row_sum", call("exp", call("sub", x, most)))
    return _rows(call, call("add", most, call("log", total)), dims, keepdim)


@rule("flip")
def _flip(call: Call, x: Any, dims: Any) -> Any:
    call.over_units(*dims)
    if isinstance(x, Flipped):
        return x.value
    value = single(x)
    return value if call.hidden_size == 1 else Flipped(call.varying(value))


@rule("roll")
def _roll(call: Call, x: Any, shifts: Any, dims: Any = ()) -> Any:
    call.over_units(*dims)
    value, turn = single(x), shifts[0] % call.hidden_size
    return call.build.apply("roll", call.varying(value), float(turn)) if turn else value


@rule("cumsum")
def _cumsum(call: Call, x: Any, dim: int) -> Any:
    """Of a flipped value: what the sum of all its units is from each one on."""
    call.over_units(dim)
    flipped = isinstance(x, Flipped)
    value = single(x.value if flipped else x)
    if call.hidden_size == 1:
        return value
    up_to = call("cumsum", call.varying(value))
    if not flipped:
        return up_to
    return Flipped(call("add", call("sub", call.build.reduce("row_sum", value), up_to), value))


@rule("sum")
def _sum(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Any:
    if dims is None or len(dims) != 1:
        raise Untraceable("operation sum over all")
    if dims[0] in (1, -1):
        return _rows(call, call.reduced("row_sum", x), dims, keepdim)
    if not keepdim:
        raise Untraceable("operation sum over the batch")
    if call.kind(x) not in ("full", "row") or (call.kind(x) == "row" and call.hidden_size > 1):
        raise Untraceable(f"operation sum over the batch of a {call.kind(x)}")
    if isinstance(x, Part):
        return Part(call.build.node("batch_sum", x.value, kind="vector"), x.start, x.size)
    return call.build.node("batch_sum", single(x), kind="vector")


@rule("mean")
def _mean(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Any:
    return _rows(call, call.mean(x), dims, keepdim)


@rule("amax")
def _amax(call: Call, x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return _rows(call, call.reduced("row_max", x), dims, keepdim)


@rule("amin")
def _amin(call: Call, x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return _rows(call, call("neg", call.reduced("row_max", call("neg", x))), dims, keepdim)


@rule("linalg_vector_norm")
def _norm(
    call: Call, x: Any, order: float = 2, dims: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    if order == 2:
        size = call("sqrt", call.reduced("row_sum", call("mul", x, x)))
    elif order in (1, float("inf")):
        size = call.reduced("row_sum" if order == 1 else "row_max", call("abs", x))
    else:
        raise Untraceable(f"operation {call.name} with {order=}")
    return _rows(call, size, dims, keepdim)


@rule("var", "std")
def _spread(
    call: Call, x: Any, dims: Any = None, correction: float | None = 1, keepdim: bool = False
) -> Any:
    variance, _ = _variance_and_mean(call, x, dims, correction, keepdim)
    return call("sqrt", variance) if call.name == "std" else variance


@rule("var_mean", "std_mean")
def _spread_and_mean(
    call: Call, x: Any, dims: Any = None, correction: float | None = 1, keepdim: bool = False
) -> list[Any]:
    variance, mean = _variance_and_mean(call, x, dims, correction, keepdim)
    return [call("sqrt", variance) if call.name == "std_mean" else variance, mean]


def _variance_and_mean(
    call: Call, x: Any, dims: Any, correction: float | None, keepdim: bool
) -> tuple[Any, Any]:
    mean = call.mean(x)
    centered = call("sub", x, mean)
    degrees = max(0.0, call.count(x) - (1.0 if correction is None else float(correction)))
    variance = call("div", call.reduced("row_sum", call("mul", centered, centered)), degrees)
    return _rows(call, variance, dims, keepdim), _rows(call, mean, dims, keepdim)


@rule("native_layer_norm")
def _layer_norm(
    call: Call, x: Any, shape: Any, weight: Any, bias: Any, epsilon: float
) -> list[Any]:
    if len(shape) != 1 or weight is not None or bias is not None:
        raise Untraceable("operation native_layer_norm with weights, or over the batch")
    mean = call.mean(x)
    centered = call("sub", x, mean)
    variance = call.mean(call("mul", centered, centered))
    scale = call("rsqrt", call("add", variance, epsilon))
    return [call("mul", centered, scale), mean, scale]


@rule("native_layer_norm_backward")
def _layer_norm_backward(
    call: Call,
    gradient: Any,
    x: Any,
    shape: Any,
    mean: Any,
    scale: Any,
    weight: Any,
    bias: Any,
    wanted: Any,
) -> list[Any]:
    normal = call("mul", call("sub", x, mean), scale)
    along = call("mul", normal, call.mean(call("mul", gradient, normal)))
    level = gradient if call.kind(gradient) == "row" else call.mean(gradient)
    return [call("mul", call("sub", call("sub", gradient, level), along), scale), None, None]


def _rows(call: Call, value: Any, dims: Any, keepdim: bool) -> Any:
    """Returns a reduction over the units, (B, 1), or (B,) where it drops their axis.

    Raises:
        Untraceable: It is over anything else.
    """
    if dims is None or len(dims) != 1 or dims[0] not in (1, -1):
        raise Untraceable(f"operation {call.name} over anything but the units")
    return value if keepdim else Flat(single(value))


@rule("unsqueeze")
def _unsqueeze(call: Call, x: Any, dim: int) -> Any:
    if not isinstance(x, Flat) or dim not in (1, -1):
        raise Untraceable("operation unsqueeze of anything but one number a row")
    return x.value


@rule("squeeze")
def _squeeze(call: Call, x: Any, dim: Any = None) -> Any:
    if call.shape != (ROWS,):
        raise Untraceable(f"operation squeeze to {call.shape}")
    return x if isinstance(x, Flat) else Flat(single(x))


@rule("slice")
def _slice(
    call: Call,
    x: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Any:
    size = call.shape[dim]
    if step != 1 or (dim not in (1, -1) and size != ROWS):
        raise Untraceable("operation slice of some rows, or with a step")
    width = call.count(x)
    if dim not in (1, -1) or size == width:
        return x
    first = start or 0
    return _part(call, x, first + width if first < 0 else first, size)


def _part(call: Call, x: Any, first: int, size: int) -> Any:
    """Returns ``size`` units of a value, those of a part counted from its own first one.

    A single one is equal in all units from then on.
    """
    part = Part(x.value, x.start + first, size) if isinstance(x, Part) else None
    part = part or Part(single(x), first, size)
    if size > 1:
        return part
    if call.build.get(part.value).kind == "vector":
        raise Untraceable(f"operation {call.name} of one unit of a vector")
    return call.build.reduce("row_sum", call.within(part, 0.0))


@rule("slice_backward")
def _slice_backward(
    call: Call, gradient: Any, sizes: Any, dim: int, start: int, end: int, step: int
) -> Any:
    width = sizes[-1]
    first, last, _ = slice(start, end).indices(width)
    if dim not in (1, -1) or last - first == width:
        return gradient
    whole = call.within(_placed(call, gradient, first, last - first), 0.0)
    return whole if width == call.hidden_size else Part(whole, 0, width)


def _placed(call: Call, value: Any, start: int, size: int) -> Part:
    """Returns a part, or what is equal in all units, as a part from another unit on."""
    moved = call.moved(value, start) if isinstance(value, Part) else single(value)
    return Part(moved, start, size)


@rule("split", "split_with_sizes")
def _split(call: Call, x: Any, size: Any, dim: int = 0) -> list[Any]:
    """Returns a product's gates, or parts of a value."""
    if dim not in (1, -1):
        raise Untraceable("operation split over the batch")
    if isinstance(x, list) and set(_sizes(size, len(x) * call.hidden_size)) == {call.hidden_size}:
        return [[gate] for gate in x]
    sizes = _sizes(size, call.count(x))
    return [_part(call, x, sum(sizes[:k]), width) for k, width in enumerate(sizes)]


def _sizes(size: Any, total: int) -> list[int]:
    if isinstance(size, (list, tuple)):
        return list(size)
    return [min(size, total - first) for first in range(0, total, size)]


@rule("cat")
def _cat(call: Call, parts: list[Any], dim: int = 0) -> Any:
    """Returns gates side by side, or the value whose parts these are."""
    if dim not in (1, -1):
        raise Untraceable("operation cat over the batch")
    if set(call.widths) == {call.hidden_size}:
        return [single(part) for part in parts]
    total = sum(call.widths)
    if total > call.hidden_size:
        raise Untraceable("operation cat of parts to more than the units")
    whole: Ref | float = 0.0
    first = 0
    for part, width in zip(parts, call.widths, strict=True):
        whole = call.within(_placed(call, part, first, width), whole)
        first += width
    return whole if total == call.hidden_size else Part(single(whole), 0, total)


@rule("glu")
def _glu(call: Call, x: Any, dim: int = -1) -> Any:
    value, gate = _halves(call, x, dim)
    return call("mul", value, call("sigmoid", gate))


@rule("glu_backward")
def _glu_backward(call: Call, gradient: Any, x: Any, dim: int) -> Any:
    value, gate = _halves(call, x, dim)
    open_ = call("sigmoid", gate)
    of_value = call("mul", gradient, open_)
    of_gate = call("mul", call("mul", call("sub", 1.0, open_), of_value), value)
    half = call.count(x) // 2
    return _cat(replace(call, widths=(half, half)), [of_value, of_gate], -1)


def _halves(call: Call, x: Any, dim: int) -> list[Any]:
    if isinstance(x, list) and len(x) > 1:
        raise Untraceable(f"operation {call.name} of a product's gates together")
    call.over_units(dim)
    half = call.count(x) // 2
    return [_part(call, x, first, half) for first in (0, half)]
