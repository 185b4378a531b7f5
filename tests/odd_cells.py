"""Three more corners: comparisons in a gradient, numbers made of vectors, a product of a bare
product.
"""

import torch
from torch import relu, sigmoid, tanh

from cells import DRAWN, Cell


class Base(Cell):
    name, gates, state = "odd", ("a", "b"), ("h", "m")


class Chained(Base):
    """A product of a product, a product of an input, and a gate that the gradient reads."""

    products = {"R": ("a", "b"), "S": ("a",), "U": ("b",)}

    def step(self, p, x, h, m):
        r = p.R(h)
        s = p.S(r.b)
        return tanh(x.a + r.a * s.a), tanh(m * r.b + p.U(x.b).b)


class MadeOfVectors(Base):
    """Values of vectors alone, a comparison of them among these."""

    vectors = {"u": DRAWN, "v": DRAWN, "w": DRAWN}

    def step(self, p, x, h, m):
        r = p.R(h)
        scale = torch.where(p.v > 0, sigmoid(p.u), relu(p.u) + 0.5)
        return tanh(x.a + scale * r.a) * torch.exp(-p.w * p.w), scale * m + r.b


class Compared(Base):
    """Comparisons that the gradient needs, and limits."""

    def step(self, p, x, h, m):
        r = p.R(h)
        open_ = (r.a + x.a > m) & (m > -1.0) | (r.b < -0.5)
        kept = torch.where(open_, tanh(r.a + x.a), 0.5 * m)
        return torch.minimum(kept, torch.abs(m)).clamp(-0.7, 0.8), torch.maximum(
            relu(x.b + r.b), m
        ) * 0.5


ODD_CELLS = {c.__name__: c for c in Base.__subclasses__()}
