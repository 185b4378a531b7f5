"""A gated recurrent unit that multiplies what it gets of the input and of the state."""

from torch import sigmoid, tanh

from cells.base import Cell


class GRUMultiplicativeIntegration(Cell):
    r"""GRU that multiplies what it gets of the input and of the state, beside adding them.

        r  = sigmoid(alpha_r * (W_r x) * (R_r h) + beta1_r * (R_r h) + beta2_r * (W_r x) + b_r)
        z  = sigmoid(alpha_z * (W_z x) * (R_z h) + beta1_z * (R_z h) + beta2_z * (W_z x) + b_z)
        s  = R_n (r * h)
        n  = tanh   (alpha_n * (W_n x) * s + beta1_n * s + beta2_n * (W_n x) + b_n)
        h' = (1 - z) * n + z * h

    This is the paper's general form, with the reset before the product. Its factors start at 1
    here, which is a choice of this definition, and its biases at 0; these are vectors, since they
    are outside the products. Which of z and 1 - z keeps the old state is as in gru.

    Source: Wu, Zhang, Zhang, Bengio & Salakhutdinov, "On multiplicative integration with recurrent
    neural networks", 2016 (MI-GRU).
    Reference: none.
    Differs from gru-reset-before: alpha, beta1 and beta2 of each unit of each gate.
    """

    name = "gru-multiplicative-integration"
    gates = ("r", "z", "n")
    products = {"R": ("r", "z"), "R_n": ("n",)}
    unbiased = ("r", "z", "n")
    vectors = {
        **dict.fromkeys(("alpha_r", "alpha_z", "alpha_n"), 1.0),
        **dict.fromkeys(("beta1_r", "beta1_z", "beta1_n"), 1.0),
        **dict.fromkeys(("beta2_r", "beta2_z", "beta2_n"), 1.0),
        **dict.fromkeys(("b_r", "b_z", "b_n"), 0.0),
    }
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(p.alpha_r * x.r * a.r + p.beta1_r * a.r + p.beta2_r * x.r + p.b_r)
        z = sigmoid(p.alpha_z * x.z * a.z + p.beta1_z * a.z + p.beta2_z * x.z + p.b_z)
        s = p.R_n(r * h).n
        n = p.drop(tanh(p.alpha_n * x.n * s + p.beta1_n * s + p.beta2_n * x.n + p.b_n))
        return ((1 - z) * n + z * h,)
