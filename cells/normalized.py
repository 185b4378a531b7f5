"""Cells that normalise what their gates see over the units of one example (Ba 2016)."""

from torch import relu, sigmoid, tanh

from cells.base import DRAWN, Cell, normalize


class GRULayerNorm(Cell):
    r"""Gated recurrent unit with layer normalisation.

    LN is over both gates together, and over the candidate's units.

        (r_r, r_z) = LN(R_r h, R_z h)
        (w_r, w_z) = LN(W_r x, W_z x)
        r  = sigmoid(u_r * r_r + v_r * w_r + b_r)
        z  = sigmoid(u_z * r_z + v_z * w_z + b_z)
        n  = tanh   (v_n * LN(W_n x) + b_n + r * (u_n * LN(R_n h) + b_Rn))
        h' = (1 - z) * n + z * h

    The biases of a gate's two LNs only ever act as their sum, b; those of the candidate stand
    apart, since the reset is between them. Which of z and 1 - z keeps the old state is as in gru.

    Source: Ba, Kiros & Hinton, "Layer normalization", 2016 (the GRU of its supplement).
    Reference: none.
    Differs from gru: LN on R h and W x, with gains u and v.
    """

    name = "gru-layer-norm"
    gates = ("r", "z", "n")
    unbiased = ("r", "z", "n")
    vectors = {
        **dict.fromkeys(("u_r", "u_z", "u_n", "v_r", "v_z", "v_n"), 1.0),
        **dict.fromkeys(("b_r", "b_z", "b_n", "b_Rn"), 0.0),
    }
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r_r, r_z = normalize(a.r, a.z)
        w_r, w_z = normalize(x.r, x.z)
        r = sigmoid(p.u_r * r_r + p.v_r * w_r + p.b_r)
        z = sigmoid(p.u_z * r_z + p.v_z * w_z + p.b_z)
        seen = r * (p.u_n * normalize(a.n)[0] + p.b_Rn)
        n = p.drop(tanh(p.v_n * normalize(x.n)[0] + p.b_n + seen))
        return ((1 - z) * n + z * h,)


class IndRNNLayerNorm(Cell):
    r"""Independently recurrent network whose input products are normalised over the units.

        h' = relu(v_h * LN(W_h x) + u * h + b_h)

    LN leaves h out, so that a unit still sees its own past alone.

    Source: Ba, Kiros & Hinton, "Layer normalization", 2016; LN has this place in IndRNN in the
    library Haste (Nanavati, 2020, LayerNormIndRNN, there with tanh).
    Reference: none.
    Differs from indrnn: LN on W_h x, with the gain v_h.
    """

    name = "indrnn-layer-norm"
    gates = ("h",)
    products = {}
    unbiased = ("h",)
    vectors = {"v_h": 1.0, "u": DRAWN, "b_h": 0.0}
    candidates = ("h",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        return (p.drop(relu(p.v_h * normalize(x.h)[0] + p.u * h + p.b_h)),)
