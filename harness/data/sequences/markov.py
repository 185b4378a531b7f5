"""A source whose entropy is known: a Markov chain of some order."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness import randomness
from harness.data.errors import DataError
from harness.data.sequences import Level, Sequences
from harness.data.sequences.levels import entropy
from harness.data.sequences.options import check_length, check_options, whole
from harness.randomness import Name

MOST_CONTEXTS = 1_024
"""Their stationary distribution is solved for densely: a matrix of 8 MB, in a tenth of a second."""


@dataclass(frozen=True)
class Markov:
    """The next symbol of a stationary Markov chain, given those before it.

    A symbol's distribution depends on the ``order`` symbols before it. Each such distribution is
    drawn once, uniformly over all that there are, by the number ``source``: studies with the same
    options have the same source, whatever their seeds. Sequences begin in the stationary
    distribution, and the steps count at which ``order`` symbols have been read. So the entropy rate
    is exactly the least cross-entropy that there is, at every such step.

    Source: C. Shannon 1948, "A mathematical theory of communication".
    """

    name: ClassVar[str] = "markov"
    description: ClassVar[str] = "the next symbol of a Markov chain, whose entropy rate is known"
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    symbols: int = whole(8, least=2, most=256, doc="how many there are")
    order: int = whole(2, least=1, most=10, doc="symbols that the next one depends on")
    source: int = whole(0, least=0, most=2**31 - 1, doc="the number by which the chain is drawn")

    def __post_init__(self) -> None:
        check_options(self.name, self)
        if self._num_contexts > MOST_CONTEXTS:
            raise DataError(
                f"{self.name}.order: symbols^order <= {MOST_CONTEXTS:,} must hold, but got "
                f"symbols={self.symbols}, order={self.order}. Write a smaller one of the two."
            )

    @property
    def num_inputs(self) -> int:
        """The symbols."""
        return self.symbols

    @property
    def num_outputs(self) -> int:
        """The symbols."""
        return self.symbols

    @property
    def _num_contexts(self) -> int:
        return int(self.symbols**self.order)

    @functools.cached_property
    def transitions(self) -> np.ndarray:
        """The probability of each symbol after each context, (contexts, symbols).

        A context is a number of ``order`` digits to the base ``symbols``; the last symbol is the
        last digit.
        """
        names: tuple[Name, ...] = (self.name, self.symbols, self.order, self.source)
        # Exponential draws, divided by their sum, are uniform over the simplex.
        draws = -np.log1p(-randomness.uniform(*names, shape=(self._num_contexts, self.symbols)))
        transitions: np.ndarray = draws / draws.sum(axis=1, keepdims=True)
        return transitions

    @functools.cached_property
    def stationary(self) -> np.ndarray:
        """The probability of each context, (contexts,): the one that a step does not change."""
        num_contexts = self._num_contexts
        contexts = np.arange(num_contexts)[:, None]
        following = (contexts * self.symbols + np.arange(self.symbols)) % num_contexts
        flow = -np.eye(num_contexts)
        np.add.at(flow, (following, contexts), self.transitions)
        flow[-1] = 1.0  # the last balance follows from the others; the sum is one in its place
        return np.linalg.solve(flow, np.eye(num_contexts)[-1])

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than ``order`` steps."""
        self._check(length)
        starts = randomness.uniform(*seed, "start", shape=(count,))
        steps = randomness.uniform(*seed, "steps", shape=(count, length + 1))
        # Without the last bound, a number that rounding left above it is still a symbol.
        contexts = np.searchsorted(np.cumsum(self.stationary)[:-1], starts, side="right")
        bounds = np.cumsum(self.transitions, axis=1)[:, :-1]
        tokens = np.empty((count, length + 1), dtype=np.int64)
        for place in range(self.order):
            tokens[:, place] = contexts // self.symbols ** (self.order - 1 - place) % self.symbols
        for place in range(self.order, length + 1):
            tokens[:, place] = (steps[:, place, None] >= bounds[contexts]).sum(axis=1)
            contexts = (contexts * self.symbols + tokens[:, place]) % self._num_contexts
        weights = np.ones((count, length))
        weights[:, : self.order - 1] = 0.0
        return Sequences(tokens[:, :-1], tokens[:, 1:], weights)

    def chance(self, length: int) -> Level:
        """Returns the score of who knows how frequent the symbols are."""
        self._check(length)
        shares = self.stationary.reshape(-1, self.symbols).sum(axis=0)
        return Level(float(entropy(shares)), float(shares.max()))

    def floor(self, length: int) -> Level:
        """Returns the entropy rate, and the accuracy of the likeliest symbol after each context."""
        self._check(length)
        return Level(
            loss=float(self.stationary @ entropy(self.transitions)),
            accuracy=float(self.stationary @ self.transitions.max(axis=1)),
        )

    def scored(self, sequences: Sequences) -> Level:
        """Returns what the exact prediction, each context's own distribution, scores on sequences.

        What a model scores on them above it is what it has not learned: the draw is in both.
        """
        tokens, contexts = sequences.inputs, np.zeros_like(sequences.inputs)
        for place in range(self.order):  # a step's own token is the last digit
            digits = tokens[:, : tokens.shape[1] - place] * self.symbols**place
            contexts[:, place:] += digits
        losses = -np.log(self.transitions[contexts, sequences.targets])
        right = self.transitions.argmax(axis=1)[contexts] == sequences.targets
        return Level(
            loss=float(np.average(losses, weights=sequences.weights)),
            accuracy=float(np.average(right, weights=sequences.weights)),
        )

    def _check(self, length: int) -> None:
        why = f"a symbol depends on the {self.order} before it"
        check_length(self.name, length, least=self.order, why=why)
