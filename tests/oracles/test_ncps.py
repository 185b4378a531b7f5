"""Cells against ncps, the package of the authors of closed-form continuous-time networks."""

import pytest
import torch
from compared import NCPS
from comparison import H, assert_equal, width_of

ncps = pytest.importorskip("ncps.torch", reason="ncps is not installed")
pytestmark = pytest.mark.oracle

ELAPSED = 1.0
"""The time between two steps."""


@pytest.mark.parametrize("name", NCPS)
def test_a_cell_equals_that_of_ncps(name):
    row = NCPS[name]
    theirs = getattr(ncps, row.kind)(width_of(name), H, **row.arguments).double()

    def run(given, x, h):
        outputs = []
        for step in x:
            h, _ = torch.func.functional_call(theirs, given, (step, h, ELAPSED))
            outputs.append(h)
        return [torch.stack(outputs), h]

    assert_equal(name, row, dict(theirs.named_parameters()), run)
