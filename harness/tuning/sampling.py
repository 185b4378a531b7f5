"""Who proposes the values of a trial: Optuna's samplers, with seeds of our own."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from harness import randomness
from harness.randomness import Name
from harness.study import Choices, Range, Tune
from harness.tuning.design import is_whole

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class SharedDesign:
    """What the searches of all arms have in common.

    Attributes:
        points: The values of the first trials, in the order of their numbers.
        names: What the draws of the later ones derive from.
    """

    points: Sequence[Mapping[str, Any]]
    names: tuple[Name, ...]


def sampler(
    tune: Tune, design: SharedDesign | None, arm: str, number: int
) -> optuna.samplers.BaseSampler:
    """Returns what proposes the values of an arm's trial ``number``."""
    names: tuple[Name, ...] = (tune.search_seed, "sampler", arm)
    if design is not None:
        names = (*design.names, "sampler")
    if tune.sampler == "grid":
        # Its seed shuffles the grid, through which the trials' numbers walk.
        return optuna.samplers.GridSampler(_grid(tune), seed=randomness.key(*names) % 2**32)
    seed = randomness.key(*names, number) % 2**32
    if tune.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # The points that all arms share are what these samplers start from.
    count = 10 if design is None else len(design.points)  # 10: Optuna's own
    if tune.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=count)
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=count)


def distribution(field: str, values: Range | Choices) -> BaseDistribution:
    """Returns what Optuna draws a field's values from."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if is_whole(field):
        return IntDistribution(
            int(values.low), int(values.high), log=values.log, step=int(values.step or 1)
        )
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def registered(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Returns the trial as if its values had been drawn from these distributions."""
    trial = copy.copy(trial)
    trial.distributions = dict(distributions)
    return trial


def _grid(tune: Tune) -> dict[str, list[Any]]:
    """Returns every value of every field: choices as they stand, ranges from low by their step."""
    grid: dict[str, list[Any]] = {}
    for field, values in tune.space.items():
        if isinstance(values, Choices):
            grid[field] = list(values.choices)
        else:
            kind, step = int if is_whole(field) else float, values.step or 1
            points = (values.low + k * step for k in range(values.num_steps))
            grid[field] = [kind(min(point, values.high)) for point in points]
    return grid
