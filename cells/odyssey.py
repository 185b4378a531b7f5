"""The eight variants of Greff et al. (2015), under the paper's names.

Each is ``lstm-peephole`` with one change.
"""

from torch import sigmoid, tanh

from cells.base import DRAWN, Cell


class OdysseyNIG(Cell):
    r"""Peephole LSTM that writes all of its candidate.

        f  = sigmoid(W_f x + R_f h + p_f * c  + b_f)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = f * c + g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no input gate).
    Reference: none.
    Differs from lstm-peephole: i = 1.
    """

    name = "odyssey-nig"
    gates = ("f", "g", "o")
    state = ("h", "c")
    vectors = {"p_f": DRAWN, "p_o": DRAWN}
    forget_gates = ("f",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        f = sigmoid(x.f + r.f + p.p_f * c)
        g = p.drop(tanh(x.g + r.g))
        c = f * c + g
        o = sigmoid(x.o + r.o + p.p_o * c)
        return o * tanh(c), c


class OdysseyNFG(Cell):
    r"""Peephole LSTM that forgets nothing.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no forget gate).
    Reference: none.
    Differs from lstm-peephole: f = 1.
    """

    name = "odyssey-nfg"
    gates = ("i", "g", "o")
    state = ("h", "c")
    vectors = {"p_i": DRAWN, "p_o": DRAWN}
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.p_i * c)
        g = p.drop(tanh(x.g + r.g))
        c = c + i * g
        o = sigmoid(x.o + r.o + p.p_o * c)
        return o * tanh(c), c


class OdysseyNOG(Cell):
    r"""Peephole LSTM that shows all of its cell state.

        i  = sigmoid(W_i x + R_i h + p_i * c + b_i)
        f  = sigmoid(W_f x + R_f h + p_f * c + b_f)
        g  = tanh   (W_g x + R_g h           + b_g)
        c' = f * c + i * g
        h' = tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no output gate).
    Reference: none.
    Differs from lstm-peephole: o = 1.
    """

    name = "odyssey-nog"
    gates = ("i", "f", "g")
    state = ("h", "c")
    vectors = {"p_i": DRAWN, "p_f": DRAWN}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.p_i * c)
        f = sigmoid(x.f + r.f + p.p_f * c)
        g = p.drop(tanh(x.g + r.g))
        c = f * c + i * g
        return tanh(c), c


class OdysseyNIAF(Cell):
    r"""Peephole LSTM whose candidate is linear.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        f  = sigmoid(W_f x + R_f h + p_f * c  + b_f)
        g  =         W_g x + R_g h            + b_g
        c' = f * c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no input activation function).
    Reference: none.
    Differs from lstm-peephole: no tanh on g.
    """

    name = "odyssey-niaf"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    vectors = {"p_i": DRAWN, "p_f": DRAWN, "p_o": DRAWN}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.p_i * c)
        f = sigmoid(x.f + r.f + p.p_f * c)
        g = p.drop(x.g + r.g)
        c = f * c + i * g
        o = sigmoid(x.o + r.o + p.p_o * c)
        return o * tanh(c), c


class OdysseyNOAF(Cell):
    r"""Peephole LSTM whose hidden state is the gated cell state itself.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        f  = sigmoid(W_f x + R_f h + p_f * c  + b_f)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * c'

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no output activation function).
    Reference: none.
    Differs from lstm-peephole: no tanh on c'.
    """

    name = "odyssey-noaf"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    vectors = {"p_i": DRAWN, "p_f": DRAWN, "p_o": DRAWN}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.p_i * c)
        f = sigmoid(x.f + r.f + p.p_f * c)
        g = p.drop(tanh(x.g + r.g))
        c = f * c + i * g
        o = sigmoid(x.o + r.o + p.p_o * c)
        return o * c, c


class OdysseyCIFG(Cell):
    r"""Peephole LSTM that forgets exactly what it writes.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = (1 - i) * c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (coupled input and forget gate).
    Reference: none.
    Differs from lstm-peephole: f = 1 - i.
    """

    name = "odyssey-cifg"
    gates = ("i", "g", "o")
    state = ("h", "c")
    vectors = {"p_i": DRAWN, "p_o": DRAWN}
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i + p.p_i * c)
        g = p.drop(tanh(x.g + r.g))
        c = (1 - i) * c + i * g
        o = sigmoid(x.o + r.o + p.p_o * c)
        return o * tanh(c), c


class OdysseyNP(Cell):
    r"""LSTM without peepholes, for the set of eight: it is ``lstm``.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no peepholes).
    Reference: torch.nn.LSTM.
    Differs from lstm-peephole: p_i = p_f = p_o = 0.
    """

    name = "odyssey-np"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")
    reference = ("LSTM", {})

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class OdysseyFGR(Cell):
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

    name = "odyssey-fgr"
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
    input_gates = ("i",)
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
