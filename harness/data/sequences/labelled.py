"""Sequences with labels, of a user's table: read, split and counted.

The table is in long form: a row for every step of every sequence, with the name of its sequence,
the step's place in it, the step's features, and a label.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from harness import randomness
from harness.data.errors import DataError
from harness.data.sequences import Sequences
from harness.data.sequences.entries import numbers_of, rows_named
from harness.data.sequences.tables import columns_of
from harness.randomness import Name

SPLITS = ("train", "validation", "test")
_MOST_NAMED = 5  # sequences or classes, in a message


@dataclass(frozen=True)
class Labelled:
    """Sequences, each with one label or with one at every step.

    Attributes:
        sequences: Padded with zeros that count nothing. One label a sequence is the target of its
            last true step.
        lengths: True ones, (S,), int64.
        names: Of the sequences, (S,).
        classes: The labels, in the order of their numbers.
        columns: The features, in the order in which they are read.
        label_of: What a label belongs to.
    """

    sequences: Sequences
    lengths: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    label_of: Literal["sequence", "step"]

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, places: np.ndarray) -> "Labelled":
        """Returns the sequences at the places, (P,)."""
        arrays = (self.sequences.inputs, self.sequences.targets, self.sequences.weights)
        return replace(
            self,
            sequences=Sequences(*(array[places] for array in arrays)),
            lengths=self.lengths[places],
            names=tuple(self.names[place] for place in places.tolist()),
        )

    def class_counts(self) -> np.ndarray:
        """Returns how many targets each class has, (O,), int64."""
        counted = self.sequences.targets[self.sequences.weights > 0.0]
        return np.bincount(counted, minlength=len(self.classes))


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns the weight of each class, (O,), at which all classes count alike.

    It is one in the mean over all targets: total / (classes * count), after G. King and L. Zeng
    2001, "Logistic regression in rare events data".

    >>> balanced_weights(np.array([1, 3]))
    array([2.        , 0.66666667])
    """
    assert (counts > 0).all(), "split() makes sure that training has every class"
    weights: np.ndarray = counts.sum() / (len(counts) * counts)
    return weights


def read_labelled(
    path: str,
    *,
    sequence: str = "sequence",
    step: str = "step",
    label: str = "label",
    columns: Sequence[str] = (),
    label_of: Literal["sequence", "step"] = "sequence",
    length: int | None = None,
) -> Labelled:
    """Returns the sequences of a CSV file (UTF-8, commas, a header) or of a Parquet file.

    Rows may be in any order: ``step`` says where each belongs.

    Args:
        path: The file.
        sequence: The column with the name of each row's sequence.
        step: The column by whose numbers the rows of a sequence are ordered.
        label: The column of labels.
        columns: The features; none: all other columns.
        label_of: ``sequence``: all rows of a sequence have one label, which is to be told at its
            end. ``step``: each row has its own.
        length: T, to which all are padded; None: the longest one's.

    Raises:
        DataError: The file or its entries are not what they must be. The message has a line for
            every problem, with the numbers of its rows: the first is 1.
    """
    table = columns_of(path)
    roles = {"sequence": sequence, "step": step, "label": label}
    features = tuple(columns) or tuple(name for name in table if name not in roles.values())
    if problems := _name_problems(path, table, roles, features):
        raise DataError(*problems)
    where = {name: f"{path}: column {name!r}" for name in table}
    owners, names = _numbered(table[sequence])
    labels, classes = _numbered(table[label])
    steps, problems = numbers_of(where[step], table[step])
    values = np.empty((len(owners), len(features)))
    if not problems:
        problems = _step_problems(where[step], steps, owners, names)
    for place, name in enumerate(features):
        values[:, place], faults = numbers_of(where[name], table[name])
        problems += faults or _empty_problems(where[name], np.isnan(values[:, place]))
    problems += _empty_problems(where[sequence], owners < 0)
    problems += _empty_problems(where[label], labels < 0)
    problems += _class_problems(where[label], classes)
    if label_of == "sequence":
        problems += _label_problems(where[label], labels, owners, names)
    lengths = np.bincount(owners[owners >= 0], minlength=len(names))
    if length is not None:
        problems += _length_problems(where[sequence], lengths, names, length)
    if problems:
        raise DataError(*problems)
    order = np.lexsort((steps, owners))
    num_steps = int(lengths.max()) if length is None else length
    sequences = _padded(values[order], labels[order], lengths, num_steps, label_of)
    return Labelled(sequences, lengths, names, classes, features, label_of)


def split(
    data: Labelled,
    seed: Sequence[Name],
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> dict[str, Labelled]:
    """Returns the training, validation and test part, each sequence in one of them, whole.

    Where sequences have one label, each class is split by itself, so that its share is the same in
    all parts but for rounding, and no part is without it.

    Args:
        data: What is split.
        seed: Of the draw; the same seed splits the same sequences alike.
        validation_fraction: Of the sequences of each class, at least one.
        test_fraction: Likewise.

    Raises:
        DataError: A class has too few sequences, or none in the training part. The message has a
            line for each.
    """
    assert validation_fraction > 0.0 < test_fraction, "no part is empty"
    assert validation_fraction + test_fraction < 1.0, "something is left to train on"
    strata, parts = _strata(data), {name: [np.zeros(0, np.int64)] for name in SPLITS}
    small: dict[str, tuple[int, int]] = {}
    for name, members in strata.items():
        count = len(members)
        held = [max(1, round(share * count)) for share in (validation_fraction, test_fraction)]
        if count <= sum(held):
            small[name] = (sum(held) + 1, count)
            continue
        drawn = members[randomness.permutation(*seed, "split", name, count=count)]
        cuts = (count - sum(held), count - held[1])
        for part, chosen in zip(SPLITS, np.split(drawn, cuts), strict=True):
            parts[part].append(chosen)
    if small:
        raise DataError(*_small_problems(small, data.classes))
    made = {part: data.at(np.sort(np.concatenate(each))) for part, each in parts.items()}
    counts = made["train"].class_counts()
    if empty := [data.classes[number] for number in np.flatnonzero(counts == 0)]:
        if len(empty) > _MOST_NAMED and _are_fractions(data.classes):
            raise DataError(_number_problem(data.classes))
        more = f" and {len(empty) - _MOST_NAMED:,} more" if len(empty) > _MOST_NAMED else ""
        raise DataError(
            f"train: must have every class, but got none of {empty[:_MOST_NAMED]}{more}, which too "
            "few sequences hold. Add sequences that do, or remove the label."
        )
    return made


def _small_problems(small: Mapping[str, tuple[int, int]], classes: Sequence[str]) -> Iterator[str]:
    """Yields what is wrong with strata of too few sequences: how many each needs, and has.

    Where labels are measured numbers nearly each is a class, and a line for each would hide that.
    """
    if len(small) > _MOST_NAMED and _are_fractions(classes):
        yield _number_problem(classes)
        return
    for name, (needed, count) in itertools.islice(small.items(), _MOST_NAMED):
        yield (
            f"{name}: must have at least {needed} sequences, so that training, "
            f"validation and test have some, but got {count}. Add some, or remove the class."
        )
    if len(small) > _MOST_NAMED:
        yield (
            f"classes: each must have so many sequences, but got {len(small) - _MOST_NAMED:,} more "
            f"of {len(classes):,} that have too few. Remove them likewise."
        )


def _number_problem(classes: Sequence[str]) -> str:
    return (
        "label: must be one of a few classes, each of several sequences, but got "
        f"{len(classes):,} different numbers such as {classes[0]}. No task predicts a number that "
        "is measured of a sequence: label it by ranges, such as low and high; the next values of a "
        "series are task: forecasting."
    )


def _are_fractions(classes: Sequence[str]) -> bool:
    """Returns whether labels are measured numbers: all finite, and some of them not whole."""
    try:
        numbers = [float(name) for name in classes]
    except ValueError:
        return False
    return all(map(math.isfinite, numbers)) and not all(n.is_integer() for n in numbers)


def _strata(data: Labelled) -> dict[str, np.ndarray]:
    """Returns the places of the sequences that are split together, by what they have in common."""
    if data.label_of == "step":
        return {"sequences": np.arange(len(data))}
    labels = data.sequences.targets[np.arange(len(data)), data.lengths - 1]
    return {
        f"class {name!r}": np.flatnonzero(labels == number)
        for number, name in enumerate(data.classes)
    }


def _numbered(entries: Sequence[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the number of each entry's text, (R,), -1 where there is none; and the texts."""
    texts = [_text(entry) for entry in entries]
    names = sorted({text for text in texts if text})
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(text, -1) for text in texts], dtype=np.int64), tuple(names)


def _text(entry: Any) -> str:
    is_empty = entry is None or isinstance(entry, float) and math.isnan(entry)
    return "" if is_empty else str(entry).strip()


def _padded(
    values: np.ndarray,
    labels: np.ndarray,
    lengths: np.ndarray,
    num_steps: int,
    label_of: Literal["sequence", "step"],
) -> Sequences:
    """Returns the sequences of rows, which are ordered by sequence and step."""
    shape = (len(lengths), num_steps)
    inputs, weights = np.zeros((*shape, values.shape[1])), np.zeros(shape)
    targets = np.zeros(shape, dtype=np.int64)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    steps = np.arange(len(owners)) - (ends - lengths)[owners]
    inputs[owners, steps] = values
    counted = slice(None) if label_of == "step" else ends - 1
    targets[owners[counted], steps[counted]] = labels[counted]
    weights[owners[counted], steps[counted]] = 1.0
    return Sequences(inputs, targets, weights)


# What is wrong with a table, a line each


def _name_problems(
    path: str,
    table: Mapping[str, object],
    roles: Mapping[str, str],
    features: Sequence[str],
) -> list[str]:
    problems = [
        f"{path}: {role} must be one of the columns {', '.join(table)}, but got {role}={name!r}. "
        "Name the one that it is."
        for role, name in roles.items()
        if name not in table
    ]
    if unknown := [name for name in features if name not in table]:
        problems.append(
            f"{path}: columns must be among its own, {', '.join(table)}, but got {unknown}. "
            "Correct them."
        )
    names = [*roles.values(), *features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            f"{path}: sequence, step, label and columns must be different columns, but got {twice} "
            "more than once. Name each once."
        )
    if not features:
        problems.append(
            f"{path}: must have a column of numbers beside {', '.join(roles.values())}, but got "
            "none. Add one."
        )
    return problems


def _empty_problems(where: str, is_empty: np.ndarray) -> list[str]:
    if not is_empty.any():
        return []
    rows = rows_named((np.flatnonzero(is_empty) + 1).tolist())
    return [
        f"{where} must have an entry in every row, but got none, or NaN, in {rows}. "
        "Fill it in, or remove the rows."
    ]


def _step_problems(
    where: str, steps: np.ndarray, owners: np.ndarray, names: Sequence[str]
) -> list[str]:
    is_empty = np.isnan(steps)
    is_owned = owners >= 0
    lengths = np.bincount(owners[is_owned & ~is_empty], minlength=len(names))
    problems = []
    if (lengths == 0).any():
        problems.append(
            f"{where} must have a number in every sequence, but got none in "
            f"{_named(names, lengths == 0)}, whose length is then 0. Remove them, or add steps."
        )
    has_steps = np.append(lengths > 0, True)[owners]  # of a row without a sequence it is not known
    problems += _empty_problems(where, is_empty & has_steps)
    pairs = np.stack([owners, steps], axis=1)
    known = np.flatnonzero(is_owned & ~is_empty)
    _, first = np.unique(pairs[known], axis=0, return_index=True)
    if doubled := (np.sort(np.delete(known, first)) + 1).tolist():
        problems.append(
            f"{where} must differ within a sequence, but got a number that was there before in "
            f"{rows_named(doubled)}. Number the steps of each sequence."
        )
    return problems


def _class_problems(where: str, classes: Sequence[str]) -> list[str]:
    if len(classes) >= 2:
        return []
    return [
        f"{where} must have two different labels or more, but got {list(classes)}. "
        "Name another column, or another file."
    ]


def _label_problems(
    where: str, labels: np.ndarray, owners: np.ndarray, names: Sequence[str]
) -> list[str]:
    known = (labels >= 0) & (owners >= 0)
    pairs = np.unique(np.stack([owners[known], labels[known]], axis=1), axis=0)
    num_labels = np.bincount(pairs[:, 0], minlength=len(names))
    if not (num_labels > 1).any():
        return []
    return [
        f"{where} must be the same in all rows of a sequence, but got several in "
        f"{_named(names, num_labels > 1)}. Correct it; or say that each step has a label."
    ]


def _length_problems(
    where: str, lengths: np.ndarray, names: Sequence[str], length: int
) -> list[str]:
    if not (lengths > length).any():
        return []
    return [
        f"{where} must have sequences of at most bptt_length={length} rows, but got up to "
        f"{lengths.max():,} in {_named(names, lengths > length)}. Set bptt_length to "
        f"{lengths.max()}, or cut them."
    ]


def _named(names: Sequence[str], chosen: np.ndarray) -> str:
    """Returns how a message names some sequences."""
    found = [repr(names[place]) for place in np.flatnonzero(chosen).tolist()]
    more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    return f"sequences {', '.join(found[:_MOST_NAMED])}{more}"
