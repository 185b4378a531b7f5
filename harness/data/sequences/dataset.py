"""From settings to sequences: a source, and its training, validation and test set."""

import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.data import sources
from harness.data.errors import DataError
from harness.data.sequences import Sequences, forecasting
from harness.data.sequences.levels import beyond_luck, guess_of_classes
from harness.data.sequences.options import listed, options_of, switch, text
from harness.data.sequences.sets import SequenceDataset, deciding, fingerprint, require_room
from harness.data.text import expanded, stamps
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.data.sequences.mnist import Split


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
    names = deciding(settings)
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
    _provided[deciding(settings)] = dataset


_provided: dict[str, SequenceDataset] = {}
_loaded: weakref.WeakValueDictionary[tuple[str, object], SequenceDataset] = (
    weakref.WeakValueDictionary()
)


def _state(settings: Settings) -> object:
    """Returns what tells the files of now from those of another time."""
    if settings.path is None:
        return None
    path = expanded(settings.path)
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
        problems.append(f"path: {settings.corpus} needs a file, but got path=none. Add path: FILE.")
    if settings.path is not None and settings.corpus not in sources.TAKES_PATH:
        problems.append(
            f"path: {settings.corpus} takes no file, but got path={settings.path!r}. Leave it out."
        )
    return problems


def _made(settings: Settings) -> SequenceDataset:
    makers = {
        "memory": _memory,
        "forecasting": forecasting.dataset,
        "classification": _classification,
    }
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
    require_room(num_steps * (width + 2), "num_held_out, num_sequences, test_lengths")
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
        fingerprint=fingerprint(judged_on, {name: splits[name] for name in ("validation", "test")}),
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

    options = options_of(Classification, settings)
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
        columns=listed(options.columns),
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
        fingerprint=fingerprint(settings, splits),
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
        meaning={"columns": list(labelled.columns), "classes": list(labelled.classes)},
    )
