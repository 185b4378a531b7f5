"""Cells against those of torchrecurrent and of torch.nn; whether every cell is compared."""

import functools
import importlib
from pathlib import Path

import pytest
import torch
from compared import COMPARISONS, MODULES, NONE, OPERATORS, STRANGERS
from comparison import H, assert_equal, stepped, width_of

import cells

torchrecurrent = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
pytestmark = pytest.mark.oracle

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", STRANGERS)
def test_a_cell_equals_that_of_others(name):
    row = STRANGERS[name]
    kind = row.kind.removeprefix("nn.")
    library = torchrecurrent if kind == row.kind else torch.nn
    made = getattr(library, kind)(width_of(name) * row.steps_read, H, **row.arguments)
    theirs = made.double()
    run = functools.partial(stepped, row, theirs)
    assert_equal(name, row, dict(theirs.named_parameters()), run)


def test_every_cell_is_compared_or_says_why_not():
    compared = OPERATORS.keys() | MODULES.keys()
    compared |= {name for table in COMPARISONS.values() for name in table}
    assert compared | NONE.keys() == set(cells.registry.shipped_names())
    assert not compared & NONE.keys()


def test_what_is_said_of_rhn_is_so():
    with pytest.raises(ImportError, match="BaseRecurrentLayer"):
        importlib.import_module("torchrecurrent.cells.rhn_cell")


def test_the_page_of_comparisons_is_that_of_the_tables():
    page = importlib.import_module("docs_oracles").page()
    assert page == (ROOT / "docs/oracles.md").read_text(encoding="utf-8")
