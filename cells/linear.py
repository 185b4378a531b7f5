"""Cells that are linear in their state: gates and candidate see the input alone, so that all time steps run at once."""

import torch
from torch import sigmoid

from cells.base import Cell


class MinGRU(Cell):
    r"""Minimal GRU: gate and candidate see the input alone.

        z  = sigmoid(W_z x + b_z)
        n  = g(W_n x + b_n),    g(u) = u + 0.5 where u >= 0, sigmoid(u) below
        h' = (1 - z) * h + z * n

    The paper's plain form has n = W_n x + b_n. Its log-space form, which it trains, needs a positive candidate and
    so has g; here g is in both.

    Source: Feng et al., "Were RNNs all we needed?", 2024 (minGRU; g from its log-space form).
    Reference: none.
    Differs from gru: no reset gate, no recurrent product, g for tanh, and z weighs the new content.
    """

    name = "min-gru"
    gates = ("z", "n")
    products = {}
    candidates = ("n",)
    zonable = ("h",)

    def step(self, p, x, h):
        """One time step."""
        z = sigmoid(x.z)
        n = torch.where(x.n >= 0, x.n + 0.5, sigmoid(x.n))
        return ((1 - z) * h + z * n,)


class MinLSTM(Cell):
    r"""Minimal LSTM: gates and candidate see the input alone, and what is kept and what is written add up to 1.

        f  = sigmoid(W_f x + b_f)
        i  = sigmoid(W_i x + b_i)
        n  = g(W_n x + b_n),    g(u) = u + 0.5 where u >= 0, sigmoid(u) below
        h' = f / (f + i) * h + i / (f + i) * n

    The paper's plain form has n = W_n x + b_n. Its log-space form, which it trains, needs a positive candidate and
    so has g; here g is in both.

    Source: Feng et al., "Were RNNs all we needed?", 2024 (minLSTM; g from its log-space form).
    Reference: none.
    Differs from lstm: no recurrent product, no output gate and no cell state beside h; f + i = 1; g for tanh.
    """

    name = "min-lstm"
    gates = ("f", "i", "n")
    products = {}
    forget_gates = ("f",)
    candidates = ("n",)
    zonable = ("h",)

    def step(self, p, x, h):
        """One time step."""
        f = sigmoid(x.f)
        i = sigmoid(x.i)
        n = torch.where(x.n >= 0, x.n + 0.5, sigmoid(x.n))
        return (f / (f + i) * h + i / (f + i) * n,)
