"""The gated recurrent unit, in both of its published forms."""

from torch import sigmoid, tanh

from cells.base import Cell


class GRU(Cell):
    r"""Gated recurrent unit, the reset after the product.

        r  = sigmoid(W_r x + R_r h + b_r)
        z  = sigmoid(W_z x + R_z h + b_z)
        n  = tanh   (W_n x + b_n + r * (R_n h + b_Rn))
        h' = (1 - z) * n + z * h

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014 (arXiv version 1).
    Reference: torch.nn.GRU.
    Differs: no parent.
    """

    name = "gru"
    gates = ("r", "z", "n")
    recurrent_biases = ("n",)
    candidates = ("n",)
    zonable = ("h",)
    reference = ("GRU", {})

    def step(self, p, x, h):
        """One time step."""
        a = p.R(h)
        r = sigmoid(x.r + a.r)
        z = sigmoid(x.z + a.z)
        n = tanh(x.n + r * a.n)
        return ((1 - z) * n + z * h,)


class GRUResetBefore(Cell):
    r"""Gated recurrent unit, the reset before the product: two dependent products a step.

        r  = sigmoid(W_r x + R_r h + b_r)
        z  = sigmoid(W_z x + R_z h + b_z)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = (1 - z) * n + z * h

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014 (arXiv version 3).
    Reference: none.
    Differs from gru: the reset acts on h, before the product, and the candidate has no bias of its own there.
    """

    name = "gru-reset-before"
    gates = ("r", "z", "n")
    products = {"R": ("r", "z"), "R_n": ("n",)}
    candidates = ("n",)
    zonable = ("h",)

    def step(self, p, x, h):
        """One time step."""
        a = p.R(h)
        r = sigmoid(x.r + a.r)
        z = sigmoid(x.z + a.z)
        n = tanh(x.n + p.R_n(r * h).n)
        return ((1 - z) * n + z * h,)
