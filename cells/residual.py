"""An LSTM with a shortcut from its input to its output."""

from torch import sigmoid, tanh

from cells.base import DRAWN, Cell


class LSTMResidual(Cell):
    r"""LSTM whose output gate lets a projection of the input through beside the cell state's.

        i  = sigmoid(W_i x + R_i h + p_i * c  + b_i)
        f  = sigmoid(W_f x + R_f h + p_f * c  + b_f)
        g  = tanh   (W_g x + R_g h            + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + R_o h + p_o * c' + b_o)
        h' = o * (M tanh(c') + W_s x)

    M is the paper's W_p, W_s its W_h. M has H rows and columns here, where the paper's may be
    narrower. The paper lets x stand for W_s x where it has as many units as h; here W_s is always
    there.

    Source: Kim, El-Khamy & Lee, "Residual LSTM: design of a deep recurrent architecture for distant
    speech recognition", 2017.
    Reference: none.
    Differs from lstm-peephole: the matrix M, and the shortcut W_s x.
    """

    name = "lstm-residual"
    gates = ("i", "f", "g", "o", "s")
    state = ("h", "c")
    products = {"R": ("i", "f", "g", "o"), "M": ("m",)}
    unbiased = ("s", "m")
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
        return o * (p.M(tanh(c)).m + x.s), c
