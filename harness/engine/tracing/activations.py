"""Activations, each with the gradient that torch has for it; see :mod:`.aten`."""

import math
from typing import Any

from harness.engine.tracing.calls import Call, rule


@rule("relu")
def _relu(call: Call, x: Any) -> Any:
    return call("where", call("lt", x, 0.0), 0.0, x)


@rule("threshold")
def _threshold(call: Call, x: Any, threshold: float, value: float) -> Any:
    return call("where", call("le", x, threshold), value, x)


@rule("threshold_backward")
def _threshold_backward(call: Call, gradient: Any, x: Any, threshold: float) -> Any:
    return call("where", call("le", x, threshold), 0.0, gradient)


@rule("sigmoid_backward")
def _sigmoid_backward(call: Call, gradient: Any, y: Any) -> Any:
    return call("mul", gradient, call("mul", call("sub", 1.0, y), y))


@rule("tanh_backward")
def _tanh_backward(call: Call, gradient: Any, y: Any) -> Any:
    return call("mul", gradient, call("sub", 1.0, call("mul", y, y)))


@rule("hardtanh_backward")
def _hardtanh_backward(call: Call, gradient: Any, x: Any, low: float, high: float) -> Any:
    return call("where", call("or", call("le", x, low), call("le", high, x)), 0.0, gradient)


@rule("leaky_relu")
def _leaky_relu(call: Call, x: Any, slope: float = 0.01) -> Any:
    return call("where", call("lt", 0.0, x), x, call("mul", x, slope))


@rule("leaky_relu_backward")
def _leaky_relu_backward(call: Call, gradient: Any, x: Any, slope: float, is_result: bool) -> Any:
    return call("where", call("lt", 0.0, x), gradient, call("mul", gradient, slope))


@rule("elu")
def _elu(
    call: Call, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Any:
    below = call("mul", call("expm1", call("mul", x, input_scale)), alpha * scale)
    return call("where", call("lt", 0.0, x), call("mul", x, scale), below)


@rule("elu_backward")
def _elu_backward(
    call: Call,
    gradient: Any,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    x: Any,
) -> Any:
    if is_result:
        below = call("mul", call("add", x, alpha * scale), input_scale)
    else:
        below = call("mul", call("exp", call("mul", x, input_scale)), input_scale * alpha * scale)
    return call("mul", gradient, call("where", call("lt", 0.0, x), scale, below))


@rule("softplus")
def _softplus(call: Call, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = call("mul", x, beta)
    below = call("div", call("log1p", call("exp", scaled)), beta)
    return call("where", call("lt", threshold, scaled), x, below)


@rule("softplus_backward")
def _softplus_backward(call: Call, gradient: Any, x: Any, beta: float, threshold: float) -> Any:
    scaled = call("mul", x, beta)
    return call(
        "where",
        call("lt", threshold, scaled),
        gradient,
        call("mul", gradient, call("sigmoid", scaled)),
    )


@rule("log_sigmoid_forward")
def _log_sigmoid_forward(call: Call, x: Any) -> list[Any]:
    value = call(
        "sub", call("minimum", x, 0.0), call("log1p", call("exp", call("neg", call("abs", x))))
    )
    return [value, value]  # torch's second result is a buffer for its own backward


@rule("log_sigmoid_backward")
def _log_sigmoid_backward(call: Call, gradient: Any, x: Any, buffer: Any) -> Any:
    return call("mul", gradient, call("sigmoid", call("neg", x)))


@rule("silu")
def _silu(call: Call, x: Any) -> Any:
    return call("mul", x, call("sigmoid", x))


@rule("silu_backward")
def _silu_backward(call: Call, gradient: Any, x: Any) -> Any:
    s = call("sigmoid", x)
    return call(
        "mul", gradient, call("mul", s, call("add", 1.0, call("mul", x, call("sub", 1.0, s))))
    )


@rule("celu")
def _celu(call: Call, x: Any, alpha: float = 1.0) -> Any:
    return _elu(call, x, alpha, 1.0, 1.0 / alpha)


@rule("gelu")
def _gelu(call: Call, x: Any, approximate: str = "none") -> Any:
    if approximate == "none":
        return call("mul", x, _normal_share(call, x))
    half = call("mul", x, 0.5)
    return call("mul", half, call("add", 1.0, call("tanh", _gelu_inner(call, x))))


@rule("gelu_backward")
def _gelu_backward(call: Call, gradient: Any, x: Any, approximate: str = "none") -> Any:
    if approximate == "none":
        density = call("exp", call("mul", call("mul", x, x), -0.5))
        slope = call("mul", call("mul", x, density), 1.0 / math.sqrt(2.0 * math.pi))
        return call("mul", gradient, call("add", _normal_share(call, x), slope))
    y, square = call("tanh", _gelu_inner(call, x)), call("mul", x, x)
    inner_slope = call("mul", call("add", 1.0, call("mul", square, 3.0 * _CUBE)), _ROOT)
    slope = call("mul", call("mul", x, call("sub", 1.0, call("mul", y, y))), inner_slope)
    return call("mul", call("mul", gradient, 0.5), call("add", call("add", 1.0, y), slope))


_CUBE, _ROOT = 0.044715, math.sqrt(2.0 / math.pi)


def _gelu_inner(call: Call, x: Any) -> Any:
    cube = call("mul", call("mul", x, x), x)
    return call("mul", call("add", x, call("mul", cube, _CUBE)), _ROOT)


def _normal_share(call: Call, x: Any) -> Any:
    """Returns the share of a standard normal distribution that lies below x."""
    return call("mul", call("add", 1.0, call("erf", call("mul", x, math.sqrt(0.5)))), 0.5)


@rule("mish")
def _mish(call: Call, x: Any) -> Any:
    return call("mul", x, _tanh_softplus(call, x))


@rule("mish_backward")
def _mish_backward(call: Call, gradient: Any, x: Any) -> Any:
    y = _tanh_softplus(call, x)
    slope = call("mul", call("sigmoid", x), call("sub", 1.0, call("mul", y, y)))
    return call("mul", gradient, call("add", y, call("mul", x, slope)))


def _tanh_softplus(call: Call, x: Any) -> Any:
    return call("tanh", call("log1p", call("exp", x)))


@rule("hardsigmoid")
def _hardsigmoid(call: Call, x: Any) -> Any:
    return call("div", call("minimum", call("maximum", call("add", x, 3.0), 0.0), 6.0), 6.0)


@rule("hardsigmoid_backward")
def _hardsigmoid_backward(call: Call, gradient: Any, x: Any) -> Any:
    is_between = call("and", call("lt", -3.0, x), call("lt", x, 3.0))
    return call("where", is_between, call("mul", gradient, _FLOAT_SIXTH), 0.0)


_FLOAT_SIXTH = 0.1666666716337204
"""As torch has it, in float64 too."""


@rule("hardswish")
def _hardswish(call: Call, x: Any) -> Any:
    return call("mul", x, _hardsigmoid(call, x))


@rule("hardswish_backward")
def _hardswish_backward(call: Call, gradient: Any, x: Any) -> Any:
    between = call("mul", gradient, call("add", call("div", x, 3.0), 0.5))
    above = call("where", call("le", 3.0, x), gradient, between)
    return call("where", call("le", x, -3.0), 0.0, above)


@rule("softshrink")
def _softshrink(call: Call, x: Any, lambd: float = 0.5) -> Any:
    below = call("where", call("lt", x, -lambd), call("add", x, lambd), call("mul", x, 0.0))
    return call("where", call("lt", lambd, x), call("sub", x, lambd), below)


@rule("hardshrink")
def _hardshrink(call: Call, x: Any, lambd: float = 0.5) -> Any:
    return _outside(call, x, x, lambd)


@rule("softshrink_backward", "hardshrink_backward")
def _shrink_backward(call: Call, gradient: Any, x: Any, lambd: float) -> Any:
    return _outside(call, gradient, x, lambd)


def _outside(call: Call, value: Any, x: Any, most: float) -> Any:
    """Returns a value where x is not between -most and most, and elsewhere 0."""
    return call("where", call("le", call("abs", x), most), 0.0, value)


@rule("tan")
def _tan(call: Call, x: Any) -> Any:
    return call("div", call("sin", x), call("cos", x))


@rule("sinh")
def _sinh(call: Call, x: Any) -> Any:
    """By what is exact near 0, where e^x - e^-x is not."""
    return call("mul", call("sub", call("expm1", x), call("expm1", call("neg", x))), 0.5)


@rule("cosh")
def _cosh(call: Call, x: Any) -> Any:
    return call("mul", call("add", call("exp", x), call("exp", call("neg", x))), 0.5)


_FAR = 1e9
"""From here on 1 + x^2 is x^2 in every precision, and x^2 is still finite."""


@rule("asinh")
def _asinh(call: Call, x: Any) -> Any:
    """By log1p, which is exact near 0."""
    size = call("abs", x)
    square = call("mul", size, size)
    root = call("sqrt", call("add", square, 1.0))
    near = call("log1p", call("add", size, call("div", square, call("add", root, 1.0))))
    return call("mul", call("sign", x), _or_far(call, size, near))


@rule("acosh")
def _acosh(call: Call, x: Any) -> Any:
    above = call("sub", x, 1.0)
    root = call("mul", call("sqrt", above), call("sqrt", call("add", x, 1.0)))  # NaN below 1
    return _or_far(call, x, call("log1p", call("add", above, root)))


def _or_far(call: Call, x: Any, near: Any) -> Any:
    """Returns log(2x) where x is so large that its square may be infinite."""
    return call("where", call("lt", _FAR, x), call("add", call("log", x), math.log(2.0)), near)


@rule("atanh")
def _atanh(call: Call, x: Any) -> Any:
    return call("mul", call("sub", call("log1p", x), call("log1p", call("neg", x))), 0.5)


@rule("asin")
def _asin(call: Call, x: Any) -> Any:
    other = call("sqrt", call("mul", call("sub", 1.0, x), call("add", 1.0, x)))
    return call("atan", call("div", x, other))


@rule("acos")
def _acos(call: Call, x: Any) -> Any:
    """By half the angle, since pi / 2 - asin x has few digits near 1."""
    ratio = call("div", call("sqrt", call("sub", 1.0, x)), call("sqrt", call("add", 1.0, x)))
    return call("mul", call("atan", ratio), 2.0)


@rule("sinc")
def _sinc(call: Call, x: Any) -> Any:
    turned = call("mul", x, math.pi)
    return call("where", call("eq", x, 0.0), 1.0, call("div", call("sin", turned), turned))
