"""Subwords: byte-pair encoding by the library ``tokenizers``, which is loaded when it is needed.

What is learned is a text in JSON. It begins with all bytes, so that no text is unknown, and a text
is decoded as it was. A passage, which is a line with its end, is encoded by itself: no token
reaches over a line's end, and where a file is cut into pieces makes no difference.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from harness.data.errors import DataError
from harness.data.text import lines_of

NEWLINE = "\u010a"
"""What stands for the byte of a line's end in a symbol; it can only be the last there."""
LEAST_SIZE = 257
"""The symbols of a vocabulary that has a merge: one for each byte, and it."""
_BATCH = 1000  # passages that are encoded at once
_LONG = 2**14  # characters; a longer line is cut at its next blank, or a token a byte would be held


def version() -> str:
    """Returns that of the library; a DataError is raised where it is not installed."""
    return f"tokenizers {_library().__version__}"


def _library() -> Any:
    try:
        import tokenizers  # imported late: few studies need it
    except ImportError as error:
        raise DataError(
            "token: subword needs the package tokenizers, but got "
            f"error={str(error)!r}. Install it: pip install 'recurrent-bench[subwords]'."
        ) from error
    return tokenizers


def passages_of(pieces: Iterable[str]) -> Iterator[str]:
    """Yields a text in passages: they are the text when they are joined."""
    held: str | None = None
    for line in itertools.chain.from_iterable(lines_of(pieces)):
        if held is not None:
            yield from _cut(f"{held}\n")
        held = line
    yield from _cut(held or "")


def _cut(line: str) -> Iterator[str]:
    start = 0
    while len(line) - start > _LONG and (end := line.find(" ", start + _LONG)) >= 0:
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]


def learned(passages: Iterable[str], size: int) -> str:
    """Returns a model of ``size`` symbols at most, as JSON: the most frequent pairs are merged."""
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(passages, trainer)
    model: str = tokenizer.to_str()
    return model


@functools.lru_cache(maxsize=8)
def _tokenizer(model: str) -> Any:
    return _library().Tokenizer.from_str(model)


def symbols(model: str) -> tuple[str, ...]:
    """Returns the symbols by their numbers; a character of one stands for a byte."""
    numbers: dict[str, int] = _tokenizer(model).get_vocab()
    return tuple(sorted(numbers, key=numbers.__getitem__))


def encoded(model: str, passages: Iterable[str]) -> Iterator[tuple[list[str], list[list[int]]]]:
    """Yields many passages at a time, with the numbers of each one's tokens."""
    tokenizer, passages = _tokenizer(model), iter(passages)
    while batch := list(itertools.islice(passages, _BATCH)):
        yield batch, [each.ids for each in tokenizer.encode_batch_fast(batch)]


def decoded(model: str, numbers: Iterable[int]) -> str:
    """Returns the text; of bytes that are no UTF-8, the sign for it."""
    text: str = _tokenizer(model).decode(list(map(int, numbers)))
    return text
