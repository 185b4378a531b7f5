"""Cells against torchrecurrent, a library by others: copied weights, float64, gradients too.

A row says which of our blocks stand in each of its parameters: ``W.i`` is the matrix of the input
for gate i, ``R.i`` that of the state, ``b.i`` and ``b_R.i`` the two biases, ``v.p`` the vector p.

Not in the table are cells in which it leaves the paper: its LEM takes the old z in h', its NAS adds
in unit 4, its FastGRNN has tanh for a gate, its SCRN feeds back a squashed h.
"""

import pytest
import torch

import cells
from harness import Recurrent

torchrecurrent = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
pytestmark = pytest.mark.oracle

T, B, I, H = 5, 3, 4, 6


def both(names):
    """The four parameters of a cell whose gates all have a product and a bias on either side."""
    gates = names.split()
    return {
        "weight_ih": [f"W.{gate}" for gate in gates],
        "weight_hh": [f"R.{gate}" for gate in gates],
        "bias_ih": [f"b.{gate}" for gate in gates],
        "bias_hh": [f"b_R.{gate}" for gate in gates],
    }


TABLE = {
    "lstm-peephole": (
        "PeepholeLSTMCell",
        both("i f g o") | {"weight_ph": ["v.p_i", "v.p_f", "v.p_o"]},
    ),
    "janet": ("JANETCell", both("f g")),
    "mgu": ("MGUCell", both("f n")),
    "ugrnn": ("UGRNNCell", both("n g")),
    "ligru": ("LiGRUCell", both("z n")),
    "atr": ("ATRCell", both("v")),
    "ran": ("RANCell", both("i f") | {"weight_ih": ["W.g", "W.i", "W.f"]}),
    "cfn": (
        "CFNCell",
        both("theta eta")
        | {"weight_ih": ["W.theta", "W.eta", "W.g"], "bias_ih": ["b.theta", "b.eta", "0"]},
    ),
}
"""Our cell -> their class, and their parameters made of our blocks."""


def block(made, values, name):
    """One gate's part of our parameters, or of their gradients, in their layout."""
    if name == "0":
        return torch.zeros(H, dtype=torch.float64)
    kind, _, gate = name.partition(".")
    kinds = {"W": "input", "R": "recurrent", "b": "bias", "b_R": "recurrent_bias", "v": "vector"}
    for spec in made.cell.parameters(I, H, 2):
        if spec.kind == kinds[kind] and (spec.name == gate or gate in spec.gates):
            parts = values[f"{spec.name}_l0"].chunk(len(spec.gates), dim=-1)
            part = parts[spec.gates.index(gate)] if gate in spec.gates else parts[0]
            return part.t() if part.ndim == 2 else part
    raise AssertionError(f"{made.cell.name} has no {name}")


@pytest.mark.parametrize("name", TABLE)
def test_a_cell_equals_that_of_others(name):
    kind, blocks = TABLE[name]
    torch.manual_seed(0)
    ours = Recurrent(name, I, H, engine="reference", dtype=torch.float64)
    theirs = getattr(torchrecurrent, kind)(I, H, dtype=torch.float64).double()
    own = {key: value.detach() for key, value in ours.named_parameters()}
    given = {key: torch.cat([block(ours, own, each) for each in blocks[key]]) for key in blocks}
    others = dict(theirs.named_parameters()).keys() - given.keys()
    assert others <= {"beta"}  # of JANET, a constant in ours, and equal to it at the start
    theirs.load_state_dict(given, strict=False)

    x = torch.randn(T, B, I, dtype=torch.float64)
    weights = torch.randn(T, B, H, dtype=torch.float64)
    output, final = ours(x)
    state, steps = None, []
    for row in x:
        state = theirs(row, state)
        steps.append(state[0] if isinstance(state, tuple) else state)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(output, torch.stack(steps), **close)
    if isinstance(final, tuple):
        torch.testing.assert_close([each[0] for each in final], list(state), **close)

    (output * weights).sum().backward()
    (torch.stack(steps) * weights).sum().backward()
    gradients = {key: value.grad for key, value in ours.named_parameters()}
    used = set()
    for key, names in blocks.items():
        for each, gradient in zip(names, getattr(theirs, key).grad.split(H), strict=True):
            if each != "0":
                torch.testing.assert_close(gradient, block(ours, gradients, each), **close)
                used.add(each)
    assert len(used) == sum(len(spec.gates) for spec in ours.cell.parameters(I, H, 2))


def test_the_table_names_cells_of_the_registry():
    assert set(TABLE) <= set(cells.names())
