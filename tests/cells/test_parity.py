"""Every cell against equations.py. A cell of the registry that has no entry there fails."""

import ast
import pathlib

import equations
import pytest
from parity import ALL_CELLS, parity_problems

import cells
from cells.base import Cell

STATEMENTS = sorted(pathlib.Path(equations.__file__).parent.glob("equations*.py"))
MADE = [
    name for name in ALL_CELLS if cells.find(name).prepared.__func__ is not Cell.prepared.__func__
]


@pytest.mark.parametrize("name", ALL_CELLS)
def test_outputs_final_state_and_all_gradients_follow_the_equations(name):
    assert list(parity_problems(cells.find(name))) == []


@pytest.mark.parametrize("hidden", [1, 3, 4, 8])
@pytest.mark.parametrize("name", MADE)
def test_a_matrix_that_is_made_of_parameters_follows_the_equations_at_every_size(name, hidden):
    """Of one unit; of one block, of four of one unit each, and of four of two."""
    assert list(parity_problems(cells.find(name), hidden)) == []


def test_every_cell_of_the_registry_has_an_independent_statement():
    assert set(ALL_CELLS) <= set(equations.EQUATIONS)


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_the_independent_statement_imports_nothing_of_the_project(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"torch", *(path.stem for path in STATEMENTS)}
