"""FastRNN and FastGRNN: Elman's network with a weighted residual connection.

FastGRNN has a gate too, which costs no matrix.
"""

from torch import sigmoid, tanh

from cells.base import Cell


class FastRNN(Cell):
    r"""Elman's network whose old state stays beside the new one, both weighted.

        n  = tanh(W_n x + R_n h + b_n)
        h' = sigmoid(alpha) * n + sigmoid(beta) * h

    alpha and beta are one number a layer in the paper; here one a unit, so that they are vectors
    like any other. They start at -3 and 3, as in the authors' code.

    Source: Kusupati et al., "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated
    recurrent neural network", 2018 (FastRNN).
    Reference: none.
    Differs from rnn-tanh: the two weights and the old state.
    """

    name = "fastrnn"
    gates = ("n",)
    vectors = {"alpha": -3.0, "beta": 3.0}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        n = p.drop(tanh(x.n + p.R(h).n))
        return (sigmoid(p.alpha) * n + sigmoid(p.beta) * h,)


class FastGRNN(Cell):
    r"""FastRNN whose weights are a gate's; gate and candidate share both matrices.

        z  = sigmoid(W_n x + R_n h + b_z)
        n  = tanh   (W_n x + R_n h + b_n)
        h' = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h

    zeta and nu are one number a layer in the paper; here one a unit, so that they are vectors like
    any other. They start at 1 and -4, as in the authors' code. b_z and b_n start at 0. The paper's
    low rank is not part of the cell. torchrecurrent's FastGRNN has tanh for the sigmoid of z.

    Source: Kusupati et al., "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated
    recurrent neural network", 2018 (FastGRNN).
    Reference: none.
    Differs from fastrnn: the gate z, and weights that depend on it.
    """

    name = "fastgrnn"
    gates = ("n",)
    unbiased = ("n",)
    vectors = {"zeta": 1.0, "nu": -4.0, "b_z": 0.0, "b_n": 0.0}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = x.n + p.R(h).n
        z = sigmoid(a + p.b_z)
        n = p.drop(tanh(a + p.b_n))
        return ((sigmoid(p.zeta) * (1 - z) + sigmoid(p.nu)) * n + z * h,)
