"""Cells that descend from LSTM by more than one change."""

from torch import exp, maximum, relu, sigmoid, tanh
from torch.nn.functional import logsigmoid

from cells.base import Cell, normalize


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

    The paper's bias of each LN and the gate's own bias only ever act as their sum, b. The cell of
    TensorFlow Addons carries the normalised c' on to the next step, where the paper carries c'.

    Source: Ba, Kiros & Hinton, "Layer normalization", 2016.
    Reference: none.
    Differs from lstm: LN on R h, W x and c', with gains u and v.
    """

    name = "lstm-layer-norm"
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


class LSTMMultiplicative(Cell):
    r"""LSTM whose gates see, in place of h, what the input makes of it.

    A step has two products, one after the other.

        m  = (W_m x) * (R_m h)
        i  = sigmoid(W_i x + R_i m + b_i)
        f  = sigmoid(W_f x + R_f m + b_f)
        g  = tanh   (W_g x + R_g m + b_g)
        o  = sigmoid(W_o x + R_o m + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Krause et al., "Multiplicative LSTM for sequence modelling", 2016.
    Reference: none.
    Differs from lstm: m for h.
    """

    name = "lstm-multiplicative"
    gates = ("m", "i", "f", "g", "o")
    state = ("h", "c")
    products = {"R_m": ("m",), "R": ("i", "f", "g", "o")}
    unbiased = ("m",)
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        m = x.m * p.R_m(h).m
        r = p.R(m)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class WMCLSTM(Cell):
    r"""LSTM with working memory connections: its gates see a squashed projection of the cell state.

        i  = sigmoid(W_i x + R_i h + tanh(M_i c)  + b_i)
        f  = sigmoid(W_f x + R_f h + tanh(M_f c)  + b_f)
        g  = tanh   (W_g x + R_g h                + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + R_o h + tanh(M_o c') + b_o)
        h' = o * tanh(c')

    Source: Landi et al., "Working memory connections for LSTM", 2021.
    Reference: none.
    Differs from lstm: tanh(M_i c), tanh(M_f c) and tanh(M_o c').
    """

    name = "wmclstm"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    products = {"R": ("i", "f", "g", "o"), "M": ("i", "f"), "M_o": ("o",)}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r, m = p.R(h), p.M(c)
        i = sigmoid(x.i + r.i + tanh(m.i))
        f = sigmoid(x.f + r.f + tanh(m.f))
        g = p.drop(tanh(x.g + r.g))
        c = f * c + i * g
        o = sigmoid(x.o + r.o + tanh(p.M_o(c).o))
        return o * tanh(c), c


class NAS(Cell):
    r"""The cell that a neural architecture search found.

        g1 = sigmoid(W_g1 x + R_g1 h + b_g1)
        g2 = relu   (W_g2 x + R_g2 h + b_g2)
        g3 = sigmoid(W_g3 x + R_g3 h + b_g3)
        g4 = relu  ((W_g4 x) * (R_g4 h))
        g5 = tanh   (W_g5 x + R_g5 h + b_g5)
        g6 = sigmoid(W_g6 x + R_g6 h + b_g6)
        g7 = tanh   (W_g7 x + R_g7 h + b_g7)
        g8 = sigmoid(W_g8 x + R_g8 h + b_g8)
        l1 = tanh(tanh(g1 * g2) + c)
        l2 = tanh(g3 + g4)
        l3 = tanh(g5 * g6)
        l4 = sigmoid(g7 + g8)
        c' = l1 * l2
        h' = tanh(c' * tanh(l3 + l4))

    torchrecurrent's NAS adds W_g4 x and R_g4 h in g4, where the paper's drawing multiplies them.

    Source: Zoph & Le, "Neural architecture search with reinforcement learning", 2016 (the paper
    draws the cell and names no bias).
    Reference: none.
    Differs: no parent.
    """

    name = "nas"
    gates = ("g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8")
    state = ("h", "c")
    unbiased = ("g4",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        g1 = sigmoid(x.g1 + r.g1)
        g2 = relu(x.g2 + r.g2)
        g3 = sigmoid(x.g3 + r.g3)
        g4 = relu(x.g4 * r.g4)
        g5 = tanh(x.g5 + r.g5)
        g6 = sigmoid(x.g6 + r.g6)
        g7 = tanh(x.g7 + r.g7)
        g8 = sigmoid(x.g8 + r.g8)
        l1 = tanh(tanh(g1 * g2) + c)
        l2 = tanh(g3 + g4)
        l3 = tanh(g5 * g6)
        l4 = sigmoid(g7 + g8)
        c = l1 * l2
        return tanh(c * tanh(l3 + l4)), c


class JANET(Cell):
    r"""Just another network: LSTM with the forget gate alone.

        s  =      W_f x + R_f h + b_f
        g  = tanh(W_g x + R_g h + b_g)
        h' = sigmoid(s) * h + (1 - sigmoid(s - 1)) * g

    The 1 that is subtracted from s is the paper's beta in its experiments: more is written than
    forgotten.

    Source: van der Westhuizen & Lasenby, "The unreasonable effectiveness of the forget gate", 2018.
    Reference: none.
    Differs from lstm: i = 1 - sigmoid(s - 1), o = 1, no tanh on c', so that the cell state is h.
    """

    name = "janet"
    gates = ("f", "g")
    forget_gates = ("f",)
    candidates = ("g",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        s = x.f + r.f
        g = p.drop(tanh(x.g + r.g))
        return (sigmoid(s) * h + (1 - sigmoid(s - 1)) * g,)


class SLSTM(Cell):
    r"""LSTM with an exponential input gate and a normaliser n.

    The factor exp(-m') keeps i and f from overflowing.

        k  =            W_i x + R_i h + b_i
        l  = logsigmoid(W_f x + R_f h + b_f) + m
        g  = tanh      (W_g x + R_g h + b_g)
        o  = sigmoid   (W_o x + R_o h + b_o)
        m' = max(k, l)
        i  = exp(k - m')
        f  = exp(l - m')
        c' = f * c + i * g
        n' = f * n + i
        h' = o * c' / max(n', 1)

    m starts at -1e30, so that the first step has i = 1 and f = 0. From there on n' is at least 1,
    for the larger of i and f is 1: h' is the paper's o * c' / n', and the maximum bounds it for any
    other state.

    Source: Beck et al., "xLSTM: extended long short-term memory", 2024 (its forget gate may be
    exponential too; there with R in heads).
    Reference: none.
    Differs from lstm: i is exponential, i and f are scaled by exp(-m'), and n takes the place of
    the tanh on c'.
    """

    name = "slstm"
    gates = ("i", "f", "g", "o")
    state = ("h", "c", "n", "m")
    start = {"m": -1e30}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h",)

    def step(self, p, x, h, c, n, m):
        r = p.R(h)
        k = x.i + r.i
        l = logsigmoid(x.f + r.f) + m
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        m = maximum(k, l)
        i = exp(k - m)
        f = exp(l - m)
        c = f * c + i * g
        n = f * n + i
        return o * c / n.clamp_min(1.0), c, n, m


class RAN(Cell):
    r"""Recurrent additive network: the cell state is a gated sum of inputs.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = W_g x
        c' = i * g + f * c
        h' = tanh(c')

    Source: Lee, Levy & Zettlemoyer, "Recurrent additive networks", 2017.
    Reference: none.
    Differs from lstm: o = 1, and the candidate is linear and sees the input alone.
    """

    name = "ran"
    gates = ("i", "f", "g")
    state = ("h", "c")
    products = {"R": ("i", "f")}
    unbiased = ("g",)
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(x.g)
        c = i * g + f * c
        return tanh(c), c
