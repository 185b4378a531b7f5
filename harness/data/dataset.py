"""From settings to numbers: a corpus, its vocabulary and its splits."""

import difflib
import hashlib
import itertools
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from harness.data import corpora, token_cache
from harness.data.errors import DataError
from harness.data.numbering import Characters, Numbering, Words, counts, joined, renumbered
from harness.data.text import Digest, Text, ended, of_bytes
from harness.data.token_cache import Tokens
from harness.data.tokens import UNKNOWN, Vocabulary, frequency_vocabulary, sorted_vocabulary
from harness.data.windows import evaluation_windows, training_windows
from harness.settings import Settings, Split, Token
from harness.settings import Windows as WindowsForm


@dataclass(frozen=True)
class Dataset:
    """A corpus as numbers.

    Attributes:
        name: The corpus.
        title: What the text is called: the corpus, or the file's name.
        token: What a token is.
        vocabulary: What tokens stand for.
        splits: The tokens by name: train, validation and test, or train alone. They are of the
            narrowest type for the vocabulary, since those of a long text are many.
        fingerprint: The SHA-256 of the normalised text in UTF-8; of a text in files of its own for
            each split, that of their SHA-256 in a row.
        source: Where the text comes from, in one line.
        texts: What it is read from: the one text, or that of each split.
        line_end: How many tokens stand for a line's end.
    """

    name: str
    title: str
    token: Token
    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    fingerprint: str
    source: str
    texts: tuple[Text, ...]
    line_end: int


def load(settings: Settings) -> Dataset:
    """Returns the dataset that the settings name, each split long enough for their windows.

    For characters and bytes the vocabulary is that of the whole corpus. For words, which blanks
    separate, it is ``<unk>`` and the words that the training split holds ``min_count`` times. The
    2022 edition has a vocabulary of its own. A dataset that is held anywhere is returned again
    where the text is the same, so nobody may write to it.

    Raises:
        DataError: The settings contradict each other, a file is missing or not what it must be, or
            a split is too short. The message has a line for every problem found.
    """
    problems = _problems(settings)
    if problems:
        raise DataError(*problems)
    key = _key(settings)
    dataset = _provided.get(_names(settings)) or (None if key is None else _loaded.get(key))
    if dataset is not None:
        _require_windows(settings, {name: len(part) for name, part in dataset.splits.items()})
        return dataset
    dataset = _read(settings)
    if key is not None:
        _loaded[key] = dataset
    return dataset


def provide(settings: Settings, dataset: Dataset) -> None:
    """Has :func:`load` return a dataset for such settings, whose files lie on another machine."""
    _provided[_names(settings)] = dataset


def _names(settings: Settings) -> tuple[str, ...]:
    """Returns the settings that say which text is read, and how."""
    return repr(settings.path), repr(settings.paths), *_reading(settings)


def _reading(settings: Settings) -> tuple[str, ...]:
    return tuple(repr(getattr(settings, name)) for name in _READING)


_READING = ("corpus", "token", "min_count", "max_vocabulary", "lines", "split")
"""The settings that say how a text is read."""
_provided: dict[tuple[str, ...], Dataset] = {}
_loaded: weakref.WeakValueDictionary[tuple[object, ...], Dataset] = weakref.WeakValueDictionary()
"""The datasets that somebody holds: arms and packs that read one text in one way share it."""


def _key(settings: Settings) -> tuple[object, ...] | None:
    """Returns what datasets agree in that are equal; None where a file cannot be told from others.

    A file counts as unchanged while its size and the time of its last change are the same.
    """
    reading = tuple(getattr(settings, name) for name in _READING)
    named = [settings.path] if settings.paths is None else list(vars(settings.paths).values())
    files = [Path(path).expanduser().absolute() for path in named if path is not None]
    if not files:
        return None if corpora.BY_NAME[settings.corpus].takes_path else reading
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return None
    return (*reading, *files, *((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats))


def _read(settings: Settings) -> Dataset:
    """Returns a text in numbers, which a cache may have from an earlier time."""
    texts = _texts(settings)
    read = token_cache.provided(texts, _reading(settings), lambda: _numbered(settings, texts))
    _require_windows(settings, read.sizes)
    ends = np.cumsum(list(read.sizes.values()))
    return Dataset(
        name=settings.corpus,
        title=settings.text_name,
        token=settings.token,
        vocabulary=read.vocabulary,
        splits=dict(zip(read.sizes, np.split(read.numbers, ends[:-1]), strict=True)),
        fingerprint=read.fingerprint,
        source=_source(texts),
        texts=tuple(texts.values()),
        line_end=int(settings.line_end is not None or _reads_newlines(settings, texts)),
    )


def _texts(settings: Settings) -> dict[str, Text]:
    """Returns the texts of the splits by their names, or the one that is split by position."""
    if settings.paths is not None:
        texts = corpora.text_in_three(settings.paths)
    else:
        texts = {"": corpora.BY_NAME[settings.corpus].read(settings.path)}
    return {n: of_bytes(t) for n, t in texts.items()} if settings.token == "byte" else texts


def _source(texts: Mapping[str, Text]) -> str:
    sources = [text.source for text in texts.values()]
    if len(sources) == 1:
        return sources[0]
    return f"the files {', '.join(source.removeprefix('the file ') for source in sources)}"


def _reads_newlines(settings: Settings, texts: Mapping[str, Text]) -> bool:
    return settings.token != "word" and all(text.between for text in texts.values())


def _numbered(settings: Settings, texts: Mapping[str, Text]) -> Tokens:
    end = settings.line_end
    numbering: Numbering = Words(end) if settings.token == "word" else Characters(end)
    parts, digests = _read_each(settings, texts, numbering)
    lengths = [len(part) for part in parts]
    if numbering.num_own_ends:
        raise DataError(
            f"lines: end must be a token that the text does not have, but got {end=}, which it has "
            f"{numbering.num_own_ends} times. Choose another."
        )
    _require_tokens(texts.values(), lengths)
    numbers, all_symbols = joined(parts), numbering.symbols
    num_tokens = corpora.BY_NAME[settings.corpus].num_tokens
    sizes = (
        _sizes(min(len(numbers), num_tokens or len(numbers)), settings.split)
        if settings.paths is None
        else dict(zip(texts, lengths, strict=True))
    )
    _require_windows(settings, sizes)
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
        fingerprint=digests[0] if len(digests) == 1 else _digest("".join(digests)),
    )


def _read_each(
    settings: Settings, texts: Mapping[str, Text], numbering: Numbering
) -> tuple[list[np.ndarray], list[str]]:
    """Returns each text in numbers, and its SHA-256.

    Raises:
        DataError: A file is missing or not what it must be, or two have one text. The message has
            a line for every problem found.
    """
    numbers: dict[str, np.ndarray] = {}
    digests: dict[str, str] = {}
    problems: list[str] = []
    for name, text in texts.items():
        digest = hashlib.sha256()
        try:
            numbers[name] = numbering.read(_pieces(settings, text, digest))
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
    return list(numbers.values()), list(digests.values())


def _pieces(settings: Settings, text: Text, digest: Digest) -> Iterable[str]:
    """Returns what is numbered of a text, which ``digest`` is told of."""
    lined = text.lined(digest)
    if settings.line_end is not None:
        return ended(lined)
    if settings.token == "word":
        return lined
    return (piece.replace("\n", text.between) for piece in lined)


def _require_tokens(texts: Iterable[Text], lengths: Iterable[int]) -> None:
    problems = [
        f"text: must not be empty, but got num_tokens=0 in {text.source}. Name a text."
        for text, length in zip(texts, lengths, strict=True)
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sizes(num_tokens: int, split: Split) -> dict[str, int]:
    """Returns how many tokens each split has of a text that is split by position."""
    if split == "none":
        return {"train": num_tokens}
    validation, test = num_tokens * 8 // 10, num_tokens * 9 // 10
    return {"train": validation, "validation": test - validation, "test": num_tokens - test}


def _problems(settings: Settings) -> list[str]:
    problems = [
        *_unknown_name("corpus", settings.corpus, corpora.BY_NAME),
        *_unknown_name("token", settings.token, get_args(Token)),
        *_unknown_name("split", settings.split, get_args(Split)),
        *_unknown_name("windows", settings.windows, get_args(WindowsForm)),
    ]
    has_all = settings.token in ("char", "byte")
    if has_all and settings.min_count != 1:
        problems.append(
            f"min_count: must be 1 for {settings.token} tokens, but got "
            f"min_count={settings.min_count}. Leave it out, or use token: word."
        )
    if has_all and settings.max_vocabulary is not None:
        problems.append(
            f"max_vocabulary: must be left out for {settings.token} tokens, but got "
            f"max_vocabulary={settings.max_vocabulary}. Leave it out, or use token: word."
        )
    if settings.lines is not None and settings.token == "byte":
        problems.append(
            "lines: must be left out for byte tokens, among which a line's end is one already, "
            f"but got lines={settings.lines}."
        )
    if settings.line_end == UNKNOWN:
        problems.append(
            "lines: end must be a token that the text does not have, but got "
            f"end={settings.line_end!r}, which stands for rare words. Choose another."
        )
    corpus = corpora.BY_NAME.get(settings.corpus)
    if corpus is None:
        return problems
    if settings.lines is not None and corpus.num_tokens is not None:
        problems.append(
            f"lines: must be left out with corpus {settings.corpus}, an edition with nothing "
            f"between lines, but got lines={settings.lines}."
        )
    if settings.path is not None and not corpus.takes_path:
        problems.append(
            f"path: {settings.corpus} takes no file, but got path={settings.path!r}. "
            "Leave it out, or use corpus: text."
        )
    if settings.paths is not None and not (
        corpus.takes_paths and settings.path is None and settings.split == "holdout"
    ):
        problems.append(
            "paths: must stand with corpus text, and instead of path and split, but got "
            f"corpus={settings.corpus!r}, path={settings.path!r} and split={settings.split!r}."
        )
    if settings.path is None and settings.paths is None and corpus.needs_path:
        problems.append(
            f"path: {settings.corpus} needs a file, but got path=None. "
            "Add path: FILE, a text in UTF-8."
        )
    if settings.token == "word" and not corpus.has_words:
        problems.append(
            f"token: {settings.corpus} has char tokens only, but got token='word'. Use token: char."
        )
    return problems


def _unknown_name(where: str, name: str, allowed: Iterable[str]) -> list[str]:
    names = list(allowed)
    if name in names:
        return []
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else "Use one of these."
    return [f"{where}: must be one of {', '.join(names)}, but got {where}={name!r}. {remedy}"]


def _require_windows(settings: Settings, num_tokens: dict[str, int]) -> None:
    problems = []
    for name, count in num_tokens.items():
        try:
            if name == "train":
                training_windows(settings, count)
            else:
                evaluation_windows(count, settings.batch_size, settings.bptt_length)
        except DataError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise DataError(*problems)
