"""Cells whose gates and candidate see inputs alone.

Those that see no input but the last are linear in their state: all steps run at once.
"""

import torch
from torch import sigmoid, tanh

from cells.base import Cell


class MinGRU(Cell):
    r"""Minimal GRU: gate and candidate see the input alone.

        z  = sigmoid(W_z x + b_z)
        n  = g(W_n x + b_n),    g(u) = u + 0.5 where u >= 0, sigmoid(u) below
        h' = (1 - z) * h + z * n

    The paper's plain form has n = W_n x + b_n. Its log-space form, which it trains, needs a
    positive candidate and so has g; here g is in both.

    Source: Feng et al., "Were RNNs all we needed?", 2024 (minGRU; g from its log-space form).
    Reference: none.
    Differs from gru: no reset gate, no recurrent product, g for tanh, and z weighs the new content.
    """

    name = "min-gru"
    gates = ("z", "n")
    products = {}
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        z = sigmoid(x.z)
        n = p.drop(torch.where(x.n >= 0, x.n + 0.5, sigmoid(x.n)))
        return ((1 - z) * h + z * n,)


class MinLSTM(Cell):
    r"""Minimal LSTM: gates and candidate see the input alone.

    The weights of what is kept and of what is written add up to 1.

        f  = sigmoid(W_f x + b_f)
        i  = sigmoid(W_i x + b_i)
        n  = g(W_n x + b_n),    g(u) = u + 0.5 where u >= 0, sigmoid(u) below
        h' = f / (f + i) * h + i / (f + i) * n

    The paper's plain form has n = W_n x + b_n. Its log-space form, which it trains, needs a
    positive candidate and so has g; here g is in both.

    Source: Feng et al., "Were RNNs all we needed?", 2024 (minLSTM; g from its log-space form).
    Reference: none.
    Differs from lstm: no recurrent product, no output gate and no cell state beside h; f + i = 1; g
    for tanh.
    """

    name = "min-lstm"
    gates = ("f", "i", "n")
    products = {}
    forget_gates = ("f",)
    input_gates = ("i",)
    candidates = ("n",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.f)
        i = sigmoid(x.i)
        n = p.drop(torch.where(x.n >= 0, x.n + 0.5, sigmoid(x.n)))
        return (f / (f + i) * h + i / (f + i) * n,)


class TRNN(Cell):
    r"""Strongly typed network: the state is a weighted mean of W_z x, and so of one type with it.

        f  = sigmoid(W_f x + b_f)
        z  = W_z x
        h' = f * h + (1 - f) * z

    Source: Balduzzi & Ghifary, "Strongly-typed recurrent neural networks", 2016 (T-RNN).
    Reference: none.
    Differs from min-gru: a candidate without bias and without g, and f weighs the old content.
    """

    name = "t-rnn"
    gates = ("f", "z")
    products = {}
    unbiased = ("z",)
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("h",)

    def step(self, p, x, h):
        f = sigmoid(x.f)
        z = p.drop(x.z)
        return (f * h + (1 - f) * z,)


class TGRU(Cell):
    r"""Strongly typed GRU: gate, candidate and output see the input and the one before it.

        z   = W_z x + vz + b_z
        f   = sigmoid(W_f x + vf + b_f)
        o   = tanh   (W_o x + vo + b_o)
        h'  = f * h + z * o
        vz' = W_vz x
        vf' = W_vf x
        vo' = W_vo x

    The paper's V x of the input before are the states vz, vf and vo; at the start nothing came
    before, and they are 0. Given the inputs, h' is linear in h; a step is not, since vf and vo pass
    through a sigmoid and a tanh.

    Source: Balduzzi & Ghifary, "Strongly-typed recurrent neural networks", 2016 (T-GRU).
    Reference: none.
    Differs from t-rnn: the input before, the factor o, and new content that is not weighed by
    1 - f.
    """

    name = "t-gru"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    state = ("h", "vz", "vf", "vo")
    products = {}
    unbiased = ("vz", "vf", "vo")
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("h",)

    def step(self, p, x, h, vz, vf, vo):
        z = p.drop(x.z + vz)
        f = sigmoid(x.f + vf)
        o = tanh(x.o + vo)
        return f * h + z * o, x.vz, x.vf, x.vo


class TLSTM(Cell):
    r"""Strongly typed LSTM: gates and candidate see the input and the one before it.

        z   = W_z x + vz + b_z
        f   = sigmoid(W_f x + vf + b_f)
        o   = tanh   (W_o x + vo + b_o)
        c'  = f * c + (1 - f) * z
        h'  = o * c'
        vz' = W_vz x
        vf' = W_vf x
        vo' = W_vo x

    The paper's V x of the input before are the states vz, vf and vo; at the start nothing came
    before, and they are 0. The layer above sees h'; no step does. The paper's output gate has a
    tanh where that of lstm has a sigmoid.

    Source: Balduzzi & Ghifary, "Strongly-typed recurrent neural networks", 2016 (T-LSTM).
    Reference: none.
    Differs from t-rnn: the input before, the bias of z, and an output that is the state times o.
    """

    name = "t-lstm"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    state = ("h", "c", "vz", "vf", "vo")
    products = {}
    unread = ("h",)
    unbiased = ("vz", "vf", "vo")
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("c",)

    def step(self, p, x, h, c, vz, vf, vo):
        z = p.drop(x.z + vz)
        f = sigmoid(x.f + vf)
        o = tanh(x.o + vo)
        c = f * c + (1 - f) * z
        return o * c, c, x.vz, x.vf, x.vo


class QRNN(Cell):
    r"""Quasi-recurrent network: gates and candidate are a convolution over two inputs.

    The two are the input and the one before it.

        z   = tanh   (W_z x + vz + b_z)
        f   = sigmoid(W_f x + vf + b_f)
        o   = sigmoid(W_o x + vo + b_o)
        c'  = f * c + (1 - f) * z
        h'  = o * c'
        vz' = W_vz x
        vf' = W_vf x
        vo' = W_vo x

    This is the paper's fo-pooling with a filter of width 2; its weights of the input before give
    the states vz, vf and vo, which are 0 at the start. The layer above sees h'; no step does. The
    paper writes no bias. Its regulariser is zoneout of c.

    Source: Bradbury, Merity, Xiong & Socher, "Quasi-recurrent neural networks", 2017.
    Reference: none.
    Differs from t-lstm: a tanh on z, and a sigmoid for the tanh of o.
    """

    name = "qrnn"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    state = ("h", "c", "vz", "vf", "vo")
    products = {}
    unread = ("h",)
    unbiased = ("vz", "vf", "vo")
    forget_gates = ("f",)
    candidates = ("z",)
    zoneout_states = ("c",)

    def step(self, p, x, h, c, vz, vf, vo):
        z = p.drop(tanh(x.z + vz))
        f = sigmoid(x.f + vf)
        o = sigmoid(x.o + vo)
        c = f * c + (1 - f) * z
        return o * c, c, x.vz, x.vf, x.vo
