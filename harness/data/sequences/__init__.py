"""Sequences as numbers: memory tasks, time series, and labelled sequences; NumPy alone.

Shapes: S sequences of T steps; V tokens, or I numbers a step, are read; O classes or numbers are
predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.randomness import Name


@dataclass(frozen=True)
class Sequences:
    """Sequences of equal length, padded where they are shorter.

    Attributes:
        inputs: (S, T), int64: tokens; or (S, T, I), float64: vectors.
        targets: (S, T), int64: classes; or (S, T, O), float64: values.
        weights: How often each target counts, (S, T), float64; 0 where there is none.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        shape = self.weights.shape
        assert len(shape) == 2, "(S, T)"
        assert self.inputs.shape[:2] == self.targets.shape[:2] == shape

    def __len__(self) -> int:
        return len(self.weights)


class Generator(Protocol):
    """A source of sequences without end."""

    @property
    def num_inputs(self) -> int:
        """V of tokens, or I of vectors."""

    @property
    def num_outputs(self) -> int:
        """The number of classes, or O."""

    @property
    def reads_tokens(self) -> bool:
        """Whether inputs are tokens."""

    @property
    def predicts_classes(self) -> bool:
        """Whether targets are classes."""

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences of ``length`` steps, the same for the same arguments.

        Raises:
            DataError: Sequences of this kind cannot be so short.
        """


@dataclass(frozen=True)
class Level:
    """What a way of predicting scores, as the exact mean over the targets that count.

    Attributes:
        loss: The cross-entropy in nats, or the mean squared error.
        accuracy: The share of targets that it gets right; None where they are values.
    """

    loss: float
    accuracy: float | None = None


class BoundedGenerator(Generator, Protocol):
    """A source of which it is known exactly how badly and how well it can be predicted."""

    def chance(self, length: int) -> Level:
        """Returns the score of the best prediction that knows the number of a step alone.

        Raises:
            DataError: Sequences of this kind cannot be so short.
        """

    def floor(self, length: int) -> Level | None:
        """Returns the score of the best prediction that there is; None where nobody knows it.

        Raises:
            DataError: Sequences of this kind cannot be so short.
        """
