"""Sequences in numbers: the sets of a source, and what is known of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import sources
from harness.data.errors import DataError
from harness.data.sequences import Generator, Level, Sequences
from harness.data.sequences.heads import OUTPUTS_PER_VALUE
from harness.settings import Settings, to_dict

if TYPE_CHECKING:
    from harness.data.sequences.series_windows import SeriesWindows

FRESH_UPDATES = 50
"""An epoch of sequences that are drawn afresh is so many updates."""
MOST_VALUES = 2**31
"""Of all sets of sequences together: they are kept whole, in 8 bytes each."""
VERSION = 1
"""Of what sources draw: it is part of the fingerprint."""
DECIDING = (
    "task",
    "corpus",
    "options",
    "num_sequences",
    "num_held_out",
    "path",
    "bptt_length",
)
"""The settings that decide the sequences."""


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences in numbers.

    Attributes:
        name: The source.
        title: What it is called.
        source: Where the sequences come from, in one line.
        fingerprint: SHA-256 of what models are judged on: equal ones mean equal sequences there.
            Of a series and of labels they are all that there are. Of a memory task they are those
            of validation and test, which know nothing of how many are trained on.
        num_inputs: V of tokens, or I of vectors.
        num_outputs: The number of classes, or of the outputs that a head has for its values.
        reads_tokens: Whether inputs are tokens.
        predicts_classes: Whether targets are classes.
        splits: The sequences by name: train, validation and test; no train where every update
            draws fresh ones; ``test_2x`` has sequences twice as long as those of training.
        generator: What draws fresh ones; None where training has a set of its own.
        guesses: Held-out split -> what the best prediction scores there that remembers nothing of a
            sequence, by the metric's key.
        learned_from: What a model must be better than on the validation split to have learned
            something, likewise; None: than a guess.
        floors: Split -> what the best prediction that there is scores, where that is known.
        class_weights: How much each class counts in training, (num_outputs,); None: all alike.
        windows: Those of a time series.
        head: What the outputs say of each value, one of ``heads.OUTPUTS_PER_VALUE``.
        meaning: What a model's numbers stand for outside of the bench, for JSON: the ``columns`` of
            vectors; of a series their ``mean`` and ``deviation``, by which they are scaled, and the
            ``horizon``; of labels the ``classes``. Nothing where a rule draws the sequences.
    """

    name: str
    title: str
    source: str
    fingerprint: str
    num_inputs: int
    num_outputs: int
    reads_tokens: bool
    predicts_classes: bool
    splits: Mapping[str, Sequences]
    generator: Generator | None
    guesses: Mapping[str, Mapping[str, float]]
    learned_from: Mapping[str, float] | None = None
    floors: Mapping[str, Level] = field(default_factory=dict)
    class_weights: np.ndarray | None = None
    windows: "SeriesWindows | None" = None
    head: str = "value"
    meaning: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_values(self) -> int:
        """O, the values that are predicted, of which a head may say several things each."""
        return self.num_outputs // OUTPUTS_PER_VALUE[self.head]

    @property
    def chance(self) -> Mapping[str, float]:
        """What a guess scores on the validation split, by the metric's key."""
        return self.guesses["validation"]

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The splits that nothing is chosen by: the test set, and those of longer sequences."""
        return tuple(name for name in self.splits if name.startswith("test"))

    def updates_per_epoch(self, settings: Settings) -> int:
        """Returns the updates of an epoch; what is left of a set is dropped."""
        if self.generator is not None:
            return FRESH_UPDATES
        return len(self.splits["train"]) // settings.batch_size

    def targets_per_update(self, settings: Settings) -> float:
        """Returns the time steps of an update."""
        return settings.batch_size * settings.bptt_length

    def num_minibatches(self, settings: Settings, split: str) -> int:
        """Returns the minibatches of an evaluation on a split."""
        return -(-len(self.splits[split]) // settings.batch_size) if split in self.splits else 0


def deciding(settings: Settings) -> str:
    """Returns the settings that decide the sequences, as JSON."""
    values = to_dict(settings)
    decided = {name: values.get(name) for name in DECIDING}
    # Without the field data are those of versions that did not have it, and so is their name.
    longer = {name: values[name] for name in ("test_lengths",) if name in values}
    return json.dumps(decided | longer, sort_keys=True)


def fingerprint(settings: Settings, splits: Mapping[str, Sequences]) -> str:
    """Returns the SHA-256 of what was asked for and of the sequences themselves.

    It is the same wherever a file lies, and whatever models say of the sequences.
    """
    asked = deciding(replace(sources.with_options_of_data(settings), path=None))
    digest = hashlib.sha256(f"{VERSION} {asked}".encode())
    for name, part in splits.items():
        digest.update(name.encode())
        for array in (part.inputs, part.targets, part.weights):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def require_room(num_values: int, fields: str) -> None:
    """Raises a DataError where sequences take more memory than any of these studies needs."""
    if num_values > MOST_VALUES:
        raise DataError(
            f"memory: sequences must be {MOST_VALUES:,} numbers at most, 16 GiB, but are "
            f"{num_values:,}. Use a smaller {fields} or bptt_length."
        )
