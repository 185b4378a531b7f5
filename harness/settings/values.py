"""The values of fields that are no plain number or text: choices by name, and mappings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.settings.limits import MOST_UPDATES

TaskName = Literal["language-modelling", "memory", "forecasting", "classification"]
LANGUAGE = "language-modelling"
"""The task of a study that names none."""
Token = Literal["char", "word", "byte", "subword"]
Split = Literal["holdout", "none"]
Windows = Literal["sequential", "sequential-2019", "random"]
Initialization = Literal["normal", "uniform", "glorot", "orthogonal", "keras", "identity"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "nadam", "asgd"]
ScheduleName = Literal["constant", "cosine", "step", "plateau"]
EngineName = Literal["auto", "cpu", "gpu", "scan", "scan-log", "native", "persistent", "reference"]
DeviceName = Literal["auto", "cpu", "cuda"]
MaskDuration = Literal["step", "update"]
Precision = Literal["float32", "float64", "tf32", "bf16"]


@dataclass(frozen=True)
class Paths:
    """The files of a text that comes in three."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class Lines:
    """How the lines of a text are read: one token, ``end``, stands for the end of each."""

    end: str


OptionValue = int | float | str | bool


@dataclass(frozen=True)
class Options:
    """What else a source of sequences is told, by name; which there are depends on the corpus."""

    items: tuple[tuple[str, OptionValue], ...] = ()

    @staticmethod
    def of(values: Mapping[str, OptionValue]) -> "Options":
        """Returns the options of a mapping; equal mappings give equal options."""
        return Options(tuple(sorted(values.items())))

    def to_dict(self) -> dict[str, OptionValue]:
        """Returns the mapping."""
        return dict(self.items)


class BudgetError(ValueError):
    """A budget that does not say how many updates it buys."""


@dataclass(frozen=True)
class Budget:
    """How long a run trains: exactly one of the four is set.

    Tokens and epochs convert to updates exactly.
    """

    updates: int | None = None
    tokens: int | None = None
    epochs: int | None = None
    seconds: float | None = None

    def num_updates(self, *, updates_per_epoch: int, tokens_per_update: float) -> int:
        """Returns the number of updates, at least 1.

        Where updates differ in their tokens, ``tokens_per_update`` is the mean.

        Raises:
            BudgetError: The budget is in seconds, which only a measurement converts; or it is more
                than ``MOST_UPDATES``.
        """
        if self.updates is not None:
            count, got = self.updates, f"updates={self.updates:,}"
        elif self.tokens is not None:
            count, got = max(1, int(self.tokens // tokens_per_update)), f"tokens={self.tokens:,}"
        elif self.epochs is not None:
            count, got = self.epochs * updates_per_epoch, f"epochs={self.epochs:,}"
        else:
            raise BudgetError(
                "budget: must be in updates, tokens or epochs here, but got "
                f"seconds={self.seconds}. Measure the seconds of one update and convert."
            )
        if count > MOST_UPDATES:
            raise BudgetError(
                f"budget: must be {MOST_UPDATES:,} updates at most, but got {got}, which are "
                f"{count:,} updates. Train for less, or with a larger batch_size or bptt_length."
            )
        return count


def shown(value: Any) -> str:
    """Returns a field's value as a message shows it: as in YAML, shortened.

    >>> shown(Options.of({"horizon": 3, "head": "value"})), shown(Budget(epochs=4))
    ('{head: value, horizon: 3}', '{epochs: 4}')
    """
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(value, Lines | Paths | Options | Budget):
        pairs = value.items if isinstance(value, Options) else vars(value).items()
        text = ", ".join(f"{name}: {_bare(each)}" for name, each in pairs if each is not None)
        text = f"{{{text}}}"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = "none" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
