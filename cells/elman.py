"""The simple recurrent network (Elman 1990)."""

from torch import relu, tanh

from cells.base import Cell


class RNNTanh(Cell):
    r"""Elman's network with tanh.

        h' = tanh(W_h x + R_h h + b_h)

    Source: Elman, "Finding structure in time", 1990.
    Reference: torch.nn.RNN(nonlinearity="tanh").
    Differs: no parent.
    """

    name = "rnn-tanh"
    gates = ("h",)
    candidates = ("h",)
    zonable = ("h",)
    reference = ("RNN", {"nonlinearity": "tanh"})

    def step(self, p, x, h):
        """One time step."""
        return (tanh(x.h + p.R(h).h),)


class RNNReLU(Cell):
    r"""Elman's network with a rectifier.

        h' = relu(W_h x + R_h h + b_h)

    Source: Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015
    (there with R started at the identity).
    Reference: torch.nn.RNN(nonlinearity="relu").
    Differs from rnn-tanh: relu for tanh.
    """

    name = "rnn-relu"
    gates = ("h",)
    candidates = ("h",)
    zonable = ("h",)
    reference = ("RNN", {"nonlinearity": "relu"})

    def step(self, p, x, h):
        """One time step."""
        return (relu(x.h + p.R(h).h),)
