"""What a study's sequences are like, as ``harness check`` shows it."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from harness.data import Data
from harness.data.sequences.sets import SequenceDataset
from harness.study import Measure
from harness.tasks.objective import objective_of


def table(texts: Mapping[str, Data]) -> Table | None:
    """Returns the table of all sequences that arms read; None where there are none.

    Args:
        texts: The data of every arm by its key.
    """
    found: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for each in texts.values():
        if isinstance(each, SequenceDataset):
            ways = found.setdefault(_rows(each), [])
            ways += [way for way in _ways(each) if way not in ways]
    if not found:
        return None
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column("sequences", overflow="fold")
    for column in ("number", "time steps", "targets"):
        made.add_column(column, justify="right", no_wrap=True)
    for (title, *rows), ways in found.items():
        said = f" ({', '.join(ways)})" if ways else ""
        made.add_row(Text(f"{title[0]}{said}", style="bold"))
        for row in rows:
            made.add_row(*row)
    return made


def warnings(texts: Mapping[str, Data], measure: Measure) -> list[str]:
    """Returns what is to be told of test sets that are too small for the margin.

    Args:
        texts: The data of every arm by its key.
        measure: Of the study. Only an accuracy is counted, so that a single target shows in it.
    """
    if objective_of(measure.objective).key != "accuracy":
        return []
    counts = {
        each.title: int((each.splits["test"].weights > 0).sum())
        for each in texts.values()
        if isinstance(each, SequenceDataset) and "test" in each.splits
    }
    return [
        f"{title}: one target of the {count} of test is {1 / count:.2g} of the accuracy, "
        f"more than the margin of {measure.margin:g}. Intervals hold the doubt of the seeds, and "
        "not that of so few targets: take more sequences."
        for title, count in counts.items()
        if 0 < count and measure.margin * count < 1.0
    ]


def _rows(data: SequenceDataset) -> tuple[tuple[str, ...], ...]:
    """Returns what is said of sequences, a row, and the rows of their sets."""
    rows: list[tuple[str, ...]] = [(_described(data),)]
    if data.generator is not None:
        rows.append((" train", "fresh", str(data.splits["validation"].weights.shape[1])))
    for name, part in data.splits.items():
        count, num_steps = part.weights.shape
        targets = int((part.weights > 0).sum())
        rows.append((f" {name}", f"{count:,}", f"{num_steps:,}", f"{targets:,}"))
    return tuple(rows)


def _described(data: SequenceDataset) -> str:
    """Returns what is read and predicted, and what a guess scores."""
    read = f"{_values(data.num_inputs)} a step"
    if data.reads_tokens:
        read = f"{data.num_inputs:,} different tokens"
    predicted, key, name = _values(data.num_values), "mse", "mean squared error"
    if data.predicts_classes:
        predicted, key, name = f"{data.num_outputs:,} classes", "accuracy", "accuracy"
    return f"{data.title}: {read} -> {predicted}; {name} of a guess {data.chance[key]:.3g}"


def _ways(data: SequenceDataset) -> list[str]:
    """Returns how a model says what it predicts, and how it is trained, where that is asked."""
    ways = [] if data.head == "value" else [f"head {data.head}"]
    return ways if data.class_weights is None else [*ways, "balanced"]


def _values(count: int) -> str:
    return f"{count:,} value{'' if count == 1 else 's'}"
