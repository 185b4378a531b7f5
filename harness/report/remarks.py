"""What a complete study would have and this one lacks, and what is doubtful about its results."""

import json
from collections.abc import Mapping, Sequence

import pandas as pd

from harness.report import measure, replicates, tried
from harness.report.arm_results import ArmResult
from harness.report.evidence import Evidence, num_due
from harness.statistics import inference
from harness.study import Study
from harness.study.units import Unit
from harness.training.messages import RunState
from harness.tuning.finalists import leaders


def missing(
    study: Study,
    runs: pd.DataFrame,
    timings: pd.DataFrame,
    results: Sequence[ArmResult],
    num_seeds: int,
    searches: Mapping[str, Evidence],
) -> list[str]:
    """Returns what a complete study would have and this one has not, one line each.

    Args:
        study: Of one condition.
        runs: Those of that condition that the study asks for.
        timings: Those of that condition.
        results: Of all arms.
        num_seeds: What :func:`harness.report.stages.num_seeds` returns.
        searches: What :func:`harness.report.evidence.evidence_of` returns.
    """
    lines = []
    num_trials = _num_trials(study, results, searches)
    for result in results:
        lines += _missing_trials(result, num_trials)
        lines += _missing_finalists(study, result, num_trials, searches)
        lines += _missing_seeds(study, result.name, runs, num_seeds)
        if study.measure.runtime and not (timings["arm"] == result.name).any():
            lines.append(f"{result.name}: its runtime has not been measured.")
    return lines


def _num_trials(
    study: Study, results: Sequence[ArmResult], searches: Mapping[str, Evidence]
) -> int:
    """Returns how many trials every arm gets in all its repeats, as far as is known.

    They are those of the budget. Where the searches of a repeat went on, or have to, they are as
    many as an arm has begun, or the round that is due: all arms get as many.
    """
    tune = study.tune
    if tune is None:
        return 0
    most = max(tune.num_trials, tune.at_most or 0)
    begun = pd.concat([result.trials for result in results]).groupby("repeat")["index"].max() + 1
    wanted = (
        max(int(begun.get(repeat, 0)), num_due(study, searches, repeat))
        for repeat in range(tune.repeats)
    )
    return sum(min(max(tune.num_trials, number), most) for number in wanted)


def _missing_trials(result: ArmResult, num_trials: int) -> list[str]:
    num_ended = int(tried.is_done(result.trials).sum())
    if num_ended >= num_trials:
        return []
    num_failed = int((result.trials["state"] == RunState.FAILED).sum())
    failed = f", {num_failed} failed" if num_failed else ""
    return [f"{result.name}: {num_ended} of {num_trials} trials ended{failed}."]


def _missing_finalists(
    study: Study, result: ArmResult, num_trials: int, searches: Mapping[str, Evidence]
) -> list[str]:
    """Returns how many runs of the best settings an arm lacks, once its searches have ended."""
    tune = study.tune
    if tune is None or tune.finalists == 1 or _missing_trials(result, num_trials):
        return []
    rows = result.finalists[tried.is_done(result.finalists)]
    ended = set(zip(rows["repeat"], rows["index"], rows["draw"], strict=True))
    wanted = {
        (repeat, number, draw)
        for repeat, search in enumerate(searches[result.name].searches)
        for number in leaders(search.tried, tune.finalists)
        for draw in range(tune.finalist_seeds)
    }
    if wanted <= ended:
        return []
    return [f"{result.name}: {len(wanted & ended)} of {len(wanted)} runs of finalists ended."]


def _missing_seeds(study: Study, arm: str, runs: pd.DataFrame, num_seeds: int) -> list[str]:
    rows = replicates.replicates_of(runs, arm)
    rows = rows[tried.is_done(rows) & (rows["state"] != RunState.PRUNED)]
    ended = set(zip(rows["repeat"].astype(int), rows["index"].astype(int), strict=True))
    lines = []
    for repeat in range(study.num_repeats):
        absent = [j for j in range(num_seeds) if (repeat, j) not in ended]
        if absent:
            seeds = ", ".join(str(study.replicate.first_seed + j) for j in absent)
            lines.append(
                f"{Unit(arm, repeat=repeat)}: replicates are missing for the seeds {seeds}."
            )
    return lines


def doubts(
    study: Study, runs: pd.DataFrame, timings: pd.DataFrame, results: Sequence[ArmResult]
) -> list[str]:
    """Returns the warnings that the results themselves give rise to, one line each."""
    lines = []
    for result in results:
        lines += _doubts_of_replicates(study, result, replicates.replicates_of(runs, result.name))
        lines += _disagreement(result, study.measure.threshold)
    return lines + _busy(timings, [result.name for result in results])


def _busy(timings: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """Returns one line on the timings during which others kept the machine busy, or none."""
    timed = timings[timings["arm"].isin(arms)]
    busy = timed[timed["busy"] == True]  # noqa: E712  (may hold NaN)
    if busy.empty:
        return []
    counts = busy["arm"].value_counts()
    named = [f"{counts[arm]} of {arm}'s" for arm in arms if arm in counts]
    text = f"the machine was busy in {len(busy)} of {len(timed)} timings"
    return [f"{text}: {', '.join(named)}."]


def _doubts_of_replicates(study: Study, result: ArmResult, rows: pd.DataFrame) -> list[str]:
    """Returns what is doubtful about an arm's replicates, whose runs are ``rows``."""
    lines = []
    column = "test/loss" if measure.is_held_out(study) else "objective"
    if result.num_diverged:
        num_diverged = int((rows["state"] == RunState.DIVERGED).sum())
        lines.append(f"{num_diverged} of {len(rows)} replicates diverged.")
    if result.num_not_learned:
        num_lost = f"{result.num_not_learned} of {len(rows)} replicates"
        lines.append(f"{num_lost} learned nothing: they count with the loss of a guess.")
    if result.num_failed:
        rest = " with the rest of their repeats" if study.is_repeated else ""
        num_failed = f"{result.num_failed} of {len(rows)} replicates failed"
        lines.append(f"{num_failed} and enter no figure{rest}.")
    if rows["num_parameters"].nunique() > 1:
        lines.append("its repeats chose different sizes; the costs shown are of the first.")
    num_blank = int(((rows["state"] == RunState.FINISHED) & rows[column].isna()).sum())
    if num_blank:
        lines.append(f"{num_blank} finished replicates have no {column} and enter no figure.")
    if not study.is_repeated and _num_settings(rows) > 1:
        lines.append("its replicates were trained at different tuned values.")
    return [f"{result.name}: {line}" for line in lines]


def _num_settings(rows: pd.DataFrame) -> int:
    """Returns how many different tuned settings the runs were trained at."""
    params = [value for value in rows["params"] if isinstance(value, dict)]
    return len({json.dumps(value, sort_keys=True, default=str) for value in params})


def _disagreement(result: ArmResult, threshold: float) -> list[str]:
    decision = result.decision
    if decision is None or decision.adjusted_p is None or decision.adjusted_sign_flip_p is None:
        return []
    student, flip = decision.adjusted_p, decision.adjusted_sign_flip_p
    if (student < threshold) == (flip < threshold):
        return []
    reach = inference.smallest_p(decision.num_pairs)
    return [
        f"{result.name}: the tests disagree at {threshold:g}: Student's Holm-adjusted p is"
        f" {student:.3g}, the sign-flip test's {flip:.3g} ({decision.num_pairs} pairs cannot go"
        f" below {reach:.3g} before adjustment)."
    ]
