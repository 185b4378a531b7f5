"""Whether a step of one's own runs, which is asked before a layer is made of it."""

import torch
from torch import Tensor

from cells.base import Cell, split_gates
from cells.faults import place_of, problem_of_changed, problems_of_returned, words_of
from harness.engine import Layer, dtype_of
from harness.engine.reference import bind

SMALL, ROWS = 3, 2
VALUE = 0.5
"""Of every parameter, state and product of the input: no random number is drawn."""


def problems_of_step(
    cell: type[Cell],
    hidden_size: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> list[str]:
    """Returns what is wrong with one step of a cell whose declarations are right, a line each.

    It is a small part of the contract, and takes a millisecond for a step that is right at any
    size. A step that fails there is right all the same if it runs in the layer that is made.

    Args:
        cell: Whose step it is.
        hidden_size: H of the layer.
        device: Of the layer; None: torch's default.
        dtype: Of the layer; None: torch's default.
    """
    # Nothing is kept of it: a step may use names that its notebook defines later, or differently.
    if not _problems_at(cell, SMALL, torch.device("cpu"), "float64"):
        return []
    own = torch.get_default_device() if device is None else torch.device(device)
    is_double = (dtype or torch.get_default_dtype()) == torch.float64
    return _problems_at(
        cell,
        hidden_size,
        torch.device("cpu") if own.type == "meta" else own,  # which has no values
        "float64" if is_double else "float32",
    )


def _problems_at(
    cell: type[Cell], hidden_size: int, device: torch.device, precision: str
) -> list[str]:
    def values(*shape: int) -> Tensor:
        return torch.full(shape, VALUE, dtype=dtype_of(precision), device=device)

    layer = Layer(cell, hidden_size, 2, precision)
    num_inputs = hidden_size if cell.reads_input else 1
    parameters = {
        spec.name: values(1, *spec.shape(hidden_size))
        for spec in cell.parameters(num_inputs, hidden_size, 2)
    }
    state = {name: values(1, ROWS, hidden_size) for name in cell.state}
    products = cell.input_products()
    x = split_gates(values(1, ROWS, len(products) * hidden_size), products)
    given = state | {f"x.{gate}": getattr(x, gate) for gate in products}
    # A step may draw random numbers, and what is drawn after it must not depend on this trial.
    generators = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(generators):
            p = bind(layer, cell.prepared(parameters))
            returned = cell().step(p, x, *state.values())
    except Exception as error:  # a user's step may raise anything at all; its words are reported
        raised = f"{words_of(error)}{place_of(error, cell)}"
        return [f"{cell.__name__}: step must run, but raised {raised}."]
    problems = problems_of_returned(cell, list(state.values()), returned)
    if changed := [name for name, tensor in given.items() if not (tensor == VALUE).all()]:
        problems.append(problem_of_changed(changed))
    return [f"{cell.__name__}: {problem}" for problem in problems]
