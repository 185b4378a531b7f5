"""Cells against the plain part of xlstm, the package of the authors of xLSTM."""

import pytest
import torch
from compared import XLSTM
from comparison import H, assert_equal, plain, width_of

REASON = "xlstm is not installed"
vanilla = pytest.importorskip("xlstm.blocks.slstm.src.vanilla", reason=REASON)
pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", XLSTM)
def test_a_cell_equals_that_of_xlstm(name):
    row = XLSTM[name]

    def run(given, x, start):
        """Inputs (T, B, G*H), a matrix (1, G*H, H) of one head, states (S, B, H)."""
        count = {"lstm": 2, "slstm": 4}[row.kind]
        states = torch.stack(start) if start else x.new_zeros(count, x.shape[1], H)
        found, final, _ = vanilla.slstm_forward(
            x @ given["weight_ih"].t(),
            states,
            given["weight_hh"].unsqueeze(0),
            given["bias_ih"],
            vanilla.slstm_pointwise_function_registry[row.kind],
        )
        return [found[0, 1:], *final[: row.shared]]

    parameters = {key: values for key, values in plain(width_of(name)).items() if key in row.blocks}
    assert_equal(name, row, parameters, run)
