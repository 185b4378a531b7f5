"""Memory tasks of formal languages: brackets of several kinds, and a^n b^n c^n."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.data.sequences import Level, Sequences
from harness.data.sequences.draws import integers
from harness.data.sequences.levels import PERFECT, guess_by_step, uniform_guess
from harness.data.sequences.options import MOST_SYMBOLS, check_length, check_options, whole
from harness.randomness import Name


@dataclass(frozen=True)
class Dyck:
    """Which bracket is now the innermost open one, after each that closes inside another.

    A sequence begins a word of Dyck-k with at most ``depth`` open brackets: where brackets may open
    and close, both are equally likely, and so are the ``symbols`` kinds. The step of a closing
    bracket counts if another is still open: its kind is the one that the next closing bracket must
    have. After an opening bracket the answer would be what was just read, which takes no memory. A
    longer sequence is no deeper.

    Tokens: the opening brackets from 0 on, as many closing ones. Classes: the kinds.

    Source: J. Hewitt and others 2020, "RNNs can generate bounded hierarchical languages with
    optimal memory", who also score closing brackets; M. Suzgun and others 2019,
    "Memory-augmented recurrent neural networks can learn generalized Dyck languages".
    """

    name: ClassVar[str] = "dyck"
    description: ClassVar[str] = "which bracket is the innermost open one, after each that closes"
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    symbols: int = whole(2, least=2, most=MOST_SYMBOLS, doc="kinds of brackets")
    depth: int = whole(4, least=2, most=1_000, doc="most brackets that are open at a time")

    def __post_init__(self) -> None:
        check_options(self.name, self)

    @property
    def num_inputs(self) -> int:
        """The opening and the closing brackets."""
        return 2 * self.symbols

    @property
    def num_outputs(self) -> int:
        """The kinds."""
        return self.symbols

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 3 steps."""
        self._check(length)
        kinds = integers(*seed, "kinds", below=self.symbols, shape=(count, length))
        may_open = integers(*seed, "opens", below=2, shape=(count, length)) == 1
        inputs, targets = np.zeros((2, count, length), dtype=np.int64)
        weights = np.zeros((count, length))
        # The kind of the bracket that is open at each depth; none is at depth 0.
        open_kinds = np.zeros((count, self.depth + 1), dtype=np.int64)
        depths, rows = np.zeros(count, dtype=np.int64), np.arange(count)
        for step in range(length):
            opens = (depths == 0) | (may_open[:, step] & (depths < self.depth))
            closed = self.symbols + open_kinds[rows, depths]
            inputs[:, step] = np.where(opens, kinds[:, step], closed)
            depths += np.where(opens, 1, -1)
            open_kinds[rows[opens], depths[opens]] = kinds[opens, step]
            targets[:, step] = open_kinds[rows, depths]
            weights[:, step] = ~opens & (depths > 0)
        return Sequences(inputs, targets, weights)

    def chance(self, length: int) -> Level:
        """Returns the score of a guess among the kinds."""
        self._check(length)
        return uniform_guess(self.symbols)

    def floor(self, length: int) -> Level:
        """Returns the score of who keeps a stack."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        check_length(self.name, length, least=3, why="two brackets open before one closes inside")


@dataclass(frozen=True)
class Counting:
    """The next letter of a^n b^n c^n, from the first b on, where n decides it.

    n is drawn from the upper half of what fits: from T/6 to T/3. So all counts of a sequence that
    is twice as long are new. After the last c comes an end, and again to the last step; the first
    end is the last target that counts.

    Tokens: a, b, c, the end. Classes: b, c, the end.

    Source: F. Gers and J. Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and
    context-sensitive languages".
    """

    name: ClassVar[str] = "counting"
    description: ClassVar[str] = "the next letter of a^n b^n c^n, from the first b on"
    num_inputs: ClassVar[int] = 4
    num_outputs: ClassVar[int] = 3
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 9 steps."""
        numbers = self._numbers(length)
        return _words(
            numbers[integers(*seed, "numbers", below=len(numbers), shape=(count,))], length
        )

    def chance(self, length: int) -> Level:
        """Returns the score of who knows the step, and how likely every n is."""
        words = _words(self._numbers(length), length)
        expected = np.eye(self.num_outputs)[words.targets] * words.weights[..., None]
        return guess_by_step(expected.mean(axis=0))

    def floor(self, length: int) -> Level:
        """Returns the score of who counts."""
        self._numbers(length)
        return PERFECT

    def _numbers(self, length: int) -> np.ndarray:
        """Returns the values that n can have."""
        check_length(self.name, length, least=9, why="n is then 2 or 3, and no guess is sure")
        return np.arange(length // 6 + 1, length // 3 + 1)


def _words(numbers: np.ndarray, length: int) -> Sequences:
    """Returns a sequence for each n."""
    steps, each = np.arange(length), numbers[:, None]
    letters = np.minimum(np.arange(length + 1) // each, 3)
    return Sequences(
        inputs=letters[:, :-1],
        targets=np.maximum(letters[:, 1:] - 1, 0),
        weights=((each <= steps) & (steps < 3 * each)).astype(np.float64),
    )
