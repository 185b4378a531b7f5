"""From a text to numbers: it is split, and its tokens are counted and given a vocabulary."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from harness.data import corpora, subwords
from harness.data.errors import DataError
from harness.data.numbering import (
    Characters,
    Numbering,
    Tokens,
    Units,
    Words,
    counts,
    joined,
    narrowest,
    renumbered,
)
from harness.data.text import Digest, Text, between, ended, line_start
from harness.data.tokens import Vocabulary, frequency_vocabulary, sorted_vocabulary
from harness.data.windows import require_windows
from harness.settings import Settings

_Read = TypeVar("_Read")


def tokens_of(settings: Settings, texts: Mapping[str, Text]) -> Tokens:
    """Returns texts in numbers.

    Args:
        settings: How they are read; they do not contradict each other.
        texts: Those of the splits by their names, or the one that is split by position.

    Raises:
        DataError: A file is missing or not what it must be, or a text is too short or has nothing
            to predict. The message has a line for every problem found.
    """
    return _subwords(settings, texts) if settings.token == "subword" else _whole(settings, texts)


def _whole(settings: Settings, texts: Mapping[str, Text]) -> Tokens:
    """Returns the tokens that a text has by itself: its characters, bytes or words."""
    end = corpora.line_end(settings)
    numbering: Numbering = Words(end) if settings.token == "word" else Characters(end)

    def read(text: Text, digest: Digest) -> np.ndarray:
        return numbering.read(_pieces(settings, text, text.lined(digest)))

    parts, fingerprint = _read_each(texts, read)
    lengths = [len(part) for part in parts]
    if numbering.num_own_ends:
        remedy = "Rename it in the text" if settings.line_end is None else "Choose another"
        raise DataError(
            f"lines: end must be a token that the text does not have, but got {end=}, which it has "
            f"{numbering.num_own_ends} times. {remedy}."
        )
    _require_tokens(texts, lengths)
    numbers, all_symbols = joined(parts), numbering.symbols

    def next_line(least: int) -> int:
        mark = all_symbols.index("\n" if settings.token != "word" else end or "")
        return least and least + int((numbers[least - 1 :] == mark).argmax())

    num_tokens = corpora.BY_NAME[settings.corpus].num_tokens
    read_lengths = lengths if num_tokens is None else [num_tokens]
    sizes = _sizes(settings, texts, read_lengths, next_line)
    require_windows(settings, sizes)
    _require_choice(numbers[: sizes["train"]], all_symbols)
    if settings.token != "word" and num_tokens is None:
        vocabulary = sorted_vocabulary(all_symbols, settings.token, end)
    else:
        counted = numbers if num_tokens is not None else numbers[: sizes["train"]]
        vocabulary = frequency_vocabulary(
            counts(counted, all_symbols),
            settings.token,
            settings.min_count,
            settings.max_vocabulary,
            end,
        )
    kept = numbers[: sum(sizes.values())]
    return Tokens(
        numbers=renumbered(kept, all_symbols, vocabulary),
        sizes=sizes,
        vocabulary=vocabulary,
        fingerprint=fingerprint,
    )


def _subwords(settings: Settings, texts: Mapping[str, Text]) -> Tokens:
    """Returns the subwords that are learned of the training split, which is split by characters."""

    def length(text: Text, digest: Digest) -> int:
        return sum(map(len, _pieces(settings, text, text.lined(digest))))

    def whole() -> Iterator[str]:
        pieces = (_pieces(settings, text, text.pieces) for text in texts.values())
        return itertools.chain.from_iterable(pieces)

    assert settings.max_vocabulary is not None  # asked for before
    lengths, fingerprint = _read_each(texts, length)
    _require_tokens(texts, lengths)
    cut = _sizes(settings, texts, lengths, lambda least: line_start(whole(), least))
    names, ends = list(cut), list(itertools.accumulate(cut.values()))

    def passages(split: int) -> Iterator[str]:
        begin = ends[split - 1] if split else 0
        return subwords.passages_of(between(whole(), begin, ends[split]))

    model = subwords.learned(passages(0), settings.max_vocabulary)
    vocabulary = Vocabulary(subwords.symbols(model), "subword", corpora.line_end(settings), model)
    is_read = settings.reads_lines
    read = [_encoded(vocabulary, passages(split), is_read) for split in range(len(names))]
    sizes = {name: len(numbers) for name, (numbers, _) in zip(names, read, strict=True)}
    require_windows(settings, sizes)
    _require_choice(read[0][0], list(vocabulary.symbols))
    return Tokens(
        numbers=joined([numbers for numbers, _ in read]),
        sizes=sizes,
        vocabulary=vocabulary,
        fingerprint=fingerprint,
        units={name: units for name, (_, units) in zip(names, read, strict=True)},
    )


def _encoded(
    vocabulary: Vocabulary, passages: Iterator[str], reads_lines: bool
) -> tuple[np.ndarray, Units]:
    """Returns a split in numbers, and what its tokens stand for.

    The first token is given, or that of every line where lines are sequences.
    """
    assert vocabulary.subwords is not None
    parts: list[np.ndarray] = []
    totals = dict.fromkeys(("bytes", "characters", "words"), 0)
    given = totals.copy()
    num_given, is_first = 0, True
    for batch, ids in subwords.encoded(vocabulary.subwords, passages):
        numbers = list(itertools.chain.from_iterable(ids))
        parts.append(np.array(numbers, narrowest(len(vocabulary))))
        for passage, own in zip(batch, ids, strict=True):
            if is_first:
                first = passage.encode()[: len(vocabulary.symbols[own[0]])]
                given["bytes"] += len(first)
                given["characters"] += sum(byte & 0xC0 != 0x80 for byte in first)  # of one each
                given["words"] += 1
                num_given += 1
            is_first = reads_lines and passage.endswith("\n")
        totals["bytes"] += sum(len(passage.encode()) for passage in batch)
        totals["characters"] += sum(map(len, batch))
        totals["words"] += sum(len(passage.split()) for passage in batch)
        if vocabulary.line_end is not None:
            totals["words"] += sum(passage.count("\n") for passage in batch)
    tokens = joined(parts)
    num_targets = max(1, len(tokens) - num_given)
    per_token = {unit: (totals[unit] - given[unit]) / num_targets for unit in totals}
    return tokens, Units(totals["characters"], per_token)


def _read_each(
    texts: Mapping[str, Text], read: Callable[[Text, Digest], _Read]
) -> tuple[list[_Read], str]:
    """Returns what ``read`` does of each text, and the fingerprint of all.

    Raises:
        DataError: A file is missing or not what it must be, or two have one text. The message has
            a line for every problem found.
    """
    found: list[_Read] = []
    digests: dict[str, str] = {}
    problems: list[str] = []
    for name, text in texts.items():
        digest = hashlib.sha256()
        try:
            found.append(read(text, digest))
        except DataError as error:
            problems += str(error).splitlines()
            continue
        digests[name] = digest.hexdigest()
    for one, other in itertools.combinations(digests, 2):
        if digests[one] == digests[other]:
            problems.append(
                f"paths: must be three texts, but {one} and {other} have the same. "
                "Correct one of the two paths."
            )
    if problems:
        raise DataError(*problems)
    first, *others = digests.values()
    whole = hashlib.sha256("".join([first, *others]).encode())
    return found, whole.hexdigest() if others else first


def _pieces(settings: Settings, text: Text, lined: Iterable[str]) -> Iterable[str]:
    """Returns what is read of the pieces of a text in its lines."""
    if corpora.line_end(settings) is not None or settings.reads_lines:
        return ended(lined)
    if settings.token == "word":
        return lined
    return (piece.replace("\n", text.between) for piece in lined)


def _sizes(
    settings: Settings,
    texts: Mapping[str, Text],
    lengths: list[int],
    next_line: Callable[[int], int],
) -> dict[str, int]:
    """Returns how much each split has of the texts, which have ``lengths``.

    Where lines are sequences each is of the split in which it starts: ``next_line`` returns where
    the first one starts that does not start before a position.
    """
    if len(texts) > 1:
        return dict(zip(texts, lengths, strict=True))
    (length,) = lengths
    if settings.split == "none":
        return {"train": length}
    cuts = [length * cut // 100 for cut in corpora.BY_NAME[settings.corpus].cuts]
    validation, test = map(next_line, cuts) if settings.reads_lines else cuts
    return {"train": validation, "validation": test - validation, "test": length - test}


def _require_tokens(texts: Mapping[str, Text], lengths: Iterable[int]) -> None:
    problems = [
        f"text: must not be empty, but got num_tokens=0 in {text.source}. Name a text."
        for text, length in zip(texts.values(), lengths, strict=True)
        if length == 0
    ]
    if problems:
        raise DataError(*problems)


def _require_choice(train: np.ndarray, symbols: list[str]) -> None:
    first = int(train[0])
    if not (train != first).any():
        raise DataError(
            "vocabulary: the training text must have two different tokens at least, but got only "
            f"{symbols[first]!r}, {len(train):,} times: there is nothing to predict. Name another "
            "text."
        )
