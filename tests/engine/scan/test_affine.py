"""What multiplies a state and what stands alone, read off a step; which steps have no such form,
and why.
"""

import pytest
import torch
from linear_cells import LINEAR, POSITIVE, made
from tolerances import assert_close
from torch import sigmoid, tanh

import cells
from cells.base import unchanged
from harness.engine.base import Layer
from harness.engine.scan.affine import NotLinear, affine, logarithmic

H = 3
POSITIVE_CELLS = POSITIVE | {name: cells.find(name) for name in ("min-gru", "min-lstm")}


def layer(cell):
    return Layer(cell, H, 1, "float64")


def inputs(cell, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    named = [f"x.{gate}" for gate in cell.gates] + [f"vector.{vector}" for vector in cell.vectors]
    return {
        name: scale
        * torch.randn(5, 2, H, generator=generator, dtype=torch.float64).requires_grad_()
        for name in named
    }


@pytest.mark.parametrize(
    "cell", [*LINEAR.values(), *POSITIVE_CELLS.values()], ids=lambda cell: cell.name
)
def test_a_step_is_its_coefficients_times_the_state_plus_its_offsets(cell):
    """Whatever the state: it is compared at two of them."""
    given = inputs(cell)
    x, p = (
        type(
            "Named",
            (),
            {
                name.partition(".")[2]: value
                for name, value in given.items()
                if name.startswith(group)
            },
        )
        for group in ("x.", "vector.")
    )
    p.drop = unchanged
    coefficients, offsets = affine(layer(cell)).values(given, given[f"x.{cell.gates[0]}"])
    for seed in (1, 2):
        state = [value.detach() for value in inputs(made(None, gates=cell.state), seed).values()]
        expected = cell().step(p, x, *state)
        for a, b, old, new in zip(coefficients, offsets, state, expected, strict=True):
            assert_close((a * old + b).expand(new.shape), new)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("cell", POSITIVE_CELLS.values(), ids=lambda cell: cell.name)
def test_logarithms_are_those_of_the_coefficients_and_offsets(cell, scale):
    given = inputs(cell, scale=scale)
    like = given[f"x.{cell.gates[0]}"]
    plain, logs = (
        affine(layer(cell)).values(given, like),
        logarithmic(layer(cell)).values(given, like),
    )
    for values, logarithms in zip((*plain[0], *plain[1]), (*logs[0], *logs[1]), strict=True):
        assert_close(logarithms.exp(), values)
        leaves = list(given.values())
        ours, theirs = (
            torch.autograd.grad(
                v.sum(), leaves, retain_graph=True, materialize_grads=True, allow_unused=True
            )
            for v in (logarithms.exp(), values)
        )
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("cell", [*POSITIVE_CELLS.values()], ids=lambda cell: cell.name)
def test_a_logarithm_that_is_not_chosen_leaves_no_nan(cell):
    """At u = -0.5 the branch that is not taken is log 0, whose gradient times 0 is NaN."""
    given = {
        f"x.{gate}": torch.tensor([-0.5], dtype=torch.float64).requires_grad_()
        for gate in cell.gates
    }
    _, (offset,) = logarithmic(layer(cell)).values(given, given["x.n"])
    gradients = torch.autograd.grad(
        offset.sum(), list(given.values()), allow_unused=True, materialize_grads=True
    )
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("size", [1e3, 1e8])
def test_logarithms_are_finite_where_the_values_are_0(size):
    """sigmoid(-1e3) is 0 and its logarithm -1e3; so a coefficient of 0, and f + i of 0, are no
    trouble.
    """
    for cell in (cells.find("min-gru"), cells.find("min-lstm")):
        named = {
            f"x.{gate}": torch.tensor([-size, size], dtype=torch.float64) for gate in cell.gates
        }
        for values in logarithmic(layer(cell)).values(named, named["x.n"]):
            assert all(value.isfinite().all() for value in values)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (cells.find("lstm"), "it has a recurrent product, R"),
        (cells.find("gru-reset-before"), "it has a recurrent product, R"),
        (made(lambda p, x, h: (tanh(h) + x.a,)), "tanh of h"),
        (made(lambda p, x, h: (h * h + x.a,)), "a product of states"),
        (made(lambda p, x, h, c: (h + x.a, h * c), state=("h", "c")), "a product of states"),
        (made(lambda p, x, h: (x.a / h,)), "a quotient by a state"),
        (made(lambda p, x, h: (torch.where(h > 0, h, x.a),)), "lt of h"),
        (made(lambda p, x, h: (h * x.a - h.mean(-1, keepdim=True),)), "row_sum of h"),
        (made(lambda p, x, h: (h.cumsum(-1) + x.a,)), "cumsum of h"),
        (made(lambda p, x, h, c: (x.a * c, x.b * c), state=("h", "c")), "the new h sees c"),
        (made(lambda p, x, h, c: (x.a * h, x.b * c + h), state=("h", "c")), "the new c sees h"),
        (made(lambda p, x, h, c: (tanh(h + c), c), state=("h", "c")), "tanh of c, h"),
        (made(lambda p, x, h: (x.a.cumprod(-1) * h,)), "its step cannot be traced: .*cumprod"),
    ],
)
def test_what_is_not_linear_says_where(cell, reason):
    with pytest.raises(NotLinear, match=f"^{reason}"):
        affine(layer(cell))
    with pytest.raises(NotLinear, match=f"^{reason}"):
        logarithmic(layer(cell))


def may_be_negative(offset):
    return made(lambda p, x, h: (sigmoid(x.a) * h + offset(x),))


@pytest.mark.parametrize(
    "cell",
    [
        may_be_negative(lambda x: x.b),
        may_be_negative(lambda x: 0 * x.b),
        may_be_negative(lambda x: sigmoid(x.b) - 1),
        may_be_negative(lambda x: -sigmoid(x.b)),
        may_be_negative(lambda x: -1.5 * sigmoid(x.b)),
        may_be_negative(lambda x: 1 + x.b),
        may_be_negative(lambda x: sigmoid(x.b) * tanh(x.b)),
        may_be_negative(lambda x: sigmoid(x.b) / x.b),
        may_be_negative(lambda x: x.b / sigmoid(x.b)),
        may_be_negative(lambda x: sigmoid(x.b) / (sigmoid(x.b) + x.b)),
        may_be_negative(lambda x: torch.relu(x.b)),
        may_be_negative(lambda x: torch.abs(x.b) + torch.relu(x.a)),
        may_be_negative(lambda x: torch.clamp(x.b, max=1) + 1),
        may_be_negative(lambda x: torch.where(x.b >= -1, x.b + 0.5, sigmoid(x.b))),
        may_be_negative(lambda x: torch.where(x.b >= 0, sigmoid(x.b), x.b + 0.5)),
        may_be_negative(lambda x: torch.where(x.b <= 0, x.b + 0.5, sigmoid(x.b))),
        may_be_negative(lambda x: torch.where(x.b >= 0, x.a + 0.5, sigmoid(x.b))),
        may_be_negative(lambda x: torch.where(x.b == 0, x.b + 0.5, sigmoid(x.b))),
        may_be_negative(lambda x: torch.where(x.b >= x.a, x.b + 0.5, sigmoid(x.b))),
        LINEAR["two-gates"],
    ],
)
def test_what_may_be_0_or_below_has_no_logarithm(cell):
    affine(layer(cell))
    with pytest.raises(
        NotLinear, match="^the (coefficient|offset) of h is not known to be positive"
    ):
        logarithmic(layer(cell))


@pytest.mark.parametrize(
    "offset",
    [
        lambda x: torch.where(x.b > 0, x.b + 0.5, 1.0),
        lambda x: torch.where(x.b >= 2, 0.5 + x.b, sigmoid(x.b)),
        lambda x: torch.where(x.b <= 0, sigmoid(x.b), x.b + 0.5),
        lambda x: torch.abs(x.b) + torch.exp(x.a),
        lambda x: torch.relu(x.b) * torch.sqrt(torch.abs(x.a)) + 1,
        lambda x: torch.clamp(x.b, min=0) + (torch.relu(x.a) + 1),
        lambda x: (1 - sigmoid(x.a)) / (sigmoid(x.b) + 3),
    ],
)
def test_what_is_positive_is_known_to_be(offset):
    cell = may_be_negative(offset)
    given = inputs(cell)
    like = given["x.a"]
    (value,), (log,) = (
        affine(layer(cell)).values(given, like)[1],
        logarithmic(layer(cell)).values(given, like)[1],
    )
    assert_close(log.exp(), value)
    gradients = torch.autograd.grad(
        log.sum(), list(given.values()), materialize_grads=True, allow_unused=True
    )
    assert all(gradient.isfinite().all() for gradient in gradients)
