"""What waits for the validation loss: a reduced learning rate, an average, an early end.

All of it is a function of the losses that a run has had, so that a run that is taken up again knows
what it knew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.settings import Settings

THRESHOLD = 1e-4
"""By so large a part a loss must be below the lowest for a plateau to be none, as in torch."""


@dataclass(frozen=True)
class Heard:
    """A validation loss that a run has had.

    Attributes:
        update: The updates that it had made.
        loss: What evaluations are ranked by; need not be finite.
    """

    update: int
    loss: float


def waits(settings: Settings) -> list[str]:
    """Returns the fields by which a run waits for its validation losses."""
    asked = {
        "early_stopping_patience": settings.early_stopping_patience is not None,
        "schedule": settings.schedule == "plateau",
        "nonmonotone_interval": settings.optimizer == "asgd"
        and settings.nonmonotone_interval is not None,
    }
    return [field for field, is_asked in asked.items() if is_asked]


def is_early_end(settings: Settings, heard: Sequence[Heard]) -> bool:
    """Returns whether a run ends here: its last losses, as many as its patience, were not better.

    Better is what is lower than every loss before.
    """
    patience = settings.early_stopping_patience
    if patience is None:
        return False
    best, at = math.inf, -1
    for index, each in enumerate(heard):
        if each.loss < best:
            best, at = each.loss, index
    return len(heard) - 1 - at >= patience


def reductions(settings: Settings, heard: Sequence[Heard]) -> tuple[int, ...]:
    """Returns after which updates the learning rate is reduced.

    That is after ``plateau_patience`` evaluations in a row without a better one, at the next that
    is not better: torch's ReduceLROnPlateau, of losses that are not negative.
    """
    if settings.schedule != "plateau":
        return ()
    best, num_bad, updates = math.inf, 0, []
    for each in heard:
        # Below 0, where a likelihood may be, a lower bound is the larger part.
        is_better = each.loss < best * (1 + math.copysign(THRESHOLD, -best))
        best, num_bad = (each.loss, 0) if is_better else (best, num_bad + 1)
        if num_bad > settings.plateau_patience:
            updates.append(each.update)
            num_bad = 0
    return tuple(updates)


def averaging_begins(settings: Settings, heard: Sequence[Heard]) -> int | None:
    """Returns after which update the parameters are averaged, None while they are not.

    That is once a loss exceeds the lowest of those that are more than ``nonmonotone_interval``
    evaluations old (Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models",
    2018, algorithm 1).
    """
    interval = settings.nonmonotone_interval
    if settings.optimizer != "asgd" or interval is None:
        return 0 if settings.optimizer == "asgd" else None
    for index, each in enumerate(heard):
        old = [before.loss for before in heard[: max(0, index - interval)]]
        if old and each.loss > min(old):
            return each.update
    return None
