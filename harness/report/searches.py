"""The trials of each arm's search, as the tables and figures of the tuned fields need them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from harness.report.tried import ENDS, is_not_learned
from harness.study import Choices, Range, Study
from harness.tasks.objective import Objective, objective_of, split_of
from harness.training.messages import RunState
from harness.tuning import extension

Domain = Range | Choices
"""The values that a field is tuned over."""


@dataclass(frozen=True)
class Search:
    """The ended trials of one arm, of all its repeats, in the order of their numbers.

    Attributes:
        arm: The arm's name.
        objective: What they are judged by.
        rows: The columns ``state``, ``not_learned`` (whether it finished and never did better than
            guessing), ``loss`` (of a pruned trial its last value), ``params`` and ``repeat``.
    """

    arm: str
    objective: Objective
    rows: pd.DataFrame

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The trials with a final value of their own, better than that of a guess."""
        is_final = (self.rows["state"] == RunState.FINISHED) & np.isfinite(self.rows["loss"])
        rows: pd.DataFrame = self.rows[is_final & ~self.rows["not_learned"]]
        return rows

    @cached_property
    def best(self) -> float | None:
        """The lowest final loss, or None where no trial finished."""
        return float(self.finished["loss"].min()) if len(self.finished) else None

    @cached_property
    def near(self) -> pd.DataFrame:
        """The finished trials that are near the best one, as the objective says.

        The best one is among them.
        """
        within = self.objective.within(self.objective.near)
        return self.finished[self.finished["loss"] <= (self.best or 0.0) + within]

    @cached_property
    def worse(self) -> pd.DataFrame:
        """The trials that finished, learned nothing or diverged, and are not near.

        Of a pruned trial it is not known.
        """
        ended = self.rows[self.rows["state"].isin([RunState.FINISHED, RunState.DIVERGED])]
        return ended.drop(index=self.near.index)

    def values(self, rows: pd.DataFrame, field: str) -> list[Any]:
        """Returns a field's value at each of ``rows``; None: an export leaves it out."""
        return [params.get(field) for params in rows["params"]]


def searches(study: Study, trials: pd.DataFrame) -> list[Search]:
    """Returns each arm's search, in the study's order.

    There is none where nothing was tuned or no trial has ended.
    """
    ended = trials[trials["state"].isin(ENDS)]
    if not study.tune or ended.empty:
        return []
    repeat = ended["repeat"] if "repeat" in ended else 0
    ended = ended.assign(
        loss=ended["objective"].astype(float), repeat=repeat, not_learned=is_not_learned(ended)
    )
    ended = ended.sort_values(["repeat", "index"])
    objective = objective_of(study.measure.objective)
    return [Search(arm.name, objective, ended[ended["arm"] == arm.name]) for arm in study.arms]


def objective_name(study: Study) -> str:
    """Returns what the trials were judged by, in words: ``validation perplexity``."""
    objective = objective_of(study.measure.objective)
    return f"{split_of(study.measure.objective)} {objective.name}"


def space_of(study: Study, by_arm: Sequence[Search]) -> Mapping[str, Domain]:
    """Returns tuned field -> what was searched, as wide as it became; nothing without a search."""
    if study.tune is None:
        return {}
    tried = [params for search in by_arm for params in search.rows["params"] if params]
    return extension.searched_space(study.tune.space, tried)


def value_text(value: Any) -> str:
    """Returns a tuned field's value with three digits, or ``none``."""
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
