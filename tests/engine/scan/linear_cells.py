"""Cells of many sorts that are linear in their state, and some that nearly are; for the tests
alone.
"""

import torch
from torch import relu, sigmoid, tanh

from cells import DRAWN, Cell


class Made(Cell):
    products = {}


class TwoGates(Made):
    name, gates = "two-gates", ("f", "r", "n")

    def step(self, p, x, h):
        return (sigmoid(x.f) * (tanh(x.r) * h) + x.n,)


class Factored(Made):
    """h appears twice, and the coefficient is 1 - z."""

    name, gates = "factored", ("z", "n")

    def step(self, p, x, h):
        return (h + sigmoid(x.z) * (tanh(x.n) - h),)


class Vector(Made):
    name, gates, vectors = "vector", ("n",), {"a": DRAWN}

    def step(self, p, x, h):
        return (tanh(p.a) * h + x.n,)


class Scalar(Made):
    name, gates = "scalar", ("n",)

    def step(self, p, x, h):
        return (x.n - 0.5 * h,)


class Row(Made):
    """One coefficient for all units of a row, and an offset that sums over them."""

    name, gates = "row", ("f", "n")

    def step(self, p, x, h):
        return (sigmoid(x.f.mean(-1, keepdim=True)) * h + torch.softmax(x.n, -1).cumsum(-1),)


class Chosen(Made):
    """Subtraction, negation, division and a choice, the last without an offset in one branch."""

    name, gates = "chosen", ("i", "n")

    def step(self, p, x, h):
        return (torch.where(x.i > 0, -((x.n - h) / (1 + x.i * x.i)), -h),)


class TwoStates(Made):
    name, gates, state, start = "two-states", ("f", "n"), ("h", "c"), {"c": 0.5}

    def step(self, p, x, h, c):
        f = sigmoid(x.f)
        return f * h + x.n, (1 - f) * c - f


class Forgetful(Made):
    """Nothing of the old state in one of the two."""

    name, gates, state = "forgetful", ("f", "n"), ("h", "c")

    def step(self, p, x, h, c):
        return tanh(x.n), sigmoid(x.f) * c + x.n


class Positive(Made):
    """Positive in other ways than the min cells: a sum of two, an exponential, relu + 1, a
    quotient, a bound.
    """

    name, gates = "positive", ("f", "i", "n")

    def step(self, p, x, h):
        share = torch.exp(x.i) / (sigmoid(x.f) + 2 * torch.exp(x.i))
        return (
            0.5 * sigmoid(x.f) * h
            + share * (relu(x.n) + 1)
            + (torch.clamp(x.n, min=0) + torch.exp(x.i)),
        )


class Guarded(Made):
    """A logarithm that is of a negative number in the branch that is not taken."""

    name, gates = "guarded", ("z", "n")

    def step(self, p, x, h):
        return ((1 - sigmoid(x.z)) * h + torch.where(x.n < 0, sigmoid(x.n), 0.5 + x.n),)


LINEAR = {
    c.name: c
    for c in (
        TwoGates,
        Factored,
        Vector,
        Scalar,
        Row,
        Chosen,
        TwoStates,
        Forgetful,
        Positive,
        Guarded,
    )
}
POSITIVE = {c.name: c for c in (Positive, Guarded)}


def made(step, *, gates=("a", "b"), state=("h",), **declared):
    """A cell named ``made`` with a step given as a function of (p, x, *state)."""
    body = {
        "name": "made",
        "gates": gates,
        "state": state,
        "step": lambda self, p, x, *s: step(p, x, *s),
        **declared,
    }
    return type("MadeHere", (Made,), body)
