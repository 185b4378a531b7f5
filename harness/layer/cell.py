"""One step of any cell with the interface of torch.nn.LSTMCell."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from cells.base import Cell
from harness.engine import State, initial_state
from harness.layer import checks, dropouts
from harness.layer.base import CellModule, Hidden
from harness.layer.choices import (
    Choices,
    found,
    settings_of,
    size_problems,
    switch_problems,
)
from harness.layer.pieces import Piece

ONLY = ""
"""What ends the names of the only layer's parameters."""


class RecurrentCell(CellModule):
    """One time step of any cell, with the arguments, shapes and results of torch.nn.LSTMCell.

    Every call is a call of the engine: for a whole sequence :class:`harness.Recurrent` is faster.

    Args:
        cell: The name of a cell (``harness cells`` lists them), or a subclass of ``cells.Cell``.
        input_size: I; the number of different tokens, where the inputs are tokens.
        hidden_size: H.
        bias: Whether there are biases, the cell's vectors ``b_...`` among them.
        device: Of the parameters.
        dtype: Of the parameters; float16 and bfloat16 are stored so and computed in float32.
        biases: 2 a gate, as torch.nn has them, or 1.
        engine: What runs the cell; ``auto``: the fastest that can.
        **choices: See :class:`harness.layer.choices.Choices`; masks are drawn at every call.

    Raises:
        ValueError: The cell is unknown, projects its output, or arguments are wrong; the message
            says all that is.

    Example:
        >>> import torch
        >>> from harness import RecurrentCell
        >>> step = RecurrentCell("gru", 5, 8)
        >>> step(torch.randn(3, 5)).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        cell: str | type[Cell],
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        biases: int = 2,
        engine: str = "auto",
        **choices: Unpack[Choices],
    ):
        cell = found(cell, hidden_size, device, dtype)
        settings, problems = settings_of(
            type(self), cell, choices, bias, hidden_size=hidden_size, biases=biases, engine=engine
        )
        problems += size_problems(cell, hidden_size, {"input_size": input_size})
        problems += switch_problems(bias=bias)
        if cell.projects:
            problems.append(
                f"cell: must have its output among its states, but {cell.name} projects it. "
                "Take harness.Recurrent."
            )
        checks.raise_all(problems)
        super().__init__(cell, settings, bool(bias), None, {ONLY: input_size}, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | Sequence[Tensor] | None = None) -> Hidden:
        """Runs one time step.

        Args:
            input: (B, I), or (I,) of one sequence; tokens of int64 lack the last axis.
            hx: The state before the step, a tensor for each of the cell's states in the order of
                ``cell.state``, (B, H), without B for one sequence; None: the cell's own start.

        Returns:
            The new state, as ``hx``.

        Raises:
            ValueError: Shapes, dtypes or devices are wrong; the message says all that are.
            IndexError: A token is none of the ``input_size`` rows.
        """
        result: Hidden = self.outside_graphs(self._forward, input, hx)
        return result

    def _forward(self, input: Tensor, hx: Tensor | Sequence[Tensor] | None) -> Hidden:
        parameters = self.held()
        checks.raise_all(checks.parameter_problems(parameters))
        checks.raise_all(checks.input_problems(input, (0, 1), self.input_size, parameters[0]))
        is_single = input.ndim == int(input.is_floating_point())
        dtype = checks.computed_in(parameters[0].dtype)
        data = input.to(dtype) if input.is_floating_point() else input
        data = data.unsqueeze(0) if is_single else data
        state: State
        if hx is None:
            like = parameters[0].detach().to(dtype)
            start = initial_state(self.cell, 1, len(data), self.hidden_size, like)
            state = tuple(values[0] for values in start)
        else:
            given, rows = checks.as_state(hx), () if is_single else (len(data),)
            shape = (*rows, self.hidden_size)
            checks.raise_all(checks.state_problems(given, self.cell.state, shape, parameters[0]))
            state = tuple(values.to(dtype).reshape(len(data), -1) for values in given)
        pieces = [Piece(data.unsqueeze(0))]
        (piece,) = dropouts.with_input_dropout(pieces, self.rate("input_dropout"))
        _, final = self.run_of(ONLY, state[0])(piece, state)
        final = tuple(values.to(parameters[0].dtype) for values in final)
        final = tuple(values.squeeze(0) for values in final) if is_single else final
        return final[0] if len(final) == 1 else final
