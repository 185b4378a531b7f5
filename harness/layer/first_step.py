"""Whether a step of one's own runs, which is asked before a layer is made of it."""

import functools

import torch
from torch import Tensor

from cells.base import Cell, split_gates
from cells.faults import place_of, problems_of_returned, words_of
from harness.engine import Layer
from harness.engine.reference import bind

HIDDEN_SIZE, ROWS = 3, 2
VALUE = 0.5
"""Of every parameter, state and product of the input: no random number is drawn."""


def problems_of_step(cell: type[Cell]) -> list[str]:
    """Returns what is wrong with one step of a cell whose declarations are right, a line each.

    It is a small part of the contract, and takes a millisecond.
    """
    return list(_problems_of_step(cell))  # type: ignore[arg-type]  # classes have a hash


@functools.lru_cache(maxsize=256)
def _problems_of_step(cell: type[Cell]) -> tuple[str, ...]:
    layer = Layer(cell, HIDDEN_SIZE, 2, "float64")
    num_inputs = HIDDEN_SIZE if cell.reads_input else 1
    parameters = {
        spec.name: _values(1, *spec.shape(HIDDEN_SIZE))
        for spec in cell.parameters(num_inputs, HIDDEN_SIZE, 2)
    }
    state = {name: _values(1, ROWS, HIDDEN_SIZE) for name in cell.state}
    products = cell.input_products()
    x = split_gates(_values(1, ROWS, len(products) * HIDDEN_SIZE), products)
    given = state | {f"x.{gate}": getattr(x, gate) for gate in products}
    try:
        with torch.no_grad():
            p = bind(layer, cell.prepared(parameters))
            returned = cell().step(p, x, *state.values())
    except Exception as error:  # a user's step may raise anything at all; its words are reported
        raised = f"{words_of(error)}{place_of(error, cell)}"
        return (f"{cell.__name__}: step must run, but raised {raised}.",)
    problems = problems_of_returned(cell, list(state.values()), returned)
    if changed := [name for name, values in given.items() if not (values == VALUE).all()]:
        problems.append(
            f"step must leave its arguments as they were, but changed {', '.join(changed)}. Do"
            " nothing in place."
        )
    return tuple(f"{cell.__name__}: {problem}" for problem in problems)


def _values(*shape: int) -> Tensor:
    return torch.full(shape, VALUE, dtype=torch.float64, device="cpu")
