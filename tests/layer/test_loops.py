"""A layer in an exported graph: its loop over time runs as often as the input has time steps."""

import dataclasses
import io

import pytest
import torch
from tolerances import TOLERANCES

import cells
from harness import Recurrent
from harness.engine import get
from harness.layer import dropouts, loops, running

H = 4
RTOL, ATOL = TOLERANCES[torch.float64]


def drawn(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def assert_loop_is_definition(layer, weights, noise=None):
    width = weights["W"].shape[0] if "W" in weights else H
    x, state = drawn(3, 2, width), tuple(drawn(2, H) for _ in layer.cell.state)
    output, final = loops.run(layer, weights, x, state, noise)
    expected = running.run(get("reference"), layer, weights, x, state, noise)
    torch.testing.assert_close((output, final), expected, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", cells.names())
@torch.no_grad()
def test_the_loop_computes_what_the_definition_does(name):
    made = Recurrent(name, H, H, dtype=torch.float64)
    assert_loop_is_definition(made.layer, made.weights("_l0"))


@pytest.mark.parametrize("num_steps", [1, 3])
@torch.no_grad()
def test_the_loop_takes_noise_for_each_step_and_for_all(num_steps):
    made = Recurrent("gru", 3, H, zoneout_h=0.5, dtype=torch.float64)
    cell = dropouts.cell_for(made.cell, made.settings, training=True)
    layer = dataclasses.replace(made.layer, cell=cell)
    assert_loop_is_definition(layer, made.weights("_l0"), drawn(num_steps, 2, H))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning",
    "ignore:.isinstance.treespec",
    "ignore:The given buffer is not writable:UserWarning",  # of torch 2.9 on its own call
)
def test_an_exported_layer_takes_any_number_of_steps_and_rows():
    made = Recurrent(
        "lstm-projected",
        3,
        H,
        batch_first=True,
        bidirectional=True,
        zoneout_c=0.1,
        dtype=torch.float64,
    ).eval()

    def arguments(rows, num_steps):
        return drawn(rows, num_steps, 3), tuple(drawn(2, rows, H) for _ in made.cell.state)

    open_sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    rows = {1: torch.export.Dim.DYNAMIC}
    program = torch.export.export(made, arguments(2, 3), dynamic_shapes=(open_sizes, (rows, rows)))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    made.engine = "reference"
    for sizes in [(2, 3), (1, 1), (4, 7)]:
        given = arguments(*sizes)
        torch.testing.assert_close(loaded(*given), made(*given), rtol=RTOL, atol=ATOL)
