"""Cells of a user's own that cannot train, each in its own way."""

import torch
from torch import tanh

from cells import Cell


class Sound(Cell):
    """h' = tanh(W x + R h).

    Source: the tests.
    Reference: none.
    Differs: no parent.
    """

    name = "sound"
    gates = ("g",)

    def step(self, p, x, h):
        return (tanh(x.g + p.R(h).g),)


class Misspelt(Cell):
    """h' = tanh(W x + R h).

    Source: the tests.
    Reference: none.
    Differs: no parent.
    """

    name = "misspelt"
    gates = ("g",)

    def step(self, p, x, h):
        return self.new_state(p, x, h)

    def new_state(self, p, x, h):
        return (tanh(x.g + p.R(h).gate),)


class OfOneBatchSize(Cell):
    """h' = tanh(W x + R h).

    Source: the tests.
    Reference: none.
    Differs: no parent.
    """

    name = "of-one-batch-size"
    gates = ("g",)

    def step(self, p, x, h):
        if h.shape[-2] != 4:
            raise ValueError(f"a batch must have 4 rows,\nnot {h.shape[-2]}")
        return (tanh(x.g + p.R(h).g),)


class OfTwiceTheWidth(Cell):
    """h' = tanh(W x + R h).

    Source: the tests.
    Reference: none.
    Differs: no parent.
    """

    name = "of-twice-the-width"
    gates = ("g",)

    def step(self, p, x, h):
        return (torch.cat([x.g, x.g], -1),)


class WithoutGradient(Cell):
    """h' = tanh(W x + R h).

    Source: the tests.
    Reference: none.
    Differs: no parent.
    """

    name = "without-gradient"
    gates = ("g",)

    def step(self, p, x, h):
        return (Refusing.apply(tanh(x.g + p.R(h).g)),)


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        raise NotImplementedError("its gradient")
