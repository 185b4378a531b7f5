"""A layout places every parameter once, aligned, and its views are the memory itself."""

import pytest
import torch

from harness.training.flat_parameters import ALIGNMENT, FlatLayout

SHAPES = {"layer0.W": (3, 8), "layer0.b": (7,), "readout.W": (2, 5), "readout.b": (32,)}


@pytest.mark.parametrize("num_runs", [1, 3])
def test_views_are_parts_of_their_rows_and_share_nothing_with_one_another(num_runs):
    layout = FlatLayout(SHAPES)
    rows = torch.zeros(num_runs, layout.size)
    views = layout.views(rows)
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        name: (num_runs, *shape) for name, shape in SHAPES.items()
    }
    for value, view in enumerate(views.values(), start=1):
        view += value
    for value, (name, view) in enumerate(views.items(), start=1):
        assert (view == value).all(), name
        assert all(own.is_contiguous() for own in view)
    named = sum(view.numel() for view in views.values())
    assert torch.count_nonzero(rows) == named < rows.numel()


def test_every_parameter_of_every_run_is_aligned():
    layout = FlatLayout(SHAPES)
    rows = torch.zeros(2, layout.size)
    for view in layout.views(rows).values():
        assert [own.storage_offset() % ALIGNMENT for own in view] == [0, 0]
    assert layout.size == 32 + 16 + 16 + 32
