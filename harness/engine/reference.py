"""The definition: the plain loop and autograd. Every other engine must equal it."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from cells.base import Cell, Parameter, split_gates, unchanged
from harness.engine.base import (
    ByAutograd,
    Layer,
    Parameters,
    State,
    emitted,
    is_exporting,
    prepared,
)
from harness.engine.rounding import product


class Reference(ByAutograd):
    """Any cell, dtype and device, no compiler.

    The input product of all time steps is one product before the loop.
    """

    name = "reference"

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns None: this engine runs everything."""
        return None

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; see :class:`harness.engine.base.Engine`."""
        ready = prepared(layer, parameters, inputs)
        p, step, gates = bind(layer, ready), layer.cell().step, layer.cell.input_products()
        outputs = []
        for t, x in enumerate(input_product(layer, ready, inputs).unbind(0)):
            if noise is not None:
                vars(p).update(vars(split_gates(noise[t % len(noise)], layer.cell.noise)))
            state = step(p, split_gates(x, gates), *state)
            outputs.append(state[0])
        return emitted(layer, parameters, torch.stack(outputs)), state


def bind(layer: Layer, parameters: Parameters) -> SimpleNamespace:
    """Returns the ``p`` of ``Cell.step``: products as functions, vectors as (N, 1, H).

    Its ``drop`` drops nothing.
    """
    p = SimpleNamespace(drop=unchanged)
    specs = {spec.name: spec for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases)}
    for name, spec in specs.items():
        if spec.kind == "recurrent":
            bias, values = specs.get(f"b_{name}"), parameters.get(f"b_{name}")
            setattr(p, name, _recurrent_product(layer, spec, parameters[name], bias, values))
        elif spec.kind == "vector":
            setattr(p, name, parameters[name].unsqueeze(1))
    return p


def _recurrent_product(
    layer: Layer, spec: Parameter, matrix: Tensor, bias: Parameter | None, values: Tensor | None
) -> Callable[[Tensor], SimpleNamespace]:
    shift = None
    if bias is not None and values is not None:
        shift = spread(values, bias.gates, spec.gates).unsqueeze(1)

    def call(h: Tensor) -> SimpleNamespace:
        result = product(h, matrix, layer.precision)
        return split_gates(result if shift is None else result + shift, spec.gates)

    return call


def spread(values: Tensor, have: tuple[str, ...], want: tuple[str, ...]) -> Tensor:
    """Returns ``values`` of the gates ``have`` as those of the gates ``want``, zero for the others.

    Args:
        values: (N, len(have) * H).
        have: Gates.
        want: Gates.

    Returns:
        (N, len(want) * H).
    """
    if have == want:
        return values
    blocks = dict(zip(have, values.chunk(len(have), dim=-1), strict=True))
    zero = torch.zeros_like(next(iter(blocks.values())))
    return torch.cat([blocks.get(gate, zero) for gate in want], dim=-1)


def input_product(layer: Layer, parameters: Parameters, inputs: Tensor) -> Tensor:
    """Returns W x + b of all time steps, (T, N, B, G*H), in the order of ``cell.input_products()``.

    Tokens are looked up, never multiplied as one-hot rows; the bias is added to the V rows of W or
    to the T*B results, to whichever are fewer.
    """
    if layer.cell.reads_input:
        if not layer.cell.gates:
            return inputs
        return torch.cat([_multiplied(layer, parameters, inputs), inputs], -1)
    return _multiplied(layer, parameters, inputs)


def input_table(layer: Layer, parameters: Parameters) -> Tensor:
    """Returns W x + b of every token, (N, V, G*H)."""
    shift = _shift(layer, parameters)
    return parameters["W"] if shift is None else parameters["W"] + shift


def _shift(layer: Layer, parameters: Parameters) -> Tensor | None:
    """Returns b of all gates, (N, 1, G*H), or None where there is none."""
    if "b" not in parameters:
        return None
    biased = tuple(g for g in layer.cell.gates if g not in layer.cell.unbiased)
    return spread(parameters["b"], biased, layer.cell.gates).unsqueeze(1)


def _multiplied(layer: Layer, parameters: Parameters, inputs: Tensor) -> Tensor:
    weight, shift = parameters["W"], _shift(layer, parameters)
    num_steps, num_runs, batch_size, *_ = inputs.shape
    if not inputs.is_floating_point():
        # A graph that is exported is one for all numbers of rows.
        is_open = is_exporting()
        if shift is not None and not is_open and weight.shape[1] <= num_steps * batch_size:
            weight, shift = weight + shift, None
        rows = lookup(weight, inputs)
        return rows if shift is None else rows + shift
    width = inputs.shape[3]
    rows = inputs.transpose(0, 1).reshape(num_runs, num_steps * batch_size, width)
    result = product(rows, weight, layer.precision)
    result = result if shift is None else result + shift
    return result.view(num_runs, num_steps, batch_size, weight.shape[2]).transpose(0, 1)


def lookup(table: Tensor, tokens: Tensor) -> Tensor:
    """Returns run n's rows of ``table`` (N, V, E) for ``tokens`` (T, N, B): (T, N, B, E)."""
    num_runs, num_rows, width = table.shape
    first = torch.arange(num_runs, device=tokens.device).view(1, -1, 1) * num_rows
    return torch.nn.functional.embedding(tokens + first, table.reshape(-1, width))


def lookup_gradient(table: Tensor, tokens: Tensor, gradient: Tensor) -> Tensor:
    """Returns the gradient of ``table`` (N, V, E).

    ``gradient`` (T, N, B, E) is that of what :func:`lookup` returned for the table and the tokens.
    """
    with torch.enable_grad():
        table = table.detach().requires_grad_()
        return torch.autograd.grad(lookup(table, tokens), table, gradient)[0]
