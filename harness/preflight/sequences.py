"""What a study's sequences are like, as ``harness check`` shows it."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from harness.data import Data
from harness.data.sequences.dataset import SequenceDataset


def table(texts: Mapping[str, Data]) -> Table | None:
    """Returns the table of all sequences that arms read; None where there are none.

    Args:
        texts: The data of every arm by its key.
    """
    found = {each.fingerprint: each for each in texts.values() if isinstance(each, SequenceDataset)}
    if not found:
        return None
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column("sequences", overflow="fold")
    for column in ("number", "time steps", "targets"):
        made.add_column(column, justify="right", no_wrap=True)
    for data in found.values():
        made.add_row(Text(_described(data), style="bold"))
        if data.generator is not None:
            made.add_row(" train", "fresh", str(next(iter(data.splits.values())).weights.shape[1]))
        for name, part in data.splits.items():
            count, num_steps = part.weights.shape
            targets = int((part.weights > 0).sum())
            made.add_row(f" {name}", f"{count:,}", f"{num_steps:,}", f"{targets:,}")
    return made


def _described(data: SequenceDataset) -> str:
    """Returns what is read and predicted, and what a guess scores."""
    read = f"{data.num_inputs:,} {'different tokens' if data.reads_tokens else 'values a step'}"
    predicted = f"{data.num_outputs:,} {'classes' if data.predicts_classes else 'values'}"
    key = "accuracy" if data.predicts_classes else "mse"
    name = {"accuracy": "accuracy", "mse": "mean squared error"}[key]
    return f"{data.title}: {read} -> {predicted}; {name} of a guess {data.chance[key]:.3g}"
