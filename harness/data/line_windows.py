"""Lines as sequences: each is read from its first token to its end, from a fresh state.

A line is a window of its own length. Its first token is given, and those after it are its targets;
the token that ends it is the last of them. So an empty line, which is its end alone, has no target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness import randomness
from harness.data.errors import DataError
from harness.data.windows import Windows
from harness.randomness import Name


@dataclass(frozen=True, eq=False)
class LineWindows(Windows):
    """Lines in random order, each read from its first token to its end, once an epoch.

    Where they do not fill the last minibatch, windows without a target do.

    Attributes:
        line_ends: The positions of the tokens that end a line.
        batch_size: B.
    """

    carried = False

    line_ends: np.ndarray
    batch_size: int

    @property
    def updates_per_epoch(self) -> int:
        """Number of updates of every epoch."""
        return -(-len(self._lines[0]) // self.batch_size)

    @property
    def targets_per_update(self) -> float:
        """Number of targets of an update, the mean of an epoch's."""
        return int(self._lines[1].sum()) / self.updates_per_epoch

    def starts(self, seed: Sequence[Name], epoch: int) -> np.ndarray:
        """See :class:`Windows`."""
        firsts, _ = self._lines
        order = randomness.permutation(*seed, "order", epoch, "windows", count=len(firsts))
        return _in_rows(firsts[order], self.batch_size, int(self.line_ends[-1]))

    def lengths(self, starts: np.ndarray) -> np.ndarray:
        """See :class:`Windows`."""
        lengths: np.ndarray = self.line_ends[np.searchsorted(self.line_ends, starts)] - starts
        return lengths

    @cached_property
    def _lines(self) -> tuple[np.ndarray, np.ndarray]:
        return lines_to_read(self.line_ends)


def lines_to_read(line_ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lines that have a target, in the order of the text.

    Args:
        line_ends: The positions of the tokens that end a line.

    Returns:
        The position of each one's first token, and the number of its targets, both int64.
    """
    starts = np.concatenate([[0], line_ends[:-1] + 1])[: len(line_ends)]
    lengths = line_ends - starts
    return starts[lengths > 0], lengths[lengths > 0]


def require_lines(
    line_ends: Mapping[str, np.ndarray], bptt_length: int, *, in_one_text: bool
) -> None:
    """Checks that every split has a line to read, and none that is too long.

    Args:
        line_ends: Of every split, the positions of the tokens that end a line.
        bptt_length: The most targets of a line.
        in_one_text: Whether lines are numbered over all splits, as their one text has them.

    Raises:
        DataError: The message has a line for each split where that is not so.
    """
    problems, num_before = [], 0
    for name, ends in line_ends.items():
        _, lengths = lines_to_read(ends)
        sizes = np.diff(ends, prepend=-1)  # with the first token, of all lines
        num_long = int(np.count_nonzero(lengths > bptt_length))
        if len(lengths) == 0:
            problems.append(
                f"{name} lines: must have one that is not empty, but got num_lines={len(ends)}, "
                "all empty. Use a longer text."
            )
        if num_long:
            number, longest = num_before + int(sizes.argmax()) + 1, int(lengths.max())
            problems.append(
                f"{name} lines: must have at most {bptt_length=} tokens after the first, their end "
                f"among them, but got {num_long} of {len(lengths)} that have more: line {number}, "
                f"the longest, has {longest}. Write bptt_length: {longest}, or cut such lines."
            )
        num_before += len(ends) if in_one_text else 0
    if problems:
        raise DataError(*problems)


def evaluation_lines(line_ends: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one pass that reads every line once, in the order of the text.

    Returns:
        ``starts`` and ``lengths`` as :func:`harness.data.windows.evaluation_windows` has them.
        Where lines do not fill the last minibatch a length is 0.
    """
    starts, lengths = lines_to_read(line_ends)
    return (
        _in_rows(starts, batch_size, int(line_ends[-1])),
        _in_rows(lengths, batch_size, 0),
    )


def _in_rows(values: np.ndarray, size: int, rest: int) -> np.ndarray:
    """Returns values in rows of ``size``, the last of them filled with ``rest``."""
    num_rows = -(-len(values) // size)
    filled = np.full(num_rows * size, rest, np.int64)
    filled[: len(values)] = values
    return filled.reshape(num_rows, size)
