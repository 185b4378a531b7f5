"""torch.nn's own RNN, LSTM and GRU: the yardstick, for the cells that have one."""

import functools
import threading
from typing import Any

import torch
from torch import Tensor

from cells.base import Cell
from harness.engine.base import ByAutograd, Layer, Parameters, State
from harness.engine.reference import spread
from harness.engine.rounding import has_tf32


class Native(ByAutograd):
    """Cells with a ``reference`` in torch.nn, at the speed that its users know.

    Tokens enter as one-hot rows.
    """

    name = "native"

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why torch.nn does not run the cell there, or None where it does."""
        if cell.reference is None:
            is_varied = getattr(cell.__base__, "reference", None) is not None
            return f"torch.nn has no {cell.name}" + (
                " of which a study varies the step" if is_varied else ""
            )
        if precision == "bf16" or (precision == "tf32" and not has_tf32(device)):
            return f"torch.nn does not round its operands to {precision} on {device}"
        return None

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer; see :class:`harness.engine.base.Engine`.

        A pack's runs follow one another.

        Raises:
            IndexError: A token is none of W's rows.
        """
        if not inputs.is_floating_point():
            inputs = _one_hot(inputs, parameters["W"])
        outputs, finals = [], []
        for n in range(inputs.shape[1]):
            of_run = {name: values[n] for name, values in parameters.items()}
            output, final = _run_one(
                layer, of_run, inputs[:, n], tuple(s[n : n + 1] for s in state)
            )
            outputs.append(output)
            finals.append(final)
        return torch.stack(outputs, dim=1), tuple(
            torch.cat(parts) for parts in zip(*finals, strict=True)
        )


def _one_hot(tokens: Tensor, weight: Tensor) -> Tensor:
    count = weight.shape[1]
    if tokens.device.type == "cpu" and tokens.numel():  # elsewhere the kernel itself tells it
        for token in map(int, tokens.aminmax()):
            if not 0 <= token < count:
                raise IndexError(f"token: must lie in 0 to {count - 1}, but got {token}.")
    return torch.nn.functional.one_hot(tokens, count).to(weight.dtype)


def module_for(layer: Layer, input_size: int) -> torch.nn.Module:
    """Returns the torch.nn module of the layer's cell, empty: its weights come with each call."""
    assert layer.cell.reference is not None
    name, arguments = layer.cell.reference
    key = (name, tuple(sorted(arguments.items())), input_size, layer.hidden_size)
    # One for each thread, since a functional call writes into the module.
    return _module(*key, threading.get_ident())


@functools.lru_cache(maxsize=64)
def _module(
    name: str,
    arguments: tuple[tuple[str, Any], ...],
    input_size: int,
    hidden_size: int,
    thread: int,
) -> torch.nn.Module:
    module: type[torch.nn.Module] = getattr(torch.nn, name)
    return module(input_size, hidden_size, device="meta", **dict(arguments))


def to_torch(layer: Layer, parameters: Parameters) -> Parameters:
    """Returns one run's parameters under torch.nn's names and in its layout.

    A bias that the cell lacks is zero.
    """
    width = len(layer.cell.gates) * layer.hidden_size
    zero = parameters["W"].new_zeros(width)
    specs = {spec.name: spec for spec in layer.cell.parameters(1, layer.hidden_size, layer.biases)}
    biases = {
        name: spread(parameters[name], specs[name].gates, layer.cell.gates)
        for name in ("b", "b_R")
        if name in specs
    }
    return {
        "weight_ih_l0": parameters["W"].t(),
        "weight_hh_l0": parameters["R"].t(),
        "bias_ih_l0": biases.get("b", zero),
        "bias_hh_l0": biases.get("b_R", zero),
    }


def _run_one(
    layer: Layer, parameters: Parameters, inputs: Tensor, state: State
) -> tuple[Tensor, State]:
    module = module_for(layer, inputs.shape[-1])
    carried = state[0] if len(state) == 1 else state
    # Copies, and no views of the parameters: on CUDA torch.nn moves them into one buffer by `set_`,
    # after which the gradient of a view goes astray.
    weights = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in to_torch(layer, parameters).items()
    }
    try:
        output, final = torch.func.functional_call(module, weights, (inputs, carried))
    finally:  # else the module, which is kept, would keep them too, and all they were made of
        module._flat_weights = [None] * len(weights)  # type: ignore[assignment]
    return output, final if isinstance(final, tuple) else (final,)
