"""Which of our cells equals which of others, parameter by parameter; `docs/oracles.md` shows it.

A parameter of theirs is a row of our blocks: ``W.i`` is the matrix of the input for gate i,
``R.i`` that of the matrix R for the state, ``b.i`` and ``b_R.i`` the two biases, ``v.p`` the vector
p and ``diag.u`` the matrix of it. ``-`` turns a sign, so that sigmoid(-x) is the 1 - f of a gate
that ours lacks; ``|`` puts matrices side by side; 0 is nothing, and a bias that is ``open`` or
``shut`` holds a sigmoid at 1 or at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

SATURATED = 40.0
"""The sigmoid of it is 1 in float64."""


@dataclass(frozen=True)
class Row:
    """A comparison with a cell of torchrecurrent's, or of torch.nn's where its name says so.

    Those of Keras, flashrnn, xlstm and ncps have tables of their own.

    Attributes:
        kind: Their class, or what their function calls the cell.
        blocks: Their parameters, made of our blocks.
        arguments: What ours has as constants.
        alone: Parameters of theirs that are what ours has as a constant.
        fed: Returns what their step is given next of what it returned.
        shared: How many of our states theirs has, from the first; None: all.
        biases: Of ours, a gate.
        steps_read: How many of the inputs theirs is given at each step, the latest first.
        is_prepared: Whether the blocks are of what our cell makes of its parameters.
        heads: Blocks on the diagonal of their recurrent matrices.
        tolerance: How near numbers must be, relative to 1 or to their size.
    """

    kind: str
    blocks: dict[str, list[str]]
    arguments: dict[str, Any] = field(default_factory=dict)
    alone: tuple[str, ...] = ()
    fed: Callable[[Any], Any] = lambda result: result
    shared: int | None = None
    biases: int = 2
    steps_read: int = 1
    is_prepared: bool = False
    heads: int = 1
    tolerance: float = 1e-10


@dataclass(frozen=True)
class OperatorRow:
    """A comparison with an operator of ONNX Runtime's.

    Attributes:
        operator: Its name.
        gates: Ours, in its order.
        attributes: Its own.
        peepholes: Our vectors, in its order.
    """

    operator: str
    gates: str
    attributes: dict[str, Any] = field(default_factory=dict)
    peepholes: tuple[str, ...] = ()


CONSTANTS = {"1": "open", "0": "shut"}
"""A gate that is held -> its bias."""


def both(names: str) -> dict[str, list[str]]:
    """The four parameters of a cell whose gates all have a product and a bias on either side.

    A gate may have a ``-`` before its name, or be one of ``CONSTANTS``.
    """

    def blocks(kind: str) -> list[str]:
        found = []
        for gate in names.split():
            if gate in CONSTANTS:
                found.append(CONSTANTS[gate] if kind == "b" else "0")
            else:
                sign = "-" if gate.startswith("-") else ""
                found.append(f"{sign}{kind}.{gate.removeprefix('-')}")
        return found

    return {
        "weight_ih": blocks("W"),
        "weight_hh": blocks("R"),
        "bias_ih": blocks("b"),
        "bias_hh": blocks("b_R"),
    }


def some(**blocks: str) -> dict[str, list[str]]:
    """Parameters of theirs, each a text of our blocks."""
    names = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "b_R": "bias_hh"}
    return {names.get(key, key): text.split() for key, text in blocks.items()}


class HardSigmoid(torch.nn.Module):
    """That of the papers' time, of slope 1/5; torch's has 1/6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the value of each."""
        return (0.2 * x + 0.5).clamp(0.0, 1.0)


class Positive(torch.nn.Module):
    """What min-gru's candidate goes through, as the appendix of its paper writes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the value of each."""
        return torch.where(x >= 0, x + 0.5, x.sigmoid())


class Turns(torch.nn.Module):
    """Two functions that are called by turns: of a candidate, and of an output."""

    def __init__(self, *functions: torch.nn.Module):
        super().__init__()
        self.functions, self.calls = torch.nn.ModuleList(functions), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the value of each under the function whose turn it is."""
        self.calls += 1
        value: torch.Tensor = self.functions[(self.calls - 1) % 2](x)
        return value


IDENTITY, TANH = torch.nn.Identity(), torch.nn.Tanh()
LINEAR_CANDIDATE = {"nonlinearity": Turns(IDENTITY, TANH)}
LINEAR_OUTPUT = {"nonlinearity": Turns(TANH, IDENTITY)}
PEEPHOLES = some(weight_ph="v.p_i v.p_f v.p_o")
NO_PEEPHOLES = some(weight_ph="0 0 0")
RESET_BEFORE = some(
    W="-W.z W.r W.n",
    R="-R.z R.r R_n.n",
    b="-b.z b.r b.n",
    b_R="-b_R.z b_R.r b_R.n",
)
"""Of MUT2Cell, whose z is 1 - z."""
HARD = {"gate_nonlinearity": HardSigmoid()}
ANTISYMMETRIC = {"epsilon": 0.1, "gamma": 0.01}
STRANGERS = {
    "antisymmetric-rnn": Row("AntisymmetricRNNCell", both("h"), ANTISYMMETRIC),
    "antisymmetric-rnn-gated": Row(
        "GatedAntisymmetricRNNCell",
        some(W="W.z W.h", R="R.h", b="b.z b.h", b_R="0"),
        ANTISYMMETRIC,
        biases=1,
    ),
    "atr": Row("ATRCell", both("v")),
    "brc": Row("BRCell", some(W="W.a W.c W.n", R="v.w_a v.w_c", b="b.a b.c 0", b_R="0 0")),
    "cfn": Row(
        "CFNCell",
        both("theta eta") | some(W="W.theta W.eta W.g", b="b.theta b.eta 0"),
    ),
    "cornn": Row(
        "coRNNCell",
        both("z") | some(weight_ch="Q.z", bias_ch="0"),
        {"dt": 0.054, "gamma": 4.9, "epsilon": 4.8},
    ),
    "dsgu": Row(
        "DSGUCell",
        some(W="W.a W.z", R="U.m R.z", weight_ho="V.n", b="b.a b.z", b_R="0 b_R.z"),
        HARD,
    ),
    "fastrnn": Row("FastRNNCell", both("n") | some(alpha="v.alpha", beta="v.beta")),
    "indrnn": Row(
        "IndRNNCell", some(W="W.h", vector_u="v.u", b="b.h", b_R="0"), {"nonlinearity": "relu"}
    ),
    "intersection-rnn": Row(
        "IntersectionRNNCell", both("y n u g"), fed=lambda result: result[1], shared=2
    ),
    "janet": Row("JANETCell", both("f g"), alone=("beta",), shared=1),
    "light-rnn": Row("LightRUCell", some(W="W.n W.f", R="R.f", b="0 b.f", b_R="b_R.f")),
    "ligru": Row("LiGRUCell", both("z n")),
    "lstm-multiplicative": Row(
        "MultiplicativeLSTMCell",
        some(
            W="W.m W.i W.f W.g W.o",
            R="R_m.m",
            weight_mh="R.i R.f R.g R.o",
            b="0 b.i b.f b.g b.o",
            b_R="0",
            bias_mh="b_R.i b_R.f b_R.g b_R.o",
        ),
    ),
    "lstm-no-forget-gate": Row("OriginalLSTMCell", both("i g o")),
    "lstm-peephole": Row("PeepholeLSTMCell", both("i f g o") | some(weight_ph="v.p_i v.p_f v.p_o")),
    "lstm-residual": Row(
        "ResLSTMCell",
        both("i f g o") | some(weight_proj="M.m", weight_res="W.s", weight_ph="v.p_i v.p_f v.p_o"),
    ),
    "mgu": Row("MGUCell", both("f n") | some(R="R.f R_n.n")),
    "minimal-rnn": Row(
        "MinimalRNNCell", some(W="W.z", R="R.u", weight_mm="U.u", b="b.z", b_R="b_R.u")
    ),
    "mut1": Row("MUT1Cell", some(W="W.z W.r W.g", R="R.r R_n.n", b="b.z b.r 0", b_R="b_R.r b_R.n")),
    "mut3": Row("MUT3Cell", both("z r n") | some(R="R_z.z R_r.r R_n.n")),
    "nbrc": Row("NBRCell", some(W="W.a W.c W.n", R="R.a R.c", b="b.a b.c 0", b_R="b_R.a b_R.c")),
    "ran": Row("RANCell", both("i f") | some(W="W.g W.i W.f")),
    "sgrn": Row("SGRNCell", some(W="W.n", R="R.f", b="0", b_R="b_R.f")),
    "sgu": Row("SGUCell", some(W="W.a W.z", R="U.m R.z", b="b.a b.z", b_R="0 b_R.z"), HARD),
    "star": Row("STARCell", some(W="W.z W.k", R="R.k", b="b.z b.k", b_R="b_R.k")),
    "t-gru": Row(
        "TGRUCell",
        some(W="W.z W.f W.o", R="W.vz W.vf W.vo", b="b.z b.f b.o", b_R="0 0 0"),
        shared=1,
    ),
    "t-lstm": Row(
        "TLSTMCell",
        some(W="W.z W.f W.o", R="W.vz W.vf W.vo", b="b.z b.f b.o", b_R="0 0 0"),
        fed=lambda result: result[1],
        shared=1,
    ),
    "t-rnn": Row("TRNNCell", some(W="W.z W.f", b="0 b.f")),
    "ugrnn": Row("UGRNNCell", both("n g")),
    "unicornn": Row(
        "UnICORNNCell", some(W="W.z", R="v.u", weight_ch="v.c", b="b.z"), {"dt": 0.205}
    ),
    "wmclstm": Row(
        "WMCLSTMCell", both("i f g o") | some(weight_mh="M.i M.f M_o.o", bias_mh="0 0 0")
    ),
    # A gate of theirs is held, turned or without one of its parts.
    "gru": Row("nn.GRUCell", both("r z n")),
    "gru-no-reset": Row("nn.GRUCell", both("1 z n")),
    "gru-no-update": Row("nn.GRUCell", both("r 0 n")),
    "gru-reset-before": Row("MUT2Cell", RESET_BEFORE),
    "gru1": Row("MUT2Cell", RESET_BEFORE | some(W="0 0 W.n", b="0 0 b.n")),
    "gru2": Row("MUT2Cell", RESET_BEFORE | some(W="0 0 W.n", b="0 0 b.n", b_R="0 0 b_R.n")),
    "gru3": Row(
        "MUT2Cell",
        some(W="0 0 W.n", R="0 0 R_n.n", b="-v.b_z v.b_r b.n", b_R="0 0 b_R.n"),
    ),
    "indygru": Row("MUT2Cell", RESET_BEFORE | some(R="-diag.u_z diag.u_r diag.u_n", b_R="0 0 0")),
    "indylstm": Row(
        "nn.LSTMCell",
        both("i f g o") | some(R="diag.u_i diag.u_f diag.u_g diag.u_o", b_R="0 0 0 0"),
    ),
    "lstm": Row("nn.LSTMCell", both("i f g o")),
    "lstm-block-diagonal": Row("nn.LSTMCell", both("i f g o"), is_prepared=True),
    "lstm-coupled": Row("nn.LSTMCell", both("i -i g o")),
    "lstm-no-input-gate": Row("nn.LSTMCell", both("1 f g o")),
    "lstm-no-input-tanh": Row("PeepholeLSTMCell", both("i f g o") | NO_PEEPHOLES, LINEAR_CANDIDATE),
    "lstm-no-output-gate": Row("nn.LSTMCell", both("i f g 1")),
    "lstm-no-output-tanh": Row("PeepholeLSTMCell", both("i f g o") | NO_PEEPHOLES, LINEAR_OUTPUT),
    "mgu-reset-after": Row("nn.GRUCell", both("f -f n")),
    "mgu1": Row("MGUCell", some(W="0 W.n", R="R.f R_n.n", b="0 b.n", b_R="b_R.f b_R.n")),
    "mgu2": Row("MGUCell", some(W="0 W.n", R="R.f R_n.n", b="0 b.n", b_R="0 b_R.n")),
    "mgu3": Row("MGUCell", some(W="0 W.n", R="0 R_n.n", b="v.b_f b.n", b_R="0 b_R.n")),
    "min-gru": Row(
        "LiGRUCell",
        some(W="-W.z W.n", R="0 0", b="-b.z b.n", b_R="0 0"),
        {"nonlinearity": Positive()},
        biases=1,
    ),
    "odyssey-cifg": Row(
        "PeepholeLSTMCell", both("i -i g o") | some(weight_ph="v.p_i -v.p_i v.p_o")
    ),
    "odyssey-nfg": Row("PeepholeLSTMCell", both("i 1 g o") | some(weight_ph="v.p_i 0 v.p_o")),
    "odyssey-niaf": Row("PeepholeLSTMCell", both("i f g o") | PEEPHOLES, LINEAR_CANDIDATE),
    "odyssey-nig": Row("PeepholeLSTMCell", both("1 f g o") | some(weight_ph="0 v.p_f v.p_o")),
    "odyssey-noaf": Row("PeepholeLSTMCell", both("i f g o") | PEEPHOLES, LINEAR_OUTPUT),
    "odyssey-nog": Row("PeepholeLSTMCell", both("i f g 1") | some(weight_ph="v.p_i v.p_f 0")),
    "odyssey-np": Row("nn.LSTMCell", both("i f g o")),
    "qrnn": Row(
        "PeepholeLSTMCell",
        some(
            W="-W.f|-W.vf W.f|W.vf W.z|W.vz W.o|W.vo",
            R="0 0 0 0",
            b="-b.f b.f b.z b.o",
            b_R="0 0 0 0",
            weight_ph="0 0 0",
        ),
        LINEAR_OUTPUT,
        shared=2,
        biases=1,
        steps_read=2,
    ),
    "rnn-relu": Row("nn.RNNCell", both("h"), {"nonlinearity": "relu"}),
    "rnn-tanh": Row("nn.RNNCell", both("h")),
}
"""Our cell -> the comparison, in float64 and with gradients."""
OF_IFGO = some(W="W.i W.f W.g W.o", R="R.i R.f R.g R.o", b="b.i b.f b.g b.o")
OF_H = some(W="W.h", R="R.h", b="b.h")
SINGLE = 1e-5
"""Of layers that Keras computes by its general loop, whose products are of float32 on torch."""
KERAS = {
    "gru": Row("GRU", both("z r n"), {"reset_after": True}),
    "gru-reset-before": Row(
        "GRU",
        some(W="W.z W.r W.n", R="R.z R.r R_n.n", b="b.z b.r b.n"),
        {"reset_after": False},
        biases=1,
        tolerance=SINGLE,
    ),
    "lstm": Row("LSTM", OF_IFGO, biases=1),
    "rnn-relu": Row("SimpleRNN", OF_H, {"activation": "relu"}, biases=1, tolerance=SINGLE),
    "rnn-tanh": Row("SimpleRNN", OF_H, biases=1, tolerance=SINGLE),
}
"""Our cell -> the comparison with a layer of Keras, likewise."""
FLASHRNN = {
    "gru": Row("gru", some(W="W.r W.z W.n", R="R.n R.r R.z", b="b_R.n b.r b.z b.n"), biases=1),
    "lstm": Row("lstm", OF_IFGO, biases=1),
    "lstm-block-diagonal": Row("lstm", OF_IFGO, biases=1, is_prepared=True, heads=2),
    "rnn-tanh": Row("elman", OF_H, biases=1),
    "slstm": Row("slstm", OF_IFGO, shared=2, biases=1),
}
"""Our cell -> the comparison with a function of flashrnn, likewise.

Its slstm carries max(n, 1) where ours carries n, so both begin at their own start.
"""
XLSTM = {
    "lstm": Row("lstm", OF_IFGO, biases=1),
    "slstm": Row("slstm", OF_IFGO, shared=2, biases=1),
}
"""Our cell -> the comparison with a function of xlstm, likewise."""
NCPS = {
    "cfc": Row(
        "CfCCell",
        {
            "ff1.weight": ["W.g|R.g"],
            "ff1.bias": ["b.g"],
            "ff2.weight": ["W.k|R.k"],
            "ff2.bias": ["b.k"],
            "time_a.weight": ["W.f|R.f"],
            "time_a.bias": ["b.f"],
            "time_b.weight": ["0"],
            "time_b.bias": ["0"],
        },
        {"backbone_layers": 0},
        biases=1,
    ),
}
"""Our cell -> the comparison with a module of ncps, likewise."""
COMPARISONS = {
    "torchrecurrent": STRANGERS,
    "keras": KERAS,
    "flashrnn": FLASHRNN,
    "xlstm": XLSTM,
    "ncps": NCPS,
}
"""A library -> its comparisons with gradients."""
OPERATORS = {
    "rnn-tanh": OperatorRow("RNN", "h"),
    "rnn-relu": OperatorRow("RNN", "h", {"activations": ["Relu"]}),
    "gru": OperatorRow("GRU", "z r n", {"linear_before_reset": 1}),
    "gru-reset-before": OperatorRow("GRU", "z r n"),
    "lstm": OperatorRow("LSTM", "i o f g"),
    "lstm-peephole": OperatorRow("LSTM", "i o f g", peepholes=("p_i", "p_o", "p_f")),
}
"""Our cell -> the comparison, in float32 and without gradients."""
MODULES = {
    "gru": "`nn.GRU`",
    "lstm": "`nn.LSTM`",
    "lstm-projected": "`nn.LSTM` with `proj_size`, from a start of zero and without gradients",
    "rnn-relu": "`nn.RNN`",
    "rnn-tanh": "`nn.RNN`",
}
"""Our cell -> the module of torch.nn that tests/layer compares it with."""
LEAVES_PAPER = "torchrecurrent's leaves the paper: "
ABSENT = "no library of the extra has it"
NONE = {
    "exprnn": ABSENT,
    "fastgrnn": LEAVES_PAPER + "a tanh is its gate",
    "gru-layer-norm": ABSENT,
    "gru-multiplicative-integration": ABSENT,
    "indrnn-layer-norm": ABSENT,
    "lem": LEAVES_PAPER + "h' takes the old z",
    "lru": ABSENT,
    "lstm-capped": ABSENT,
    "lstm-layer-norm": ABSENT,
    "lstm-mogrifier": ABSENT,
    "lstm-multiplicative-integration": ABSENT,
    "lstm-on": ABSENT,
    "min-lstm": ABSENT,
    "nas": LEAVES_PAPER + "unit 4 adds",
    "odyssey-fgr": ABSENT,
    "rg-lru": ABSENT,
    "rhn": "torchrecurrent 0.2.5 has a file with one, which cannot be imported",
    "rwkv-4": ABSENT,
    "scornn": ABSENT,
    "scrn": LEAVES_PAPER + "it feeds back a squashed h",
    "sru": ABSENT,
}
"""Our cell -> why it is compared with none."""
