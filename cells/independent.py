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

    Source: Li et al., "Independently recurrent neural network (IndRNN)", 2018; these equations are
    those of TensorFlow 1.15, tf.contrib.rnn.IndyGRUCell.
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


class UnICORNN(Cell):
    r"""Independent oscillators, undamped, each with a learned time step.

        z' = z - dt * sigmoid(c) * tanh(W_z x + u * h + b_z)
        h' = h + dt * sigmoid(c) * z'

    c is one number a unit, and so is u, the paper's w. dt = 0.205 is part of this definition, and
    so is that the paper's alpha is 0: the authors' code has both for its one task on text, IMDB,
    and a smaller dt in the first of its two layers. c starts at 0, about which that code draws it.

    Source: Rusch & Mishra, "UnICORNN: a recurrent model for learning very long time dependencies",
    2021.
    Reference: none.
    Differs from cornn: no damping, no pull towards 0, the vector u in place of the matrices, and a
    time step of each unit.
    """

    name = "unicornn"
    gates = ("z",)
    state = ("h", "z")
    products = {}
    vectors = {"u": DRAWN, "c": 0.0}
    candidates = ("z",)
    zoneout_states = ("h", "z")

    def step(self, p, x, h, z):
        d = 0.205 * sigmoid(p.c)
        z = z - d * p.drop(tanh(x.z + p.u * h))
        return h + d * z, z
