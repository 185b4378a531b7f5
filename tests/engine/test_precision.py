"""What a precision does to a product's operands, against statements of our own in bits and in
torch.bfloat16.
"""

import math
import struct

import pytest
import torch
from tolerances import assert_close

import cells
from harness import engine
from harness.engine import Layer, get, product, rounding

MANTISSA = {"tf32": 10, "bf16": 7}


def nearest(value, mantissa):
    """`value` rounded to so many bits of mantissa, ties to even: exact arithmetic of integers,
    float32's exponents.
    """
    if value == 0 or not math.isfinite(value):
        return value
    exponent = max(math.frexp(value)[1] - 1, -126)  # below, float32 is spaced evenly
    unit = math.ldexp(1.0, exponent - mantissa)
    size = (
        round(abs(value) / unit) * unit
    )  # Python rounds ties to even; the quotient by a power of 2 is exact
    return math.copysign(size if size < math.ldexp(1.0, 128) else math.inf, value)


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def from_bits(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1 + 2**-8,  # bf16: a tie, to even, so down
    1 + 3 * 2**-8,  # bf16: a tie, to even, so up
    1 + 2**-11,  # tf32: the same two
    1 + 3 * 2**-11,
    -(1 + 3 * 2**-11),
    from_bits(0x3FFFFFFF),  # carries into the exponent
    from_bits(0x00000001),  # the smallest of all
    from_bits(0x00801FFF),
    from_bits(0x007FFFFF),  # subnormal, rounds up to a normal number
    from_bits(0x7F7FFFFF),  # the largest, rounds to infinity
    math.inf,
    -math.inf,
]


@pytest.mark.parametrize("precision", MANTISSA)
def test_rounding_is_to_nearest_ties_to_even(precision):
    values = torch.cat(
        [
            torch.tensor(SPECIAL),
            random(2000),
            1e30 * random(500, seed=1),
            1e-39 * random(500, seed=2),
        ]
    )
    expected = [nearest(value, MANTISSA[precision]) for value in values.tolist()]
    rounded = rounding.round_operand(values, precision).tolist()
    assert [bits_of(value) for value in rounded] == [bits_of(value) for value in expected]


def test_the_statement_of_rounding_is_that_of_bfloat16():
    values = random(2000)
    expected = values.to(torch.bfloat16).to(torch.float32).tolist()
    assert [nearest(value, 7) for value in values.tolist()] == expected


@pytest.mark.parametrize("precision", MANTISSA)
def test_rounding_keeps_nan_and_rounded_values(precision):
    assert rounding.round_operand(torch.tensor([math.nan]), precision).isnan().all()
    once = rounding.round_operand(random(500), precision)
    assert torch.equal(rounding.round_operand(once, precision), once)
    assert not torch.equal(once, random(500))


@pytest.mark.parametrize("precision", MANTISSA)
def test_rounding_of_a_tensor_that_is_not_contiguous(precision):
    values = random(6, 4)
    assert torch.equal(
        rounding.round_operand(values.t(), precision), rounding.round_operand(values, precision).t()
    )


def rounded(values, precision):
    return torch.tensor([nearest(v, MANTISSA[precision]) for v in values.flatten().tolist()]).view(
        values.shape
    )


@pytest.mark.parametrize("precision", MANTISSA)
def test_a_product_rounds_its_operands_forward_and_backward(precision):
    a, b, cotangent = random(2, 3, 5), random(2, 5, 4, seed=1), random(2, 3, 4, seed=2)
    leaves = a.clone().requires_grad_(), b.clone().requires_grad_()
    result = product(*leaves, precision)
    gradients = torch.autograd.grad(result, leaves, cotangent)
    a, b, cotangent = (rounded(value, precision).double() for value in (a, b, cotangent))
    assert result.dtype == torch.float32
    assert_close(result, (a @ b).float())
    assert_close(gradients[0], (cotangent @ b.mT).float())
    assert_close(gradients[1], (a.mT @ cotangent).float())
    exact = torch.bmm(*leaves)
    assert (
        result - exact
    ).abs().max() > 1e-4 * exact.abs().max()  # else the bounds above would not see the rounding


def test_float32_and_float64_products_are_torchs_own():
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        a, b = (
            random(2, 3, 5, dtype=dtype).requires_grad_(),
            random(2, 5, 4, seed=1, dtype=dtype).requires_grad_(),
        )
        ours, theirs = product(a, b, precision), torch.bmm(a, b)
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs)
        for one, other in zip(
            torch.autograd.grad(ours.sum(), (a, b)),
            torch.autograd.grad(theirs.sum(), (a, b)),
            strict=True,
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize("precision", MANTISSA)
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before"])
def test_a_layer_rounds_its_products_and_nothing_else(name, precision):
    """From a state of zeros at T = 1 the recurrent product is 0: only W x is rounded, and a lookup
    is no product.
    """
    cell = cells.find(name)
    parameters = {
        spec.name: random(1, *spec.shape(4), seed=k)
        for k, spec in enumerate(cell.parameters(3, 4, 1))
    }
    state = engine.initial_state(cell, 1, 2, 4, parameters["W"])
    tokens, rows = torch.tensor([[[0, 2]]]), random(1, 1, 2, 3, seed=9)

    def run(inputs, chosen, own=parameters):
        return get("reference").run(Layer(cell, 4, 1, chosen), own, inputs, state)[0]

    assert torch.equal(run(tokens, precision), run(tokens, "float32"))
    by_hand = run(
        rounded(rows, precision), "float32", parameters | {"W": rounded(parameters["W"], precision)}
    )
    assert_close(run(rows, precision), by_hand)
    assert (run(rows, precision) - run(rows, "float32")).abs().max() > 1e-5


def test_allow_tf32_is_set_and_unset():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for precision, allowed in (
            ("tf32", True),
            ("float32", False),
            ("bf16", True),
            ("float64", False),
        ):
            engine.allow_tf32(precision)
            assert (
                torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
            )
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_allow_tf32_holds_whatever_was_set_by_the_other_names():
    """Torch refuses to read its setting where these make two of it, but not to set it."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    rounding._hear_torch_out.cache_clear()
    try:
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        torch.backends.cudnn.rnn.fp32_precision = "tf32"
        engine.allow_tf32("float32")
        assert torch.backends.cudnn.allow_tf32 is False
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_operands_in_bfloat16_give_float32():
    """On a device without numbers: torch refuses such a product on a CPU."""
    a, b, out = (
        torch.zeros(*shape, device="meta") for shape in ((2, 3, 4), (2, 4, 5), (2, 7, 3, 5))
    )
    for into in (None, out[:, 2]):
        try:
            found = rounding.multiplied(a.bfloat16(), b.bfloat16(), into)
        except NotImplementedError:
            pytest.skip("this torch knows no such product of bfloat16 without numbers")
        assert (found.dtype, found.shape) == (torch.float32, (2, 3, 5))


@pytest.mark.parametrize("precision", ["float32", *MANTISSA])
def test_a_product_is_that_of_its_operands(precision):
    a, b = random(2, 3, 4), random(2, 4, 5, seed=1)
    whole = rounding.multiplied(rounding.operand(a, precision), rounding.operand(b, precision))
    assert torch.equal(whole, product(a, b, precision))


@pytest.mark.parametrize("has_such_products", [True, False])
def test_operands_are_rounded_to_tf32_where_a_gpu_does_not(monkeypatch, has_such_products):
    """Before compute capability 8.0 none does, whatever it is allowed."""
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(rounding, "_multiplies_bf16", lambda: has_such_products)
    a, b = random(2, 3, 4), random(2, 4, 5, seed=1)
    rounded = [rounding.round_operand(x, "tf32") for x in (a, b)]
    assert [torch.equal(*pair) for pair in zip(rounded, (a, b), strict=True)] == (
        [has_such_products] * 2
    )
    assert torch.equal(product(a, b, "tf32"), torch.bmm(*rounded))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_multiplies_bfloat16_and_adds_in_float32():
    a, b = random(2, 33, 500).cuda(), random(2, 500, 17, seed=1).cuda()
    assert rounding.operand(a, "bf16").dtype == torch.bfloat16
    out = torch.full((2, 5, 33, 17), torch.nan, device="cuda")
    rounding.multiplied(rounding.operand(a, "bf16"), rounding.operand(b, "bf16"), out[:, 3])
    exact = torch.bmm(a.bfloat16().double(), b.bfloat16().double())
    torch.testing.assert_close(
        out[:, 3].double(), exact, rtol=0, atol=1e-3
    )  # results in bf16 would be off by 4e-2
