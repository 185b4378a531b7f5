"""Every cell against equations.py. A cell of the registry that has no entry there fails."""

import ast
import inspect

import equations
import pytest
from parity import ALL_CELLS, parity_problems

import cells


@pytest.mark.parametrize("name", ALL_CELLS)
def test_outputs_final_state_and_all_gradients_follow_the_equations(name):
    assert list(parity_problems(cells.find(name))) == []


def test_every_cell_of_the_registry_has_an_independent_statement():
    assert set(ALL_CELLS) <= set(equations.EQUATIONS)


def test_the_independent_statement_imports_nothing_of_the_project():
    tree = ast.parse(inspect.getsource(equations))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"torch"}
