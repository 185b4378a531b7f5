"""What a user would try first: the Elman cell with another activation or norm, one line each."""

import re

import torch
from torch.nn import functional

from cells import Cell


def half(a):
    return a.shape[-1] // 2


SIMPLE = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": functional.silu,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "leaky relu": functional.leaky_relu,
    "hardtanh": functional.hardtanh,
}
"""Name -> the new state, a function of W x + R h; tests/engine/tracing runs these."""

COMPILED = {
    "gelu": functional.gelu,
    "gelu by tanh": lambda a: functional.gelu(a, approximate="tanh"),
    "mish": functional.mish,
    "sine": torch.sin,
    "cosine": torch.cos,
    "arc tangent": torch.atan,
    "error function": torch.erf,
    "saw tooth": lambda a: torch.remainder(a, 1.5) - 0.75,
    "layer norm": lambda a: torch.tanh(functional.layer_norm(a, a.shape[-1:])),
    "RMS norm": lambda a: torch.tanh(functional.rms_norm(a, a.shape[-1:])),
    "standard deviation": lambda a: a / (1 + a.std(-1, keepdim=True)),
    "largest": lambda a: a / (1 + a.abs().amax(-1, keepdim=True)),
    "flip": lambda a: torch.tanh(a) * a.flip(-1),
    "two halves": lambda a: torch.cat(
        [torch.tanh(a[..., : half(a)]), torch.relu(a[..., half(a) :])], -1
    ),
}
"""Likewise, with what is compiled in another way for another precision."""

COMPOSED = {
    "celu": lambda a: functional.celu(a, 0.7),
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": lambda a: functional.hardswish(3 * a),
    "softshrink": functional.softshrink,
    "hardshrink": functional.hardshrink,
    "snake": lambda a: a + torch.sin(a) ** 2,
    "normalize": lambda a: functional.normalize(a, dim=-1),
    "norm": lambda a: a / (1 + a.norm(dim=-1, keepdim=True)),
    "variance": lambda a: a * torch.rsqrt(1 + a.var(-1, keepdim=True, unbiased=False)),
    "range": lambda a: a - a.amin(-1, keepdim=True),
    "log softmax": lambda a: torch.tanh(functional.log_softmax(a, -1)),
    "roll": lambda a: torch.tanh(a.roll(1, -1)),
}
"""Likewise, with rules alone."""

NOT_GENERATED = {
    "softmax in groups": lambda a: torch.softmax(a.unflatten(-1, (2, -1)), -1).flatten(-2)
}
REASONS = {"softmax in groups": "operation view to (3, 2, 1)"}
"""Name -> why engine reference runs the variant."""

VARIANTS = SIMPLE | COMPILED | COMPOSED | NOT_GENERATED

MORE = {
    "tangent": lambda a: torch.tan(torch.tanh(a)),
    "hyperbolic sine": lambda a: torch.sinh(torch.tanh(a)),
    "hyperbolic cosine": lambda a: torch.cosh(torch.tanh(a)),
    "logsumexp": lambda a: a - a.logsumexp(-1, keepdim=True),
    "sum of sizes": lambda a: a / (1 + a.norm(p=1, dim=-1, keepdim=True)),
    "largest size": lambda a: a / (1 + a.norm(p=float("inf"), dim=-1, keepdim=True)),
    "mean and variance": lambda a: sum(torch.var_mean(a, -1, keepdim=True)) * a,
    "remainder of a negative": lambda a: torch.remainder(a, -1.1),
    "remainder of a value": lambda a: torch.remainder(a, (1 + a * a).detach()),
    "another remainder": lambda a: torch.fmod(a, 0.7),
    "one unit": lambda a: a[..., 1:2] * a,
    "the last units": lambda a: torch.cat([a[..., :2] * a[..., -2:], a[..., 2:]], -1),
    "halves change places": lambda a: torch.cat(a.chunk(2, -1)[::-1], -1),
    "parts of parts": lambda a: torch.cat([a[..., 1:4][..., 1:], a[..., :-2].abs()], -1),
    "a norm of a part": lambda a: torch.cat(
        [functional.layer_norm(a[..., :4], (4,)), torch.softmax(a[..., 4:], -1)], -1
    ),
    "the largest of a part": lambda a: a - a[..., 1:5].amax(-1, keepdim=True),
    "a part of its level": lambda a: torch.cat(
        [a[..., :3], (a - a.mean(-1, keepdim=True))[..., 3:] - a[..., 3:].mean(-1, keepdim=True)],
        -1,
    ),
    "a part as a mask": lambda a: torch.cat(
        [(a[..., :3] > 0).to(a.dtype) * a[..., 1:4], a[..., 3:]], -1
    ),
    "the largest of a product": lambda a: a * (a * 0.7 + 0.3).amax(-1, keepdim=True),
    "turned twice": lambda a: a.roll(3, -1) * a.roll(-2, -1).flip(-1),
    "threshold": lambda a: functional.threshold(a, 0.1, -0.2),
    "powers of two": lambda a: torch.exp2(torch.tanh(a)) + 3.0 ** torch.tanh(a),
    "a broken power": lambda a: (0.1 + a * a) ** 0.3 - (1 + a.abs()) ** (-1 / 3),
    "other logarithms": lambda a: torch.log2(1 + a * a) - torch.log10(1 + a.abs()),
    "logaddexp": lambda a: torch.logaddexp(a, 0.5 * a.relu()) - torch.logaddexp(a.relu(), a),
    "sinc": lambda a: torch.sinc(a) + torch.sinc(a.relu()),
    "asinh": lambda a: torch.asinh(a) + 1e-12 * torch.asinh(1e12 * a),
    "acosh": lambda a: torch.acosh(1.01 + a * a) + 1e-12 * torch.acosh(2e12 + 1e12 * a * a),
    "atanh": lambda a: torch.atanh(0.9 * torch.tanh(a)),
    "asin and acos": lambda a: torch.asin(torch.tanh(a)) * torch.acos(0.9 * torch.tanh(a)),
    "whole numbers": lambda a: a * (a.floor() + 2 * a.ceil() + 3 * a.trunc() + 5 * a.round()),
    "half numbers": lambda a: a * ((2 * a).round() / 2).round() + torch.frac(a),
    "glu": lambda a: torch.cat([functional.glu(a[..., :4]), torch.tanh(a[..., 2:])], -1),
    "a mean without its axis": lambda a: (
        a - a.mean(-1)[..., None] * a.std(-1, keepdim=True).squeeze(-1).unsqueeze(-1)
    ),
    "a norm without its axis": lambda a: a / a.norm(dim=-1).clamp(min=0.1).unsqueeze(-1),
    "likeness": lambda a: a * functional.cosine_similarity(a, a.relu() + 1, dim=-1)[..., None],
}
"""Besides: the corners of the same operations."""


def elman(function):
    body = {"name": "variant", "gates": ("h",)}
    return type(
        "Variant", (Cell,), body | {"step": lambda self, p, x, h: (function(x.h + p.R(h).h),)}
    )


def together(functions):
    """A cell whose state is made of functions, one gate each: the gradient of W tells which is
    wrong.
    """
    gates = tuple(re.sub(r"\W", "_", name) for name in functions)

    def step(self, p, x, h):
        r = p.R(h).r
        values = [
            f(getattr(x, gate) + 0.3 * r) for gate, f in zip(gates, functions.values(), strict=True)
        ]
        return (torch.tanh(sum(values) / 5),)

    body = {"name": "variants", "gates": gates, "products": {"R": ("r",)}, "step": step}
    return type("Variants", (Cell,), body)
