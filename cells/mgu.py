"""The minimal gated unit and its ablations, and two units that a search made out of the GRU."""

from torch import sigmoid, tanh

from cells.base import Cell


class MGU(Cell):
    r"""Minimal gated unit: one gate resets the old state and weighs it.

        f  = sigmoid(W_f x + R_f h + b_f)
        n  = tanh   (W_n x + R_n (f * h) + b_n)
        h' = (1 - f) * h + f * n

    The paper calls f a forget gate, but it is 1 - f that keeps the old state, so no forget bias
    raises it.

    Source: Zhou et al., "Minimal gated unit for recurrent neural networks", 2016.
    Reference: none.
    Differs from gru-reset-before: one gate, r = f and z = 1 - f.
    """

    name = "mgu"
    gates = ("f", "n")
    products = {"R": ("f",), "R_n": ("n",)}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.f + p.R(h).f)
        n = p.drop(tanh(x.n + p.R_n(f * h).n))
        return ((1 - f) * h + f * n,)


class MGUResetAfter(Cell):
    r"""Minimal gated unit, the reset after the product.

        f  = sigmoid(W_f x + R_f h + b_f)
        n  = tanh   (W_n x + b_n + f * (R_n h + b_Rn))
        h' = (1 - f) * h + f * n

    Source: Zhou et al., "Minimal gated unit for recurrent neural networks", 2016 (there before the
    product).
    Reference: none.
    Differs from mgu: the reset acts on R_n h, which has a bias of its own, as in gru.
    """

    name = "mgu-reset-after"
    gates = ("f", "n")
    recurrent_biases = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        a = p.R(h)
        f = sigmoid(x.f + a.f)
        n = p.drop(tanh(x.n + f * a.n))
        return ((1 - f) * h + f * n,)


class MGU1(Cell):
    r"""Minimal gated unit whose gate sees the state and a bias.

        f  = sigmoid(R_f h + b_f)
        n  = tanh   (W_n x + R_n (f * h) + b_n)
        h' = (1 - f) * h + f * n

    Source: Heck & Salem, "Simplified minimal gated unit variations for recurrent neural networks",
    2017 (MGU1).
    Reference: none.
    Differs from mgu: the gate has no W.
    """

    name = "mgu1"
    gates = ("n",)
    products = {"R": ("f",), "R_n": ("n",)}
    recurrent_biases = ("f",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(p.R(h).f)
        n = p.drop(tanh(x.n + p.R_n(f * h).n))
        return ((1 - f) * h + f * n,)


class MGU2(Cell):
    r"""Minimal gated unit whose gate sees the state alone.

        f  = sigmoid(R_f h)
        n  = tanh   (W_n x + R_n (f * h) + b_n)
        h' = (1 - f) * h + f * n

    Source: Heck & Salem, "Simplified minimal gated unit variations for recurrent neural networks",
    2017 (MGU2).
    Reference: none.
    Differs from mgu: the gate has neither W nor a bias.
    """

    name = "mgu2"
    gates = ("n",)
    products = {"R": ("f",), "R_n": ("n",)}
    unbiased = ("f",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(p.R(h).f)
        n = p.drop(tanh(x.n + p.R_n(f * h).n))
        return ((1 - f) * h + f * n,)


class MGU3(Cell):
    r"""Minimal gated unit whose gate is a constant, learned for each unit.

        f  = sigmoid(b_f)
        n  = tanh   (W_n x + R_n (f * h) + b_n)
        h' = (1 - f) * h + f * n

    Source: Heck & Salem, "Simplified minimal gated unit variations for recurrent neural networks",
    2017 (MGU3).
    Reference: none.
    Differs from mgu: the gate has neither W nor R.
    """

    name = "mgu3"
    gates = ("n",)
    products = {"R_n": ("n",)}
    vectors = {"b_f": 0.0}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(p.b_f)
        n = p.drop(tanh(x.n + p.R_n(f * h).n))
        return ((1 - f) * h + f * n,)


class MUT1(Cell):
    r"""First of the three best units of a search among variants of the GRU.

    The update gate sees the input alone, the candidate its tanh.

        z  = sigmoid(W_z x + b_z)
        r  = sigmoid(W_r x + R_r h + b_r)
        g  = tanh   (W_g x)
        n  = tanh   (g + R_n (r * h) + b_n)
        h' = z * n + (1 - z) * h

    The paper's g is tanh(x), which is possible only where an input has the size of the state; hence
    W_g here. Its second unit, MUT2, differs from gru-reset-before by a bare x in r alone, so that
    with a W_r it is that cell.

    Source: Jozefowicz et al., "An empirical exploration of recurrent network architectures", 2015
    (MUT1).
    Reference: none.
    Differs from gru-reset-before: z without R, tanh on W_g x, and z weighs the new content.
    """

    name = "mut1"
    gates = ("z", "r", "g")
    products = {"R": ("r",), "R_n": ("n",)}
    recurrent_biases = ("n",)
    unbiased = ("g",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        z = sigmoid(x.z)
        r = sigmoid(x.r + p.R(h).r)
        g = tanh(x.g)
        n = p.drop(tanh(g + p.R_n(r * h).n))
        return (z * n + (1 - z) * h,)


class MUT3(Cell):
    r"""Third of the three best units of a search: the update gate sees the tanh of the state.

        z  = sigmoid(W_z x + R_z tanh(h) + b_z)
        r  = sigmoid(W_r x + R_r h + b_r)
        n  = tanh   (W_n x + R_n (r * h) + b_n)
        h' = z * n + (1 - z) * h

    Source: Jozefowicz et al., "An empirical exploration of recurrent network architectures", 2015
    (MUT3).
    Reference: none.
    Differs from gru-reset-before: z sees tanh(h), and z weighs the new content.
    """

    name = "mut3"
    gates = ("z", "r", "n")
    products = {"R_z": ("z",), "R_r": ("r",), "R_n": ("n",)}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        z = sigmoid(x.z + p.R_z(tanh(h)).z)
        r = sigmoid(x.r + p.R_r(h).r)
        n = p.drop(tanh(x.n + p.R_n(r * h).n))
        return (z * n + (1 - z) * h,)
