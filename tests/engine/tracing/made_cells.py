"""A cell that is made of a step, and the trace of one."""

from corner_cells import CORNERS

import cells
from cells import Cell
from harness.engine import Layer
from harness.engine.tracing.trace import trace


def traced(cell, biases=1, hidden=7):
    """Returns the trace of a layer of a cell, or of the cell of that name."""
    if isinstance(cell, str):
        cell = CORNERS[cell] if cell in CORNERS else cells.find(cell)
    return trace(Layer(cell, hidden, biases, "float64"))


def made(step, **declared):
    """A cell of one gate whose step is a function of (p, x, *state)."""
    body = {
        "name": "made",
        "gates": ("h",),
        "step": lambda self, p, x, *state: step(p, x, *state),
        **declared,
    }
    return type("Made", (Cell,), body)
