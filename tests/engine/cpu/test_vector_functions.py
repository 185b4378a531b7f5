"""The functions of vectors, in units of the last place."""

import ctypes

import numpy as np
import pytest
import scipy.special
import torch

from harness.engine.cpu import compiler

NAMES = {
    "exp": "exponential",
    "sigmoid": "sigmoid",
    "tanh": "hyperbolic_tangent",
    "expm1": "exponential_minus_1",
    "log": "logarithm",
    "log1p": "logarithm_of_1_plus",
    "sqrt": "root",
    "rsqrt": "reciprocal_root",
    "abs": "absolute",
    "sign": "sign",
    "minimum": "minimum",
    "maximum": "maximum",
    "sin": "sine",
    "cos": "cosine",
    "atan": "arctangent",
    "erf": "error_function",
    "fmod": "modulo",
}
PIECES = ("circular", "polynomial", "arctangent", "error", "modulo")
INCLUDED = "".join((compiler.KERNELS / f"{name}.inc").read_text() for name in PIECES)
ARRAYS = (
    f"""
#include "vector.h"
{INCLUDED}"""
    + """
#define ONE(f) extern "C" void array_##f(const real* x, const real*, real* y, long n) { \\
    for (long i = 0; i < n; i += L) store(y + i, f(load(x + i))); }
#define TWO(f) extern "C" void array_##f(const real* x, const real* z, real* y, long n) { \\
    for (long i = 0; i < n; i += L) store(y + i, f(load(x + i), load(z + i))); }
ONE(exponential) ONE(sigmoid) ONE(hyperbolic_tangent) ONE(exponential_minus_1) ONE(logarithm)
ONE(logarithm_of_1_plus) ONE(root) ONE(reciprocal_root) ONE(absolute) ONE(sign)
ONE(sine) ONE(cosine) ONE(arctangent) ONE(error_function)
TWO(minimum) TWO(maximum) TWO(modulo)
"""
)
REAL = {np.float32: "float", np.float64: "double"}
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
DTYPES = [np.float32, np.float64]
ULPS = 4
"""What vector.h and the files beside it promise."""


def apply(name, x, z=None):
    """The function of every element, by the compiled header."""
    library = compiler.load("vector", ARRAYS, f"REAL={REAL[x.dtype.type]}")
    function = library[f"array_{NAMES[name]}"]
    whole = -(-len(x) // 16) * 16
    padded = [np.resize(values, whole).astype(x.dtype) for values in (x, x if z is None else z)]
    result = np.empty(whole, x.dtype)
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (*padded, result)]
    function(*addresses, ctypes.c_long(whole))
    return result[: len(x)]


def exact(name, x):
    """The same in a wider type, by numpy."""
    x = x.astype(WIDER[x.dtype.type])
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        if name == "erf":
            return scipy.special.erf(x) if x.dtype == np.float64 else exact_erf(x)
        known = {"rsqrt": lambda x: 1 / np.sqrt(x), "atan": np.arctan}
        return known.get(name, getattr(np, name, None))(x)


def exact_erf(x):
    """The error function in NumPy's longest floats, which no library has: Taylor's series up to 2,
    and a continued fraction beyond.
    """
    root = np.sqrt(np.arccos(np.longdouble(-1)))
    size = np.minimum(np.abs(x), 7)
    near, far = size[size < 2], size[size >= 2]
    total, term = np.zeros_like(near), near.copy()
    for n in range(40):
        total += term / (2 * n + 1)
        term *= -near * near / (n + 1)
    fraction = far.copy()
    for k in range(60, 0, -1):
        fraction = far + k / 2 / fraction
    size[size < 2], size[size >= 2] = 2 / root * total, 1 - np.exp(-far * far) / (root * fraction)
    return np.copysign(size, x)


def everywhere(dtype):
    """Numbers of every exponent and both signs, subnormal ones too, and many where the functions
    bend.
    """
    bits = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    step = np.iinfo(bits).max // 400_000
    spread = np.arange(400_000, dtype=bits) * bits(step) + bits(12345)
    with np.errstate(invalid="ignore"):
        spread = spread.view(dtype)
    dense = [
        np.linspace(-width, width, 100_001).astype(dtype)
        for width in (1e-3, 0.5, 1.5, 25, 110, 760)
    ]
    near_one = 1 + np.linspace(-1e-4, 1e-4, 20_001).astype(dtype)
    found = np.concatenate([spread, *dense, near_one])
    return found[np.isfinite(found)]


def errors_in_ulps(got, expected):
    """How far each result lies from the exact one, in steps of the result's type at that value."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        size = np.minimum(np.abs(expected), info.max).astype(got.dtype)
        finite = np.where(
            np.isinf(got), np.copysign(info.max.astype(expected.dtype), expected), got
        )
        nearest = np.clip(expected, -info.max, info.max)
        return np.abs(finite.astype(expected.dtype) - nearest) / np.spacing(size).astype(
            expected.dtype
        )


def domain(name, x):
    info = np.finfo(x.dtype)
    if name == "sigmoid":  # beyond, it stops; see below
        return x[x > np.log(info.tiny) + 1]
    if name in ("log", "sqrt", "rsqrt"):
        return x[x > 0]
    if name == "erf" and x.dtype == np.float64:
        return x[::3]  # the exact ones take seconds
    return x[x > -1] if name == "log1p" else x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name",
    [
        *("exp", "sigmoid", "tanh", "expm1", "log", "log1p", "sqrt", "rsqrt"),
        *("sin", "cos", "atan", "erf"),
    ],
)
def test_a_function_is_within_the_promised_steps_of_the_exact_value(name, dtype):
    x = domain(name, everywhere(dtype))
    assert len(x) > 300_000
    got = apply(name, x)
    found = errors_in_ulps(got, exact(name, x))
    worst = found.argmax()
    assert found[worst] <= ULPS, (
        f"{name}({x[worst]!r}) is {got[worst]!r}, {found[worst]:.2f} steps off"
    )


def test_the_measure_of_steps_sees_a_step():
    one = np.ones(1, np.float32)
    next_one, exactly = np.nextafter(one, np.float32(2)), one.astype(np.float64)
    assert errors_in_ulps(next_one, exactly) == 1
    assert errors_in_ulps(np.zeros(1, np.float32), np.full(1, np.float64(np.float32(1e-45)))) == 1
    assert errors_in_ulps(np.full(1, np.inf, np.float32), np.full(1, 1e39)) == 0
    assert errors_in_ulps(np.full(1, np.inf, np.float32), np.full(1, 3e38)) > 1e5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "at_minus_infinity", "at_zero", "at_infinity"),
    [
        ("exp", 0, 1, np.inf),
        ("tanh", -1, 0, 1),
        ("expm1", -1, 0, np.inf),
        ("log", np.nan, -np.inf, np.inf),
        ("log1p", np.nan, 0, np.inf),
        ("sqrt", np.nan, 0, np.inf),
        ("abs", np.inf, 0, np.inf),
        ("sign", -1, 0, 1),
        ("sin", np.nan, 0, np.nan),
        ("cos", np.nan, 1, np.nan),
        ("erf", -1, 0, 1),
    ],
)
def test_a_function_at_its_edges(name, at_minus_infinity, at_zero, at_infinity, dtype):
    x = np.array([-np.inf, 0.0, -0.0, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(
        apply(name, x), [at_minus_infinity, at_zero, at_zero, at_infinity, np.nan]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sigmoid_stops_at_the_smallest_normal_numbers(dtype):
    info = np.finfo(dtype)
    x = np.array(
        [-np.inf, -info.max, 2 * np.log(info.tiny), np.inf, info.max, 0.0, -0.0, np.nan], dtype
    )
    low, lower, beyond, *rest = apply("sigmoid", x)
    np.testing.assert_array_equal(rest, [1, 1, 0.5, 0.5, np.nan])
    assert low == lower == beyond
    assert info.tiny <= low <= 4 * info.tiny
    falling = apply(
        "sigmoid", np.linspace(np.log(info.tiny) + 3, np.log(info.tiny) - 3, 4001).astype(dtype)
    )
    assert (np.diff(falling) <= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_and_tanh_never_leave_their_range(dtype):
    x = everywhere(dtype)
    sigmoid, tanh = apply("sigmoid", x), apply("tanh", x)
    assert (sigmoid > 0).all() and (sigmoid <= 1).all()
    assert (np.abs(tanh) <= 1).all() and (np.sign(tanh) == np.sign(x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_what_has_none_are_nan(dtype):
    assert np.isnan(apply("log", np.array([-1e-30, -1.0, -np.finfo(dtype).max], dtype))).all()
    assert np.isnan(apply("log1p", np.array([-1.5, -np.inf], dtype))).all()
    assert apply("log1p", np.array([-1.0], dtype))[0] == -np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_minimum_and_maximum_are_torchs_with_nan_too(name, dtype):
    values = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan], dtype)
    x, z = (axis.flatten() for axis in np.meshgrid(values, values))
    expected = getattr(torch, name)(torch.from_numpy(x.copy()), torch.from_numpy(z.copy())).numpy()
    np.testing.assert_array_equal(apply(name, x, z), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_remainder_is_that_of_the_library_bit_for_bit(dtype):
    """By units of all sizes, zero, infinity and NaN, and near whole multiples of them."""
    units = np.array([1.0, -2.0, 0.1, 3e-3, 7e5, 0.0, np.inf, np.nan], dtype)
    multiples = (np.arange(-50, 51, dtype=dtype)[:, None] * units[:5]).flatten()
    x = np.concatenate([everywhere(dtype)[::997], multiples, np.nextafter(multiples, dtype(0))])
    x = np.concatenate([x, np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)])
    for unit in units:
        with np.errstate(invalid="ignore"):
            expected = np.fmod(x, unit)
        np.testing.assert_array_equal(apply("fmod", x, np.full_like(x, unit)), expected)
