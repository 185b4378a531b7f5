"""Vocabularies: from text to numbers and back."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.data import subwords
from harness.data.errors import DataError, UnknownCharacter
from harness.data.text import as_bytes, from_bytes
from harness.settings import Token

UNKNOWN = "<unk>"
_NUM_NAMED = 5  # unknown characters that a message names; a text in another script has thousands


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a corpus; a symbol's number is its place in ``symbols``."""

    symbols: tuple[str, ...]
    token: Token
    line_end: str | None = None
    """The symbol of a line's end; None where none stands for it, or where it is a character.

    Among subwords it is none: line ends are bytes, and count as words.
    """
    subwords: str | None = None
    """What :mod:`harness.data.subwords` learned; None where a token is no subword."""

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> np.ndarray:
        """Returns the int64 number of each token of ``text``, (number of tokens,).

        A token is a character, a word between blanks, a byte of UTF-8, or a subword.

        Raises:
            UnknownCharacter: A token is not in a vocabulary that has no ``<unk>``.
        """
        if self.subwords is not None:
            read = subwords.encoded(self.subwords, subwords.passages_of([text]))
            numbers = [number for _, ids in read for each in ids for number in each]
            return np.array(numbers, np.int64)
        return self.numbers(tokenize(text, self.token, self.line_end))

    def numbers(self, tokens: Sequence[str]) -> np.ndarray:
        """Returns the int64 number of each of ``tokens``; raises as :meth:`encode` does."""
        index, unknown = self._index, self.unknown
        try:
            numbers = (
                (index[t] for t in tokens)
                if unknown is None
                else (index.get(t, unknown) for t in tokens)
            )
            return np.fromiter(numbers, np.int64, len(tokens))
        except KeyError:
            raise UnknownCharacter(self._complaint(tokens)) from None

    def decode(self, numbers: Iterable[int]) -> str:
        """Returns the text: characters or bytes joined, words with a blank between them."""
        if self.subwords is not None:
            return subwords.decoded(self.subwords, numbers)
        text = (" " if self.token == "word" else "").join(self.symbols[n] for n in numbers)
        return from_bytes(text) if self.token == "byte" else text

    @property
    def unknown(self) -> int | None:
        """The number of ``<unk>``; None in a vocabulary that has none."""
        return None if self.token == "subword" else self._index.get(UNKNOWN)

    def ends_line(self) -> np.ndarray:
        """Returns whether each symbol is the last token of a line, (V,), bool."""
        if self.subwords is not None:
            return np.array([symbol.endswith(subwords.NEWLINE) for symbol in self.symbols])
        end = "\n" if self.line_end is None else self.line_end
        return np.array([symbol == end for symbol in self.symbols])

    @cached_property
    def _index(self) -> dict[str, int]:
        index = {symbol: number for number, symbol in enumerate(self.symbols)}
        if self.token == "char" and self.line_end is not None:
            index["\n"] = index[self.line_end]
        return index

    def _complaint(self, tokens: Sequence[str]) -> str:
        first: dict[str, int] = {}  # unknown token -> its first position
        for position, token in enumerate(tokens):
            if token not in self._index:
                first.setdefault(token, position)
        is_byte = self.token == "byte"
        named = [
            f"{f'{ord(token):#04x}' if is_byte else repr(token)} at position={position}"
            for token, position in list(first.items())[:_NUM_NAMED]
        ]
        more = f" and {len(first) - _NUM_NAMED} others" if len(first) > _NUM_NAMED else ""
        remedy = "Leave what has it out." if is_byte else self._remedy(next(iter(first)))
        return (
            f"text: every {'byte' if is_byte else 'character'} must be among the {len(self)} of "
            f"the vocabulary, but got {', '.join(named)}{more}. {remedy}"
        )

    def _remedy(self, character: str) -> str:
        # The same letter in the other case, without its accent, or the plain form of a typographic
        # sign.
        plain = unicodedata.normalize("NFKD", character)[:1]
        blank = " " if character.isspace() else ""
        for nearest in (character.lower(), character.upper(), plain, plain.lower(), blank):
            if nearest in self._index:
                return f"Write {nearest!r} instead of {character!r}."
        return f"Leave {character!r} out; the vocabulary is {''.join(self.symbols)!r}."


def tokenize(text: str, token: Token, line_end: str | None = None) -> Sequence[str]:
    """Returns the tokens of ``text``: its words, or a text as a sequence of characters or bytes.

    Among words, ``line_end`` stands for every line's end; among characters that is one already.
    """
    if token != "word":
        return as_bytes(text) if token == "byte" else text
    return (text if line_end is None else text.replace("\n", f" {line_end} ")).split()


def sorted_vocabulary(
    symbols: Iterable[str], token: Token, line_end: str | None = None
) -> Vocabulary:
    """Returns the distinct ``symbols``, sorted, without ``<unk>``.

    Where there is a ``line_end``, it is the symbol of what ends a line.
    """
    characters = sorted(set(symbols))
    if line_end is None:
        return Vocabulary(tuple(characters), token)
    return Vocabulary(tuple(line_end if c == "\n" else c for c in characters), token, line_end)


def frequency_vocabulary(
    counts: Mapping[str, int],
    token: Token,
    min_count: int = 1,
    max_size: int | None = None,
    line_end: str | None = None,
) -> Vocabulary:
    """Returns ``<unk>`` and the symbols that are seen at least ``min_count`` times.

    Of these they are the most frequent where there are more than ``max_size`` symbols with it.
    The most frequent come first; of equally frequent ones, that which ``counts`` has first.

    Raises:
        DataError: No symbol is that frequent.
    """
    # A text that marks its own rare words has <unk> already.
    kept = {s: count for s, count in counts.items() if count >= min_count and s != UNKNOWN}
    if not kept:
        most = max((count for s, count in counts.items() if s != UNKNOWN), default=0)
        raise DataError(
            f"vocabulary: a {token} must occur at least {min_count} times to be a symbol, "
            f"but got {most=}. "
            "Use a longer text or a smaller min_count."
        )
    symbols = sorted(kept, key=kept.__getitem__, reverse=True)
    return Vocabulary((UNKNOWN, *symbols)[:max_size], token, line_end)
