"""Products in bf16 and tf32: their operands are rounded as torch rounds, their sums are of float32,
and they are the same numbers on processors with products of bf16 and without.
"""

import math
import struct
from pathlib import Path

import pytest
import torch
from agreement import case, results

from harness import engine
from harness.engine.cpu import compiler, memory
from harness.engine.cpu.products import MANTISSA, products
from harness.engine.rounding import round_operand
from harness.model.readout import Readout

SHAPES = [(1, 1, 1, 1), (3, 7, 2, 5), (32, 64, 4, 48), (33, 63, 3, 31), (193, 31, 1, 16)]
"""M, K, blocks, H: odd and even K, rows and columns that fill no tile, more rows than one depth."""
SPREAD = (
    "lstm",
    "gru",
    "gru-reset-before",
    "scrn",
    "indrnn",
    "lstm-projected",
    "lstm-mogrifier",  # this one and the next read their input, which no product rounds
    "sru",
    "rwkv-4",
)
NOISE = 2e-7
"""Of the largest value: what sums in another order differ by where no operand is rounded."""
HAS_PAIRS = "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def three_products(kernels, M, K, blocks, H):
    """A B, G B^T and A^T G of drawn matrices, by the kernels; and the matrices."""
    a, b, g = random(M, K), random(K, blocks * H, seed=1), random(M, blocks * H, seed=2)
    S, SK = memory.padded(H), memory.padded(K)
    forward, back = torch.full((M, blocks * S), math.nan), torch.full((M, SK), math.nan)
    over_rows = torch.full((K, blocks * S), math.nan)
    wide = torch.zeros(M, blocks, S)
    wide[:, :, :H] = g.view(M, blocks, H)
    packed, transposed = (
        torch.full((K * blocks * S,), math.nan),
        torch.full((blocks * H * SK,), 9.0),
    )
    kernels.pack(K, blocks, H, H, S, b.data_ptr(), blocks * H, packed.data_ptr())
    kernels.product_on_threads(
        M,
        blocks * S,
        K,
        1,
        a.data_ptr(),
        K,
        0,
        packed.data_ptr(),
        forward.data_ptr(),
        blocks * S,
        1,
    )
    kernels.pack_transposed(K, blocks, H, b.data_ptr(), blocks * H, transposed.data_ptr())
    kernels.product_on_threads(
        M, SK, H, blocks, g.data_ptr(), blocks * H, H, transposed.data_ptr(), back.data_ptr(), SK, 1
    )
    kernels.outer(
        K, blocks * S, M, a.data_ptr(), K, wide.data_ptr(), blocks * S, over_rows.data_ptr(),
        blocks * S, 0, 1,
    )  # fmt: skip
    narrow = [c.view(-1, blocks, S)[:, :, :H].flatten(1) for c in (forward, over_rows)]
    return (a, b, g), (narrow[0], back[:, :K], narrow[1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("precision", MANTISSA)
def test_products_are_those_of_operands_that_torch_rounds(precision, shape):
    operands, found = three_products(products(precision), *shape)
    a, b, g = (round_operand(x, precision).double() for x in operands)
    for c, wanted, terms in zip(found, (a @ b, g @ b.T, a.T @ g), (a, g, a.T), strict=True):
        # A sum of n products of some size 1 rounds n times; nothing else is lost.
        assert (c - wanted).abs().max() <= 2**-24 * terms.shape[1] * max(1, wanted.abs().max())


def by_hand(precision, *defines):
    """The products of a precision, compiled with more macros."""
    macros = ["REAL=float", f"MANTISSA={MANTISSA[precision]}", *defines]
    library = compiler.load("products", compiler.source_of("products.cpp"), *macros)
    for name in ("pack", "pack_transposed", "product_on_threads", "outer"):
        function = getattr(library, name)
        function.argtypes, function.restype = getattr(products(precision), name).argtypes, None
    return library


@pytest.mark.skipif(not HAS_PAIRS, reason="this processor has no products of bf16 numbers")
def test_a_processor_without_products_of_bf16_takes_the_same_sums():
    assert products("bf16").operands_at_once() == 2
    one_by_one = by_hand("bf16", "PAIRS=0")
    assert one_by_one.operands_at_once() == 1
    for shape in SHAPES:
        pairs, others = (three_products(k, *shape)[1] for k in (products("bf16"), one_by_one))
        assert all(torch.equal(x, y) for x, y in zip(pairs, others, strict=True)), shape


LEAST_NAN = struct.unpack("<f", struct.pack("<I", 0x7F800001))[0]
"""Of its mantissa nothing is left when it is rounded."""
SPECIAL = [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-11), 1 + 3 * 2**-11, 3.3e38, 3.4e38]


@pytest.mark.parametrize("precision", MANTISSA)
@pytest.mark.parametrize("value", [*SPECIAL, math.inf, -math.inf, math.nan, LEAST_NAN])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_every_kind_of_number_is_rounded_as_torch_rounds(precision, value, count):
    """On either side, alone, in a pair and in whole vectors: a product with one is the number."""
    kernels, S = products(precision), memory.padded(count)
    wanted = round_operand(torch.full((count,), value), precision)
    for left, right in [(value, 1.0), (1.0, value)]:
        a, b = torch.eye(count) * left, torch.eye(count) * right
        if not math.isfinite(value):  # times zero it would be NaN everywhere
            a, b = a[:1, :1].contiguous(), b[:1, :1].contiguous()
        n = len(a)
        packed, c = torch.zeros(n * S), torch.zeros(n, S)
        kernels.pack(n, 1, n, n, S, b.data_ptr(), n, packed.data_ptr())
        kernels.product_on_threads(
            n, S, n, 1, a.data_ptr(), n, 0, packed.data_ptr(), c.data_ptr(), S, 1
        )
        torch.testing.assert_close(c[:, :n].diagonal(), wanted[:n], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("precision", MANTISSA)
@pytest.mark.parametrize("inputs", ["tokens", "rows"])
@pytest.mark.parametrize("name", SPREAD)
def test_a_layer_is_the_definition_with_rounded_operands(name, inputs, precision):
    given = case(name, steps=4, runs=2, biases=2, hidden=16, inputs=inputs, scale=0.3)
    given = given.to(precision)
    wanted, unrounded = results("reference", given), results("reference", given.to("float32"))
    for quantity, ours in results("cpu", given).items():
        error, size = (ours - wanted[quantity]).abs(), wanted[quantity].abs().max()
        # Where an operand differs in its last bit it may be rounded the other way, by so much.
        assert error.max() <= 2.0 ** -MANTISSA[precision] * size, quantity
        # Else an engine that rounds nothing, or the results, would pass.
        other = (unrounded[quantity] - wanted[quantity]).abs().mean()
        assert error.mean() <= 0.2 * other + NOISE * size, quantity


@pytest.mark.parametrize("precision", MANTISSA)
def test_a_runs_numbers_depend_neither_on_its_pack_nor_on_threads(precision):
    given = case("lstm", steps=5, runs=3, batch=33, hidden=40, inputs="tokens").to(precision)
    whole = results("cpu", given)
    on_threads = results("cpu", given.on_threads(3))
    assert all(torch.equal(on_threads[name], value) for name, value in whole.items())
    alone = results("cpu", given.alone(1))
    # The weighting of the outputs is another for another pack, and that of the gradients with it.
    assert torch.equal(alone["outputs"][:, 0], whole["outputs"][:, 1])


@pytest.mark.parametrize("precision", MANTISSA)
def test_the_read_out_rounds_the_operands_of_its_products(precision):
    rows, weight, bias = random(2, 300, 24), random(2, 24, 28, seed=1), random(2, 28, seed=2)
    targets = torch.randint(28, (2, 300), generator=torch.Generator().manual_seed(3))
    found, wanted = (
        Readout(weight, bias, precision, threads).losses_and_gradients(rows, targets, scale=0.5)
        for threads in (1, None)
    )
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-6, atol=0)
    bound = 2.0 ** -(MANTISSA[precision] + 1)  # a slope that lies between two may round elsewhere
    for name, one, other in zip(wanted[1]._fields, found[1], wanted[1], strict=True):
        assert (one - other).abs().max() <= bound * other.abs().max(), name
        assert (one - other).abs().mean() < bound / 8 * other.abs().mean(), name


@pytest.mark.parametrize(
    ("precision", "at_once", "note"),
    [
        ("float32", 1, None),
        ("bf16", 2, None),
        ("bf16", 1, "this processor has no products of bf16 numbers (AVX-512 BF16)"),
        ("tf32", 1, "no CPU has products of tf32 numbers"),
    ],
)
def test_a_precision_that_is_no_faster_here_is_told(monkeypatch, precision, at_once, note):
    class Kernels:
        operands_at_once = staticmethod(lambda: at_once)

    monkeypatch.setattr("harness.engine.cpu.cpu.products", lambda precision: Kernels)
    found = engine.get("cpu").note(precision)
    assert found is None if note is None else found.endswith(f"multiplied as float32, since {note}")
