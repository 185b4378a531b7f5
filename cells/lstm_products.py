"""LSTMs that differ in what they multiply.

They have a recurrent matrix in blocks, a projection, or products of input and state.
"""

import math

import torch
from torch import sigmoid, tanh

from cells.base import Cell

MOST_BLOCKS = 4


class LSTMBlockDiagonal(Cell):
    r"""LSTM whose units see the units of their own block: R is block-diagonal, as heads are.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Four blocks where 4 divides H, two where only 2 does, else one; the parameter R has the rows of
    one block, each gate's blocks side by side.

    Source: Beck et al., "xLSTM: extended long short-term memory", 2024 (the heads of its recurrent
    matrix).
    Reference: none.
    Differs from lstm: R is block-diagonal.
    """

    name = "lstm-block-diagonal"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    @classmethod
    def recurrent_rows(cls, hidden_size):
        """H over the number of blocks."""
        return hidden_size // math.gcd(hidden_size, MOST_BLOCKS)

    @classmethod
    def prepared(cls, parameters):
        """R (N, H/n, 4*H) becomes (N, H, 4*H), zero outside the blocks."""
        narrow = parameters["R"]
        size = narrow.shape[-1] // len(cls.gates)
        blocks = size // narrow.shape[-2]
        repeated = narrow.repeat(1, blocks, 1).unflatten(2, (len(cls.gates), size))
        place = torch.arange(size, device=narrow.device) // narrow.shape[-2]
        return {**parameters, "R": (repeated * (place.view(-1, 1, 1) == place)).flatten(2)}

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class LSTMProjected(Cell):
    r"""LSTM whose output is projected to fewer units.

    The recurrent products and the layer above see the projection.

        i  = sigmoid(W_i x + R_i h + b_i)
        f  = sigmoid(W_f x + R_f h + b_f)
        g  = tanh   (W_g x + R_g h + b_g)
        o  = sigmoid(W_o x + R_o h + b_o)
        c' = f * c + i * g
        m' = o * tanh(c')
        h' = P m'

    The state is m, and h = P m; the step multiplies m with P R, made once for all time steps, which
    is more work than the two products where P is narrow. From a start of zero it equals
    torch.nn.LSTM with proj_size.

    Source: Sak, Senior & Beaufays, "Long short-term memory recurrent neural network architectures
    for large scale acoustic modeling", 2014.
    Reference: none.
    Differs from lstm: the projection P.
    """

    name = "lstm-projected"
    gates = ("i", "f", "g", "o")
    state = ("m", "c")
    projects = True
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("c",)

    @classmethod
    def prepared(cls, parameters):
        """R becomes P R, and P goes."""
        others = {name: value for name, value in parameters.items() if name != "P"}
        return {**others, "R": parameters["P"] @ parameters["R"]}

    def step(self, p, x, m, c):
        r = p.R(m)
        i = sigmoid(x.i + r.i)
        f = sigmoid(x.f + r.f)
        g = p.drop(tanh(x.g + r.g))
        o = sigmoid(x.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class LSTMMogrifier(Cell):
    r"""LSTM before which input and state gate one another, in five rounds.

        x  = 2 * sigmoid(Q1 h) * x
        h  = 2 * sigmoid(P1 x) * h
        x  = 2 * sigmoid(Q2 h) * x
        h  = 2 * sigmoid(P2 x) * h
        x  = 2 * sigmoid(Q3 h) * x
        i  = sigmoid(V_i x + R_i h + b_i)
        f  = sigmoid(V_f x + R_f h + b_f)
        g  = tanh   (V_g x + R_g h + b_g)
        o  = sigmoid(V_o x + R_o h + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    Each line sees what the lines before it made. Five rounds and whole matrices, as in the paper's
    best models but for their rank; the input has H units.

    Source: Melis, Kocisky & Blunsom, "Mogrifier LSTM", 2020.
    Reference: none.
    Differs from lstm: the rounds before it.
    """

    name = "lstm-mogrifier"
    gates = ()
    state = ("h", "c")
    reads_input = True
    products = {
        "Q1": ("q1",),
        "P1": ("p1",),
        "Q2": ("q2",),
        "P2": ("p2",),
        "Q3": ("q3",),
        "V": ("i", "f", "g", "o"),
        "R": ("i", "f", "g", "o"),
    }
    recurrent_biases = ("i", "f", "g", "o")
    unbiased = ("q1", "p1", "q2", "p2", "q3")
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        x = 2 * sigmoid(p.Q1(h).q1) * x.input
        h = 2 * sigmoid(p.P1(x).p1) * h
        x = 2 * sigmoid(p.Q2(h).q2) * x
        h = 2 * sigmoid(p.P2(x).p2) * h
        x = 2 * sigmoid(p.Q3(h).q3) * x
        a, r = p.V(x), p.R(h)
        i = sigmoid(a.i + r.i)
        f = sigmoid(a.f + r.f)
        g = p.drop(tanh(a.g + r.g))
        o = sigmoid(a.o + r.o)
        c = f * c + i * g
        return o * tanh(c), c


class LSTMMultiplicativeIntegration(Cell):
    r"""LSTM whose gates multiply what they get of the input and of the state, beside adding them.

        i  = sigmoid(alpha_i * (W_i x) * (R_i h) + beta1_i * (R_i h) + beta2_i * (W_i x) + b_i)
        f  = sigmoid(alpha_f * (W_f x) * (R_f h) + beta1_f * (R_f h) + beta2_f * (W_f x) + b_f)
        g  = tanh   (alpha_g * (W_g x) * (R_g h) + beta1_g * (R_g h) + beta2_g * (W_g x) + b_g)
        o  = sigmoid(alpha_o * (W_o x) * (R_o h) + beta1_o * (R_o h) + beta2_o * (W_o x) + b_o)
        c' = f * c + i * g
        h' = o * tanh(c')

    This is the paper's general form. Its factors start at 1 here, which is a choice of this
    definition, and its biases at 0; these are vectors, since they are outside the products, so no
    study field raises b_f.

    Source: Wu, Zhang, Zhang, Bengio & Salakhutdinov, "On multiplicative integration with recurrent
    neural networks",
    2016.
    Reference: none.
    Differs from lstm: alpha, beta1 and beta2 of each unit of each gate.
    """

    name = "lstm-multiplicative-integration"
    gates = ("i", "f", "g", "o")
    state = ("h", "c")
    unbiased = ("i", "f", "g", "o")
    vectors = {
        **dict.fromkeys(("alpha_i", "alpha_f", "alpha_g", "alpha_o"), 1.0),
        **dict.fromkeys(("beta1_i", "beta1_f", "beta1_g", "beta1_o"), 1.0),
        **dict.fromkeys(("beta2_i", "beta2_f", "beta2_g", "beta2_o"), 1.0),
        **dict.fromkeys(("b_i", "b_f", "b_g", "b_o"), 0.0),
    }
    candidates = ("g",)
    zoneout_states = ("h", "c")

    def step(self, p, x, h, c):
        r = p.R(h)
        i = sigmoid(p.alpha_i * x.i * r.i + p.beta1_i * r.i + p.beta2_i * x.i + p.b_i)
        f = sigmoid(p.alpha_f * x.f * r.f + p.beta1_f * r.f + p.beta2_f * x.f + p.b_f)
        g = p.drop(tanh(p.alpha_g * x.g * r.g + p.beta1_g * r.g + p.beta2_g * x.g + p.b_g))
        o = sigmoid(p.alpha_o * x.o * r.o + p.beta1_o * r.o + p.beta2_o * x.o + p.b_o)
        c = f * c + i * g
        return o * tanh(c), c
