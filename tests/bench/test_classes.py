from pathlib import Path

import pytest

import cells
from harness.bench.classes import cell_class

CLASSES = {
    "rnn-tanh": "a",
    "rnn-relu": "a",
    "lstm": "a",
    "lstm-peephole": "a",
    "gru": "a",
    "gru-reset-before": "b",
    "my-full-gate-recurrence": "a",  # four products, all of the state
    "lstm-layer-norm": "ar",
    "indrnn": "e",
    "minimal-rnn": "a",  # the second product sees the input alone
    "gru3": "a",  # its reset gate is a vector
    "rhn": "b",
    "lem": "b",
    "brc": "e",
    "t-rnn": "c",
    "t-gru": "e",  # the last input, which its state holds, passes through a sigmoid
    "scrn": "b",  # its output multiplies the new state
    "antisymmetric-rnn-gated": "a",
    "lstm-block-diagonal": "a",
    "lstm-mogrifier": "b",
    "intersection-rnn": "a",
    "sru": "e",
    "rg-lru": "c",
}


@pytest.fixture(scope="module", autouse=True)
def users():
    cells.load_file(Path(__file__).resolve().parent.parent / "user_cells.py")


@pytest.mark.parametrize("name", CLASSES)
def test_the_class_of_a_cell(name):
    assert cell_class(cells.find(name)) == CLASSES[name]


@pytest.mark.parametrize("name", [name for name in cells.names() if name.startswith("min-")])
def test_a_cell_that_is_linear_in_its_state(name):
    assert cell_class(cells.find(name)) == "c"


def test_every_cell_has_a_class():
    assert {cell_class(cells.find(name)) for name in cells.names()} <= {"a", "ar", "b", "c", "e"}
