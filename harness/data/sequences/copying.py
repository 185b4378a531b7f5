"""Memory tasks that ask for what was read: copy, selective copy and associative recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.data.errors import DataError
from harness.data.sequences import Level, Sequences
from harness.data.sequences.draws import distinct, integers
from harness.data.sequences.levels import PERFECT, uniform_guess
from harness.data.sequences.options import (
    MOST_ITEMS,
    MOST_SYMBOLS,
    check_length,
    check_options,
    whole,
)
from harness.randomness import Name


@dataclass(frozen=True)
class Copy:
    """The symbols of the first steps, in their order, after a delay and a delimiter.

    ``items`` symbols, blanks, a delimiter, ``items`` blanks are read; blanks and, at the last
    ``items`` steps, the symbols are the targets. Every step counts, as published: who remembers
    nothing knows the blanks, and scores items/T ln(symbols). In a longer sequence the delay is
    longer.

    Tokens: the symbols from 0 on, a blank, the delimiter. Classes: the symbols, a blank.

    Source: M. Arjovsky, A. Shah and Y. Bengio 2016, "Unitary evolution recurrent neural networks",
    whose T + 20 is the length here; after S. Hochreiter and J. Schmidhuber 1997.
    """

    name: ClassVar[str] = "copy"
    description: ClassVar[str] = "the first symbols again, after a delay and a delimiter"
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    symbols: int = whole(8, least=2, most=MOST_SYMBOLS, doc="how many there are to choose from")
    items: int = whole(10, least=1, most=MOST_ITEMS, doc="symbols to remember")

    def __post_init__(self) -> None:
        check_options(self.name, self)

    @property
    def num_inputs(self) -> int:
        """The symbols, the blank and the delimiter."""
        return self.symbols + 2

    @property
    def num_outputs(self) -> int:
        """The symbols and the blank."""
        return self.symbols + 1

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 2 items + 1 steps."""
        self._check(length)
        items = integers(*seed, "items", below=self.symbols, shape=(count, self.items))
        inputs, targets = np.full((2, count, length), self.symbols)
        inputs[:, : self.items] = targets[:, -self.items :] = items
        inputs[:, -self.items - 1] = self.symbols + 1
        return Sequences(inputs, targets, np.ones((count, length)))

    def chance(self, length: int) -> Level:
        """Returns the score of blanks, and of a guess among the symbols at the last steps."""
        self._check(length)
        share = self.items / length
        return Level(share * math.log(self.symbols), 1.0 - share + share / self.symbols)

    def floor(self, length: int) -> Level:
        """Returns the score of who remembers."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        why = f"{self.items} symbols, a delimiter and as many answers are a step each"
        check_length(self.name, length, least=2 * self.items + 1, why=why)


@dataclass(frozen=True)
class SelectiveCopy:
    """The symbols among blanks, in their order, at the last steps.

    ``items`` symbols stand at random places among blanks, then ``items`` marks ask for them; the
    steps of the marks count, and no others. In a longer sequence there are more blanks.

    Tokens: the symbols from 0 on, a blank, the mark. Classes: the symbols.

    Source: A. Gu and T. Dao 2023, "Mamba: linear-time sequence modeling with selective state
    spaces".
    """

    name: ClassVar[str] = "selective-copy"
    description: ClassVar[str] = "the symbols that stand among blanks, in their order, at the end"
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    symbols: int = whole(8, least=2, most=MOST_SYMBOLS, doc="how many there are to choose from")
    items: int = whole(10, least=1, most=MOST_ITEMS, doc="symbols to remember")

    def __post_init__(self) -> None:
        check_options(self.name, self)

    @property
    def num_inputs(self) -> int:
        """The symbols, the blank and the mark."""
        return self.symbols + 2

    @property
    def num_outputs(self) -> int:
        """The symbols."""
        return self.symbols

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 2 items steps."""
        self._check(length)
        shape = (count, self.items)
        items = integers(*seed, "items", below=self.symbols, shape=shape)
        places = np.sort(distinct(*seed, "places", below=length - self.items, shape=shape), axis=1)
        inputs = np.full((count, length), self.symbols)
        np.put_along_axis(inputs, places, items, axis=1)
        inputs[:, -self.items :] = self.symbols + 1
        targets, weights = np.zeros_like(inputs), np.zeros(inputs.shape)
        targets[:, -self.items :] = items
        weights[:, -self.items :] = 1.0
        return Sequences(inputs, targets, weights)

    def chance(self, length: int) -> Level:
        """Returns the score of a guess among the symbols."""
        self._check(length)
        return uniform_guess(self.symbols)

    def floor(self, length: int) -> Level:
        """Returns the score of who remembers."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        why = f"{self.items} symbols and as many answers are a step each"
        check_length(self.name, length, least=2 * self.items, why=why)


@dataclass(frozen=True)
class Recall:
    """The value that was read behind a key, wherever the key is read again.

    ``items`` pairs of a key and its value come first, the keys different ones; then every key is
    read once more, at random places among blanks. Its value is the target there, and no other step
    counts. In a longer sequence there are more blanks.

    Tokens: the keys from 0 on, as many values, a blank. Classes: the values.

    Source: S. Arora and others 2023, "Zoology: measuring and improving recall in efficient language
    models" (recall with several queries, here at uniform places); after J. Ba and others 2016,
    "Using fast weights to attend to the recent past".
    """

    name: ClassVar[str] = "recall"
    description: ClassVar[str] = "the value that was read behind a key, where it is read again"
    reads_tokens: ClassVar[bool] = True
    predicts_classes: ClassVar[bool] = True

    symbols: int = whole(16, least=2, most=MOST_SYMBOLS, doc="how many keys, and how many values")
    items: int = whole(4, least=1, most=MOST_ITEMS, doc="pairs to remember")

    def __post_init__(self) -> None:
        check_options(self.name, self)
        if self.items > self.symbols:
            raise DataError(
                f"{self.name}.items: items <= symbols must hold, since the keys of a sequence are "
                f"different ones, but got items={self.items:,}, symbols={self.symbols:,}. "
                f"Write symbols={self.items}, or fewer items."
            )

    @property
    def num_inputs(self) -> int:
        """The keys, the values and the blank."""
        return 2 * self.symbols + 1

    @property
    def num_outputs(self) -> int:
        """The values."""
        return self.symbols

    def draw(self, seed: Sequence[Name], count: int, length: int) -> Sequences:
        """Returns ``count`` sequences; raises a DataError for less than 3 items steps."""
        self._check(length)
        shape, stored = (count, self.items), 2 * self.items
        keys = distinct(*seed, "keys", below=self.symbols, shape=shape)
        values = integers(*seed, "values", below=self.symbols, shape=shape)
        places = stored + distinct(*seed, "places", below=length - stored, shape=shape)
        inputs = np.full((count, length), 2 * self.symbols)
        inputs[:, 0:stored:2], inputs[:, 1:stored:2] = keys, self.symbols + values
        targets, weights = np.zeros_like(inputs), np.zeros(inputs.shape)
        for array, read in ((inputs, keys), (targets, values), (weights, 1.0)):
            np.put_along_axis(array, places, read, axis=1)
        return Sequences(inputs, targets, weights)

    def chance(self, length: int) -> Level:
        """Returns the score of a guess among the values."""
        self._check(length)
        return uniform_guess(self.symbols)

    def floor(self, length: int) -> Level:
        """Returns the score of who remembers."""
        self._check(length)
        return PERFECT

    def _check(self, length: int) -> None:
        why = f"{self.items} keys, their values and as many questions are a step each"
        check_length(self.name, length, least=3 * self.items, why=why)
