"""What the comparisons of engines tell."""

import math

import torch
from agreement import share_of_bounds


def test_a_share_of_bounds_is_a_number_where_nothing_is_there_too():
    zeros, ones = torch.zeros(3), torch.ones(3)
    for precision in ("float32", "tf32"):
        assert share_of_bounds({"zeros": zeros}, {"zeros": zeros}, precision) == 0
        assert share_of_bounds({"zeros": ones}, {"zeros": zeros}, precision) > 1
        both = {"zeros": zeros, "ones": ones}
        assert share_of_bounds(both, both | {"ones": 2 * ones}, precision) > 1
        assert math.isinf(share_of_bounds({"ones": math.nan * ones}, {"ones": ones}, precision))
