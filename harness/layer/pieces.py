"""A batch whose sequences may differ in length, as pieces of equal batch size.

A batch of equal lengths is one piece. A packed sequence has fewer and fewer rows from one piece to
the next, and each piece is one run of the engine.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from harness.engine import State

Run = Callable[[Tensor, State], tuple[Tensor, State]]
"""Maps a piece (t, b, ...) and the state of its rows to outputs and final state."""


@dataclass(frozen=True)
class Form:
    """The form in which a module is given its input, and in which it answers.

    Attributes:
        packed: The packed sequence, None of any other form.
        is_single: Whether the input is one sequence, without an axis of the batch.
        batch_first: Whether the batch comes before time.
    """

    packed: PackedSequence | None
    is_single: bool
    batch_first: bool

    @staticmethod
    def of(given: Tensor | PackedSequence, batch_first: bool) -> "Form":
        """Returns the form of an input: tokens have one axis less than floats."""
        if isinstance(given, PackedSequence):
            return Form(given, False, batch_first)
        return Form(None, given.ndim == 1 + given.is_floating_point(), batch_first)

    def pieces(self, data: Tensor) -> list[Tensor]:
        """Returns the pieces (t, b, ...) of the input, or of a packed one's data."""
        if self.is_single:
            return [data.unsqueeze(1)]
        if self.packed is None:
            return [data.transpose(0, 1) if self.batch_first else data]
        counts = itertools.groupby(self.packed.batch_sizes.tolist())
        sizes = [(len(list(steps)), rows) for rows, steps in counts]
        parts = data.split([num_steps * rows for num_steps, rows in sizes])
        return [part.unflatten(0, size) for part, size in zip(parts, sizes, strict=True)]

    def output(self, pieces: Sequence[Tensor]) -> Tensor | PackedSequence:
        """Returns the output of these pieces: :meth:`pieces` backwards."""
        if self.packed is not None:
            data = torch.cat([piece.flatten(0, 1) for piece in pieces])
            return self.packed._replace(data=data)
        (piece,) = pieces
        if self.is_single:
            return piece.squeeze(1)
        return piece.transpose(0, 1) if self.batch_first else piece

    def sorted(self, state: State) -> State:
        """Returns a state, (L, B, H) each, in the order of the pieces' rows."""
        if self.is_single:
            return tuple(values.unsqueeze(1) for values in state)
        order = None if self.packed is None else self.packed.sorted_indices
        return _ordered(state, order)

    def unsorted(self, state: State) -> State:
        """Returns a state in the order that it was given: :meth:`sorted` backwards."""
        if self.is_single:
            return tuple(values.squeeze(1) for values in state)
        order = None if self.packed is None else self.packed.unsorted_indices
        return _ordered(state, order)


def _ordered(state: State, order: Tensor | None) -> State:
    return state if order is None else tuple(s.index_select(1, order) for s in state)


def through_time(
    run: Run, pieces: Sequence[Tensor], state: State, reverse: bool
) -> tuple[list[Tensor], State]:
    """Runs pieces in the order of time, or in reversed time.

    Args:
        run: Runs one piece.
        pieces: Of falling batch sizes.
        state: (B, H) each, for the rows of the first piece.
        reverse: Whether the last time step comes first.

    Returns:
        The outputs of every piece, in the order of ``pieces``, and the state at every row's end.
    """
    outputs = []
    for piece in reversed(pieces) if reverse else pieces:
        rows = piece.shape[1]
        if reverse:
            piece = piece.flip(0)
        output, end = run(piece, tuple(s[:rows] for s in state))
        outputs.append(output.flip(0) if reverse else output)
        if rows < len(state[0]):
            end = tuple(torch.cat([e, s[rows:]]) for e, s in zip(end, state, strict=True))
        state = end
    return outputs[::-1] if reverse else outputs, state
