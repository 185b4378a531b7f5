"""The memory tasks by name, and how one is made of a study's options."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from harness.data.errors import DataError
from harness.data.sequences import BoundedGenerator
from harness.data.sequences.arithmetic import Adding, Parity
from harness.data.sequences.copying import Copy, Recall, SelectiveCopy
from harness.data.sequences.images import Pixels
from harness.data.sequences.languages import Counting, Dyck
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
