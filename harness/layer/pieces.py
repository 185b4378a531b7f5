"""A batch whose sequences may differ in length, as pieces that are each one run of an engine.

A batch of equal lengths is one piece. A packed sequence has fewer and fewer rows as time goes on: a
piece ends where fewer than a share of its rows are left, so that half the work at most is for
nothing and a batch has few pieces. Within a piece a row that has ended holds its state.

Its equations are computed all the same, from the start and its first input, where they have a value
and a slope: of one that overflowed, the gradient would be zero times infinity.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from cells.base import Cell
from harness.engine import State

HELD = "held"
"""The factor of a cell's step that is 1 where a row has ended, else 0."""
SHARE = 0.5
"""The rows of a piece that are left at its end, at least, of those at its beginning."""


@dataclass(frozen=True)
class Piece:
    """Some time steps of the rows that have not ended before.

    Attributes:
        values: (t, b, ...); of rows that have ended anything at all.
        present: (t, b), whether the row is still there; None where all are.
    """

    values: Tensor
    present: Tensor | None = None

    def with_values(self, values: Tensor) -> "Piece":
        """Returns the same part of the batch with other values (t, b, ...)."""
        return Piece(values, self.present)

    def flipped(self) -> "Piece":
        """Returns the piece in reversed time."""
        return Piece(self.values.flip(0), None if self.present is None else self.present.flip(0))


Run = Callable[[Piece, State], tuple[Tensor, State]]
"""Maps a piece and the state of its rows to outputs (t, b, ...) and final state."""


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

    def sizes(self, data: Tensor) -> tuple[int, int]:
        """Returns the time steps and the rows of the input, or of a packed one's data."""
        if self.packed is not None:
            return len(self.packed.batch_sizes), int(self.packed.batch_sizes[0])
        if self.is_single:
            return data.shape[0], 1
        rows, num_steps = data.shape[:2] if self.batch_first else (data.shape[1], data.shape[0])
        return num_steps, rows

    def pieces(self, data: Tensor, share: float = SHARE) -> list[Piece]:
        """Returns the pieces of the input, or of a packed one's data.

        Args:
            data: As the form says.
            share: 1: a piece ends as soon as a row does.
        """
        if self.is_single:
            return [Piece(data.unsqueeze(1))]
        if self.packed is None:
            return [Piece(data.transpose(0, 1) if self.batch_first else data)]
        parts = _parts(self.packed.batch_sizes.tolist(), share)
        segments = data.split([sum(rows) for rows in parts])
        return [_piece(*each) for each in zip(segments, parts, strict=True)]

    def output(self, pieces: Sequence[Piece]) -> Tensor | PackedSequence:
        """Returns the output of these pieces: :meth:`pieces` backwards."""
        if self.packed is not None:
            segments = [
                piece.values.flatten(0, 1) if piece.present is None else piece.values[piece.present]
                for piece in pieces
            ]
            return self.packed._replace(data=torch.cat(segments))
        values = pieces[0].values
        if self.is_single:
            return values.squeeze(1)
        return values.transpose(0, 1) if self.batch_first else values

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


def _parts(batch_sizes: Sequence[int], share: float) -> list[list[int]]:
    """Returns the rows of every time step, in parts of which each is a piece."""
    parts: list[list[int]] = [[]]
    for rows in batch_sizes:
        if parts[-1] and rows < share * parts[-1][0]:
            parts.append([])
        parts[-1].append(rows)
    return parts


def _piece(segment: Tensor, rows: Sequence[int]) -> Piece:
    """Returns the piece of a packed sequence's data in which time step t has ``rows[t]`` rows."""
    if rows[-1] == rows[0]:
        return Piece(segment.unflatten(0, (len(rows), rows[0])))
    index = torch.arange(rows[0], device=segment.device)
    present = index < torch.tensor(rows, device=segment.device).unsqueeze(1)
    values = segment[: rows[0]].detach().expand(len(rows), *[-1] * segment.ndim)
    return Piece(values.masked_scatter(_like(present, values), segment), present)


def _like(present: Tensor, values: Tensor) -> Tensor:
    return present.view(*present.shape, *[1] * (values.ndim - 2)).expand_as(values)


def holding(cell: type[Cell]) -> type[Cell]:
    """Returns the cell whose states stay what they are where ``HELD`` is 1.

    The same cell gives the same class each time.
    """
    return _holding(cell)  # type: ignore[arg-type]  # classes have a hash


@functools.lru_cache(maxsize=256)
def _holding(cell: type[Cell]) -> type[Cell]:
    inner = cell()

    def step(self: Cell, p: Any, x: Any, *state: Tensor) -> tuple[Tensor, ...]:
        has_ended = p.held > 0
        begun = (
            torch.where(has_ended, cell.start.get(name, 0.0), old)
            for name, old in zip(cell.state, state, strict=True)
        )
        new = inner.step(p, x, *begun)
        return tuple(
            torch.where(has_ended, old, value) for old, value in zip(state, new, strict=True)
        )

    body = {"step": step, "noise": (*cell.noise, HELD), "reference": None, "__doc__": cell.__doc__}
    return type(f"Holding{cell.__name__}", (cell,), body)


def through_time(
    run: Run, pieces: Sequence[Piece], state: State, reverse: bool
) -> tuple[list[Piece], State]:
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
        rows = piece.values.shape[1]
        values, end = run(
            piece.flipped() if reverse else piece, tuple(each[:rows] for each in state)
        )
        outputs.append(piece.with_values(values.flip(0) if reverse else values))
        if rows < state[0].shape[0]:
            end = tuple(torch.cat([e, s[rows:]]) for e, s in zip(end, state, strict=True))
        state = end
    return outputs[::-1] if reverse else outputs, state
