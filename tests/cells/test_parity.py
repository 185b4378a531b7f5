"""Every cell against equations.py. A cell of the registry that has no entry there fails."""

import ast
import pathlib

import equations
import pytest
from parity import ALL_CELLS, parity_problems

import cells

STATEMENTS = sorted(pathlib.Path(equations.__file__).parent.glob("equations*.py"))


@pytest.mark.parametrize("name", ALL_CELLS)
def test_outputs_final_state_and_all_gradients_follow_the_equations(name):
    assert list(parity_problems(cells.find(name))) == []


def test_every_cell_of_the_registry_has_an_independent_statement():
    assert set(ALL_CELLS) <= set(equations.EQUATIONS)


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_the_independent_statement_imports_nothing_of_the_project(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"torch", *(path.stem for path in STATEMENTS)}
