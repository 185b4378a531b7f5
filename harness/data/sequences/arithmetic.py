"""Memory tasks of numbers: adding and parity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import randomness
from harness.data.sequences import Level, Sequences
from harness.data.sequences.draws import integers
from harness.data.sequences.levels import PERFECT, uniform_guess
from harness.data.sequences.options import check_length
from harness.randomness import Name


@dataclass(frozen=True)
class Adding:
    """The sum of the two numbers that are marked, one in each half, at the last step.

    A step reads a number from [0, 1) and a mark, 1 or 0. The sum of two such numbers has the mean 1
    and the variance 1/6, which is what a constant guess scores.

    Source: S. Hochreiter and J. Schmidhuber 1997, "Long short-term memory"; in the form of M.
    Arjovsky, A. Shah and Y. Bengio 2016, "Unitary evolution recurrent neural networks".
    """

    name: ClassVar[str] = "adding"
    description: ClassVar[str] = "the sum of two marked numbers of [0, 1), one in each half"
    num_inputs: ClassVar[int] = 2
    num_outputs: ClassVar[int] = 1
    reads_tokens: ClassVar[bool] = False
    predicts_classes: ClassVar[bool] = False

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 2 steps."""
        self._check(length)
        half, rows = length // 2, np.arange(count)
        numbers = randomness.uniform(*seed, "numbers", shape=(count, length))
        first = integers(*seed, "first", below=half, shape=(count,))
        second = half + integers(*seed, "second", below=length - half, shape=(count,))
        marks, targets, weights = np.zeros((3, count, length))
        marks[rows, first] = marks[rows, second] = 1.0
        targets[:, -1] = numbers[rows, first] + numbers[rows, second]
        weights[:, -1] = 1.0
        return Sequences(np.stack([numbers, marks], axis=2), targets[..., None], weights)

    def chance(self, length: int) -> Level:
        """Returns the score of the constant guess 1."""
        self._check(length)
        return Level(loss=1.0 / 6.0)

    def floor(self, length: int) -> Level:
        """Returns the score of who adds."""
        self._check(length)
        return Level(loss=0.0)

    def _check(self, length: int) -> None:
        check_length(self.name, length, least=2, why="each half has a mark")


@dataclass(frozen=True)
class Parity:
    """Whether the number of ones so far is odd, at every step.

    Every step counts, and not the last alone: from the last alone hardly anything learns the
    parity of more than a few bits. Each answer by itself is a fair coin's.

    Source: M. Minsky and S. Papert 1969, "Perceptrons"; as the state of an automaton at every step
    in B. Liu and others 2023, "Transformers learn shortcuts to automata".
    """

    name: ClassVar[str] = "parity"
    description: ClassVar[str] = "whether the number of ones so far is odd, at every step"
    num_inputs: ClassVar[int] = 2
    num_outputs: ClassVar[int] = 2
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for no step."""
        self._check(length)
        bits = integers(*seed, "bits", below=2, shape=(count, length))
        return Sequences(bits, np.cumsum(bits, axis=1) % 2, np.ones((count, length)))

    def chance(self, length: int) -> Level:
        """Returns the score of a coin."""
        self._check(length)
        return uniform_guess(2)

    def floor(self, length: int) -> Level:
        """Returns the score of who counts."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        check_length(self.name, length, least=1, why="each step has a bit")
