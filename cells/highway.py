"""Cells that read their input itself, and not only products with it.

The input must have as many units as the state.
"""

from torch import exp, expm1, relu, sigmoid, sqrt, tanh
from torch.nn.functional import softplus

from cells.base import DRAWN, Cell

LEAST = 1e-36
"""The smallest 1 - a^2 of rg-lru, which is nothing beside a state.

At 0, where r underflows, its root would have no gradient.
"""


class IntersectionRNN(Cell):
    r"""Intersection network: one gate over the state, a second one between input and output.

    The gate over the state is that of ugrnn.

        y  = relu   (W_y x + R_y h + b_y)
        n  = tanh   (W_n x + R_n h + b_n)
        u  = sigmoid(W_u x + R_u h + b_u)
        g  = sigmoid(W_g x + R_g h + b_g)
        y' = u * x + (1 - u) * y
        h' = g * h + (1 - g) * n

    The layer above sees y'; no step does.

    Source: Collins, Sohl-Dickstein & Sussillo, "Capacity and trainability in recurrent neural
    networks", 2017.
    Reference: none.
    Differs from ugrnn: the output is not the state, but new content and the input, through a gate
    of their own.
    """

    name = "intersection-rnn"
    gates = ("y", "n", "u", "g")
    state = ("y", "h")
    reads_input = True
    unread = ("y",)
    forget_gates = ("g",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, y, h):
        r = p.R(h)
        u = sigmoid(x.u + r.u)
        g = sigmoid(x.g + r.g)
        n = p.drop(tanh(x.n + r.n))
        return u * x.input + (1 - u) * relu(x.y + r.y), g * h + (1 - g) * n


class SRU(Cell):
    r"""Simple recurrent unit: its gates see their own unit's cell state alone.

    A highway leads past the cell.

        f  = sigmoid(W_f x + v_f * c + b_f)
        c' = f * c + (1 - f) * (W_z x)
        r  = sigmoid(W_r x + v_r * c + b_r)
        h' = r * c' + (1 - r) * x

    The layer above sees h'; no step does. The paper's factor on the highway, which makes up for the
    initial bias of r, is 1 here, as it is where that bias is 0 and the factor is left out.

    Source: Lei, Zhang, Wang, Dai & Artzi, "Simple recurrent units for highly parallelizable
    recurrence", 2018.
    Reference: none.
    Differs from min-gru: the gates see c, each unit its own, and the output is a gated mixture of
    c' and the input.
    """

    name = "sru"
    gates = ("z", "f", "r")
    state = ("h", "c")
    products = {}
    reads_input = True
    unread = ("h",)
    unbiased = ("z",)
    vectors = {"v_f": DRAWN, "v_r": DRAWN}
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("c",)

    def step(self, p, x, h, c):
        f = sigmoid(x.f + p.v_f * c)
        r = sigmoid(x.r + p.v_r * c)
        c = f * c + (1 - f) * p.drop(x.z)
        return r * c + (1 - r) * x.input, c


class RGLRU(Cell):
    r"""Real-gated linear recurrent unit: a diagonal decay, raised to a power that the input sets.

        r  = sigmoid(W_r x + b_r)
        i  = sigmoid(W_i x + b_i)
        a  = exp(-8 * r * softplus(l))
        h' = a * h + sqrt(1 - a^2) * (i * x)

    l starts at -5, where a = 0.95 at r = 1; the paper draws it so that this a is uniform in 0.9 to
    0.999. Its gates have a matrix in blocks, here it is whole.

    Source: De et al., "Griffin: mixing gated linear recurrences with local attention for efficient
    language models", 2024.
    Reference: none.
    Differs from min-gru: the decay is a power of a learned one, and what is written is the input
    itself, gated.
    """

    name = "rg-lru"
    gates = ("r", "i")
    products = {}
    reads_input = True
    vectors = {"l": -5.0}
    candidates = ("i",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = sigmoid(x.r)
        i = sigmoid(x.i)
        log_a = -8 * r * softplus(p.l)
        written = sqrt(-expm1((2 * log_a).clamp_max(-LEAST)))
        return (exp(log_a) * h + written * p.drop(i * x.input),)
