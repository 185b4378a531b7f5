"""Operations of torch in a step: what they become, and what cannot be traced is refused by name."""

import re

import pytest
import torch
from agreement import assert_agrees, case
from made_cells import made, traced
from torch import tanh
from torch.nn import functional

from harness import engine
from harness.engine import Layer
from harness.engine.tracing.trace import Untraceable, trace

# Operations of torch.

SMOOTH_AND_NOT = {
    "elu": lambda x: functional.elu(x, 0.7),
    "selu": functional.selu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "relu": torch.relu,
    "relu6": lambda x: functional.relu6(4 * x),
    "hardtanh": functional.hardtanh,
    "softplus": lambda x: functional.softplus(x, 1.5, 2.0),
    "logsigmoid": functional.logsigmoid,
    "silu": functional.silu,
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "clamp": lambda x: torch.clamp(x, -0.4, 0.5),
    "clamp_min": lambda x: x.clamp_min(-0.3),
    "clamp_max": lambda x: x.clamp(max=0.3),
    "square": torch.square,
    "cube": lambda x: x**3,
    "half power": lambda x: (1.5 + tanh(x)) ** 0.5,
    "negative power": lambda x: (1.5 + tanh(x)) ** -1.5,
    "reciprocal": lambda x: torch.reciprocal(1.5 + tanh(x)),
    "lerp": lambda x: (
        torch.lerp(x, x * x, tanh(x)) + torch.lerp(x, x * x, 0.3) + torch.lerp(x, x * x, 0.7)
    ),
    "addcmul": lambda x: (
        torch.addcmul(x, x, tanh(x), value=0.5) + torch.addcdiv(x, x, 1.5 + tanh(x), value=-0.5)
    ),
    "in place": lambda x: (x * x).mul_(0.5).add_(x).clamp_(-1.0, 1.0),
    "rsub": lambda x: torch.rsub(x, 2.0, alpha=0.5),
    "scaled": lambda x: torch.add(x, x * x, alpha=-0.3) / 4 + torch.sub(x, x, alpha=0.2) / 3,
    "compared": lambda x: torch.where((x >= 0.2) | (x < -0.5) & (x != 1), x, x * x),
    "mask as number": lambda x: x * (x > 0) + (x < 1).to(x.dtype),
    "number as mask": lambda x: torch.where(torch.logical_and(torch.relu(x), x < 1), x, -x),
    "masked_fill": lambda x: x.masked_fill(x > 0.4, 0.3),
    "maximum": lambda x: torch.maximum(x, x * x) + torch.minimum(x, -x),
    "detached": lambda x: x * torch.sign(x).detach() + torch.ones_like(x) - torch.zeros_like(x),
    "cumsum": lambda x: torch.cumsum(x * x, -1) - torch.cumsum(x.flip(-1), -1).flip(-1),
}


def test_torchs_functions_of_one_value():
    """One gate each, so that the gradient of W tells which is wrong."""
    gates = tuple(re.sub(r"\W", "_", name) for name in SMOOTH_AND_NOT)

    def step(p, x, h):
        values = [
            f(getattr(x, gate) + 0.1 * h)
            for gate, f in zip(gates, SMOOTH_AND_NOT.values(), strict=True)
        ]
        return (tanh(0.2 * sum(values)),)

    assert_agrees("cpu", case(made(step, gates=gates, products={})))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda p, x, h: (torch.cumprod(h, -1) + x.h,), "operation cumprod"),
        (lambda p, x, h: (torch.cumsum(h, -2) + x.h,), "operation cumsum over the batch"),
        (
            lambda p, x, h: (torch.cumsum(p.a, -1) + x.h,),
            "operation cumsum of a value that is equal in all units or rows",
        ),
        (lambda p, x, h: (h.flip(-2) + x.h,), "operation flip over the batch"),
        (lambda p, x, h: (torch.roll(h, 1, -2) + x.h,), "operation roll over the batch"),
        (
            lambda p, x, h: (torch.roll(p.a, 1, -1) + x.h,),
            "operation roll of a value that is equal in all units or rows",
        ),
        (lambda p, x, h: (torch.lgamma(h) + x.h,), "operation lgamma"),
        (
            lambda p, x, h: (torch.cat([h[..., ::2], h[..., 1::2]], -1) + x.h,),
            "operation slice of some rows, or with a step",
        ),
        (
            lambda p, x, h: (h.amax(-2, keepdim=True) * x.h,),
            "operation amax over anything but the units",
        ),
        (
            lambda p, x, h: (h.norm(dim=-2).unsqueeze(-2) * x.h,),
            "operation linalg_vector_norm over anything but the units",
        ),
        (
            lambda p, x, h: (h / h.norm(p=3, dim=-1, keepdim=True) + x.h,),
            "operation linalg_vector_norm with order=3",
        ),
        (
            lambda p, x, h: (torch.cat([h[..., :4].roll(1, -1), h[..., 4:]], -1) + x.h,),
            "4 units where all are needed",
        ),
        (
            lambda p, x, h: (torch.cat([h, x.h[..., :4]], -1)[..., :16] + x.h,),
            "operation cat of parts to more than the units",
        ),
        (
            lambda p, x, h: (h * p.a[..., :1] + x.h,),
            "operation slice of one unit of a vector",
        ),
        (
            lambda p, x, h: (
                torch.cat([h[..., :8] * p.a[..., 8:], h[..., 8:] * p.a[..., :8]], -1) + x.h,
            ),
            "operation mul of different units of a vector",
        ),
        (
            lambda p, x, h: (functional.layer_norm(h, (16,), torch.ones(16)) + x.h,),
            "operation native_layer_norm with weights, or over the batch",
        ),
        (
            lambda p, x, h: (h - h.mean(-2, keepdim=True) + x.h,),
            "operation mean over anything but the units",
        ),
        (
            lambda p, x, h: (h - h.mean() + x.h,),
            "operation mean over anything but the units",
        ),
        (lambda p, x, h: (h - h.sum() + x.h,), "operation sum over all"),
        (lambda p, x, h: (torch.softmax(h, -2) + x.h,), "operation _softmax over the batch"),
        (
            lambda p, x, h: (h * p.a.sum(-1, keepdim=True) + x.h,),
            "operation sum of a value that is equal in all units or rows",
        ),
        (
            lambda p, x, h: (torch.exp(h) ** x.h,),
            "operation pow of a value with an exponent that is no number",
        ),
        (lambda p, x, h: (h**17 + x.h,), "operation pow with exponent=17"),
        (lambda p, x, h: ((-2.0) ** h + x.h,), "operation pow of -2.0"),
        (lambda p, x, h: (torch.round(h, decimals=1) + x.h,), "operation round with decimals=1"),
        (
            lambda p, x, h: (h * h.unsqueeze(-1).squeeze(-1) + x.h,),
            "operation unsqueeze of anything but one number a row",
        ),
        (
            lambda p, x, h: (torch.div(h, 2.0, rounding_mode="floor") + x.h,),
            "operation div with rounding_mode='floor'",
        ),
        (
            lambda p, x, h: (torch.softmax(h.unflatten(-1, (2, -1)), -1).flatten(-2) + x.h,),
            "operation view to (3, 2, 8)",
        ),
        (
            lambda p, x, h: (torch.cat(h.chunk(2, 0), -2) + x.h,),
            "operation split over the batch",
        ),
        (lambda p, x, h: (torch.cat([h, x.h], -2)[:3],), "operation cat over the batch"),
        (lambda p, x, h: (h.half().to(x.h.dtype) + x.h,), "operation _to_copy to torch.float16"),
        (lambda p, x, h: (h * x.h.int(),), "operation _to_copy to torch.int32"),
        (
            lambda p, x, h: (p.R(torch.ones_like(h)).h + x.h,),
            "a product of what is equal in all units or rows",
        ),
        (
            lambda p, x, h: (p.R(p.a.expand_as(h)).h + x.h,),
            "a product of what is equal in all units or rows",
        ),
        (lambda p, x, h: (h * torch.tensor(0.5) + x.h,), "a tensor that was made outside the step"),
        (lambda p, x, h: (x.h if (h > 0).all() else h,), "operation all"),
        (lambda p, x, h: (h * h.max().item() + x.h,), "operation max"),
        (
            lambda p, x, h: (x.h if h.detach().numpy().sum() > 0 else h * 2,),
            "operations that depend on the values",
        ),
        (
            lambda p, x, h: (h * 2 + h.detach().mul_(2) + x.h,),
            "operation mul_ on memory that is shared",
        ),
        (
            lambda p, x, h: (h.detach(),),
            "a new state that depends on nothing that could be learned",
        ),
        (
            lambda p, x, h: (x.h / (1 // 0),),
            "ZeroDivisionError: integer division or modulo by zero",
        ),
        (lambda p, x, h: (x.h / next(iter(())),), "StopIteration"),
        (
            lambda p, x, h: ((x.h + h).sum(-1, keepdim=True),),
            "a new state must have the shape (B, H), here (3, 16), but got (3, 1)",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name_and_the_reference_runs_it(step, words):
    cell = made(step, vectors={"a": 0.5})
    with pytest.raises(Untraceable, match=f"^{re.escape(words)}$"):
        trace(Layer(cell, 16, 1, "float32"))
    assert engine.get("cpu").refusal(cell, "cpu", "float32") == f"made: {words}"
    assert engine.resolve([cell], "cpu", "float32") == (
        "reference",
        [f"engine cpu: not used, made: {words}"],
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_trace_needs_no_gradient_of_its_callers(mode):
    with mode():
        assert trace(
            Layer(made(lambda p, x, h: (tanh(x.h + p.R(h).h),)), 7, 1, "float64")
        ).state_gradients != (None,)


@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("turned", [lambda rows: rows.roll(1, -1), lambda rows: rows.flip(-1)])
def test_what_turns_one_number_a_row_turns_the_batch_and_is_refused_at_any_size(turned, hidden):
    cell = made(lambda p, x, h: (x.h + h * turned(h.mean(-1))[..., None],), products={})
    with pytest.raises(Untraceable, match="one number a row"):
        traced(cell, hidden=hidden)


def test_running_what_cannot_be_traced_says_so():
    with pytest.raises(Untraceable, match="operation lgamma"):
        case(made(lambda p, x, h: (torch.lgamma(h) + x.h,))).run("cpu")
