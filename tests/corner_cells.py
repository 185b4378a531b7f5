"""Cells that no paper has, each for one corner of the generated engines; for the tests alone."""

import torch
from torch import relu, sigmoid, tanh

from cells import DRAWN, Cell, normalize


class Corner(Cell):
    name = "corner"
    gates = ("h",)


class NewStateIntoProduct(Corner):
    """z' is computed, then multiplied, within one step."""

    gates, state = ("z", "h"), ("h", "z")
    products = {"R": ("z",), "S": ("h",)}

    def step(self, p, x, h, z):
        z = sigmoid(x.z + p.R(h).z) * z
        return tanh(x.h + p.S(z).h), z


class SameMatrixTwice(Corner):
    """The second product's operand is made of the first one's result."""

    def step(self, p, x, h):
        return (tanh(x.h + p.R(tanh(p.R(h).h)).h),)


class SameMatrixOnTwoStates(Corner):
    """Two products side by side; the gradient reads what they give."""

    state = ("h", "c")

    def step(self, p, x, h, c):
        r, s = p.R(h).h, p.R(c).h
        return tanh(x.h + r * s), 0.5 * c + s


class Delay(Corner):
    """New states that are old ones."""

    state = ("h", "d", "e")

    def step(self, p, x, h, d, e):
        return tanh(x.h + p.R(e).h), h, d


class Swap(Corner):
    """Two states change places, and hardly anything else happens."""

    state, products = ("h", "c"), {}

    def step(self, p, x, h, c):
        return c, h + x.h


class StateStays(Corner):
    state = ("h", "c")

    def step(self, p, x, h, c):
        return tanh(x.h + p.R(h).h + c), c


class ConstantState(Corner):
    state = ("h", "k")

    def step(self, p, x, h, k):
        return tanh(x.h + p.R(h).h + 2 * k), torch.full_like(k, 0.25)


class GateIsState(Corner):
    """A new state that is an input gate untouched, and read by the next step."""

    gates, state, products = ("h", "g"), ("h", "g"), {"R": ("h",)}

    def step(self, p, x, h, g):
        return tanh(x.h + p.R(h).h * g), x.g


class VectorIsState(Corner):
    state, vectors = ("h", "v"), {"a": DRAWN}

    def step(self, p, x, h, v):
        return tanh(x.h + p.R(h).h * v), p.a.expand_as(h)


class VectorThroughSigmoid(Corner):
    """What depends on a vector alone is computed once; so is its gradient's last factor."""

    vectors = {"a": DRAWN}

    def step(self, p, x, h):
        s = sigmoid(p.a)
        return (s * h + (1 - s) * tanh(x.h + p.R(h).h),)


class VectorInTwoPlaces(Corner):
    state, vectors = ("h", "c"), {"a": DRAWN, "e": DRAWN}

    def step(self, p, x, h, c):
        c = tanh(p.a * c + x.h + p.e)
        return sigmoid(p.R(h).h + p.a * c) * c, c * p.a


class UnreadGate(Corner):
    """Gate b and its part of the product act on nothing."""

    gates = ("a", "b", "c")

    def step(self, p, x, h):
        r = p.R(h)
        return (tanh(x.a + r.a) * sigmoid(x.c + r.c),)


class UnreadVectorAndProduct(Corner):
    products, vectors = {"R": ("h",), "S": ("h",)}, {"a": DRAWN}

    def step(self, p, x, h):
        p.S(h)
        return (tanh(x.h + p.R(h).h),)


class UnreadState(Corner):
    """c is written by every step and read by none."""

    state = ("h", "c")

    def step(self, p, x, h, c):
        h = tanh(x.h + p.R(h).h)
        return h, h * h


class OutputIgnoresState(Corner):
    gates, products = ("a", "b"), {}

    def step(self, p, x, h):
        return (tanh(x.a) * sigmoid(x.b),)


class SharedGradient(Corner):
    """h and c have one gradient, the product's; d has another."""

    gates, state = ("h", "c"), ("h", "c", "d")

    def step(self, p, x, h, c, d):
        r = p.R(h + c)
        return tanh(x.h + r.h), sigmoid(x.c + r.c) * d, d - tanh(r.h)


class OneGradientForAll(Corner):
    """The states enter as their sum, so that one pointwise value is the gradient of both."""

    state, products = ("h", "c"), {}

    def step(self, p, x, h, c):
        s = h + c
        return tanh(x.h) * s, sigmoid(s)


class SoftmaxWithin(Corner):
    """Values are used before and after a reduction, and again in a second one."""

    gates = ("a", "b")

    def step(self, p, x, h):
        r = p.R(h)
        a = x.a + r.a
        s = torch.softmax(a, -1)
        return (tanh(a) * s + torch.softmax(s * (x.b + r.b), -1) * h,)


class DependentReductions(Corner):
    """A reduction of what another one has normalised, without a product between them."""

    vectors = {"a": DRAWN}

    def step(self, p, x, h):
        (n,) = normalize(x.h + p.R(h).h)
        (m,) = normalize(p.a * n + tanh(n) * h)
        return (m * sigmoid(n),)


class CheapAcrossProduct(Corner):
    """A sum is read before and after a product, and by no gradient."""

    def step(self, p, x, h):
        a = x.h + 0.5 * h
        return (0.3 * a + p.R(tanh(a)).h,)


class RowAcrossProduct(Corner):
    """One number a row, read by a stage after a product."""

    gates, products = ("a", "b"), {"R": ("a",), "S": ("b",)}

    def step(self, p, x, h):
        share = sigmoid(h.mean(-1, keepdim=True))
        a = tanh(x.a + p.R(share * h).a)
        return (share * h + (1 - share) * tanh(x.b + p.S(a).b) * a.mean(-1, keepdim=True),)


class RowChoice(Corner):
    """A comparison of one number a row, which the gradient and a stage after a product read."""

    products = {"R": ("h",), "S": ("h",)}

    def step(self, p, x, h):
        high = h.mean(-1, keepdim=True) > 0
        a = torch.where(high, tanh(x.h), h)
        return (torch.where(high, p.R(a).h, p.S(h).h * a) + torch.where(high, 1.0, 2.0) * a,)


class RowGradients(Corner):
    """The gradients of a gate and of a state are equal in all units of a row; so is a new state."""

    gates, state = ("a", "b"), ("h", "c", "d")

    def step(self, p, x, h, c, d):
        level = x.a.mean(-1, keepdim=True)
        return (
            tanh(x.b + p.R(h).a + c.mean(-1, keepdim=True)),
            d * p.R(h).b,
            (level - 0.5).expand_as(h),
        )


class ProductOfGate(Corner):
    """The operand is an input gate as it is."""

    def step(self, p, x, h):
        return (0.5 * h + tanh(p.R(x.h).h),)


class ProductForTwo(Corner):
    """One value is an operand of two matrices, and the gradient reads their products besides."""

    products = {"R": ("h",), "S": ("h",)}

    def step(self, p, x, h):
        a = tanh(x.h + h)
        return (a * relu(p.R(a).h) + p.S(a).h * a,)


class ProductIsState(Corner):
    """A new state is a gate of a product as it is."""

    gates, state = ("h", "g"), ("h", "g")

    def step(self, p, x, h, g):
        r = p.R(h)
        return tanh(x.h + r.h * g) * r.g + x.g, r.g


class NewStateTwice(Corner):
    """Two new states are one value, which is a product's operand too."""

    state, products = ("h", "c"), {"R": ("h",)}

    def step(self, p, x, h, c):
        h = tanh(x.h + p.R(tanh(h + c)).h)
        return h, h


CORNERS = {
    c.__name__: c
    for c in (
        NewStateIntoProduct,
        SameMatrixTwice,
        SameMatrixOnTwoStates,
        Delay,
        Swap,
        StateStays,
        ConstantState,
        GateIsState,
        VectorIsState,
        VectorThroughSigmoid,
        VectorInTwoPlaces,
        UnreadGate,
        UnreadVectorAndProduct,
        UnreadState,
        OutputIgnoresState,
        SharedGradient,
        OneGradientForAll,
        SoftmaxWithin,
        DependentReductions,
        CheapAcrossProduct,
        RowAcrossProduct,
        RowChoice,
        RowGradients,
        ProductOfGate,
        ProductForTwo,
        ProductIsState,
        NewStateTwice,
    )
}
