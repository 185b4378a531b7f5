"""Random masks of a layer, drawn from torch's own generator as torch.nn's dropout is."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from cells.base import Cell
from harness.engine import Parameters
from harness.layer.pieces import Piece
from harness.model.masks import rate_field
from harness.model.regularization import regularization_of, regularized
from harness.settings import Settings


def cell_for(cell: type[Cell], settings: Settings, training: bool) -> type[Cell]:
    """Returns the cell with what acts within its step; dropout acts in training alone."""
    wanted = regularization_of(cell, [settings])
    if not training:
        wanted = replace(wanted, state_dropout=False, recurrent_dropout=False)
    return regularized(cell, wanted)


class Noise:
    """The random factors that a regularised cell's steps are given in one pass over a batch."""

    def __init__(self, cell: type[Cell], settings: Settings, like: Tensor, training: bool):
        """Draws what holds for all time steps; ``like`` (B, H) gives size, dtype and device."""
        self._names, self._like, self._training = cell.noise, like, training
        self._rates = {name: getattr(settings, rate_field(name)) for name in cell.noise}
        self._for_all = {
            name: functional.dropout(torch.ones_like(like), rate)
            for name, rate in self._rates.items()
            if name == "state_dropout"
        }

    def factors(self, num_steps: int, rows: int) -> Tensor | None:
        """Returns the factors of the next time steps and the first rows, (T or 1, b, K*H)."""
        if not self._names:
            return None
        parts = [self._factor(name, num_steps, rows) for name in self._names]
        longest = max(part.shape[0] for part in parts)  # len() is a constant in a graph
        return torch.cat([part.expand(longest, -1, -1) for part in parts], dim=-1)

    def _factor(self, name: str, num_steps: int, rows: int) -> Tensor:
        rate, size = self._rates[name], self._like.shape[-1]
        if name in self._for_all:
            return self._for_all[name][:rows].unsqueeze(0)
        if not self._training:  # the mean of zoneout; nothing else is left
            return self._like.new_full((1, rows, size), rate)
        if name.startswith("zoneout"):
            return self._like.new_empty(num_steps, rows, size).bernoulli_(rate)
        return functional.dropout(self._like.new_ones(num_steps, rows, size), rate)


def with_input_dropout(pieces: Sequence[Piece], rate: float) -> list[Piece]:
    """Returns pieces with one mask for all time steps; tokens stay as they are."""
    if rate == 0 or not pieces[0].values.is_floating_point():
        return list(pieces)
    mask = functional.dropout(torch.ones_like(pieces[0].values[0]), rate)
    return [piece.with_values(piece.values * mask[: piece.values.shape[1]]) for piece in pieces]


def with_weight_dropout(cell: type[Cell], parameters: Parameters, rate: float) -> Parameters:
    """Returns a layer's parameters with DropConnect on the recurrent matrices."""
    if rate == 0:
        return parameters
    return parameters | {
        name: functional.dropout(parameters[name], rate) for name in cell.recurrent_products()
    }
