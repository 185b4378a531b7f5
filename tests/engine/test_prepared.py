"""Layers that multiply with what is made of their parameters, or read their input: tapes, even
sizes, refusals.
"""

import pytest
import torch
from agreement import ALL_CELLS, assert_agrees, case, random
from tolerances import assert_close

import cells
from harness.engine import get
from harness.engine.gpu.gpu import Gpu

OVER_INPUTS = [name for name in ALL_CELLS if cells.find(name).reads_input]
MADE = [name for name in ALL_CELLS if cells.find(name).is_prepared()]
ENGINES = {
    "reference": get("reference"),
    "cpu": get("cpu"),
    "gpu": Gpu(device_types=("cpu",)),
    "scan": get("scan"),
}
CALLS = [
    *(
        (name, engine, kind)
        for name in MADE
        for engine in ("reference", "cpu", "gpu")
        for kind in ("rows", "tokens")
    ),
    *((name, engine, "rows") for name in OVER_INPUTS for engine in ("reference", "cpu", "gpu")),
    ("rg-lru", "scan", "rows"),
]


def assert_tape(given, engine):
    """Outputs, final state and every gradient of a tape are those of autograd through the
    definition.
    """
    layer, is_float = given.layer, given.inputs.is_floating_point()
    leaves = {key: value.detach().requires_grad_() for key, value in given.leaves().items()}
    state = tuple(leaves[f"initial state {k}"] for k in range(len(given.state)))
    own = {key: leaves[key] for key in given.parameters}
    expected, final = get("reference").run(layer, own, leaves.get("input", given.inputs), state)
    weights = random(expected.shape, 80)
    wanted = torch.autograd.grad(
        (weights * expected).sum(), list(leaves.values()), materialize_grads=True
    )

    tape = ENGINES[engine].forward(layer, given.parameters, given.inputs, given.state)
    homes = {key: torch.full_like(p, torch.nan) for key, p in given.parameters.items()}
    start = [torch.full_like(s, torch.nan) for s in given.state]
    ahead = tape.backward(weights, homes, is_float, start)
    found = [*homes.values(), *start, *([ahead] if is_float else [])]
    for ours, theirs in zip((tape.outputs, *tape.final), (expected, *final), strict=True):
        assert_close(ours, theirs.detach())
    for key, ours, theirs in zip(leaves, found, wanted, strict=True):
        assert_close(ours, theirs, key)


class Turned(cells.find("rnn-tanh")):
    """A matrix that is not stored row by row, and one that nothing multiplies with."""

    name = "turned"
    gates = ("h", "z")

    @classmethod
    def prepared(cls, parameters):
        return {
            **parameters,
            "R": parameters["R"].mT.contiguous().mT,
            "unused": parameters["R"] * 2,
        }

    def step(self, p, x, h):
        r = p.R(h)
        return (torch.sigmoid(x.z + r.z) * torch.tanh(x.h + r.h),)


class Projected(cells.find("min-gru")):
    """No recurrent product, and an output that is projected."""

    name = "projected"
    projects = True


@pytest.mark.parametrize("engine", ["reference", "cpu", "gpu"])
@pytest.mark.parametrize("cell", [Turned, Projected])
def test_a_users_cell_of_either_sort(cell, engine):
    given = case(cell, runs=2, hidden=8, inputs="rows", scale=0.4)
    assert_tape(given, engine)


def test_both_sorts_are_in_the_registry():
    assert {"lstm-block-diagonal", "antisymmetric-rnn"} <= set(MADE)
    assert {"sru", "lstm-mogrifier"} <= set(OVER_INPUTS)


@pytest.mark.parametrize("hidden", [8, 12])
@pytest.mark.parametrize(("name", "engine", "kind"), CALLS)
def test_a_tape_writes_the_gradients_of_the_parameters_themselves(name, engine, kind, hidden):
    """Twelve units are four blocks of three, and no whole number of an engine's vectors."""
    assert_tape(case(name, runs=2, hidden=hidden, biases=2, inputs=kind, scale=0.4), engine)


@pytest.mark.parametrize("name", sorted({*MADE, *OVER_INPUTS}))
def test_the_generated_code_is_the_definition_at_even_sizes(name):
    for hidden in (2, 8, 12):
        assert_agrees("cpu", case(name, runs=2, hidden=hidden))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (torch.zeros(2, 1, 3, 5, dtype=torch.float64), "size=5"),
        (torch.zeros(2, 1, 3, dtype=torch.int64), "tokens"),
    ],
)
def test_inputs_that_a_step_cannot_read_are_refused(engine, inputs, got):
    given = case("rg-lru", hidden=4)
    rule = rf"^rg-lru: must have inputs of hidden_size=4, which it reads, but got {got}\.$"
    for call in (ENGINES[engine].run, ENGINES[engine].forward):
        with pytest.raises(ValueError, match=rule):
            call(given.layer, given.parameters, inputs, given.state)
