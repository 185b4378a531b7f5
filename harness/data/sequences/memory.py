"""The memory tasks by name, how one is made of a study's options, and what it is read against."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from harness.data.errors import DataError
from harness.data.sequences import BoundedGenerator, Level, Sequences
from harness.data.sequences.arithmetic import Adding, Parity
from harness.data.sequences.copying import Copy, Recall, SelectiveCopy
from harness.data.sequences.images import Pixels
from harness.data.sequences.languages import Counting, Dyck
from harness.data.sequences.levels import guess_of_values
from harness.data.sequences.markov import Markov
from harness.data.sequences.mnist import Mnist, Split
from harness.data.sequences.options import option_problems

BY_NAME: dict[str, type[BoundedGenerator]] = {
    Adding.name: Adding,
    Copy.name: Copy,
    SelectiveCopy.name: SelectiveCopy,
    Parity.name: Parity,
    Dyck.name: Dyck,
    Counting.name: Counting,
    Recall.name: Recall,
    Pixels.name: Pixels,
    Mnist.name: Mnist,
    Markov.name: Markov,
}
"""Memory task -> the dataclass of its options."""


def make(
    name: str, options: Mapping[str, Any] | None = None, split: Split = "train"
) -> BoundedGenerator:
    """Returns the source of a memory task.

    Args:
        name: One of ``BY_NAME``.
        options: By their names; those that are missing have their defaults.
        split: The part that is drawn from, where the data are a file's. A source without end has
            no parts: its splits are drawn with seeds of their own.

    Raises:
        DataError: There is no such task, or an option is not one of it, missing, or wrong. The
            message has a line for each problem.
    """
    if name not in BY_NAME:
        raise DataError(f"corpus: must be one of {', '.join(BY_NAME)}, but got {name=}. Take one.")
    given, kind = dict(options or {}), BY_NAME[name]
    if problems := option_problems(name, kind, given):
        raise DataError(*problems)
    if kind is Mnist:
        given["split"] = split
    return cast(Callable[..., BoundedGenerator], kind)(**given)


def guess(generator: BoundedGenerator, part: Sequences) -> dict[str, float]:
    """Returns what the best prediction scores that remembers nothing, by the metric's key.

    It is exact, but for the absolute error, which is that of the sequences' own median.
    """
    level = generator.chance(part.weights.shape[1])
    if level.accuracy is not None:
        return {"cross_entropy": level.loss, "accuracy": level.accuracy}
    return guess_of_values(part) | {"mse": level.loss, "rmse": level.loss**0.5}


def floors(generator: BoundedGenerator, splits: Mapping[str, Sequences]) -> dict[str, Level]:
    """Returns what the best prediction of classes that there is scores on splits.

    That of a Markov source is not perfect, and is measured on the sequences of a split: what a
    model scores above it is then free of their draw.
    """
    if not generator.predicts_classes:
        return {}
    found = {
        name: generator.scored(part)
        if isinstance(generator, Markov)
        else generator.floor(part.weights.shape[1])
        for name, part in splits.items()
    }
    return {name: floor for name, floor in found.items() if floor is not None}
