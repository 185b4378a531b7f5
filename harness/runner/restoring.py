"""What searches know of runs of earlier processes, made again from what MLflow holds."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

from harness.runner.recorder import End
from harness.runner.searches import Searches
from harness.store.frames import key_of_row, unit_of_row
from harness.study.units import Phase, RunKey, Unit

Read = Callable[[], pd.DataFrame]
ReadSome = Callable[[Collection[RunKey]], pd.DataFrame]


def restore(
    searches: Searches, runs: Read, curves: ReadSome, ends: Mapping[RunKey, End], split: str
) -> int:
    """Adds every trial that has runs and that its search does not know; returns how many.

    They are told in rounds, as they were: what a sampler and a pruner know of earlier trials is
    what they knew. A trial of a round that is not over is left running, and goes on. What the ended
    runs of a running trial were worth at their points is recalled, for the pruner.

    Args:
        searches: The study's.
        runs: Returns the runs, as the store's reader does; called where a search lacks one.
        curves: Returns the curves of some runs likewise; called where a pruner needs one.
        ends: How every run ended that is not trained again.
        split: The split of the objective.
    """
    lacking = {
        unit
        for unit, search in searches.by_unit.items()
        if RunKey(unit, Phase.TRIAL, len(search.trials())) in ends
    }
    if untold := _untold(searches, ends):
        searches.recall(_points(curves(untold), f"{split}/loss"))
    if not lacking:
        return 0
    params = _params(runs())
    return sum(_restore(searches, unit, params[unit]) for unit in lacking)


def _untold(searches: Searches, ends: Mapping[RunKey, End]) -> set[RunKey]:
    """Returns the ended runs of trials that a pruner looks at and that Optuna was not told of."""
    told = {
        unit: {trial.number for trial in search.trials() if trial.state.is_finished()}
        for unit, search in searches.by_unit.items()
        if search.prunes
    }
    return {
        key
        for key in ends
        if key.phase is Phase.TRIAL and key.unit in told and key.index not in told[key.unit]
    }


def _params(runs: pd.DataFrame) -> dict[Unit, dict[int, dict[str, Any]]]:
    """Returns the parameters of every trial that has any, by its unit and number."""
    params: dict[Unit, dict[int, dict[str, Any]]] = {}
    for row in runs[runs["phase"] == Phase.TRIAL].to_dict("records"):
        if row["params"]:
            params.setdefault(unit_of_row(row), {}).setdefault(row["index"], row["params"])
    return params


def _restore(searches: Searches, unit: Unit, params: Mapping[int, Mapping[str, Any]]) -> int:
    search = searches.by_unit[unit]
    first = number = len(search.trials())
    while number in params:  # one that was asked and never began is asked again
        search.restore({name: params[number][name] for name in search.tune.space})
        number += 1
        is_whole_round = number % search.tune.batch == 0 or number == search.tune.num_trials
        if is_whole_round:
            searches.tell_finished_of(unit)
    return number - first


def _points(curves: pd.DataFrame, column: str) -> dict[RunKey, list[float]]:
    """Returns every trial's losses at its evaluation points, in their order."""
    points: dict[RunKey, list[float]] = {}
    rows = curves[curves["phase"] == Phase.TRIAL].sort_values("update")
    for row in rows.to_dict("records"):
        points.setdefault(key_of_row(row), []).append(row[column])
    return points
