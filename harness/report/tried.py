"""What a search has tried, read from the frames of runs and curves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from harness.study import Study
from harness.study.units import Phase
from harness.tasks.objective import loss_of
from harness.training.messages import RESULTS, RunState
from harness.tuning.tried import TrialEnd, TriedSetting

ENDS = tuple(state for state in RunState if state.is_ended)


def tried(
    study: Study, runs: pd.DataFrame, curves: pd.DataFrame, arm: str, repeat: int = 0
) -> list[TriedSetting]:
    """Returns the trials of an arm all of whose seeds have ended, in the order of their numbers.

    A trial of which a seed failed is not among them: it has no result until it is tried again.

    Args:
        study: Of one condition.
        runs: Those of that condition, with the columns of ``columns.RUN_DTYPES``.
        curves: Those of its runs, with the columns of ``columns.CURVE_DTYPES``; an empty frame
            needs none, and pruned trials then have no lead.
        arm: The arm's name.
        repeat: Which of the arm's searches is meant.
    """
    if study.tune is None:
        return []
    groups = _ended(study.tune.seeds, _of_search(runs, arm, repeat))
    fields = list(study.tune.space)
    settings = [_setting(number, rows, fields) for number, rows in groups]
    column = loss_of(study.measure.objective)
    leads = _leads(settings, dict(groups), _by_trial(curves, column, arm, repeat))
    return [dataclasses.replace(each, lead=leads.get(each.number)) for each in settings]


def is_done(runs: pd.DataFrame) -> pd.Series:
    """Says of every run whether it will not be trained again.

    One that failed will be, unless its settings cannot be trained at all. Earlier versions did not
    tell the two apart, and trained neither again.
    """
    is_refused = runs["refused"].astype("boolean").fillna(True).astype(bool)
    return runs["state"].isin(RESULTS) | ((runs["state"] == RunState.FAILED) & is_refused)


def is_not_learned(runs: pd.DataFrame) -> pd.Series:
    """Says of every run whether it finished and never did better than guessing."""
    not_learned = runs["not_learned"].astype("boolean").fillna(False).astype(bool)
    return not_learned & (runs["state"] == RunState.FINISHED)


def counted(runs: pd.DataFrame, ends: Sequence[str]) -> dict[str, int]:
    """Returns how many runs or trials ended in each way; one that did not learn did not finish."""
    states = runs["state"].where(~is_not_learned(runs), "not learned")
    shown = (ends[0], "not learned", *ends[1:])
    return {str(end): int((states == end).sum()) for end in shown}


def num_trials(runs: pd.DataFrame) -> int:
    """Returns how many trials of one arm have ended with a seed at least."""
    is_ended = (runs["phase"] == Phase.TRIAL) & runs["state"].isin(ENDS)
    return len(runs[is_ended].drop_duplicates(["repeat", "index"]))


def whole(num_seeds: int, trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs of trials as one row a trial, in the order of arm, repeat and number.

    A trial of ``num_seeds`` seeds has their mean objective, the sum of their costs, and the samples
    of the first; it is running until all of them have ended.
    """
    if num_seeds == 1:
        return trials
    rows = []
    for _, seeds in trials.groupby(["arm", "repeat", "index"], sort=True):
        first = seeds.sort_values("draw").iloc[0].to_dict()
        sums = seeds[["tokens", "seconds"]].astype(float).sum()
        nats = seeds["objective"].astype(float).fillna(math.inf)
        ends = {"state": _end_of(seeds["state"].tolist(), num_seeds), "objective": nats.mean()}
        flags = {
            "not_learned": seeds["not_learned"].astype("boolean").fillna(False).all(),
            "refused": seeds["refused"].astype("boolean").fillna(True).all(),
        }
        rows.append({**first, **ends, **flags, **sums})
    return pd.DataFrame(rows, columns=list(trials))


def _end_of(states: Sequence[str], num_seeds: int) -> str:
    """Returns how a trial ended of whose seeds these have begun."""
    if len(states) < num_seeds or any(not RunState(state).is_ended for state in states):
        return str(RunState.RUNNING)
    for end in (RunState.FAILED, RunState.PRUNED):
        if end in states:
            return str(end)
    is_lost = all(state == RunState.DIVERGED for state in states)
    return str(RunState.DIVERGED if is_lost else RunState.FINISHED)


def _of_search(frame: pd.DataFrame, arm: str, repeat: int) -> pd.DataFrame:
    is_trial = (frame["arm"] == arm) & (frame["phase"] == "trial")
    return frame[is_trial & (frame["repeat"] == repeat)].sort_values(["index", "draw"])


Rows = list[dict[str, Any]]
"""The runs of one trial, a seed each, in the order of the seeds."""


def _ended(num_seeds: int, trials: pd.DataFrame) -> list[tuple[int, Rows]]:
    """Returns the number and the runs of every trial that has a result."""
    known = trials[["index", "draw", "state", "objective", "not_learned", "params"]]
    groups: dict[int, Rows] = {}
    for row in known.to_dict("records"):
        groups.setdefault(int(row["index"]), []).append({str(k): v for k, v in row.items()})
    return [
        (number, rows)
        for number, rows in groups.items()
        if len(rows) >= num_seeds and all(row["state"] in RESULTS for row in rows)
    ]


def _setting(number: int, rows: Rows, fields: Sequence[str]) -> TriedSetting:
    nats = tuple(_nats(row) for row in rows)
    end = cast(TrialEnd, _end_of([row["state"] for row in rows], len(rows)))
    if end == "finished" and all(is_lost(row) for row in rows):
        end = "diverged"
    return TriedSetting(
        number=number,
        values={field: rows[0]["params"].get(field) for field in fields},
        nats=float(np.mean(nats)),
        seed_nats=() if end == "pruned" else nats,
        end=end,
        num_lost=sum(is_lost(row) for row in rows),
    )


def _nats(row: Mapping[str, Any]) -> float:
    """Returns a seed's objective; no store keeps one that is not finite."""
    return math.inf if pd.isna(row["objective"]) else float(row["objective"])


def is_lost(row: Mapping[Any, Any]) -> bool:
    """Says whether a run diverged or never did better than guessing."""
    not_learned = row["not_learned"]
    return row["state"] == RunState.DIVERGED or (not pd.isna(not_learned) and bool(not_learned))


Curve = Mapping[int, Mapping[int, float]]
"""Seed of a trial -> update -> its loss in nats."""


def _by_trial(curves: pd.DataFrame, column: str, arm: str, repeat: int) -> Mapping[int, Curve]:
    if curves.empty:
        return {}
    rows = _of_search(curves, arm, repeat)
    by_trial: dict[int, dict[int, dict[int, float]]] = {}
    for number, draw, update, nats in zip(
        rows["index"], rows["draw"], rows["update"], rows[column], strict=True
    ):
        losses = by_trial.setdefault(int(number), {}).setdefault(int(draw), {})
        losses[int(update)] = float(nats)
    return by_trial


def _leads(
    settings: Sequence[TriedSetting], runs: Mapping[int, Rows], curves: Mapping[int, Curve]
) -> dict[int, float]:
    """Returns the lead of every pruned trial that stood beside the best finished one."""
    finished = [setting for setting in settings if setting.end == "finished"]
    if not finished:
        return {}
    best = min(finished, key=lambda setting: (setting.nats, setting.number)).number
    leads = {}
    for setting in settings:
        curve = curves.get(setting.number, {})
        if setting.end != "pruned" or not curve:
            continue
        update = max(max(losses) for losses in curve.values())
        beside = _mean_at(update, runs[best], curves.get(best, {}))
        if beside is not None and math.isfinite(beside):
            leads[setting.number] = setting.nats - beside
    return leads


def _mean_at(update: int, rows: Rows, curve: Curve) -> float | None:
    """Returns the mean over a trial's seeds at an update, or None where a curve lacks it.

    A seed that diverged before it counts with what it is worth.
    """
    values = []
    for row in rows:
        losses = curve.get(int(row["draw"]), {})
        if update in losses:
            values.append(losses[update])
        elif is_lost(row):
            values.append(_nats(row))
        else:
            return None
    return float(np.mean(values))
