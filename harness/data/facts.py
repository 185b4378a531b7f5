"""What is to be known of a text beside a result: its size, and what of it is easier than it looks.

A share of lines that stand in the training text too says how much of a score is recitation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.data.dataset import Dataset
from harness.data.line_windows import lines_to_read
from harness.data.text import Text, lines_of
from harness.settings import Token

LINE_LENGTH = 30
"""A line counts from so many characters on, without the blanks around it.

Shorter ones repeat by themselves: of the lines of Python's standard library, a fifth of all stand
twice, and of those of 30 characters one in a hundred to one in twenty-five.
"""
LEAK_SHARE = 0.10
"""Above this share of held-out lines that stand in the training text there is a warning.

Of a book it is 0, of program texts 0.004 to 0.08, of handbooks and generated programs, which repeat
whole paragraphs, up to 0.18 (python-docs 0.08 to 0.12), of a text that holds its test lines in its
training text nearly 1. Lines that are recited cost nothing: a tenth of them lowers a perplexity of
5 by 15 %, many times the margin by which arms are judged.
"""
UNKNOWN_SHARE = 0.25
"""Above this share of tokens that are ``<unk>`` there is a warning.

Of the Penn Treebank as published it is 0.05, of a novel in words up to 0.17 in the held-out text.
"""


@dataclass(frozen=True)
class SplitFacts:
    """What is to be known of a split.

    Attributes:
        num_tokens: Its tokens.
        unknown_share: The share of them that are ``<unk>``.
        num_lines: Its lines of ``LINE_LENGTH`` characters or more; a line is of the split in which
            it begins.
        num_seen: How many of these stand verbatim in the training text; None of the training text.
        num_sequences: Its lines that are read as sequences; None where none are.
        num_empty: Its empty lines, which are left out there; likewise.
        longest: The most targets of a line, likewise.
    """

    num_tokens: int
    unknown_share: float
    num_lines: int
    num_seen: int | None
    num_sequences: int | None = None
    num_empty: int | None = None
    longest: int | None = None

    @property
    def seen_share(self) -> float | None:
        """The share of lines that stand in the training text; None where there is no line."""
        if self.num_seen is None or self.num_lines == 0:
            return None
        return self.num_seen / self.num_lines


@dataclass(frozen=True)
class CorpusFacts:
    """What is to be known of a text, as one study reads it.

    Attributes:
        title: What it is called.
        source: Where it comes from.
        fingerprint: The SHA-256 of the text.
        token: What a token is.
        vocabulary_size: The number of different tokens, ``<unk>`` among them.
        splits: By name.
    """

    title: str
    source: str
    fingerprint: str
    token: Token
    vocabulary_size: int
    splits: Mapping[str, SplitFacts]

    def warnings(self) -> list[str]:
        """Returns what is to be said beside a verdict; nothing where all is well."""
        leaks = {name: split.seen_share or 0.0 for name, split in self.splits.items()}
        unknown = {name: split.unknown_share for name, split in self.splits.items()}
        lines = []
        if told := _told(leaks, ("test", "validation"), LEAK_SHARE, "lines"):
            first, also = told
            lines.append(
                f"{self.title}: {first} stand in the training text too{also} (word for word, of "
                f"those of {LINE_LENGTH} characters or more). Perplexity is in part that of a text "
                "learnt by heart. Remove from the text what occurs twice."
            )
        if told := _told(unknown, ("test", "validation", "train"), UNKNOWN_SHARE, "tokens"):
            first, also = told
            lines.append(
                f"{self.title}: {first} are <unk>{also}. Perplexity is in part that of guessing "
                "that a word is rare. Use a longer text, a smaller min_count or a larger "
                "max_vocabulary."
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values; :meth:`from_json` is its inverse."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "CorpusFacts":
        """Returns the facts that :meth:`to_json` wrote."""
        splits = {name: SplitFacts(**split) for name, split in values["splits"].items()}
        return CorpusFacts(**{**values, "splits": splits})


def _told(
    shares: Mapping[str, float], splits: Iterable[str], most: float, what: str
) -> tuple[str, str] | None:
    """Returns the share of the first split that has more than ``most``, and those of the others."""
    texts = [
        f"of the {name} {what} {100 * shares[name]:.0f} %"
        for name in splits
        if shares.get(name, 0.0) > most
    ]
    return (texts[0], "".join(f", {text}" for text in texts[1:])) if texts else None


def corpus_facts(dataset: Dataset) -> CorpusFacts:
    """Returns what is to be known of a text; one of 50 MB takes a second or two."""
    lines = _long_lines(dataset)
    known = set(lines["train"].tolist())
    return CorpusFacts(
        title=dataset.title,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        token=dataset.token,
        vocabulary_size=len(dataset.vocabulary),
        splits={
            name: SplitFacts(
                num_tokens=len(tokens),
                unknown_share=_share(tokens, dataset.vocabulary.unknown),
                num_lines=len(lines[name]),
                num_seen=None
                if name == "train"
                else sum(line in known for line in lines[name].tolist()),
                **_sequences(dataset, name),
            )
            for name, tokens in dataset.splits.items()
        },
    )


def reading(dataset: Dataset) -> tuple[object, ...]:
    """Returns what datasets agree in that are one text, read in one way."""
    sizes = tuple(map(len, dataset.splits.values()))
    reads_lines = bool(dataset.line_ends)
    return (dataset.fingerprint, dataset.token, len(dataset.vocabulary), reads_lines, *sizes)


def facts_of(datasets: Iterable[object]) -> list[CorpusFacts]:
    """Returns the facts of each text that is read in its own way, once; of no other data."""
    texts = [dataset for dataset in datasets if isinstance(dataset, Dataset)]
    distinct = {reading(dataset): dataset for dataset in texts}
    return [corpus_facts(dataset) for dataset in distinct.values()]


def _sequences(dataset: Dataset, split: str) -> dict[str, int]:
    """Returns what is to be known of lines that are sequences."""
    if not dataset.line_ends:
        return {}
    ends = dataset.line_ends[split]
    _, lengths = lines_to_read(ends)
    return {
        "num_sequences": len(lengths),
        "num_empty": len(ends) - len(lengths),
        "longest": int(lengths.max()),
    }


def _share(tokens: np.ndarray, number: int | None) -> float:
    return 0.0 if number is None else int(np.count_nonzero(tokens == number)) / len(tokens)


@dataclass(frozen=True)
class _Lines:
    """The lines of a text that count.

    Attributes:
        hashes: Of each, without the blanks around it. Two different lines of a text of a gigabyte
            have one hash of 64 bits in common at odds of one to a hundred thousand.
        first_tokens: The position of the first token of each.
    """

    hashes: np.ndarray
    first_tokens: np.ndarray


def _long_lines(dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns the hashes of the lines that count by the split in which each begins."""
    found = [_lines(text, dataset) for text in dataset.texts]
    if len(found) == len(dataset.splits):
        return {name: each.hashes for name, each in zip(dataset.splits, found, strict=True)}
    (whole,) = found
    sizes = [len(tokens) for tokens in dataset.splits.values()]
    if dataset.units:  # the places of lines are in characters
        sizes = [units.num_characters for units in dataset.units.values()]
    ends = np.cumsum(sizes)
    bounds = np.searchsorted(whole.first_tokens, ends)
    return dict(zip(dataset.splits, np.split(whole.hashes[: bounds[-1]], bounds[:-1]), strict=True))


def _lines(text: Text, dataset: Dataset) -> _Lines:
    hashes, first_tokens, num_tokens = [], [], 0
    for lines in lines_of(text.pieces):
        sizes = (
            (len(line.split()) for line in lines) if dataset.token == "word" else map(len, lines)
        )
        ends = np.cumsum(np.fromiter(sizes, np.int64, len(lines)) + dataset.line_end)
        starts = num_tokens + np.concatenate([[0], ends[:-1]])
        num_tokens += int(ends[-1])
        stripped = [line.strip() for line in lines]
        is_long = np.fromiter(map(len, stripped), np.int64, len(lines)) >= LINE_LENGTH
        hashes.append(np.fromiter(map(hash, stripped), np.int64, len(lines))[is_long])
        first_tokens.append(starts[is_long])
    return _Lines(np.concatenate(hashes), np.concatenate(first_tokens))
