"""Simple gated units: one gate, and content that is the old state times what the input makes."""

from torch import sigmoid, tanh
from torch.nn.functional import softplus

from cells.base import Cell


class SGU(Cell):
    r"""Simple gated unit: its new content is the softplus of the old state, multiplied.

        a  = W_a x + b_a
        m  = tanh(U_m (a * h))
        z  = min(1, max(0, 0.2 * (W_z x + R_z h + b_z) + 0.5))
        h' = (1 - z) * h + z * softplus(m * h)

    a is the paper's x_g, m its z_g. Its gate is a hard sigmoid, here that of the frameworks of its
    time, whose slope is 0.2.

    Source: Gao & Glowacka, "Deep gate recurrent neural network", 2016 (SGU).
    Reference: none.
    Differs: no parent.
    """

    name = "sgu"
    gates = ("a", "z")
    products = {"U": ("m",), "R": ("z",)}
    unbiased = ("m",)
    candidates = ("m",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        m = tanh(p.U(x.a * h).m)
        z = (0.2 * (x.z + p.R(h).z) + 0.5).clamp(0.0, 1.0)
        return ((1 - z) * h + z * p.drop(softplus(m * h)),)


class DSGU(Cell):
    r"""Deep simple gated unit: a matrix and a sigmoid for the softplus of sgu.

        a  = W_a x + b_a
        m  = tanh(U_m (a * h))
        n  = sigmoid(V_n (m * h))
        z  = min(1, max(0, 0.2 * (W_z x + R_z h + b_z) + 0.5))
        h' = (1 - z) * h + z * n

    a is the paper's x_g, m its z_g, V its W_go. Its gate is a hard sigmoid, here that of the
    frameworks of its time, whose slope is 0.2.

    Source: Gao & Glowacka, "Deep gate recurrent neural network", 2016 (DSGU).
    Reference: none.
    Differs from sgu: V, and sigmoid for softplus.
    """

    name = "dsgu"
    gates = ("a", "z")
    products = {"U": ("m",), "V": ("n",), "R": ("z",)}
    unbiased = ("m", "n")
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        m = tanh(p.U(x.a * h).m)
        n = p.drop(sigmoid(p.V(m * h).n))
        z = (0.2 * (x.z + p.R(h).z) + 0.5).clamp(0.0, 1.0)
        return ((1 - z) * h + z * n,)
