"""A layer as an exported graph holds it: one step in torch's operations, and a loop over time.

The loop is torch's operator ``scan``, which runs for as many time steps as the input has; in ONNX
it is the operator Scan. An engine's compiled code cannot be written into such a file.
"""

import torch
from torch import Tensor

from cells.base import split_gates
from harness.engine import Layer, Parameters, State
from harness.engine.base import emitted, prepared
from harness.engine.reference import bind, input_product

OUTSIDE = ("W", "b", "P")
"""The parameters that no step reads: they act on all time steps at once."""


def run(
    layer: Layer, parameters: Parameters, inputs: Tensor, state: State, noise: Tensor | None
) -> tuple[Tensor, State]:
    """Runs a layer over all time steps, while torch traces; see :func:`harness.layer.running.run`.

    It computes what :class:`harness.engine.reference.Reference` does, whose loop of Python's would
    stand in the graph with a fixed number of steps.
    """
    own = {name: values.unsqueeze(0) for name, values in parameters.items()}
    ready = prepared(layer, own, inputs.unsqueeze(1))
    names = [name for name in ready if name not in OUTSIDE]
    count, step, gates = len(state), layer.cell().step, layer.cell.input_products()
    rows = [input_product(layer, ready, inputs.unsqueeze(1))]
    if noise is not None:
        rows.append(noise.unsqueeze(1).expand(inputs.shape[0], -1, -1, -1))

    def one_step(*tensors: Tensor) -> list[Tensor]:
        """Takes the state, a row of everything that has time steps, and what the step reads."""
        given = dict(zip(names, tensors[count + len(rows) :], strict=True))
        x, *factors = tensors[count : count + len(rows)]
        p = bind(layer, given)
        for values in factors:
            vars(p).update(vars(split_gates(values, layer.cell.noise)))
        new = step(p, split_gates(x, gates), *tensors[:count])
        # Each result is a tensor of its own, which is a rule of the operator.
        return [values.clone() for values in (*new, new[0])]

    *final, outputs = torch.ops.higher_order.scan(
        one_step,
        [values.unsqueeze(0) for values in state],
        rows,
        tuple(ready[name] for name in names),
    )
    outputs = emitted(layer, own, outputs)
    return outputs.squeeze(1), tuple(values.squeeze(0) for values in final)
