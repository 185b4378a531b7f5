"""Bistable cells, whose units hold either of two values without any input.

A feedback that exceeds 1 makes them do so.
"""

from torch import sigmoid, tanh

from cells.base import Cell


class NBRC(Cell):
    r"""Neuromodulated bistable cell: a unit is bistable where a is above 1.

        a  = 1 + tanh(W_a x + R_a h + b_a)
        c  = sigmoid (W_c x + R_c h + b_c)
        n  = tanh    (W_n x + a * h)
        h' = c * h + (1 - c) * n

    The paper writes no bias; the authors' code has b_a and b_c.

    Source: Vecoven, Ernst & Drion, "A bio-inspired bistable recurrent cell allows for long-lasting
    memory", 2021.
    Reference: none.
    Differs: no parent.
    """

    name = "nbrc"
    gates = ("a", "c", "n")
    products = {"R": ("a", "c")}
    unbiased = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        a = 1 + tanh(x.a + r.a)
        c = sigmoid(x.c + r.c)
        n = p.drop(tanh(x.n + a * h))
        return (c * h + (1 - c) * n,)


class BRC(Cell):
    r"""Bistable cell: a unit sees its own past alone.

        a  = 1 + tanh(W_a x + w_a * h + b_a)
        c  = sigmoid (W_c x + w_c * h + b_c)
        n  = tanh    (W_n x + a * h)
        h' = c * h + (1 - c) * n

    The paper writes no bias; the authors' code has b_a and b_c, and starts w_a and w_c at 1.

    Source: Vecoven, Ernst & Drion, "A bio-inspired bistable recurrent cell allows for long-lasting
    memory", 2021.
    Reference: none.
    Differs from nbrc: the vectors w_a and w_c in place of R.
    """

    name = "brc"
    gates = ("a", "c", "n")
    products = {}
    unbiased = ("n",)
    vectors = {"w_a": 1.0, "w_c": 1.0}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = 1 + tanh(x.a + p.w_a * h)
        c = sigmoid(x.c + p.w_c * h)
        n = p.drop(tanh(x.n + a * h))
        return (c * h + (1 - c) * n,)
