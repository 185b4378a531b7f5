"""The gated recurrent unit, in both of its published forms, and its ablations."""

from torch import sigmoid, tanh

from cells.base import Cell


class GRU(Cell):
    r"""Gated recurrent unit, the reset after the product.

        r  = sigmoid(W_r x + R_r h + b_r)
        z  = sigmoid(W_z x + R_z h + b_z)
        n  = tanh   (W_n x + b_n + r * (R_n h + b_Rn))
        h' = (1 - z) * n + z * h

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014 (arXiv
    version 1).
    Reference: torch.nn.GRU.
    Differs: no parent.
    """

    name = "gru"
    gates = ("r", "z", "n")
    recurrent_biases = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)
    reference = ("GRU", {})

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(x.r + a.r)
        z = sigmoid(x.z + a.z)
        n = p.drop(tanh(x.n + r * a.n))
        return ((1 - z) * n + z * h,)


class GRUResetBefore(Cell):
    r"""Gated recurrent unit, the reset before the product: two dependent products a step.

        r  = sigmoid(W_r x + R_r h + b_r)
        z  = sigmoid(W_z x + R_z h + b_z)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = (1 - z) * n + z * h

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014 (arXiv
    version 3).
    Reference: none.
    Differs from gru: the reset acts on h, before the product, and the candidate has no bias of its
    own there.
    """

    name = "gru-reset-before"
    gates = ("r", "z", "n")
    products = {"R": ("r", "z"), "R_n": ("n",)}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(x.r + a.r)
        z = sigmoid(x.z + a.z)
        n = p.drop(tanh(x.n + p.R_n(r * h).n))
        return ((1 - z) * n + z * h,)


class GRUNoReset(Cell):
    r"""Gated recurrent unit whose candidate sees all of the old state.

        z  = sigmoid(W_z x + R_z h + b_z)
        n  = tanh   (W_n x + R_n h + b_n)
        h' = (1 - z) * n + z * h

    Source: Ravanelli et al., "Light gated recurrent units for speech recognition", 2018 (its first
    step; there relu follows).
    Reference: none.
    Differs from gru: r = 1, and the candidate has no second bias of its own.
    """

    name = "gru-no-reset"
    gates = ("z", "n")
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        z = sigmoid(x.z + a.z)
        n = p.drop(tanh(x.n + a.n))
        return ((1 - z) * n + z * h,)


class GRUNoUpdate(Cell):
    r"""Gated recurrent unit whose new state is the candidate.

        r  = sigmoid(W_r x + R_r h + b_r)
        n  = tanh   (W_n x + b_n + r * (R_n h + b_Rn))
        h' = n

    Source: none of its own; the ablation of Cho et al., 2014 (arXiv version 1).
    Reference: none.
    Differs from gru: z = 0.
    """

    name = "gru-no-update"
    gates = ("r", "n")
    recurrent_biases = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(x.r + a.r)
        n = p.drop(tanh(x.n + r * a.n))
        return (n,)


class GRU1(Cell):
    r"""Gated recurrent unit whose gates see the state and a bias.

        r  = sigmoid(R_r h + b_r)
        z  = sigmoid(R_z h + b_z)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = (1 - z) * n + z * h

    Which of z and 1 - z keeps the old state is as in gru.

    Source: Dey & Salem, "Gate-variants of gated recurrent unit (GRU) neural networks", 2017 (GRU1).
    Reference: none.
    Differs from gru-reset-before: the gates have no W.
    """

    name = "gru1"
    gates = ("n",)
    products = {"R": ("r", "z"), "R_n": ("n",)}
    recurrent_biases = ("r", "z")
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(a.r)
        z = sigmoid(a.z)
        n = p.drop(tanh(x.n + p.R_n(r * h).n))
        return ((1 - z) * n + z * h,)


class GRU2(Cell):
    r"""Gated recurrent unit whose gates see the state alone.

        r  = sigmoid(R_r h)
        z  = sigmoid(R_z h)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = (1 - z) * n + z * h

    Which of z and 1 - z keeps the old state is as in gru.

    Source: Dey & Salem, "Gate-variants of gated recurrent unit (GRU) neural networks", 2017 (GRU2).
    Reference: none.
    Differs from gru-reset-before: the gates have neither W nor a bias.
    """

    name = "gru2"
    gates = ("n",)
    products = {"R": ("r", "z"), "R_n": ("n",)}
    unbiased = ("r", "z")
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        r = sigmoid(a.r)
        z = sigmoid(a.z)
        n = p.drop(tanh(x.n + p.R_n(r * h).n))
        return ((1 - z) * n + z * h,)


class GRU3(Cell):
    r"""Gated recurrent unit whose gates are constants, learned for each unit.

        r  = sigmoid(b_r)
        z  = sigmoid(b_z)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = (1 - z) * n + z * h

    Which of z and 1 - z keeps the old state is as in gru.

    Source: Dey & Salem, "Gate-variants of gated recurrent unit (GRU) neural networks", 2017 (GRU3).
    Reference: none.
    Differs from gru-reset-before: the gates have neither W nor R.
    """

    name = "gru3"
    gates = ("n",)
    products = {"R_n": ("n",)}
    vectors = {"b_r": 0.0, "b_z": 0.0}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = sigmoid(p.b_r)
        z = sigmoid(p.b_z)
        n = p.drop(tanh(x.n + p.R_n(r * h).n))
        return ((1 - z) * n + z * h,)
