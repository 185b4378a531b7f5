"""The functions of vectors in units of the last place, and the products of products.cpp beside
torch's.
"""

import ctypes

import numpy as np
import pytest
import scipy.special
import torch

from harness.engine.cpu import compiler
from harness.engine.cpu.compiler import ROUND
from harness.engine.cpu.memory import padded, row_length
from harness.engine.cpu.products import PLAIN, products

# Functions of a vector.

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


# Products.

ROWS = ROUND


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def unwritten(*shape, dtype):
    return torch.full(shape, torch.nan, dtype=dtype)


def assert_near(got, expected, terms):
    """Within the rounding of a sum of so many terms of size 1."""
    bound = 4 * torch.finfo(got.dtype).eps * (1 + terms)
    assert got.shape == expected.shape
    assert ((got.double() - expected).abs() < bound).all()


def with_padding(blocks, dtype):
    """(K, blocks, H) in rows of whole vectors, the padding full of NaN."""
    found = unwritten(*blocks.shape[:-1], padded(blocks.shape[-1]), dtype=dtype)
    found[..., : blocks.shape[-1]] = blocks
    return found


SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 1, 7),
    (3, 17, 4, 16),
    (5, 40, 3, 33),
    (13, 8, 2, 48),
    (40, 5, 1, 19),
    (33, 31, 4, 5),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "K", "blocks", "H"), SHAPES)
def test_a_packed_product(M, K, blocks, H, dtype):
    """(M, K) times the gates of a (K, blocks * H); each gate's columns end on a whole vector."""
    kernels, S = products(PLAIN[dtype]), padded(H)
    a, b = random(M, K + 3, dtype=dtype), random(K, blocks * H + 2, seed=1, dtype=dtype)
    packed = unwritten(K, blocks * S, dtype=dtype)
    kernels.pack(K, blocks, H, H, S, b.data_ptr(), blocks * H + 2, packed.data_ptr())
    expected = (a[:, :K].double() @ b[:, : blocks * H].double()).view(M, blocks, H)
    found = []
    for threads in (1, 2, 5):
        c = unwritten(M, blocks * S + 16, dtype=dtype)
        kernels.product_on_threads(
            M,
            blocks * S,
            K,
            1,
            a.data_ptr(),
            K + 3,
            0,
            packed.data_ptr(),
            c.data_ptr(),
            blocks * S + 16,
            threads,
        )
        assert c[:, blocks * S :].isnan().all()  # what lies beside is not touched
        found.append(c[:, : blocks * S].reshape(M, blocks, S)[..., :H])
    assert_near(found[0], expected, K)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "K"), [(1, 700), (35, 700), (130, 100)])
def test_threads_share_the_rows_of_a_product_or_its_blocks(M, K, dtype):
    """Three blocks of 250, which are many operations; rows for one thread, for two, for none."""
    kernels, S = products(PLAIN[dtype]), padded(250)
    a, b = random(M, K, dtype=dtype), random(K, 750, seed=1, dtype=dtype)
    found = []
    for threads in (1, 2, 5):
        packed, c = unwritten(K, 3 * S, dtype=dtype), unwritten(M, 3 * S + 16, dtype=dtype)
        kernels.multiply(
            M, K, 3, 250, S, a.data_ptr(), b.data_ptr(), packed.data_ptr(), c.data_ptr(),
            3 * S + 16, threads,
        )  # fmt: skip
        assert c[:, 3 * S :].isnan().all()
        found.append(c[:, : 3 * S].reshape(M, 3, S)[..., :250])
    assert_near(found[0], (a.double() @ b.double()).view(M, 3, 250), K)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", range(1, 41))
def test_a_row_of_a_product_is_the_same_bit_for_bit_whatever_stands_beside_it(rows, dtype):
    kernels, K, N = products(PLAIN[dtype]), 37, 48
    a, b = random(40, K, dtype=dtype), random(K, N, seed=1, dtype=dtype)
    packed = unwritten(K, N, dtype=dtype)
    kernels.pack(K, 1, N, N, N, b.data_ptr(), N, packed.data_ptr())

    def product(first, count):
        c = unwritten(count, N, dtype=dtype)
        kernels.product_on_threads(
            count, N, K, 1, a[first].data_ptr(), K, 0, packed.data_ptr(), c.data_ptr(), N, 1
        )
        return c

    whole = product(0, 40)
    assert torch.equal(product(0, rows), whole[:rows])
    assert torch.equal(product(40 - rows, rows), whole[40 - rows :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("M", "N", "segments", "K"), SHAPES)
def test_a_product_with_a_transposed_matrix(M, N, segments, K, dtype):
    """The gates' cotangents (M, segments * K), on rows of whole vectors, times the transposed (N,
    segments * K).
    """
    kernels, S, wide = products(PLAIN[dtype]), padded(K), padded(N)
    cotangents, matrix = (
        random(M, segments, K, dtype=dtype),
        random(N, segments * K, seed=1, dtype=dtype),
    )
    a = with_padding(cotangents, dtype)
    packed = unwritten(segments * K, wide, dtype=dtype)
    kernels.pack_transposed(N, segments, K, matrix.data_ptr(), segments * K, packed.data_ptr())
    expected = cotangents.reshape(M, -1).double() @ matrix.double().t()
    found = []
    for threads in (1, 3):
        c = unwritten(M, wide, dtype=dtype)
        kernels.product_on_threads(
            M,
            wide,
            K,
            segments,
            a.data_ptr(),
            segments * S,
            S,
            packed.data_ptr(),
            c.data_ptr(),
            wide,
            threads,
        )
        found.append(c[:, :N])
    assert_near(found[0], expected, segments * K)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("K", "M", "blocks", "H"), [*SHAPES, (300, 9, 2, 20), (257, 33, 1, 7), (1, 40, 1, 1)]
)
def test_an_outer_product_and_its_sum_with_another(K, M, blocks, H, dtype):
    """A^T B over K rows, more than one pass holds too, B on rows of whole vectors; then the same
    added.
    """
    kernels, width = products(PLAIN[dtype]), blocks * padded(H)
    a, gates = random(K, M + 1, dtype=dtype), random(K, blocks, H, seed=1, dtype=dtype)
    b = with_padding(gates, dtype)
    expected = (a[:, :M].double().t() @ gates.reshape(K, -1).double()).view(M, blocks, H)
    found = []
    for threads in (1, 2, 3):
        c = unwritten(M, width, dtype=dtype)
        arguments = (M, width, K, a.data_ptr(), M + 1, b.data_ptr(), width, c.data_ptr(), width)
        kernels.outer(*arguments, 0, threads)
        once = c.view(M, blocks, -1)[..., :H].clone()
        kernels.outer(*arguments, 1, threads)
        found.append((once, c.view(M, blocks, -1)[..., :H]))
    assert_near(found[0][0], expected, K)
    assert_near(found[0][1], 2 * expected, 2 * K)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "V", "blocks", "H"), [(1, 1, 1, 1), (50, 7, 3, 5), (200, 3, 4, 17), (9, 40, 2, 16)]
)
def test_rows_are_scattered_to_their_tokens(rows, V, blocks, H, dtype):
    kernels, S = products(PLAIN[dtype]), padded(H)
    values, tokens = (
        random(rows, blocks, H, dtype=dtype),
        torch.randint(V, (rows,), generator=torch.Generator().manual_seed(2)),
    )
    source = with_padding(values, dtype)
    expected = torch.zeros(V, blocks, H, dtype=torch.float64).index_add_(0, tokens, values.double())
    found = []
    for threads in (1, 2, 3):
        table = unwritten(V, blocks, H, dtype=dtype)
        arguments = (
            rows,
            V,
            blocks,
            H,
            S,
            tokens.data_ptr(),
            source.data_ptr(),
            blocks * S,
            table.data_ptr(),
        )
        for part in range(threads):
            kernels.scatter_part(*arguments, 0, part, threads)
        once = table.clone()
        for part in range(threads):
            kernels.scatter_part(*arguments, 1, part, threads)
        found.append((once, table))
    assert_near(found[0][0], expected, rows)
    assert_near(found[0][1], 2 * expected, 2 * rows)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "N"), [(1, 16), (7, 48), (50, 160)])
def test_columns_are_summed_and_added_to_what_was_there(rows, N, dtype):
    values = random(rows, N + 3, dtype=dtype)
    found = []
    for parts in (1, 2, 5):
        sums = unwritten(N, dtype=dtype)
        for add in (0, 1):
            for part in range(parts):
                products(PLAIN[dtype]).sum_part(
                    rows, N, values.data_ptr(), N + 3, sums.data_ptr(), add, part, parts
                )
        found.append(sums)
    assert_near(found[0], 2 * values[:, :N].double().sum(0), 2 * rows)
    assert all(torch.equal(other, found[0]) for other in found)


def test_the_first_index_that_lies_outside_is_found():
    kernels = products(PLAIN[torch.float32])

    def first_outside(*indices):
        given = torch.tensor(indices, dtype=torch.int64)
        return kernels.first_outside(len(indices), given.data_ptr(), 7)

    assert [
        first_outside(0, 6, 3),
        first_outside(0, 7, 9),
        first_outside(6, 2, -1),
        first_outside(),
    ] == [-1, 1, 2, -1]


def test_numbers_that_are_none_go_in_and_come_out():
    kernels = products(PLAIN[torch.float64])
    a, b = random(3, 16), random(16, 16, seed=1)
    a[1, 4] = torch.inf
    b[7, 2] = torch.nan
    packed, c = unwritten(16, 16, dtype=torch.float64), unwritten(3, 16, dtype=torch.float64)
    kernels.pack(16, 1, 16, 16, 16, b.data_ptr(), 16, packed.data_ptr())
    kernels.product_on_threads(
        3, 16, 16, 1, a.data_ptr(), 16, 0, packed.data_ptr(), c.data_ptr(), 16, 1
    )
    torch.testing.assert_close(c, a @ b, equal_nan=True)


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_buffers_row_is_whole_vectors_and_crowds_no_set_of_the_cache(itemsize, dtype):
    assert ROWS % products(PLAIN[dtype]).lanes() == 0
    for blocks in (1, 2, 3, 4):
        for size in (1, 16, 33, 128, 256, 512):
            length = row_length(blocks, size, itemsize)
            assert length >= blocks * size and length % ROWS == 0
            assert length * itemsize % 2048 != 0
