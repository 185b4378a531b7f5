"""Cells against flashrnn's plain implementation in torch's operations, which needs no GPU."""

import pytest
import torch
from compared import FLASHRNN
from comparison import H, assert_equal, plain, width_of

flashrnn = pytest.importorskip("flashrnn", reason="flashrnn is not installed")
pytestmark = pytest.mark.oracle


def split(values, heads):
    """Gates in the rows, (G*H, ...), as (G, heads, H / heads, ...)."""
    return values.unflatten(0, (-1, heads, H // heads))


@pytest.mark.parametrize("name", FLASHRNN)
def test_a_cell_equals_that_of_flashrnn(name):
    row = FLASHRNN[name]

    def run(given, x, start):
        """Inputs (B, T, G, heads, D), matrices (G, heads, D, D), states (S, B, 1, heads, D)."""
        products = (x @ given["weight_ih"].t()).transpose(0, 1)
        products = products.unflatten(2, (-1, row.heads, H // row.heads))
        recurrent = split(given["weight_hh"], row.heads).unflatten(3, (row.heads, -1))
        recurrent = recurrent.diagonal(dim1=1, dim2=3).movedim(-1, 1)
        states = start
        if start is not None:
            parts = start if isinstance(start, tuple) else (start,)
            states = torch.stack([each.unflatten(1, (row.heads, -1)) for each in parts])
            states = states.unsqueeze(2)
        found, final = flashrnn.flashrnn(
            products,
            recurrent,
            split(given["bias_ih"], row.heads),
            states,
            function=row.kind,
            backend="vanilla",
            dtype="float64",
        )
        found, final = found.flatten(3).transpose(1, 2), final.flatten(3)[:, :, 0]
        return [found[0], *final[: row.shared]]

    parameters = {key: values for key, values in plain(width_of(name)).items() if key in row.blocks}
    assert_equal(name, row, parameters, run)
