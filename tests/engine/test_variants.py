"""One-line variants of the Elman cell: which are generated, and that these equal the definition.

All of them are gates of two cells, since a compiler takes seconds for one.
"""

import pytest
import torch
from agreement import assert_agrees, case, errors, results
from variant_steps import COMPILED, COMPOSED, MORE, REASONS, VARIANTS, elman, together

from harness.engine import Layer
from harness.engine.tracing.trace import trace, untraceable


@pytest.mark.parametrize("name", VARIANTS)
def test_which_variants_of_the_elman_cell_are_generated(name):
    assert len(VARIANTS) == 35
    expected = f"variant: {REASONS[name]}" if name in REASONS else None
    assert untraceable(elman(VARIANTS[name])) == expected


def test_variants_are_the_definition_in_float64():
    assert_agrees("cpu", case(together(COMPILED), runs=2, hidden=7, scale=0.5))


def test_what_is_composed_is_the_definition_in_float64():
    given = case(together(COMPOSED | MORE), runs=2, hidden=7, scale=0.5, inputs="tokens")
    assert_agrees("cpu", given)


def test_variants_follow_the_definition_in_float32():
    """By the widest bound of tests/engine/cpu/test_cpu.py; and it is near what is seen."""
    given = case(together(COMPILED), steps=6, batch=4, hidden=7, scale=0.2).to("float32")
    worst = max(errors(results("cpu", given), results("reference", given.to("float64"))).values())
    assert 3e-6 / 30 < worst < 3e-6


def test_constants_of_the_dtype_are_those_of_the_precision():
    """The epsilon that an RMS norm has by default is the dtype's."""
    cell = elman(COMPILED["RMS norm"])
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        nodes = trace(Layer(cell, 7, 1, precision)).nodes
        assert torch.finfo(dtype).eps in {node.value for node in nodes if node.op == "constant"}
