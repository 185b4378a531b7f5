"""Random arguments for a cell, what an engine makes of them, and an independent statement of the
cell's equations.
"""

import pathlib

import equations
import torch
from tolerances import TOLERANCES

import cells
from harness.contract import findings
from harness.engine import Layer, get

USER_CELLS = cells.load_file(pathlib.Path(__file__).parents[1] / "user_cells.py")
ALL_CELLS = sorted({*cells.names(), *USER_CELLS})

T, B, I, H = 3, 2, 2, 3


def input_size(cell, hidden=H):
    """I, or H where the step reads its input."""
    return hidden if cell.reads_input else I


def random_parameters(cell, biases, *, inputs=None, hidden=H, runs=1, dtype=torch.float64):
    """Name -> (N, ...)."""
    generator = torch.Generator().manual_seed(0)
    inputs = input_size(cell, hidden) if inputs is None else inputs
    return {
        spec.name: 0.7 * torch.randn(runs, *spec.shape(hidden), generator=generator, dtype=dtype)
        for spec in cell.parameters(inputs, hidden, biases)
    }


def random_state(cell, *, batch=B, hidden=H, runs=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return tuple(
        0.7 * torch.randn(runs, batch, hidden, generator=generator, dtype=dtype) for _ in cell.state
    )


def random_inputs(*, steps=T, batch=B, inputs=I, runs=1, dtype=torch.float64):
    return torch.randn(
        steps, runs, batch, inputs, generator=torch.Generator().manual_seed(2), dtype=dtype
    )


def by_engine(cell, biases, parameters, inputs, state, *, engine="reference", precision="float64"):
    layer = Layer(cell, state[0].shape[-1], biases, precision)
    return get(engine).run(layer, parameters, inputs, state)


def by_equations(cell, biases, parameters, inputs, state):
    """The same from `equations`, each example of the one run for itself."""
    step, weights = equations.EQUATIONS[cell.name], weights_by_gate(cell, biases, parameters)
    rows = [
        equations.run(step, weights, inputs[:, 0, b], [s[0, b] for s in state])
        for b in range(inputs.shape[2])
    ]
    outputs = torch.stack([output for output, _ in rows], dim=1)
    outputs = outputs @ weights["P"] if "P" in weights else outputs
    final = [torch.stack(parts) for parts in zip(*(final for _, final in rows), strict=True)]
    return outputs[:, None], tuple(part[None] for part in final)


def weights_by_gate(cell, biases, parameters):
    """The one run's parameters under the names of `equations`: a gate's matrix beside R has its
    product's name.
    """
    letters = {"input": "W", "bias": "b", "recurrent": "R", "recurrent_bias": "c"}
    found = {}
    for spec in sorted(cell.parameters(I, H, biases), key=lambda spec: spec.name != "R"):
        value = parameters[spec.name][0]
        if spec.kind in ("vector", "projection"):
            found[spec.name] = value
            continue
        for gate, part in zip(spec.gates, value.chunk(len(spec.gates), dim=-1), strict=True):
            first, second = (
                f"{letters[spec.kind]}_{gate}",
                spec.name if len(spec.gates) == 1 else f"{spec.name}_{gate}",
            )
            found[second if first in found else first] = part
    return found


def results(run, parameters, inputs, state):
    """Name -> value: outputs, final state, and the gradients of a random weighting of both.

    `run` takes (parameters, inputs, state); token inputs have no gradient.
    """
    leaves = {**parameters, **{f"initial state {k}": value for k, value in enumerate(state)}}
    leaves |= {"the input": inputs} if inputs.is_floating_point() else {}
    leaves = {name: value.detach().requires_grad_() for name, value in leaves.items()}
    own_state = tuple(leaves[f"initial state {k}"] for k in range(len(state)))
    outputs, final = run(
        {name: leaves[name] for name in parameters}, leaves.get("the input", inputs), own_state
    )
    found = {"outputs": outputs, **{f"final state {k}": value for k, value in enumerate(final)}}
    generator = torch.Generator().manual_seed(3)
    weights = [
        torch.randn(value.shape, generator=generator, dtype=value.dtype) for value in found.values()
    ]
    total = sum(
        (weight * value).sum() for weight, value in zip(weights, found.values(), strict=True)
    )
    gradients = torch.autograd.grad(
        total, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return found | {
        f"gradient of {name}": value for name, value in zip(leaves, gradients, strict=True)
    }


def parity_problems(cell, hidden=2 * H):
    """Yields where the cell differs from `equations`, with one bias per gate and with two.

    H is even, so that a matrix in blocks has more than one.
    """
    rtol, atol = TOLERANCES[torch.float64]
    inputs, state = (
        random_inputs(inputs=input_size(cell, hidden)),
        random_state(cell, hidden=hidden),
    )
    for biases in (1, 2):
        arguments = random_parameters(cell, biases, hidden=hidden), inputs, state
        ours = results(lambda *given, biases=biases: by_engine(cell, biases, *given), *arguments)
        theirs = results(
            lambda *given, biases=biases: by_equations(cell, biases, *given), *arguments
        )
        for name, value in ours.items():
            if not torch.allclose(value, theirs[name], rtol=rtol, atol=atol):
                yield f"biases={biases}: {name} differs from the equations"


def suite(cell):
    """Yields every problem of a cell that the comparison with `equations` or the contract finds."""
    try:
        yield from parity_problems(cell)
    except KeyError as error:
        yield f"the equations need {error}, which the cell does not have"
    yield from findings(cell)
