"""From settings to numbers: a corpus, its vocabulary and its splits."""

import difflib
import hashlib
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from harness.data import corpora
from harness.data.errors import DataError
from harness.data.tokens import (
    UNKNOWN,
    Vocabulary,
    frequency_vocabulary,
    sorted_vocabulary,
    tokenize,
)
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
        splits: The int64 tokens by name: train, validation and test, or train alone.
        fingerprint: The SHA-256 of the normalised text in UTF-8; of a text in files of its own for
            each split, that of their SHA-256 in a row.
        source: Where the text comes from, in one line.
        lined: The text in the lines of its source, some of which a corpus puts in one; of a text in
            files of its own for each split, theirs.
        line_end: How many tokens stand for a line's end.
    """

    name: str
    title: str
    token: Token
    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    fingerprint: str
    source: str
    lined: tuple[str, ...]
    line_end: int


def load(settings: Settings) -> Dataset:
    """Returns the dataset that the settings name, each split long enough for their windows.

    For characters the vocabulary is that of the whole corpus. For words, which blanks separate, it
    is ``<unk>`` and the words that the training split holds ``min_count`` times. The 2022 edition
    has a vocabulary of its own. A dataset that is held anywhere is returned again where the text
    is the same, so nobody may write to it.

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
    fields = ("path", "paths", *_READING)
    return tuple(repr(getattr(settings, name)) for name in fields)


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
    return _read_whole(settings) if settings.paths is None else _read_in_three(settings)


def _read_in_three(settings: Settings) -> Dataset:
    """Returns a text whose splits have a file each."""
    assert settings.paths is not None
    texts = corpora.read_paths(settings.paths)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts.values()]
    end = settings.line_end
    if end is not None:
        texts = {name: _with_line_ends(text, end, settings.token) for name, text in texts.items()}
    parts = {name: tokenize(text, settings.token, end) for name, text in texts.items()}
    _require_windows(settings, {name: len(part) for name, part in parts.items()})
    vocabulary = _vocabulary(settings, "".join(texts.values()), parts["train"])
    return _dataset(
        settings,
        vocabulary,
        parts,
        fingerprint=hashlib.sha256("".join(digests).encode()).hexdigest(),
        source=f"the files {', '.join(vars(settings.paths).values())}",
        lined=tuple(texts.values()),
        line_end=int(settings.token == "char" or end is not None),
    )


def _dataset(
    settings: Settings, vocabulary: Vocabulary, parts: Mapping[str, Sequence[str]], **rest: Any
) -> Dataset:
    """Returns the parts in numbers, and beside them what the settings say of the text."""
    return Dataset(
        name=settings.corpus,
        title=settings.text_name,
        token=settings.token,
        vocabulary=vocabulary,
        splits={name: vocabulary.numbers(part) for name, part in parts.items()},
        **rest,
    )


def _with_line_ends(text: str, end: str, token: Token) -> str:
    """Returns a text whose last line is ended too, as the others are.

    Raises:
        DataError: The token of a line's end is one of the text already.
    """
    count = text.split().count(end) if token == "word" else text.count(end) * (len(end) == 1)
    if count or end == UNKNOWN:
        raise DataError(
            f"lines: end must be a token that the text does not have, but got {end=}, "
            f"{'which stands for rare words' if end == UNKNOWN else f'which it has {count} times'}."
            " Choose another."
        )
    return text if text.endswith("\n") or not text else text + "\n"


def _vocabulary(settings: Settings, whole: Sequence[str], train: Sequence[str]) -> Vocabulary:
    """Returns the vocabulary of words of the training text, or of all characters."""
    end = settings.line_end
    if settings.token == "char":
        return sorted_vocabulary(whole, "char", end)
    return frequency_vocabulary(train, "word", settings.min_count, settings.max_vocabulary, end)


def _read_whole(settings: Settings) -> Dataset:
    """Returns a text that is split by position."""
    corpus = corpora.BY_NAME[settings.corpus]
    text = corpus.read(settings.path)
    end, lined = settings.line_end, text.lined
    if end is not None:
        lined = _with_line_ends(lined, end, settings.token)
        tokens = tokenize(lined, settings.token, end)
    else:
        tokens = text.characters if settings.token == "char" else text.words.split()
    parts = _split(
        tokens if corpus.num_tokens is None else tokens[: corpus.num_tokens], settings.split
    )
    _require_windows(settings, {name: len(part) for name, part in parts.items()})
    if corpus.num_tokens is not None:
        vocabulary = frequency_vocabulary(
            tokens, settings.token, settings.min_count, settings.max_vocabulary
        )
    else:
        vocabulary = _vocabulary(settings, tokens, parts["train"])
    is_glued = len(text.characters) < len(text.lined)
    return _dataset(
        settings,
        vocabulary,
        parts,
        fingerprint=hashlib.sha256(text.words.encode()).hexdigest(),
        source=text.source,
        lined=(lined,),
        line_end=int(end is not None or (settings.token == "char" and not is_glued)),
    )


def _split(tokens: Sequence[str], split: Split) -> dict[str, Sequence[str]]:
    if split == "none":
        return {"train": tokens}
    validation, test = len(tokens) * 8 // 10, len(tokens) * 9 // 10
    return {
        "train": tokens[:validation],
        "validation": tokens[validation:test],
        "test": tokens[test:],
    }


def _problems(settings: Settings) -> list[str]:
    problems = [
        *_unknown_name("corpus", settings.corpus, corpora.BY_NAME),
        *_unknown_name("token", settings.token, get_args(Token)),
        *_unknown_name("split", settings.split, get_args(Split)),
        *_unknown_name("windows", settings.windows, get_args(WindowsForm)),
    ]
    if settings.token == "char" and settings.min_count != 1:
        problems.append(
            f"min_count: must be 1 for char tokens, but got min_count={settings.min_count}. "
            "Leave it out, or use token: word."
        )
    if settings.token == "char" and settings.max_vocabulary is not None:
        problems.append(
            "max_vocabulary: must be left out for char tokens, but got "
            f"max_vocabulary={settings.max_vocabulary}. Leave it out, or use token: word."
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
