"""From settings to sequences: a source, and its training, validation and test set."""

import hashlib
import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np

from harness.data import sources
from harness.data.errors import DataError
from harness.data.sequences import Generator, Level, Sequences
from harness.data.sequences.gaps import Gaps
from harness.data.sequences.heads import OUTPUTS_PER_VALUE
from harness.data.sequences.levels import beyond_luck, guess_of_classes, guess_of_values
from harness.data.sequences.options import option_problems, switch, text, whole
from harness.data.text import stamps
from harness.settings import MOST_PARAMETERS, MOST_TOKENS, Settings, to_dict

if TYPE_CHECKING:
    from harness.data.sequences.mnist import Split
    from harness.data.sequences.series_windows import SeriesWindows

FRESH_UPDATES = 50
"""An epoch of sequences that are drawn afresh is so many updates."""
MOST_VALUES = 2**31
"""Of all sets of sequences together: they are kept whole, in 8 bytes each."""
MOST_POINTS = 1_000_000
"""Of a generated series: each point is some ten steps of an integration."""
VERSION = 1
"""Of what sources draw: it is part of the fingerprint."""


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


def load(settings: Settings) -> SequenceDataset:
    """Returns the sequences that the settings name, at least one minibatch to train on.

    A dataset that is held anywhere is returned again, so nobody may write to it.

    Raises:
        DataError: The settings contradict each other, a file is missing or not what it must be, or
            there are too few sequences. The message has a line for every problem found.
    """
    problems = list(_problems(settings))
    if problems:
        raise DataError(*problems)
    names = _names(settings)
    dataset = _provided.get(names)
    if dataset is None:
        key = (names, _state(settings))
        dataset = _loaded.get(key)
        if dataset is None:
            dataset = _loaded[key] = _made(settings)
    if dataset.updates_per_epoch(settings) < 1:
        raise DataError(
            f"batch_size: must be the number of training sequences at most, "
            f"{len(dataset.splits['train'])}, but got batch_size={settings.batch_size}. "
            "Use a smaller one, or more sequences."
        )
    return dataset


def provide(settings: Settings, dataset: SequenceDataset) -> None:
    """Has :func:`load` return a dataset for such settings, whose files lie on another machine."""
    _provided[_names(settings)] = dataset


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
_provided: dict[str, SequenceDataset] = {}
_loaded: weakref.WeakValueDictionary[tuple[str, object], SequenceDataset] = (
    weakref.WeakValueDictionary()
)


def _names(settings: Settings) -> str:
    values = to_dict(settings)
    decided = {name: values.get(name) for name in DECIDING}
    # Without the field data are those of versions that did not have it, and so is their name.
    longer = {name: values[name] for name in ("test_lengths",) if name in values}
    return json.dumps(decided | longer, sort_keys=True)


def _state(settings: Settings) -> object:
    """Returns what tells the files of now from those of another time."""
    if settings.path is None:
        return None
    path = Path(settings.path).expanduser()
    return stamps(sorted(path.iterdir()) if path.is_dir() else [path])


def _problems(settings: Settings) -> list[str]:
    """Returns what contradicts itself in settings, a line each."""
    names, problems = sources.OF_TASK[settings.task], []
    if settings.corpus not in names:
        problems.append(
            f"corpus: must be one of {', '.join(names)} with task {settings.task}, but got "
            f"corpus={settings.corpus!r}."
        )
    if settings.path is None and settings.corpus in sources.TAKES_PATH:
        problems.append(f"path: {settings.corpus} needs a file, but got path=None. Add path: FILE.")
    if settings.path is not None and settings.corpus not in sources.TAKES_PATH:
        problems.append(
            f"path: {settings.corpus} takes no file, but got path={settings.path!r}. Leave it out."
        )
    return problems


def _made(settings: Settings) -> SequenceDataset:
    makers = {"memory": _memory, "forecasting": _forecasting, "classification": _classification}
    dataset = makers[settings.task](settings)
    empty = [name for name, part in dataset.splits.items() if not part.weights.any()]
    if empty:
        raise DataError(
            f"{settings.corpus}: every set must have a target, but {' and '.join(empty)} have none "
            f"with bptt_length={settings.bptt_length}. Use longer sequences, or more of them."
        )
    return dataset


def _memory(settings: Settings) -> SequenceDataset:
    """Sequences made by rule: the held-out sets are drawn once, and so is training if asked."""
    from harness.data.sequences import memory

    options = {} if settings.options is None else settings.options.to_dict()
    if settings.path is not None:
        options["path"] = settings.path
    parts: tuple[Split, ...] = ("train", "validation", "test")
    generators = {name: memory.make(settings.corpus, options, name) for name in parts}
    generator = generators["train"]
    counts: dict[Split, int] = {
        "validation": settings.num_held_out,
        "test": settings.num_held_out,
    }
    if settings.num_sequences is not None:
        counts = {"train": settings.num_sequences, **counts}
    length = settings.bptt_length
    lengths = length * (2 + sum(settings.test_lengths or ()))
    num_steps = settings.num_held_out * lengths + (settings.num_sequences or 0) * length
    width = 1 if generator.reads_tokens else generator.num_inputs
    _require_room(num_steps * (width + 2), "num_held_out, num_sequences, test_lengths")
    splits: dict[str, Sequences] = {
        name: generators[name].draw(("data", settings.corpus, name), count, length)
        for name, count in counts.items()
    }
    for multiple in settings.test_lengths or ():
        seed = ("data", settings.corpus, "test", multiple)
        splits[f"test_{multiple}x"] = generators["test"].draw(
            seed, settings.num_held_out, multiple * length
        )
    guesses = {
        name: memory.guess(generator, part) for name, part in splits.items() if name != "train"
    }
    judged_on = replace(settings, num_sequences=None, test_lengths=None)
    return SequenceDataset(
        name=settings.corpus,
        title=settings.corpus,
        source=f"drawn by rule: {settings.corpus}, {length} time steps",
        fingerprint=_fingerprint(
            judged_on, {name: splits[name] for name in ("validation", "test")}
        ),
        num_inputs=generator.num_inputs,
        num_outputs=generator.num_outputs,
        reads_tokens=generator.reads_tokens,
        predicts_classes=generator.predicts_classes,
        splits=splits,
        generator=None if settings.num_sequences is not None else generator,
        guesses=guesses,
        learned_from=beyond_luck(
            guesses["validation"],
            splits["validation"],
            generator.predicts_classes,
            generator.num_outputs,
        ),
        floors=memory.floors(generator, splits),
    )


@dataclass(frozen=True)
class Forecasting:
    """The options of a time series."""

    horizon: int = whole(1, least=1, most=MOST_TOKENS, doc="points ahead that are forecast")
    length: int = whole(5000, least=10, most=MOST_POINTS, doc="points of a generated series")
    series_seed: int = whole(0, least=0, most=MOST_PARAMETERS, doc="of a generated series")
    time: str = text("", doc="the column of time stamps of a table")
    columns: str = text("", doc="the columns that are read and forecast, parted by commas")
    gaps: str = text("refuse", doc="refuse, previous or linear: what becomes of missing values")
    head: str = text("value", doc="value, gaussian or quantiles: what is said of each value")


def _forecasting(settings: Settings) -> SequenceDataset:
    """Windows of a time series, which is split by time and scaled by what its training part is."""
    from harness.data.sequences import tables
    from harness.data.sequences.series import GENERATED, generated
    from harness.data.sequences.series_windows import windows_of

    options = _options(Forecasting, settings)
    if options.head not in OUTPUTS_PER_VALUE:
        raise DataError(
            f"options.head: must be one of {', '.join(OUTPUTS_PER_VALUE)}, but got "
            f"{options.head!r}."
        )
    columns = _columns(options.columns)
    if settings.corpus in GENERATED:
        seed = ("data", settings.corpus, options.series_seed)
        series = generated(settings.corpus, seed, options.length)
    elif settings.path is None:
        series = tables.shipped(settings.corpus, columns=columns, gaps=_gaps(options))
    else:
        series = tables.read_table(
            settings.path, time=options.time or None, columns=columns, gaps=_gaps(options)
        )
    windows = windows_of(series, settings.bptt_length, options.horizon)
    width = windows.num_inputs + 2 * windows.num_outputs + options.horizon + 2
    _require_room(len(series) * settings.bptt_length * width, "horizon, columns")
    splits = {name: windows.sequences(windows.starts(name)) for name in windows.splits}
    return SequenceDataset(
        name=settings.corpus,
        title=series.name,
        source=series.name,
        fingerprint=_fingerprint(settings, splits),
        num_inputs=windows.num_inputs,
        num_outputs=windows.num_outputs * OUTPUTS_PER_VALUE[options.head],
        reads_tokens=False,
        predicts_classes=False,
        splits=splits,
        generator=None,
        guesses={
            name: guess_of_values(splits[name], options.head) for name in ("validation", "test")
        },
        windows=windows,
        head=options.head,
    )


def _require_room(num_values: int, fields: str) -> None:
    """Raises a DataError where sequences take more memory than any of these studies needs."""
    if num_values > MOST_VALUES:
        raise DataError(
            f"memory: sequences must be {MOST_VALUES:,} numbers at most, 16 GiB, but are "
            f"{num_values:,}. Use a smaller {fields} or bptt_length."
        )


def _gaps(options: Forecasting) -> Gaps:
    if options.gaps not in get_args(Gaps):
        raise DataError(
            f"options.gaps: must be one of {', '.join(get_args(Gaps))}, but got {options.gaps!r}."
        )
    return cast(Gaps, options.gaps)


@dataclass(frozen=True)
class Classification:
    """The options of sequences with labels."""

    sequence: str = text("sequence", doc="the column that names each row's sequence")
    step: str = text("step", doc="the column that orders the rows of a sequence")
    label: str = text("label", doc="the column of labels")
    columns: str = text("", doc="the columns that are read, parted by commas; none: all others")
    label_of: str = text("sequence", doc="sequence or step: what has a label")
    balanced: bool = switch(doc="classes count alike in training, however rare they are")


def _classification(settings: Settings) -> SequenceDataset:
    """Sequences of a table with their labels, split by sequence."""
    from harness.data.sequences.labelled import balanced_weights, read_labelled, split

    options = _options(Classification, settings)
    if options.label_of not in ("sequence", "step"):
        raise DataError(
            f"options.label_of: must be sequence or step, but got {options.label_of!r}."
        )
    assert settings.path is not None
    labelled = read_labelled(
        settings.path,
        sequence=options.sequence,
        step=options.step,
        label=options.label,
        columns=_columns(options.columns),
        label_of=cast(Any, options.label_of),
        length=settings.bptt_length,
    )
    parts = split(labelled, ("data", "labelled"))
    splits = {name: part.sequences for name, part in parts.items()}
    num_classes = len(labelled.classes)
    return SequenceDataset(
        name=settings.corpus,
        title=Path(settings.path).name,
        source=f"the file {settings.path}",
        fingerprint=_fingerprint(settings, splits),
        num_inputs=len(labelled.columns),
        num_outputs=num_classes,
        reads_tokens=False,
        predicts_classes=True,
        splits=splits,
        generator=None,
        guesses={
            name: guess_of_classes(splits[name], num_classes) for name in ("validation", "test")
        },
        class_weights=balanced_weights(parts["train"].class_counts()) if options.balanced else None,
    )


def _columns(listed: str) -> tuple[str, ...]:
    """Returns the columns that an option lists, parted by commas."""
    return tuple(name.strip() for name in listed.split(",") if name.strip())


Kind = TypeVar("Kind")


def _options(kind: type[Kind], settings: Settings) -> Kind:
    """Returns the options of a task's data; raises a DataError with a line for each problem."""
    given = {} if settings.options is None else settings.options.to_dict()
    if problems := option_problems("options", kind, given):
        raise DataError(*problems)
    return kind(**given)


def _fingerprint(settings: Settings, splits: Mapping[str, Sequences]) -> str:
    """Returns the SHA-256 of what was asked for and of the sequences themselves.

    It is the same wherever a file lies, and whatever models say of the sequences.
    """
    asked = _names(replace(sources.with_options_of_data(settings), path=None))
    digest = hashlib.sha256(f"{VERSION} {asked}".encode())
    for name, part in splits.items():
        digest.update(name.encode())
        for array in (part.inputs, part.targets, part.weights):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
