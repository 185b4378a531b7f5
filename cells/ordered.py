"""Cells whose units have an order, in which they are written and forgotten."""

from torch import cumsum, sigmoid, softmax, tanh

from cells.base import Cell


class LSTMOrderedNeurons(Cell):
    r"""LSTM with two master gates that rise and fall over the units.

    Where a unit is forgotten, the units before it are forgotten too.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        mf =     cumsum(softmax(W_mf x + R_mf h + b_mf))
        mi = 1 - cumsum(softmax(W_mi x + R_mi h + b_mi))
        w  = mf * mi
        c' = (f * w + mf - w) * c + (i * w + mi - w) * g
        h' = o * tanh(c')

    Softmax and sum are over the units. Each unit has master gates of its own; in the paper a chunk
    of ten shares one. The last unit is never written, since the sum over all units is 1.

    Source: Shen, Tan, Sordoni & Courville, "Ordered neurons: integrating tree structures into
    recurrent neural networks", 2019.
    Reference: none.
    Differs from lstm: the master gates; i and f decide where both are open.
    """

    name = "lstm-on"
    gates = ("i", "f", "g", "o", "mf", "mi")
    state = ("h", "c")
    forget_gates = ("f",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        mf = cumsum(softmax(x.mf + r.mf, -1), -1)
        mi = 1 - cumsum(softmax(x.mi + r.mi, -1), -1)
        w = mf * mi
        c = (f * w + mf - w) * c + (i * w + mi - w) * g
        return o * tanh(c), c
