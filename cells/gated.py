"""Cells with one or two gates between what was and what comes, most of them smaller than a GRU."""

from torch import relu, sigmoid, tanh

from cells.base import Cell


class UGRNN(Cell):
    r"""Update-gate network: one gate between the old state and the candidate.

        g  = sigmoid(W_g x + R_g h + b_g)
        n  = tanh   (W_n x + R_n h + b_n)
        h' = g * h + (1 - g) * n

    These are the equations of gru-no-reset. What sets the two apart is the forget bias, which
    raises this cell's g, as in the paper, and not a GRU's z.

    Source: Collins, Sohl-Dickstein & Sussillo, "Capacity and trainability in recurrent neural
    networks", 2016.
    Reference: none.
    Differs from gru: no reset gate.
    """

    name = "ugrnn"
    gates = ("g", "n")
    forget_gates = ("g",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        g = sigmoid(x.g + r.g)
        n = p.drop(tanh(x.n + r.n))
        return (g * h + (1 - g) * n,)


class LiGRU(Cell):
    r"""Light gated recurrent unit, without its batch normalisation.

        z  = sigmoid(W_z x + R_z h + b_z)
        n  = relu   (W_n x + R_n h + b_n)
        h' = z * h + (1 - z) * n

    The paper normalises W_z x and W_n x over the batch; here nothing is, so that a row depends on
    no other.

    Source: Ravanelli et al., "Light gated recurrent units for speech recognition", 2018.
    Reference: none.
    Differs from gru-no-reset: relu for tanh.
    """

    name = "ligru"
    gates = ("z", "n")
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        z = sigmoid(x.z + r.z)
        n = p.drop(relu(x.n + r.n))
        return (z * h + (1 - z) * n,)


class MinimalRNN(Cell):
    r"""Minimal network: the state is a weighted mean of the inputs' codes z.

    The gate sees the code, not the input.

        z  = tanh   (W_z x + b_z)
        u  = sigmoid(R_u h + U_u z + b_u)
        h' = u * h + (1 - u) * z

    Source: Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural networks",
    2017.
    Reference: none.
    Differs: no parent.
    """

    name = "minimal-rnn"
    gates = ("z",)
    products = {"R": ("u",), "U": ("u",)}
    recurrent_biases = ("u",)
    candidates = ("z",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        z = tanh(x.z)
        u = sigmoid(p.R(h).u + p.U(z).u)
        return (u * h + (1 - u) * p.drop(z),)


class STAR(Cell):
    r"""Stackable recurrent cell: one gate, a candidate from the input alone, and tanh on the state.

        k  = sigmoid(W_k x + R_k h + b_k)
        z  = tanh   (W_z x + b_z)
        h' = tanh((1 - k) * h + k * z)

    The authors' TensorFlow code weighs z by more than the paper does: with f for the
    pre-activation of 1 - k, z has the factor 1 - sigmoid(f - 1), as in janet.

    Source: Turkoglu et al., "Gating revisited: deep multi-layer RNNs that can be trained", 2019.
    Reference: none.
    Differs: no parent.
    """

    name = "star"
    gates = ("k", "z")
    products = {"R": ("k",)}
    candidates = ("z",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        k = sigmoid(x.k + p.R(h).k)
        z = p.drop(tanh(x.z))
        return (tanh((1 - k) * h + k * z),)


class LightRNN(Cell):
    r"""Light recurrent unit: one gate, and a candidate from the input alone, without a bias.

        f  = sigmoid(W_f x + R_f h + b_f)
        n  = tanh   (W_n x)
        h' = (1 - f) * h + f * n

    The paper calls f a forget gate, but it is 1 - f that keeps the old state, so no forget bias
    raises it.

    Source: Ye et al., "Light recurrent unit: towards an interpretable recurrent neural network for
    modeling long-range dependency", 2024.
    Reference: none.
    Differs: no parent.
    """

    name = "light-rnn"
    gates = ("f", "n")
    products = {"R": ("f",)}
    unbiased = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.f + p.R(h).f)
        n = p.drop(tanh(x.n))
        return ((1 - f) * h + f * n,)


class SGRN(Cell):
    r"""Simple gated recurrent network: one gate, and one W for gate and content.

        f  = sigmoid(W_n x + R_f h + b_f)
        h' = tanh((1 - f) * (W_n x) + f * h)

    Source: Zu & Wei, "A simple gated recurrent network for detection of power quality
    disturbances", 2021.
    Reference: none.
    Differs: no parent.
    """

    name = "sgrn"
    gates = ("n",)
    products = {"R": ("f",)}
    recurrent_biases = ("f",)
    unbiased = ("n",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.n + p.R(h).f)
        return (tanh((1 - f) * p.drop(x.n) + f * h),)


class ATR(Cell):
    r"""Addition-subtraction twin-gated network: two gates share their products.

    There is one product of the input and one of the state.

        v  = W_v x + b_v
        q  = R_v h
        i  = sigmoid(v + q)
        f  = sigmoid(v - q)
        h' = i * v + f * h

    v is the paper's p. A second bias belongs to q.

    Source: Zhang et al., "Simplifying neural machine translation with addition-subtraction
    twin-gated recurrent networks", 2018.
    Reference: none.
    Differs: no parent.
    """

    name = "atr"
    gates = ("v",)
    candidates = ("v",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        v = x.v
        q = p.R(h).v
        i = sigmoid(v + q)
        f = sigmoid(v - q)
        return (i * p.drop(v) + f * h,)


class CFN(Cell):
    r"""Chaos-free network: without an input the state goes to 0, whatever the weights are.

        theta = sigmoid(W_theta x + R_theta h + b_theta)
        eta   = sigmoid(W_eta   x + R_eta   h + b_eta)
        h'    = theta * tanh(h) + eta * tanh(W_g x)

    Source: Laurent & von Brecht, "A recurrent neural network without chaos", 2016.
    Reference: none.
    Differs: no parent.
    """

    name = "cfn"
    gates = ("theta", "eta", "g")
    products = {"R": ("theta", "eta")}
    unbiased = ("g",)
    forget_gates = ("theta",)
    input_gates = ("eta",)
    candidates = ("g",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        theta = sigmoid(x.theta + r.theta)
        eta = sigmoid(x.eta + r.eta)
        return (theta * tanh(h) + eta * p.drop(tanh(x.g)),)
