"""Any cell with the interface of torch.nn.LSTM."""

import warnings
from collections.abc import Sequence
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from cells.base import Cell
from harness.engine import State, initial_state
from harness.layer import checks, dropouts, torch_names
from harness.layer.base import CellModule, Hidden
from harness.layer.choices import (
    Choices,
    found,
    settings_of,
    size_problems,
    switch_problems,
)
from harness.layer.pieces import SHARE, Form, Piece, through_time

NATIVE = "native"
"""The engine that is torch.nn's own modules."""


class Recurrent(CellModule):
    """Layers of any cell, with the arguments, shapes and results of torch.nn.LSTM.

    ``cell`` takes the place of the class: ``Recurrent("gru", 10, 20)`` is ``nn.GRU(10, 20)``.
    Beside floats (T, B, I) the input may be tokens (T, B) of int64, whose rows of W are looked up.

    Args:
        cell: The name of a cell (``harness cells`` lists them), or a subclass of ``cells.Cell``.
        input_size: I; the number of different tokens, where the inputs are tokens.
        hidden_size: H.
        num_layers: Stacked layers.
        bias: Whether there are biases, the cell's vectors ``b_...`` among them.
        batch_first: Whether inputs and outputs have the batch before time; states have not.
        dropout: Of the outputs of every layer but the last, while training.
        bidirectional: Whether a second direction reads in reversed time.
        proj_size: The units of h where the cell projects it, 0: half of H; else it must be 0.
        device: Of the parameters.
        dtype: Of the parameters; float16 and bfloat16 are stored so and computed in float32.
        biases: 2 a gate, as torch.nn has them, or 1.
        engine: What runs the cell; ``auto``: the fastest that can.
        **choices: See :class:`harness.layer.choices.Choices`.

    Raises:
        ValueError: The cell is unknown, or arguments are wrong; the message says all that is.

    Example:
        >>> import torch
        >>> from harness import Recurrent
        >>> layer = Recurrent("lstm-peephole", 5, 8, num_layers=2, batch_first=True)
        >>> output, (h, c) = layer(torch.randn(3, 7, 5))
        >>> output.shape, h.shape
        (torch.Size([3, 7, 8]), torch.Size([2, 3, 8]))
    """

    def __init__(
        self,
        cell: str | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        biases: int = 2,
        engine: str = "auto",
        **choices: Unpack[Choices],
    ):
        cell = found(cell, hidden_size, device, dtype)
        sizes = {"hidden_size": hidden_size, "num_layers": num_layers, "biases": biases}
        settings, problems = settings_of(
            type(self), cell, choices, bias, dropout=dropout, engine=engine, **sizes
        )
        problems += _projection_problems(cell, proj_size)
        problems += switch_problems(bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        checks.raise_all(problems)
        directions = 2 if bidirectional else 1
        width = directions * cell.output_size(hidden_size, proj_size or None)
        input_sizes = {
            f"_l{k}{direction}": input_size if k == 0 else width
            for k in range(num_layers)
            for direction in ("", "_reverse")[:directions]
        }
        checks.raise_all(size_problems(cell, hidden_size, input_sizes))
        if dropout and num_layers == 1:
            warnings.warn(
                "dropout: acts on the outputs of every layer but the last, "
                f"but got num_layers=1 and dropout={dropout}.",
                stacklevel=2,
            )
        super().__init__(cell, settings, bool(bias), proj_size or None, input_sizes, device, dtype)
        self.num_layers, self.dropout, self.proj_size = num_layers, dropout, proj_size
        self.batch_first, self.bidirectional = bool(batch_first), bool(bidirectional)

    @classmethod
    def from_torch(cls, module: nn.RNNBase, **others: Any) -> Self:
        """Returns torch.nn's LSTM, GRU or RNN as a ``Recurrent`` with the same parameters.

        Args:
            module: Whose arguments and parameters are taken; they are copied.
            **others: Further arguments of ``Recurrent``.
        """
        cell = torch_names.PROJECTED if module.proj_size else torch_names.CELLS[module.mode]
        first = next(module.parameters())
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
        same = {name: getattr(module, name) for name in names}
        same |= {"device": first.device, "dtype": first.dtype}
        made = cls(cell, module.input_size, module.hidden_size, **{**same, **others})
        made.load_state_dict(module.state_dict())
        return made.train(module.training)

    def to_torch(self) -> nn.Module:
        """Returns the module of torch.nn that equals this one, with copies of its parameters.

        Raises:
            ValueError: torch.nn has no such cell.
        """
        kind, parameters = torch_names.class_of(self.cell), self.torch_state_dict()
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
        same = {name: getattr(self, name) for name in names}
        if self.cell.projects:
            same["proj_size"] = self.output_size
        if self.cell.reference is not None:
            same |= self.cell.reference[1]
        first = next(self.parameters())
        made = kind(
            self.input_size, self.hidden_size, **same, device=first.device, dtype=first.dtype
        )
        made.load_state_dict(parameters)
        return made.train(self.training)

    @property
    def output_size(self) -> int:
        """The units of one direction of the output."""
        return self.cell.output_size(self.hidden_size, self.projection_size)

    def flatten_parameters(self) -> None:
        """Does nothing: scripts that were written for torch.nn call it."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | Sequence[Tensor] | None = None
    ) -> tuple[Any, Hidden]:
        """Runs all layers over all time steps.

        Args:
            input: (T, B, I), or (B, T, I) where ``batch_first``, or (T, I) of one sequence, or a
                packed sequence; tokens lack the last axis.
            hx: The state before the first step, a tensor for each of the cell's states in the order
                of ``cell.state``, (D * num_layers, B, H), without B for one sequence; None: the
                cell's own start.

        Returns:
            The outputs, as the input is but with D * H features, and the final state, as ``hx``.

        Raises:
            ValueError: Shapes, dtypes or devices are wrong; the message says all that are.
            IndexError: A token is none of the ``input_size`` rows.
        """
        result: tuple[Any, Hidden] = self.outside_graphs(self._forward, input, hx)
        return result

    def _forward(
        self, input: Tensor | PackedSequence, hx: Tensor | Sequence[Tensor] | None
    ) -> tuple[Any, Hidden]:
        given = None if hx is None else checks.as_state(hx)
        form, data = self._checked(input, given)
        parameter = self.held()[0]
        dtype = checks.computed_in(parameter.dtype)
        # torch.nn's own modules know no state that is held.
        share = 1.0 if self.engine == NATIVE else SHARE
        pieces = form.pieces(data.to(dtype) if data.is_floating_point() else data, share)
        if given is None:
            count, rows = len(self.suffixes), pieces[0].values.shape[1]
            like = parameter.detach().to(dtype)
            state = initial_state(self.cell, count, rows, self.hidden_size, like)
        else:
            state = form.sorted(tuple(values.to(dtype) for values in given))
        pieces, final = self._all_layers(pieces, state)
        final = form.unsorted(tuple(values.to(parameter.dtype) for values in final))
        pieces = [piece.with_values(piece.values.to(parameter.dtype)) for piece in pieces]
        return form.output(pieces), final[0] if len(final) == 1 else final

    def _checked(self, input: Tensor | PackedSequence, state: State | None) -> tuple[Form, Tensor]:
        """Returns the form of the input and its values.

        Raises:
            ValueError: The input, the state or the parameters are wrong.
        """
        parameters, is_packed = self.held(), isinstance(input, PackedSequence)
        checks.raise_all(checks.parameter_problems(parameters))
        data = input.data if isinstance(input, PackedSequence) else input
        axes = (1,) if is_packed else (1, 2)
        checks.raise_all(checks.input_problems(data, axes, self.input_size, parameters[0]))
        form = Form.of(input, self.batch_first)
        num_steps, rows = form.sizes(data)
        problems = []
        if num_steps == 0:
            problems.append(f"input: must have a time step, but got shape={tuple(data.shape)}.")
        if state is not None:
            batch = () if form.is_single else (rows,)
            shape = (len(self.suffixes), *batch, self.hidden_size)
            problems += checks.state_problems(state, self.cell.state, shape, parameters[0])
        checks.raise_all(problems)
        return form, data

    def _all_layers(self, pieces: list[Piece], state: State) -> tuple[list[Piece], State]:
        """Runs the layers one above the other; states are (D * num_layers, B, H) each."""
        directions, finals = 1 + self.bidirectional, []
        for k in range(self.num_layers):
            pieces = dropouts.with_input_dropout(pieces, self.rate("input_dropout"))
            outputs = []
            for index in range(k * directions, (k + 1) * directions):
                start = tuple(values[index] for values in state)
                run = self.run_of(self.suffixes[index], start[0])
                output, final = through_time(run, pieces, start, reverse=index > k * directions)
                outputs.append(output)
                finals.append(final)
            pieces = outputs[0]
            if self.bidirectional:
                pieces = [
                    one.with_values(torch.cat([one.values, other.values], dim=-1))
                    for one, other in zip(*outputs, strict=True)
                ]
            if k < self.num_layers - 1 and self.dropout and self.training:
                pieces = [
                    piece.with_values(functional.dropout(piece.values, self.dropout))
                    for piece in pieces
                ]
        return pieces, tuple(torch.stack(each) for each in zip(*finals, strict=True))


def _projection_problems(cell: type[Cell], proj_size: int) -> list[str]:
    """Returns what is wrong with the size of the projection, a line each."""
    if not isinstance(proj_size, int) or proj_size < 0:
        return [f"proj_size: must be an int from 0 on, but got {proj_size=}."]
    if proj_size and not cell.projects:
        return [
            f"proj_size: must be 0 where the cell's equations hold no projection, but cell "
            f"{cell.name} got {proj_size=}. Take one that projects, {torch_names.PROJECTED}."
        ]
    return []
