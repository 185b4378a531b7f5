"""Long short-term memory and its ablations."""

from torch import minimum, sigmoid, tanh

from cells.base import DRAWN, Cell


class LSTM(Cell):
    r"""Long short-term memory with a forget gate.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Gers, Schmidhuber & Cummins, "Learning to forget", 2000.
    Reference: torch.nn.LSTM.
    Differs: no parent.
    """

    name = "lstm"
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


class LSTMNoOutputTanh(Cell):
    r"""LSTM whose hidden state is the gated cell state itself.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * c'

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no output activation function, there
    with peepholes).
    Reference: none.
    Differs from lstm: no tanh on c'.
    """

    name = "lstm-no-output-tanh"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * c, c


class LSTMCoupled(Cell):
    r"""LSTM that forgets exactly what it writes.

        i  = sigmoid(W_i x + R_i h + b_i)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = (1 - i) * c + i * g
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (coupled input and forget gate, there
    with peepholes).
    Reference: none.
    Differs from lstm: f = 1 - i.
    """

    name = "lstm-coupled"
    gates = ("i", "g", "o")
    state = ("h", "c")
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = (1 - i) * c + i * g
        return o * tanh(c), c


class LSTMPeephole(Cell):
    r"""LSTM whose gates see the cell state through diagonal connections.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        f  = sigmoid(W_f x + R_f h + p_f * c  + b_f)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    Source: Gers & Schmidhuber, "Recurrent nets that time and count", 2000.
    Reference: none.
    Differs from lstm: the peepholes p_i, p_f on c and p_o on c'.
    """

    name = "lstm-peephole"
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
        return o * tanh(c), c


class LSTMNoInputGate(Cell):
    r"""LSTM that writes all of its candidate.

        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + g
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no input gate, there with
    peepholes).
    Reference: none.
    Differs from lstm: i = 1.
    """

    name = "lstm-no-input-gate"
    gates = ("f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + g
        return o * tanh(c), c


class LSTMNoForgetGate(Cell):
    r"""LSTM that forgets nothing.

        i  = sigmoid(W_i x + R_i h + b_i)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = c + i * g
        h' = o * tanh(c')

    Source: Hochreiter & Schmidhuber, "Long short-term memory", 1997 (there with other squashing
    functions, 4 s - 2 for the candidate and 2 s - 1 for c', and a truncated gradient).
    Reference: none.
    Differs from lstm: f = 1.
    """

    name = "lstm-no-forget-gate"
    gates = ("i", "g", "o")
    state = ("h", "c")
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = c + i * g
        return o * tanh(c), c


class LSTMNoOutputGate(Cell):
    r"""LSTM that shows all of its cell state.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        c' = f * c + i * g
        h' = tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no output gate, there with
    peepholes).
    Reference: none.
    Differs from lstm: o = 1.
    """

    name = "lstm-no-output-gate"
    gates = ("i", "f", "g")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        c = f * c + i * g
        return tanh(c), c


class LSTMNoInputTanh(Cell):
    r"""LSTM whose candidate is linear.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  =         W_g x + R_g h + b_g
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Source: Greff et al., "LSTM: a search space odyssey", 2015 (no input activation function, there
    with peepholes).
    Reference: none.
    Differs from lstm: no tanh on g.
    """

    name = "lstm-no-input-tanh"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(x.g + r.g)
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class LSTMCapped(Cell):
    r"""LSTM that writes at most what it forgets, so that c stays within -1 and 1.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + min(1 - f, i) * g
        h' = o * tanh(c')

    Source: Melis, Dyer & Blunsom, "On the state of the art of evaluation in neural language
    models", 2018.
    Reference: none.
    Differs from lstm: i is at most 1 - f.
    """

    name = "lstm-capped"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + minimum(1 - f, i) * g
        return o * tanh(c), c
