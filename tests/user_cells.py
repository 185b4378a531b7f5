"""Four cells as a user's own file holds them: normalised, of many products, elementwise, and linear
in its state.
"""

from torch import relu, sigmoid, tanh

from cells import DRAWN, Cell, normalize


class LSTMLayerNorm(Cell):
    r"""LSTM with layer normalisation; LN is over all gates together, and over the units of c'.

        (r_i, r_f, r_g, r_o) = LN(R h)
        (w_i, w_f, w_g, w_o) = LN(W x)
        i  = sigmoid(u_i * r_i + v_i * w_i + b_i)
        f  = sigmoid(u_f * r_f + v_f * w_f + b_f)
        g  = tanh   (u_g * r_g + v_g * w_g + b_g)
        o  = sigmoid(u_o * r_o + v_o * w_o + b_o)
        c' = f * c + i * g
        h' = o * tanh(u_c * LN(c') + b_c)

    The paper's bias of each LN and the gate's own bias only ever act as their sum, b.

    Source: Ba, Kiros & Hinton, "Layer normalization", 2016.
    Reference: none.
    Differs from lstm: LN on R h, W x and c', with gains u and v.
    """

    name = "my-lstm-layer-norm"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    unbiased = ("i", "f", "g", "o")
    vectors = {
        **dict.fromkeys(("u_i", "u_f", "u_g", "u_o", "v_i", "v_f", "v_g", "v_o", "u_c"), 1.0),
        **dict.fromkeys(("b_i", "b_f", "b_g", "b_o", "b_c"), 0.0),
    }
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        r_i, r_f, r_g, r_o = normalize(r.i, r.f, r.g, r.o)
        w_i, w_f, w_g, w_o = normalize(x.i, x.f, x.g, x.o)
        i = sigmoid(p.u_i * r_i + p.v_i * w_i + p.b_i)
        f = sigmoid(p.u_f * r_f + p.v_f * w_f + p.b_f)
        g = p.drop(tanh(p.u_g * r_g + p.v_g * w_g + p.b_g))
        o = sigmoid(p.u_o * r_o + p.v_o * w_o + p.b_o)
        c = f * c + i * g
        return o * tanh(p.u_c * normalize(c)[0] + p.b_c), c


class LSTMFullGateRecurrence(Cell):
    r"""Peephole LSTM whose gates also see the previous gates, after their activation.

        i' = sigmoid(W_i x + R_i h + F_ii i + F_fi f + F_oi o + p_i * c  + b_i)
        f' = sigmoid(W_f x + R_f h + F_if i + F_ff f + F_of o + p_f * c  + b_f)
        g  = tanh   (W_g x + R_g h                                       + b_g)
        c' = f' * c + i' * g
        o' = sigmoid(W_o x + R_o h + F_io i + F_fo f + F_oo o + p_o * c' + b_o)
        h' = o' * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (full gate recurrence).
    Reference: none.
    Differs from lstm-peephole: the nine matrices F.
    """

    name = "my-full-gate-recurrence"
    gates = ("i", "f", "g", "o")
    state = ("h", "c", "i", "f", "o")
    products = {
        "R": ("i", "f", "g", "o"),
        "F_i": ("i", "f", "o"),
        "F_f": ("i", "f", "o"),
        "F_o": ("i", "f", "o"),
    }
    vectors = {"p_i": DRAWN, "p_f": DRAWN, "p_o": DRAWN}
    forget_gates = ("f",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c, i, f, o):
        r, from_i, from_f, from_o = p.R(h), p.F_i(i), p.F_f(f), p.F_o(o)
        i = sigmoid(x.i + r.i + from_i.i + from_f.i + from_o.i + p.p_i * c)
        f = sigmoid(x.f + r.f + from_i.f + from_f.f + from_o.f + p.p_f * c)
        g = p.drop(tanh(x.g + r.g))
        c = f * c + i * g
        o = sigmoid(x.o + r.o + from_i.o + from_f.o + from_o.o + p.p_o * c)
        return o * tanh(c), c, i, f, o


class IndRNN(Cell):
    r"""Independently recurrent network: a unit sees its own past alone.

        h' = relu(W_h x + u * h + b_h)

    Source: Li et al., "Independently recurrent neural network (IndRNN)", 2018.
    Reference: none.
    Differs from rnn-relu: the vector u in place of the matrix R.
    """

    name = "my-indrnn"
    gates = ("h",)
    products = {}
    vectors = {"u": DRAWN}
    candidates = ("h",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        return (p.drop(relu(x.h + p.u * h)),)


class TRNN(Cell):
    r"""Strongly typed RNN: the state enters linearly, and may be of either sign.

        f  = sigmoid(W_f x + b_f)
        z  = W_z x
        h' = f * h + (1 - f) * z

    Source: Balduzzi & Ghifary, "Strongly-typed recurrent neural networks", 2016 (T-RNN).
    Reference: none.
    Differs from min-gru: a candidate without bias and without g, and f weighs the old content.
    """

    name = "my-t-rnn"
    gates = ("f", "z")
    products = {}
    unbiased = ("z",)
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.f)
        return (f * h + (1 - f) * p.drop(x.z),)
