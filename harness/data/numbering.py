"""Tokens as numbers in the order in which they first appear; a vocabulary orders them later.

A text goes by in pieces, and what is kept of it is a few bytes a token.
"""

import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from harness.data.tokens import Vocabulary, tokenize

_BLOCK = 2**20  # numbers that are looked up at once; NumPy makes eight bytes of each


@dataclass(frozen=True)
class Units:
    """What the tokens of a split stand for, where they differ in that.

    Attributes:
        num_characters: Of the split.
        per_token: Unit, in the plural -> how many a predicted token stands for in the mean. Those
            of the first token do not count, which is given and not predicted.
    """

    num_characters: int
    per_token: dict[str, float]


@dataclass(frozen=True)
class Tokens:
    """A text in numbers.

    Attributes:
        numbers: The tokens of all splits, one after the other.
        sizes: How many are of each split.
        vocabulary: What they stand for.
        fingerprint: Of the text.
        units: Of each split, where a token is a subword; else empty.
    """

    numbers: np.ndarray
    sizes: dict[str, int]
    vocabulary: Vocabulary
    fingerprint: str
    units: dict[str, Units] = field(default_factory=dict)


class Numbering(Protocol):
    """Numbers tokens over all the texts that it reads.

    Attributes:
        num_own_ends: How often the texts so far have a token themselves that is to be a line's end.
    """

    num_own_ends: int

    @property
    def symbols(self) -> list[str]:
        """The token of each number so far."""
        ...

    def read(self, pieces: Iterable[str]) -> np.ndarray:
        """Returns the number of each token, in the narrowest type that holds all so far."""
        ...


class Characters:
    """A token is a character."""

    def __init__(self, line_end: str | None) -> None:
        self.symbols: list[str] = []
        self.num_own_ends = 0
        self._line_end = line_end
        self._numbers = np.full(sys.maxunicode + 1, -1, np.int32)

    def read(self, pieces: Iterable[str]) -> np.ndarray:
        """See :class:`Numbering`."""
        return joined([self._read(piece) for piece in pieces])

    def _read(self, piece: str) -> np.ndarray:
        if self._line_end is not None and len(self._line_end) == 1:
            self.num_own_ends += piece.count(self._line_end)
        codes = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")
        numbers = self._numbers[codes]
        if numbers.min(initial=0) < 0:
            new, firsts = np.unique(codes[numbers < 0], return_index=True)
            new = new[np.argsort(firsts)]
            self._numbers[new] = np.arange(len(new)) + len(self.symbols)
            self.symbols += map(chr, new)
            numbers = self._numbers[codes]
        narrow: np.ndarray = numbers.astype(narrowest(len(self.symbols)))
        return narrow


class Words:
    """A token is a word between blanks, and the end of a line where that has a token."""

    def __init__(self, line_end: str | None) -> None:
        self.num_own_ends = 0
        self._line_end = line_end
        self._numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)

    @property
    def symbols(self) -> list[str]:
        """See :class:`Numbering`."""
        return list(self._numbers)

    def read(self, pieces: Iterable[str]) -> np.ndarray:
        """See :class:`Numbering`."""
        number = self._numbers.__getitem__
        return joined(
            [np.fromiter(map(number, each), np.int32, len(each)) for each in self._words(pieces)]
        )

    def _words(self, pieces: Iterable[str]) -> Iterator[list[str]]:
        begun = ""
        for piece in pieces:
            text = begun + piece
            words = list(tokenize(text, "word", self._line_end))
            begun = "" if text[-1:].isspace() or not words else words.pop()
            if self._line_end is not None and self._line_end in text:
                self.num_own_ends += words.count(self._line_end) - text.count("\n")
            yield words
        self.num_own_ends += bool(begun) and begun == self._line_end
        yield [begun] if begun else []


def narrowest(size: int) -> type[np.integer]:
    """Returns the narrowest type of NumPy and torch that numbers below ``size``."""
    return np.uint8 if size <= 2**8 else np.int16 if size <= 2**15 else np.int32


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Returns parts one after the other; they are taken from the list, since they may be large."""
    if len(parts) == 1:
        return parts.pop()
    result = np.empty(sum(map(len, parts)), max((part.dtype for part in parts), default=np.uint8))
    end = len(result)
    while parts:
        part = parts.pop()
        result[end - len(part) : end] = part
        end -= len(part)
    return result


def counts(numbers: np.ndarray, symbols: list[str]) -> Mapping[str, int]:
    """Returns how often each symbol stands there, by the order of their first appearance."""
    total = np.zeros(len(symbols), np.int64)
    for block in _blocks(numbers):
        total += np.bincount(numbers[block], minlength=len(symbols))
    return dict(zip(symbols, total.tolist(), strict=True))


def renumbered(numbers: np.ndarray, symbols: list[str], vocabulary: Vocabulary) -> np.ndarray:
    """Returns the number that each token has in a vocabulary, in the narrowest type.

    Where ``numbers`` are of that type they are written over.
    """
    table = vocabulary.numbers(symbols).astype(narrowest(len(vocabulary)))
    result = numbers if numbers.dtype == table.dtype else np.empty(len(numbers), table.dtype)
    for block in _blocks(numbers):
        result[block] = table[numbers[block]]
    return result


def positions(numbers: np.ndarray, is_sought: np.ndarray) -> np.ndarray:
    """Returns where those tokens are whose numbers are sought, int64; (V,) says which these are."""
    found = [block.start + np.flatnonzero(is_sought[numbers[block]]) for block in _blocks(numbers)]
    return np.concatenate([np.empty(0, np.int64), *found])


def _blocks(numbers: np.ndarray) -> Iterator[slice]:
    for start in range(0, len(numbers), _BLOCK):
        yield slice(start, start + _BLOCK)
