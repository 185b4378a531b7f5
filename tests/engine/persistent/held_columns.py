"""How much of a matrix lies in registers."""

import cells
from harness.engine import Layer
from harness.engine.persistent.places import Direction
from harness.engine.persistent.source import plan_of


def share_held(name, tile, precision):
    """Of the terms of each sum, forward, those whose columns registers hold."""
    plan = plan_of(Layer(cells.find(name), tile.hidden_size, 2, precision))
    at = Direction(plan, precision, False, tile)
    shape = at.contraction(at.products[0])
    return shape.held_terms / shape.slice_terms
