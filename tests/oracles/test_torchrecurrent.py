"""Cells against those of torchrecurrent and of torch.nn: copied weights, float64, gradients too."""

import importlib
from pathlib import Path

import pytest
import torch
from compared import MODULES, NONE, OPERATORS, SATURATED, STRANGERS

import cells
from harness import Recurrent

torchrecurrent = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
pytestmark = pytest.mark.oracle

ROOT = Path(__file__).resolve().parents[2]
T, B, I, H = 5, 3, 4, 6
"""A cell that reads its input has one of H."""
KINDS = {"b_R": "recurrent_bias", "v": "vector", "diag": "vector"}
"""What begins the name of a block that is named by its kind."""


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block(made, values, name, like):
    """One gate's part of our parameters in their layout; ``like`` is their parameter."""
    if "|" in name:
        narrow = like[:, : like.shape[1] // len(name.split("|"))]
        return torch.cat([block(made, values, each, narrow) for each in name.split("|")], 1)
    if name.startswith("-"):
        return -block(made, values, name[1:], like)
    if name in ("0", "open", "shut"):
        sign = {"0": 0.0, "open": 1.0, "shut": -1.0}[name]
        return like.new_full((H, *like.shape[1:]), sign * SATURATED)
    kind, _, gate = name.partition(".")
    for spec in made.cell.parameters(made.input_size, H, made.biases):
        if (spec.name == kind or KINDS.get(kind) == spec.kind) and gate in (*spec.gates, spec.name):
            parts = values[spec.name].chunk(max(1, len(spec.gates)), dim=-1)
            part = parts[spec.gates.index(gate)] if gate in spec.gates else parts[0]
            if kind == "diag":
                return part.diag()
            return part.t() if part.ndim == 2 else part
    raise AssertionError(f"{made.cell.name} has no {name}")


def theirs_of(row, width):
    kind = row.kind.removeprefix("nn.")
    library = torchrecurrent if kind == row.kind else torch.nn
    return getattr(library, kind)(width, H, **row.arguments, dtype=torch.float64).double()


def windows(x, steps_read):
    """The latest inputs of each step side by side, zero before the first."""
    before = torch.cat([torch.zeros_like(x[: steps_read - 1]), x])
    return torch.cat([before[steps_read - 1 - k :][: len(x)] for k in range(steps_read)], -1)


def run_theirs(row, theirs, parameters, x, start):
    """Outputs and the states that both have, computed by their step."""
    state, outputs = start, []
    for step in windows(x, row.steps_read):
        result = torch.func.functional_call(theirs, parameters, (step, state))
        outputs.append(result[0] if isinstance(result, tuple) else result)
        state = row.fed(result)
    finals = result if isinstance(result, tuple) else (result,)
    return [torch.stack(outputs), *finals[: row.shared]]


def gradients(values, leaves):
    loss = sum((v * random(*v.shape, seed=k)).sum() for k, v in enumerate(values, 10))
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_cell_equals_that_of_others(name):
    row, width = STRANGERS[name], H if cells.find(name).reads_input else I
    torch.manual_seed(0)
    ours = Recurrent(name, width, H, engine="reference", biases=row.biases, dtype=torch.float64)
    theirs = theirs_of(row, width * row.steps_read)
    own = ours.weights("_l0")
    if row.is_prepared:
        ready = ours.cell.prepared({key: values.unsqueeze(0) for key, values in own.items()})
        own = {key: values.squeeze(0) for key, values in ready.items()}
    shapes = dict(theirs.named_parameters())
    assert shapes.keys() - row.blocks.keys() <= set(row.alone)
    assert row.blocks.keys() <= shapes.keys()
    given = {
        key: torch.cat([block(ours, own, one, shapes[key].detach()) for one in names])
        for key, names in row.blocks.items()
    }
    x, start = random(T, B, width, seed=1).requires_grad_(), None
    hx = [random(1, B, H, seed=2 + k).requires_grad_() for k in range(len(ours.cell.state))]
    if row.shared is not None or row.fed is not type(row).fed:  # its states are not all ours
        hx = []
    elif hx:
        start = tuple(each[0] for each in hx) if len(hx) > 1 else hx[0][0]
    output, final = ours(x, hx or None)
    final = final if isinstance(final, tuple) else (final,)
    values = [output, *(each[0] for each in final[: row.shared])]
    wanted = run_theirs(row, theirs, given, x, start)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(values, wanted, **close)
    names, parameters = zip(*ours.named_parameters(), strict=True)
    leaves = [x, *hx, *parameters]
    found, expected = gradients(values, leaves), gradients(wanted, leaves)
    keys = ["x", *ours.cell.state[: len(hx)], *names]
    for key, one, other in zip(keys, found, expected, strict=True):
        torch.testing.assert_close(one, other, **close, msg=lambda m, key=key: f"{key}: {m}")
        assert one.any() or key == "x", key


def test_every_cell_is_compared_or_says_why_not():
    compared = STRANGERS.keys() | OPERATORS.keys() | MODULES.keys()
    assert compared | NONE.keys() == set(cells.registry.shipped_names())
    assert not compared & NONE.keys()


def test_what_is_said_of_rhn_is_so():
    with pytest.raises(ImportError, match="BaseRecurrentLayer"):
        importlib.import_module("torchrecurrent.cells.rhn_cell")


def test_the_page_of_comparisons_is_that_of_the_tables():
    page = importlib.import_module("docs_oracles").page()
    assert page == (ROOT / "docs/oracles.md").read_text(encoding="utf-8")
