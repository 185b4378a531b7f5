"""The simple recurrent network (Elman 1990) and what grew out of it."""

from torch import relu, sigmoid, tanh

from cells.base import DRAWN, Cell


class RNNTanh(Cell):
    r"""Elman's network with tanh.

        h' = tanh(W_h x + R_h h + b_h)

    Source: Elman, "Finding structure in time", 1990.
    Reference: torch.nn.RNN(nonlinearity="tanh").
    Differs: no parent.
    """

    name = "rnn-tanh"
    gates = ("h",)
    candidates = ("h",)
    zoneout_states = ("h",)
    reference = ("RNN", {"nonlinearity": "tanh"})

    def step(self, p, x, h):
        return (p.drop(tanh(x.h + p.R(h).h)),)


class RNNReLU(Cell):
    r"""Elman's network with a rectifier.

        h' = relu(W_h x + R_h h + b_h)

    Source: Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear
    units", 2015 (there with R started at the identity).
    Reference: torch.nn.RNN(nonlinearity="relu").
    Differs from rnn-tanh: relu for tanh.
    """

    name = "rnn-relu"
    gates = ("h",)
    candidates = ("h",)
    zoneout_states = ("h",)
    reference = ("RNN", {"nonlinearity": "relu"})

    def step(self, p, x, h):
        return (p.drop(relu(x.h + p.R(h).h)),)


class IndRNN(Cell):
    r"""Independently recurrent network: a unit sees its own past alone.

        h' = relu(W_h x + u * h + b_h)

    Source: Li et al., "Independently recurrent neural network (IndRNN)", 2018.
    Reference: none.
    Differs from rnn-relu: the vector u in place of the matrix R.
    """

    name = "indrnn"
    gates = ("h",)
    products = {}
    vectors = {"u": DRAWN}
    candidates = ("h",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        return (p.drop(relu(x.h + p.u * h)),)


class RHN(Cell):
    r"""Recurrent highway network of depth 2: two highway layers a time step.

    The input enters the first layer alone.

        n1 = tanh   (W_n1 x + R_n1 h + b_n1)
        t1 = sigmoid(W_t1 x + R_t1 h + b_t1)
        s  = t1 * n1 + (1 - t1) * h
        n2 = tanh   (R_n2 s + b_n2)
        t2 = sigmoid(R_t2 s + b_t2)
        h' = t2 * n2 + (1 - t2) * s

    The depth is the paper's L, and 2 is part of this definition; R_2 is R_n2 and R_t2. The carry
    gates are 1 - t, as in the paper's experiments.

    Source: Zilly et al., "Recurrent highway networks", 2016.
    Reference: none.
    Differs: no parent.
    """

    name = "rhn"
    gates = ("n1", "t1")
    products = {"R": ("n1", "t1"), "R_2": ("n2", "t2")}
    recurrent_biases = ("n2", "t2")
    candidates = ("n1", "n2")
    zoneout_states = ("h",)

    def step(self, p, x, h):
        r = p.R(h)
        n1 = p.drop(tanh(x.n1 + r.n1))
        t1 = sigmoid(x.t1 + r.t1)
        s = t1 * n1 + (1 - t1) * h
        r = p.R_2(s)
        n2 = p.drop(tanh(r.n2))
        t2 = sigmoid(r.t2)
        return (t2 * n2 + (1 - t2) * s,)


class LEM(Cell):
    r"""Long expressive memory: two states, each with a learned time step.

    The second state sees the first.

        d1 = sigmoid(W_d1 x + R_d1 h + b_d1)
        d2 = sigmoid(W_d2 x + R_d2 h + b_d2)
        z' = (1 - d1) * z + d1 * tanh(W_z x + R_z h  + b_z)
        h' = (1 - d2) * h + d2 * tanh(W_h x + R_h z' + b_h)

    The paper multiplies d1 and d2 by a constant, which is 1 here as in the authors' code for
    language models. torchrecurrent's LEM computes h' from the old z, where the paper has z'.

    Source: Rusch et al., "Long expressive memory for sequence modeling", 2022.
    Reference: none.
    Differs: no parent.
    """

    name = "lem"
    gates = ("d1", "d2", "z", "h")
    state = ("h", "z")
    products = {"R": ("d1", "d2", "z"), "R_h": ("h",)}
    candidates = ("z", "h")
    zoneout_states = ("h", "z")

    def step(self, p, x, h, z):
        r = p.R(h)
        d1 = sigmoid(x.d1 + r.d1)
        d2 = sigmoid(x.d2 + r.d2)
        z = (1 - d1) * z + d1 * p.drop(tanh(x.z + r.z))
        h = (1 - d2) * h + d2 * p.drop(tanh(x.h + p.R_h(z).h))
        return h, z


class CoRNN(Cell):
    r"""Coupled oscillatory network: damped oscillators h of velocity z, driven through a tanh.

        z' = z + dt * (tanh(W_z x + R_z h + Q_z z + b_z) - gamma * h - epsilon * z)
        h' = h + dt * z'

    dt = 0.054, gamma = 4.9 and epsilon = 4.8 are part of this definition: the authors' code has
    them for its one task on text, IMDB. Of the paper's two forms this is the one whose damping is
    explicit, by z and not z', as in that code.

    Source: Rusch & Mishra, "Coupled oscillatory recurrent neural network (coRNN)", 2021.
    Reference: none.
    Differs: no parent.
    """

    name = "cornn"
    gates = ("z",)
    state = ("h", "z")
    products = {"R": ("z",), "Q": ("z",)}
    candidates = ("z",)
    zoneout_states = ("h", "z")

    def step(self, p, x, h, z):
        dt, gamma, epsilon = 0.054, 4.9, 4.8
        z = z + dt * (p.drop(tanh(x.z + p.R(h).z + p.Q(z).z)) - gamma * h - epsilon * z)
        return h + dt * z, z


class SCRN(Cell):
    r"""Structurally constrained network: a slow context stands beside the hidden state.

    The context is a mean of past inputs.

        s' = (1 - alpha) * (W_s x) + alpha * s
        h' = sigmoid(W_h x + R h + M s' + b_h)
        y' = U h' + V s'

    The layer above sees y'; no step does. alpha = 0.95 is part of this definition, as in the paper,
    which also learns one of each unit. The paper has one layer, whose softmax sees U h' + V s';
    here these are H units, as many as h and s have each, and a read-out of its own follows. M is
    the paper's P; the paper writes no bias. torchrecurrent's SCRN carries tanh(U h' + V s') on to
    the next step, where the paper carries h'.

    Source: Mikolov, Joulin, Chopra, Mathieu & Ranzato, "Learning longer memory in recurrent neural
    networks", 2014.
    Reference: none.
    Differs from rnn-tanh: the context s, a sigmoid for tanh, and an output made of both states.
    """

    name = "scrn"
    gates = ("s", "h")
    state = ("y", "h", "s")
    products = {"R": ("h",), "M": ("h",), "U": ("y",), "V": ("y",)}
    unread = ("y",)
    unbiased = ("s", "y")
    candidates = ("s", "h")
    zoneout_states = ("h",)

    def step(self, p, x, y, h, s):
        s = 0.05 * p.drop(x.s) + 0.95 * s
        h = p.drop(sigmoid(x.h + p.R(h).h + p.M(s).h))
        return p.U(h).y + p.V(s).y, h, s
