"""What tests of a layer have in common: small sizes, inputs in float64, the cells of torch.nn."""

from functools import partial

import torch
from torch import nn

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
I, H, T, B = 5, 6, 7, 4
OF_TORCH = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn-tanh": nn.RNN,
    "rnn-relu": partial(nn.RNN, nonlinearity="relu"),
}
COMPILED = ("lstm", "gru")
"""The cells that tests run on engine ``cpu``: each is compiled."""


def doubles(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(hidden):
    return hidden if isinstance(hidden, tuple) else (hidden,)
