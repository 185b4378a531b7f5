"""Where minibatches begin: the order of the training text, and the one pass of an evaluation.

A window is ``bptt_length`` inputs of one stream; its targets are the same tokens one to the right.
Windows are given by the position of their first input, as arrays of shape (U, B): U updates or
minibatches, B streams.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import randomness
from harness.data.errors import TextTooShort
from harness.randomness import Name
from harness.settings import Settings


class Windows(ABC):
    """An epoch's windows; :mod:`harness.data.line_windows` has those of lines."""

    carried: ClassVar[bool]  # whether a stream's state is carried over the minibatches of an epoch

    @property
    @abstractmethod
    def updates_per_epoch(self) -> int:
        """Number of updates of every epoch."""

    @property
    @abstractmethod
    def targets_per_update(self) -> float:
        """Number of targets of an update; where updates differ, the mean of an epoch's."""

    @abstractmethod
    def starts(self, seed: Sequence[Name], epoch: int) -> np.ndarray:
        """Returns int64 (U, B): the position of the first input of window u of stream b."""

    def lengths(self, starts: np.ndarray) -> np.ndarray | None:
        """Returns the number of targets of windows, likewise; None where all are as long."""
        return None


@dataclass(frozen=True)
class TextWindows(Windows):
    """Windows of equal length of a running text.

    Every epoch has as many as its largest offset leaves room for; others are dropped.
    """

    num_tokens: int
    batch_size: int
    bptt_length: int
    max_offset: int

    @property
    def updates_per_epoch(self) -> int:
        """Number of updates of every epoch, whatever its own offset."""
        return self._num_updates(self.max_offset)

    @property
    def targets_per_update(self) -> int:
        """Number of targets of every update."""
        return self.batch_size * self.bptt_length

    @property
    def num_tokens_needed(self) -> int:
        """Number of tokens that the text must have for one update an epoch."""
        return self.max_offset + self.batch_size * self.bptt_length + 1

    def starts(self, seed: Sequence[Name], epoch: int) -> np.ndarray:
        """See :class:`Windows`."""
        offset = randomness.integer(*seed, "order", epoch, "offset", high=self.max_offset)
        return self._starts(offset, seed, epoch)

    @abstractmethod
    def _num_updates(self, offset: int) -> int: ...

    @abstractmethod
    def _starts(self, offset: int, seed: Sequence[Name], epoch: int) -> np.ndarray: ...


class SequentialWindows(TextWindows):
    """B streams side by side, each read from left to right.

    The last target may lie beyond the streams.

    Source: the sequential iterator of Dive into Deep Learning, 2022.
    """

    carried = True

    def _num_columns(self, offset: int) -> int:
        return (self.num_tokens - offset - 1) // self.batch_size

    def _num_updates(self, offset: int) -> int:
        return self._num_columns(offset) // self.bptt_length

    def _starts(self, offset: int, seed: Sequence[Name], epoch: int) -> np.ndarray:
        streams = offset + np.arange(self.batch_size) * self._num_columns(offset)
        return np.arange(self.updates_per_epoch)[:, None] * self.bptt_length + streams


class Sequential2019Windows(SequentialWindows):
    """B streams side by side, with every target inside its stream.

    So the last column is never an input.

    Source: the consecutive iterator of Dive into Deep Learning, 2019.
    """

    @property
    def num_tokens_needed(self) -> int:
        """Number of tokens that the text must have for one update an epoch."""
        return self.max_offset + self.batch_size * (self.bptt_length + 1)

    def _num_columns(self, offset: int) -> int:
        return (self.num_tokens - offset) // self.batch_size

    def _num_updates(self, offset: int) -> int:
        return (self._num_columns(offset) - 1) // self.bptt_length


class RandomWindows(TextWindows):
    """The text cut into windows, in random order; the state begins anew at every minibatch."""

    carried = False

    def _num_windows(self, offset: int) -> int:
        return (self.num_tokens - offset - 1) // self.bptt_length

    def _num_updates(self, offset: int) -> int:
        return self._num_windows(offset) // self.batch_size

    def _starts(self, offset: int, seed: Sequence[Name], epoch: int) -> np.ndarray:
        order = randomness.permutation(
            *seed, "order", epoch, "windows", count=self._num_windows(offset)
        )
        shape = (self.updates_per_epoch, self.batch_size)
        return offset + order[: shape[0] * shape[1]].reshape(shape) * self.bptt_length


_FORMS: dict[str, type[TextWindows]] = {
    "sequential": SequentialWindows,
    "sequential-2019": Sequential2019Windows,
    "random": RandomWindows,
}


def training_windows(settings: Settings, num_tokens: int) -> TextWindows:
    """Returns the windows of a training text of ``num_tokens`` tokens.

    Raises:
        TextTooShort: The text is too short for one update at the largest offset.
    """
    max_offset = settings.bptt_length - 1 if settings.max_offset is None else settings.max_offset
    windows = _FORMS[settings.windows](
        num_tokens, settings.batch_size, settings.bptt_length, max_offset
    )
    if num_tokens < windows.num_tokens_needed:
        raise TextTooShort(
            f"text: must have at least {windows.num_tokens_needed} tokens for one update "
            f"(batch_size={settings.batch_size}, bptt_length={settings.bptt_length}, "
            f"{max_offset=}), but got {num_tokens=}. "
            "Use a longer text, or a smaller batch_size or bptt_length."
        )
    return windows


def require_windows(settings: Settings, sizes: Mapping[str, int]) -> None:
    """Checks that every split has a window, given its number of tokens.

    Where lines are sequences it has one where it has a target.

    Raises:
        TextTooShort: One is too short. The message has a line for each that is.
    """
    problems = []
    for name, count in sizes.items():
        try:
            if name == "train" and not settings.reads_lines:
                training_windows(settings, count)
            else:
                evaluation_windows(count, settings.batch_size, settings.bptt_length)
        except TextTooShort as error:
            problems.append(f"{name} {error}")
    if problems:
        raise TextTooShort(*problems)


def evaluation_windows(
    num_tokens: int, batch_size: int, bptt_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one pass that scores every target of a text exactly once.

    The targets 1 to ``num_tokens`` - 1 are dealt to ``batch_size`` streams of equal length, or one
    apart, in the order of the text. The state starts at zero and is carried along a stream.

    Returns:
        ``starts`` and ``lengths``, both int64 (U, B): window u of stream b scores the targets
        ``start`` + 1 to ``start`` + ``length``. A length is ``bptt_length`` but at a stream's end,
        where it may be 0; ``start`` is a position that has a target even then.

    Raises:
        TextTooShort: The text has no target.
    """
    if num_tokens < 2:
        raise TextTooShort(
            f"text: must have at least 2 tokens, but got {num_tokens=}. Use a longer text."
        )
    num_targets = num_tokens - 1
    # Dealt in this way, the last stream is a longest one: no other stream's start can pass the last
    # target.
    ends = np.arange(1, batch_size + 1) * num_targets // batch_size
    firsts = np.concatenate([[0], ends[:-1]])
    num_windows = -(-int((ends - firsts).max()) // bptt_length)
    starts = firsts + np.arange(num_windows)[:, None] * bptt_length
    lengths = np.clip(ends - starts, 0, bptt_length)
    return starts, lengths
