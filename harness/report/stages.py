"""How many seeds a condition takes: those of its first stage, and what their spread asks for."""

from collections.abc import Collection

import pandas as pd

from harness.report import tried
from harness.report.comparability import why_incomparable
from harness.report.replicates import losses
from harness.statistics import inference, power
from harness.study import Study
from harness.study.units import FAILURES_IN_A_ROW, Phase
from harness.tasks.objective import objective_of
from harness.training.messages import RunState

REPLICATE_ENDS = tuple(state for state in tried.ENDS if state is not RunState.PRUNED)

_ALL_FAILED = [RunState.FAILED] * FAILURES_IN_A_ROW


def num_seeds(study: Study, runs: pd.DataFrame, open_arms: Collection[str] = ()) -> int:
    """Returns how many seeds a condition takes.

    They are those that the study says, or as many as its first stage asks for: until all arms have
    ended that stage, no more than it. An arm that failed in it asks for no more, nor does one that
    does not compare.

    Args:
        study: Of one condition.
        runs: Those of that condition.
        open_arms: Those that were not tried at their best.
    """
    plan = study.replicate
    if plan.until is None:
        return plan.seeds
    assert plan.at_most is not None
    if plan.until == 0.0:  # no interval is narrow enough
        return plan.at_most
    stage = runs[
        (runs["phase"] == "replicate")
        & (runs["index"] < plan.seeds)
        & runs["state"].isin(REPLICATE_ENDS)
    ]
    if any(
        (stage["arm"] == arm.name).sum() < plan.seeds and not _is_given_up(study, runs, arm.name)
        for arm in study.arms
    ):
        return plan.seeds
    nats = {arm.name: losses(study, stage, arm.name) for arm in study.arms}
    base = nats[study.baseline.name]
    others = [
        arm
        for arm in study.arms
        if not arm.is_baseline
        and not why_incomparable(arm, study.baseline)
        and not {arm.name, study.baseline.name}.intersection(open_arms)
    ]
    pairs = [inference.paired_differences(nats[arm.name], base) for arm in others]
    full = [differences for differences in pairs if len(differences) == plan.seeds]
    if not full:
        return plan.seeds
    half_width = objective_of(study.measure.objective).within(plan.until)
    return power.stein_seeds(full, half_width_nats=half_width, at_most=plan.at_most)


def _is_given_up(study: Study, runs: pd.DataFrame, arm: str) -> bool:
    """Says whether an arm will never end the replicates that it lacks.

    Either they failed, or the arm has no setting to train.
    """
    rows = runs[runs["arm"] == arm].sort_values("index", kind="stable")
    replicates = rows.loc[
        (rows["phase"] == Phase.REPLICATE) & rows["state"].isin(REPLICATE_ENDS), "state"
    ]
    trials = tried.whole(study.trial_seeds, rows[rows["phase"] == Phase.TRIAL])["state"]
    trials = trials[trials.isin(tried.ENDS)]
    is_searched = study.tune is not None and (
        len(trials) >= study.tune.num_trials
        or trials.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED
    )
    has_no_setting = is_searched and not trials.isin([RunState.FINISHED, RunState.DIVERGED]).any()
    return bool(has_no_setting) or replicates.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED


def num_first(study: Study, losses: list[dict[str, float]]) -> int | None:
    """Returns how many first-stage seeds all of these arms have, two at least.

    None: the study has no stages.
    """
    plan = study.replicate
    if plan.until is None:
        return None
    stage = {str(plan.first_seed + j) for j in range(plan.seeds)}
    return max(2, len(stage.intersection(*losses)))


def planned(study: Study, frame: pd.DataFrame, num_seeds: int) -> pd.DataFrame:
    """Returns the runs, or the rows of their curves, that the study as it stands asks for.

    The store may hold more of them.
    """
    is_asked = (frame["phase"] != "replicate") | (frame["index"] < num_seeds)
    return frame[is_asked & (frame["repeat"] < study.num_repeats)]
