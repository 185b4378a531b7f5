"""From settings to numbers: a corpus, its vocabulary and its splits."""

import difflib
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, get_args

import numpy as np

from harness.data import corpora, subwords, token_cache
from harness.data.errors import DataError
from harness.data.line_windows import (
    LineWindows,
    evaluation_lines,
    lines_to_read,
    require_lines,
)
from harness.data.numbering import Units, positions
from harness.data.reading import tokens_of
from harness.data.standard import STANDARD
from harness.data.text import Text, expanded, of_bytes, stamps
from harness.data.tokens import UNKNOWN, Vocabulary
from harness.data.windows import (
    Windows,
    evaluation_windows,
    require_windows,
    training_windows,
)
from harness.settings import Settings, Split, Token
from harness.settings import Windows as WindowsForm
from harness.settings.values import shown


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
        units: What the subwords of each split stand for; empty where a token is something else.
        line_end: How many tokens stand for a line's end.
        line_ends: Where lines are sequences, the positions of the tokens that end one, int64, by
            split; else empty.
    """

    name: str
    title: str
    token: Token
    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    fingerprint: str
    source: str
    texts: tuple[Text, ...]
    units: Mapping[str, Units]
    line_end: int
    line_ends: Mapping[str, np.ndarray] = field(default_factory=dict)

    reads_tokens: ClassVar[bool] = True

    @property
    def num_inputs(self) -> int:
        """V, the size of the vocabulary."""
        return len(self.vocabulary)

    @property
    def num_outputs(self) -> int:
        """Likewise."""
        return len(self.vocabulary)

    def updates_per_epoch(self, settings: Settings) -> int:
        """Returns the updates of an epoch.

        Raises:
            DataError: The training text is too short for one.
        """
        return self.training_windows(settings).updates_per_epoch

    def num_minibatches(self, settings: Settings, split: str) -> int:
        """Returns the minibatches of an evaluation on a split; none where there is no such split.

        Raises:
            DataError: The split has no target.
        """
        if split not in self.splits:
            return 0
        starts, _ = self.evaluation_windows(split, settings)
        return len(starts)

    def targets_per_update(self, settings: Settings) -> float:
        """Returns the targets of an update; raises as :meth:`updates_per_epoch` does."""
        return self.training_windows(settings).targets_per_update

    def num_targets(self, split: str) -> int:
        """Returns how many tokens of a split are predicted: all but those that are given."""
        if self.line_ends:
            return int(lines_to_read(self.line_ends[split])[1].sum())
        return len(self.splits[split]) - 1

    def training_windows(self, settings: Settings) -> Windows:
        """Returns the windows of the training text; raises a DataError where it has none."""
        if self.line_ends:
            return LineWindows(self.line_ends["train"], settings.batch_size)
        return training_windows(settings, len(self.splits["train"]))

    def evaluation_windows(self, split: str, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
        """Returns starts and lengths of the windows that score a split once, (U, B) each."""
        if self.line_ends:
            return evaluation_lines(self.line_ends[split], settings.batch_size)
        num_streams = settings.evaluation_batch_size or settings.batch_size
        return evaluation_windows(len(self.splits[split]), num_streams, settings.bptt_length)

    def require_windows(self, settings: Settings) -> None:
        """Raises a DataError where a split is too short, or a line too long."""
        require_windows(settings, {name: len(part) for name, part in self.splits.items()})
        is_one = len(self.texts) == 1
        require_lines(self.line_ends, settings.bptt_length, in_one_text=is_one)


def load(settings: Settings) -> Dataset:
    """Returns the dataset that the settings name, each split long enough for their windows.

    For characters and bytes the vocabulary is that of the whole corpus. For words, which blanks
    separate, it is ``<unk>`` and the words that the training split holds ``min_count`` times. The
    2022 edition has a vocabulary of its own. Subwords are learned of the training split. A dataset
    that is held anywhere is returned again where the text is the same, so nobody may write to it.

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
        dataset.require_windows(settings)
        return dataset
    dataset = _read(settings)
    dataset.require_windows(settings)
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
    trainer = (subwords.version(),) if settings.token == "subword" else ()
    return (*(repr(getattr(settings, name)) for name in _READING), *trainer)


_READING = ("corpus", "token", "min_count", "max_vocabulary", "lines", "split")
"""The settings that say how a text is read."""
_provided: dict[tuple[str, ...], Dataset] = {}
_loaded: weakref.WeakValueDictionary[tuple[object, ...], Dataset] = weakref.WeakValueDictionary()
"""The datasets that somebody holds: arms and packs that read one text in one way share it."""


def _key(settings: Settings) -> tuple[object, ...] | None:
    """Returns what datasets agree in that are equal; None where a file cannot be told."""
    reading = tuple(getattr(settings, name) for name in _READING)
    named = [settings.path] if settings.paths is None else list(vars(settings.paths).values())
    files = [expanded(path).absolute() for path in named if path is not None]
    if not files:
        is_brought = settings.corpus in STANDARD or corpora.BY_NAME[settings.corpus].takes_path
        return None if is_brought else reading
    known = stamps(files)
    return None if known is None else (*reading, *files, *known)


def _read(settings: Settings) -> Dataset:
    """Returns a text in numbers, which a cache may have from an earlier time."""
    texts = _texts(settings)
    read = token_cache.provided(texts, _reading(settings), lambda: tokens_of(settings, texts))
    ends = np.cumsum(list(read.sizes.values()))
    splits = dict(zip(read.sizes, np.split(read.numbers, ends[:-1]), strict=True))
    return Dataset(
        name=settings.corpus,
        title=settings.text_name,
        token=settings.token,
        vocabulary=read.vocabulary,
        splits=splits,
        fingerprint=read.fingerprint,
        source=_source(texts),
        texts=tuple(texts.values()),
        units=read.units,
        line_end=int(corpora.line_end(settings) is not None or _reads_newlines(settings, texts)),
        line_ends=_line_ends(splits, read.vocabulary) if settings.reads_lines else {},
    )


def _line_ends(splits: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Returns the positions of the tokens that end a line, by split.

    Raises:
        DataError: The vocabulary has no such token.
    """
    ends_line = vocabulary.ends_line()
    if not ends_line.any():
        raise DataError(
            f"vocabulary: must have what ends a line, {vocabulary.line_end!r}, with lines: "
            f"sequences, but got the {len(vocabulary)} symbols that are more frequent. Write a "
            "smaller min_count or a larger max_vocabulary."
        )
    return {name: positions(part, ends_line) for name, part in splits.items()}


def _texts(settings: Settings) -> dict[str, Text]:
    """Returns the texts of the splits by their names, or the one that is split by position."""
    if settings.paths is not None:
        texts = corpora.text_in_three(settings.paths)
    else:
        read = corpora.BY_NAME[settings.corpus].read(settings.path)
        texts = {"": read} if isinstance(read, Text) else dict(read)
    return {n: of_bytes(t) for n, t in texts.items()} if settings.token == "byte" else texts


def _source(texts: Mapping[str, Text]) -> str:
    sources = list(dict.fromkeys(text.source for text in texts.values()))
    if len(sources) == 1:
        return sources[0]
    return f"the files {', '.join(source.removeprefix('the file ') for source in sources)}"


def _reads_newlines(settings: Settings, texts: Mapping[str, Text]) -> bool:
    return settings.token != "word" and all(text.between for text in texts.values())


def _problems(settings: Settings) -> list[str]:
    problems = [
        *_unknown_name("corpus", settings.corpus, corpora.BY_NAME),
        *_unknown_name("token", settings.token, get_args(Token)),
        *_unknown_name("split", settings.split, get_args(Split)),
        *_unknown_name("windows", settings.windows, get_args(WindowsForm)),
    ]
    if settings.token in ("char", "byte", "subword") and settings.min_count != 1:
        problems.append(
            f"min_count: must be 1 for {settings.token} tokens, but got "
            f"min_count={settings.min_count}. Leave it out, or use token: word."
        )
    if settings.token in ("char", "byte") and settings.max_vocabulary is not None:
        problems.append(
            f"max_vocabulary: must be left out for {settings.token} tokens, but got "
            f"max_vocabulary={settings.max_vocabulary}. Leave it out, or use token: word."
        )
    size = settings.max_vocabulary
    if settings.token == "subword" and (size is None or size < subwords.LEAST_SIZE):
        problems.append(
            f"max_vocabulary: must be {subwords.LEAST_SIZE} at least for subword tokens, one for "
            f"each byte and a merge, but got max_vocabulary={shown(size)}. "
            "Write max_vocabulary: 4000."
        )
    if settings.line_end is not None and settings.token == "byte":
        problems.append(
            "lines: must be left out for byte tokens, among which a line's end is one already, "
            f"but got lines={shown(settings.lines)}. Leave it out."
        )
    if settings.line_end == UNKNOWN:
        problems.append(
            "lines: end must be a token that the text does not have, but got "
            f"end={settings.line_end!r}, which stands for rare words. Choose another."
        )
    order = settings.windows, settings.max_offset
    if settings.reads_lines and order != (Settings.windows, Settings.max_offset):
        problems.append(
            "lines: sequences are read in random order, each from its start, so that windows and "
            f"max_offset must be left out, but got windows={settings.windows!r} and "
            f"max_offset={shown(settings.max_offset)}. Leave both out."
        )
    corpus = corpora.BY_NAME.get(settings.corpus)
    if corpus is None:
        return problems
    if settings.lines is not None and corpus.num_tokens is not None:
        problems.append(
            f"lines: must be left out with corpus {settings.corpus}, an edition with nothing "
            f"between lines, but got lines={shown(settings.lines)}. Leave it out."
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
            f"corpus={settings.corpus!r}, path={shown(settings.path)} and split={settings.split!r}."
        )
    if settings.path is None and settings.paths is None and corpus.needs_path:
        problems.append(
            f"path: {settings.corpus} needs a file, but got path=none. "
            "Add path: FILE, a text in UTF-8."
        )
    if settings.token in get_args(Token) and settings.token not in corpus.tokens:
        problems.append(
            f"token: {settings.corpus} has {' and '.join(corpus.tokens)} tokens only, "
            f"but got token={settings.token!r}. Use token: {corpus.tokens[0]}."
        )
    if corpus.has_parts and settings.split != "holdout":
        problems.append(
            f"split: must be left out with corpus {settings.corpus}, whose splits are published, "
            f"but got split={settings.split!r}."
        )
    return problems


def _unknown_name(where: str, name: str, allowed: Iterable[str]) -> list[str]:
    names = list(allowed)
    if name in names:
        return []
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else "Use one of these."
    return [f"{where}: must be one of {', '.join(names)}, but got {where}={name!r}. {remedy}"]
