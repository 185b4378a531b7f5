"""Cells against torchrecurrent, a library by others: copied weights, float64, gradients too.

A row says which of our blocks stand in each of its parameters: ``W.i`` is the matrix of the input
for gate i, ``R.i`` that of the matrix R for the state, ``b.i`` and ``b_R.i`` the two biases,
``v.p`` the vector p, 0 what ours lacks.

Not in the table are cells in which it leaves the paper: its LEM takes the old z in h', its NAS adds
in unit 4, its FastGRNN has tanh for a gate, its SCRN feeds back a squashed h.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import cells
from harness import Recurrent

torchrecurrent = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
pytestmark = pytest.mark.oracle

T, B, I, H = 5, 3, 4, 6
"""A cell that reads its input has one of H."""


@dataclass(frozen=True)
class Row:
    """A comparison.

    Attributes:
        kind: Their class.
        blocks: Their parameters, made of our blocks.
        arguments: What ours has as constants.
        alone: Parameters of one side that are constants of the other, and equal at the start.
        fed: Returns what their step is given next of what it returned.
        shared: How many of our states theirs has, from the first.
        biases: Of ours, a gate.
    """

    kind: str
    blocks: dict[str, list[str]]
    arguments: dict[str, Any] = field(default_factory=dict)
    alone: tuple[str, ...] = ()
    fed: Callable[[Any], Any] = lambda result: result
    shared: int | None = None
    biases: int = 2


def both(names):
    """The four parameters of a cell whose gates all have a product and a bias on either side."""
    gates = names.split()
    return {
        "weight_ih": [f"W.{gate}" for gate in gates],
        "weight_hh": [f"R.{gate}" for gate in gates],
        "bias_ih": [f"b.{gate}" for gate in gates],
        "bias_hh": [f"b_R.{gate}" for gate in gates],
    }


def some(**blocks):
    """Parameters of theirs, each a text of our blocks."""
    names = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "b_R": "bias_hh"}
    return {names.get(key, key): text.split() for key, text in blocks.items()}


class HardSigmoid(torch.nn.Module):
    """That of the papers' time, of slope 1/5; torch's has 1/6."""

    def forward(self, x):
        return (0.2 * x + 0.5).clamp(0.0, 1.0)


HARD = {"gate_nonlinearity": HardSigmoid()}
ANTISYMMETRIC = {"epsilon": 0.1, "gamma": 0.01}
TABLE = {
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
    "fastrnn": Row(
        "FastRNNCell", both("n"), {"alpha_init": -3.0, "beta_init": 3.0}, ("alpha", "beta")
    ),
    "indrnn": Row(
        "IndRNNCell", some(W="W.h", vector_u="v.u", b="b.h", b_R="0"), {"nonlinearity": "relu"}
    ),
    "intersection-rnn": Row(
        "IntersectionRNNCell", both("y n u g"), fed=lambda result: result[1], shared=2
    ),
    "janet": Row("JANETCell", both("f g"), alone=("beta",)),
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
        "UnICORNNCell", some(W="W.z", R="v.u", weight_ch="v.c", b="b.z", b_R="0"), {"dt": 0.205}
    ),
    "wmclstm": Row(
        "WMCLSTMCell", both("i f g o") | some(weight_mh="M.i M.f M_o.o", bias_mh="0 0 0")
    ),
}
"""Our cell -> the comparison."""


def block(made, values, name):
    """One gate's part of our parameters, or of their gradients, in their layout."""
    if name == "0":
        return torch.zeros(H, dtype=torch.float64)
    kind, _, gate = name.partition(".")
    kinds = {"b_R": "recurrent_bias", "v": "vector"}
    for spec in made.cell.parameters(made.input_size, H, made.biases):
        if kind in (spec.name, next((k for k, v in kinds.items() if v == spec.kind), None)) and (
            spec.name == gate or gate in spec.gates
        ):
            parts = values[f"{spec.name}_l0"].chunk(max(1, len(spec.gates)), dim=-1)
            part = parts[spec.gates.index(gate)] if gate in spec.gates else parts[0]
            return part.t() if part.ndim == 2 else part
    raise AssertionError(f"{made.cell.name} has no {name}")


@pytest.mark.parametrize("name", TABLE)
def test_a_cell_equals_that_of_others(name):
    row, width = TABLE[name], H if cells.find(name).reads_input else I
    torch.manual_seed(0)
    ours = Recurrent(name, width, H, engine="reference", biases=row.biases, dtype=torch.float64)
    kind = getattr(torchrecurrent, row.kind)
    theirs = kind(width, H, **row.arguments, dtype=torch.float64).double()
    own = {key: value.detach() for key, value in ours.named_parameters()}
    given = {
        key: torch.cat([block(ours, own, one) for one in row.blocks[key]]) for key in row.blocks
    }
    assert dict(theirs.named_parameters()).keys() - given.keys() <= set(row.alone)
    assert not theirs.load_state_dict(given, strict=False).unexpected_keys

    x = torch.randn(T, B, width, dtype=torch.float64)
    weights = torch.randn(T, B, H, dtype=torch.float64)
    output, final = ours(x)
    state, steps = None, []
    for step in x:
        result = theirs(step, state)
        steps.append(result[0] if isinstance(result, tuple) else result)
        state = row.fed(result)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(output, torch.stack(steps), **close)
    if isinstance(final, tuple):
        last = [each[0] for each in final[: row.shared]]
        torch.testing.assert_close(last, list(result[: row.shared]), **close)

    (output * weights).sum().backward()
    (torch.stack(steps) * weights).sum().backward()
    gradients = {key: value.grad for key, value in ours.named_parameters()}
    used = set()
    for key, names in row.blocks.items():
        if set(names) == {"0"}:
            continue
        for one, gradient in zip(names, getattr(theirs, key).grad.split(H), strict=True):
            if one != "0":
                torch.testing.assert_close(gradient, block(ours, gradients, one), **close)
                used.add(one)
    specs = [s for s in ours.cell.parameters(width, H, row.biases) if s.name not in row.alone]
    assert len(used) == sum(len(spec.gates) for spec in specs)


def test_the_table_names_cells_of_the_registry():
    assert set(TABLE) <= set(cells.names())
