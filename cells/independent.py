"""Cells whose units see no other unit's past: vectors in the place of recurrent matrices."""

from torch import sigmoid, tanh

from cells.base import DRAWN, Cell


class IndyLSTM(Cell):
    r"""LSTM whose units see their own past alone.

        i  = sigmoid(W_i x + u_i * h + b_i)
        f  = sigmoid(W_f x + u_f * h + b_f)
        g  = tanh   (W_g x + u_g * h + b_g)
        o  = sigmoid(W_o x + u_o * h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Gonnet & Deselaers, "IndyLSTMs: independently recurrent LSTMs", 2019.
    Reference: none.
    Differs from lstm: the vectors u in place of the matrix R.
    """

    name = "indylstm"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    products = {}
    vectors = {"u_i": DRAWN, "u_f": DRAWN, "u_g": DRAWN, "u_o": DRAWN}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        i = sigmoid(x.i + p.u_i * h)
        f = sigmoid(x.f + p.u_f * h)
        g = p.drop(tanh(x.g + p.u_g * h))
        o = sigmoid(x.o + p.u_o * h)
        c = f * c + i * g
        return o * tanh(c), c


class IndyGRU(Cell):
    r"""Gated recurrent unit whose units see their own past alone.

        r  = sigmoid(W_r x + u_r * h + b_r)
        z  = sigmoid(W_z x + u_z * h + b_z)
        n  = tanh   (W_n x + u_n * (r * h) + b_n)
        h' = (1 - z) * n + z * h

    With vectors it is all the same whether the reset comes before or after the product.

    Source: TensorFlow 1.15, a library, tf.contrib.rnn.IndyGRUCell; the idea is that of Li et al.,
    "Independently recurrent neural network (IndRNN)", 2018.
    Reference: none.
    Differs from gru-reset-before: the vectors u in place of the matrices R.
    """

    name = "indygru"
    gates = ("r", "z", "n")
    products = {}
    vectors = {"u_r": DRAWN, "u_z": DRAWN, "u_n": DRAWN}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = sigmoid(x.r + p.u_r * h)
        z = sigmoid(x.z + p.u_z * h)
        n = p.drop(tanh(x.n + p.u_n * (r * h)))
        return ((1 - z) * n + z * h,)
