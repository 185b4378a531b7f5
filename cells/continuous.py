"""A network of continuous time in closed form."""

from torch import sigmoid, tanh

from cells.base import Cell


class CfC(Cell):
    r"""Closed-form continuous-time network: two contents, and a gate of time between them.

        f  =      W_f x + R_f h + b_f
        g  = tanh(W_g x + R_g h + b_g)
        k  = tanh(W_k x + R_k h + b_k)
        h' = sigmoid(-f * t) * g + (1 - sigmoid(-f * t)) * k

    t, the time since the last step, is 1: the steps are equally far apart. k is the paper's h. Its
    f, g and h are networks that share their first layers; here each is one layer of its own, as in
    the authors' code without a backbone, whose gate has a second pre-activation for a time that
    varies.

    Source: Hasani et al., "Closed-form continuous-time neural networks", 2022.
    Reference: none.
    Differs from gru-no-reset: a second candidate where that has the old state.
    """

    name = "cfc"
    gates = ("f", "g", "k")
    candidates = ("g", "k")
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        f = x.f + r.f
        g = p.drop(tanh(x.g + r.g))
        k = p.drop(tanh(x.k + r.k))
        share = sigmoid(-f)
        return (share * g + (1 - share) * k,)
