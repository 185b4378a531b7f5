"""Parameters under the names of torch.nn and in its layout, and back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cells.base import Cell, Parameter
from harness.engine import Layer, Parameters, native

CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn-tanh", "RNN_RELU": "rnn-relu"}
"""What torch.nn calls a module's mode -> the cell that equals it."""
PROJECTED = "lstm-projected"
"""The cell that equals torch.nn.LSTM with proj_size, from a start of zero."""
BIASES = ("bias_ih", "bias_hh")


def class_of(cell: type[Cell]) -> type[nn.Module]:
    """Returns the class of torch.nn whose parameters the cell has.

    Raises:
        ValueError: There is none.
    """
    if cell.name == PROJECTED:
        return nn.LSTM
    if cell.reference is None:
        raise ValueError(
            f"cell: must be one that torch.nn has, but got cell={cell.name!r}. "
            "Save its own state_dict."
        )
    kind: type[nn.Module] = getattr(nn, cell.reference[0])
    return kind


def to_torch(layer: Layer, parameters: Parameters, suffix: str, bias: bool) -> Parameters:
    """Returns one layer's parameters under torch.nn's names.

    Raises:
        ValueError: torch.nn has no such cell.
    """
    class_of(layer.cell)
    values = {
        name.removesuffix("_l0"): value
        for name, value in native.to_torch(layer, parameters).items()
    }
    if "P" in parameters:
        values["weight_hr"] = parameters["P"].t()
    return {
        name + suffix: value.contiguous()
        for name, value in values.items()
        if bias or name not in BIASES
    }


def translate(
    state_dict: dict[str, Any], prefix: str, suffix: str, layer: Layer, specs: Sequence[Parameter]
) -> None:
    """Puts a layer's parameters under the cell's names where they have those of torch.nn.

    Of a cell that torch.nn lacks nothing is changed: loading then tells what is missing and what is
    unexpected.
    """
    is_theirs = layer.cell.reference is not None or layer.cell.name == PROJECTED
    if not is_theirs or f"{prefix}weight_ih{suffix}" not in state_dict:
        return

    def take(name: str) -> Tensor | None:
        value: Tensor | None = state_dict.pop(f"{prefix}{name}{suffix}", None)
        return value

    matrices = {"W": take("weight_ih"), "R": take("weight_hh"), "P": take("weight_hr")}
    given = {name: value.t() for name, value in matrices.items() if value is not None}
    if any(spec.name == "b" for spec in specs):
        given |= _biases(take("bias_ih"), take("bias_hh"), layer, specs)
    state_dict.update({f"{prefix}{name}{suffix}": value for name, value in given.items()})


def _biases(
    of_input: Tensor | None, of_state: Tensor | None, layer: Layer, specs: Sequence[Parameter]
) -> Parameters:
    """Returns the layer's biases; torch.nn always has two, which a layer of one adds up."""
    if of_input is None or of_state is None:
        return {}
    gates, shapes = layer.cell.gates, {spec.name: spec for spec in specs}
    first = dict(zip(gates, of_input.chunk(len(gates)), strict=True))
    second = dict(zip(gates, of_state.chunk(len(gates)), strict=True))
    apart = shapes["b_R"].gates if "b_R" in shapes else ()
    given = {
        "b": torch.cat(
            [first[g] if g in apart else first[g] + second[g] for g in shapes["b"].gates]
        )
    }
    return given | ({"b_R": torch.cat([second[g] for g in apart])} if apart else {})
