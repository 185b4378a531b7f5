"""From the frames of runs and timings to one result per arm, and what is missing or doubtful.

The words of a report are in ``sentences`` and ``tables``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report.protocols import ArmLike, StudyLike
from harness.settings import Settings
from harness.statistics import decisions, inference, power
from harness.statistics.decisions import Decision, SpeedDecision, Timing
from harness.statistics.inference import Interval
from harness.store import columns
from harness.study.units import FAILURES_IN_A_ROW, Unit
from harness.training.messages import RunState

RUN_COLUMNS = tuple(name for name in columns.RUN_DTYPES if name not in columns.PROVENANCE)
CURVE_COLUMNS = (*columns.KEY_DTYPES, *columns.CURVE_DTYPES)
TIMING_COLUMNS = (*columns.ARM_DTYPES, *columns.TIMING_DTYPES)
TEXT_FIELDS = ("corpus", "path", "token", "min_count", "split")
"""Losses compare only where these settings are equal."""
TRIAL_ENDS = tuple(state for state in RunState if state.is_ended)
REPLICATE_ENDS = tuple(state for state in TRIAL_ENDS if state is not RunState.PRUNED)

_ALL_FAILED = [RunState.FAILED] * FAILURES_IN_A_ROW

Phase = tuple[str, int]
"""What is timed: the mode, ``train`` or ``forward``, and the number of runs in a pack."""
ALONE: Phase = ("train", 1)
"""The timing of a run that trains alone."""


@dataclass(frozen=True)
class ArmResult:
    """What is known of an arm.

    Attributes:
        losses: Nats by the name of a pair, of what ended; infinite where it diverged. A pair is a
            seed; where the whole is repeated it is a repeat, with the mean of its seeds, diverged
            where one of them did.
        mean: Over the finished replicates, in nats. None: there is none.
        interval: 95 %, of ``mean``. None: fewer than two replicates, or a diverged one.
        differences: Paired with the baseline, in nats; empty for the baseline itself.
        decision: None for the baseline and for an arm that reads another text.
        incomparable: Why the losses do not compare with the baseline's, or nothing.
        speeds: Against the baseline.
        num_states: Floats of state per stream.
        tokens: Spent on all trials and replicates.
        training_seconds: Of a replicate that trains alone, by the runtime phase. None: not timed.
        trials: Its rows of the runs' frame.
    """

    name: str
    is_baseline: bool
    token: str
    losses: dict[str, float]
    num_failed: int
    num_planned: int
    mean: float | None
    interval: Interval | None
    differences: np.ndarray
    decision: Decision | None
    seeds_to_decide: int | None
    incomparable: str
    speeds: dict[Phase, SpeedDecision]
    tokens_per_second: dict[Phase, float]
    conditions: dict[Phase, str]
    num_parameters: int | None
    num_states: int | None
    hidden_size: int | None
    flops_per_token: int | None
    tokens: int
    training_seconds: float | None
    trials: pd.DataFrame
    params: dict[str, Any]
    samples: list[dict[str, str]]

    @property
    def num_finished(self) -> int:
        """Number of replicates that finished."""
        return int(np.isfinite(list(self.losses.values())).sum()) if self.losses else 0

    @property
    def num_diverged(self) -> int:
        """Number of replicates that diverged."""
        return len(self.losses) - self.num_finished


def with_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Returns ``frame`` with all of ``columns``.

    An empty frame may come without any of them, an older export without those of repeat and draw.
    """
    others = [name for name in map(str, frame) if name not in columns]
    completed = frame.reindex(columns=[*columns, *others])
    counted = {name: completed[name].fillna(0) for name in ("repeat", "draw") if name in columns}
    return completed.assign(**counted)


def num_seeds(study: StudyLike, runs: pd.DataFrame) -> int:
    """Returns how many seeds a condition takes.

    They are those that the study says, or as many as its first stage asks for: until all arms have
    ended that stage, no more than it. An arm that failed in it asks for no more. ``runs`` are those
    of the condition.
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
        arm for arm in study.arms if not arm.is_baseline and not _incomparable(arm, study.baseline)
    ]
    pairs = [inference.paired_differences(nats[arm.name], base) for arm in others]
    full = [differences for differences in pairs if len(differences) == plan.seeds]
    if not full:
        return plan.seeds
    return power.stein_seeds(full, half_width_nats=math.log1p(plan.until), at_most=plan.at_most)


def _is_given_up(study: StudyLike, runs: pd.DataFrame, arm: str) -> bool:
    """Says whether an arm will never end the replicates that it lacks.

    Either they failed, or the arm has no setting to train.
    """
    rows = runs[runs["arm"] == arm].sort_values("index", kind="stable")
    is_replicate, is_trial = rows["phase"] == "replicate", rows["phase"] == "trial"
    replicates = rows.loc[is_replicate & rows["state"].isin(REPLICATE_ENDS), "state"]
    trials = rows.loc[is_trial & rows["state"].isin(TRIAL_ENDS), "state"]
    is_searched = study.tune is not None and (
        len(trials) >= study.tune.num_trials
        or trials.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED
    )
    has_no_setting = is_searched and not trials.isin([RunState.FINISHED, RunState.DIVERGED]).any()
    return bool(has_no_setting) or replicates.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED


def planned(study: StudyLike, frame: pd.DataFrame, num_seeds: int) -> pd.DataFrame:
    """Returns the runs, or the rows of their curves, that the study as it stands asks for.

    The store may hold more of them.
    """
    is_asked = (frame["phase"] != "replicate") | (frame["index"] < num_seeds)
    return frame[is_asked & (frame["repeat"] < num_repeats(study))]


def is_held_out(study: StudyLike) -> bool:
    """Says whether the decision is on test loss.

    Without a split it is on the objective, a training loss.
    """
    return study.baseline.settings.split == "holdout"


def curve_metric(study: StudyLike) -> str:
    """Returns the column of the curves that the report reads, in nats."""
    return "validation/loss" if is_held_out(study) else "train/loss"


def measured(study: StudyLike) -> str:
    """Returns what the report's perplexity is called."""
    return "perplexity" if is_held_out(study) else "running training perplexity"


def gather(study: StudyLike, runs: pd.DataFrame, timings: pd.DataFrame) -> list[ArmResult]:
    """Returns one result per arm of ``study``, in its order.

    Frames have RUN_COLUMNS and TIMING_COLUMNS.
    """
    nats = {arm.name: losses(study, runs, arm.name) for arm in study.arms}
    base = study.baseline.name
    reasons = {arm.name: _incomparable(arm, study.baseline) for arm in study.arms}
    pairs = {
        name: inference.paired_differences(nats[name], nats[base]) for name in nats if name != base
    }
    family = [name for name in pairs if not reasons[name]]
    margin, threshold = study.measure.margin, study.measure.threshold
    first = num_first(study, [nats[name] for name in (base, *family)])
    differences = [pairs[name] for name in family]
    decided = decisions.decide(differences, margin=margin, threshold=threshold, first=first)
    if first is None:  # a number of seeds that depends on the data is not invariant under flips
        decided = decisions.with_sign_flips(decided, differences)
    by_arm = dict(zip(family, decided, strict=True))
    speeds = _speeds(study, timings)
    num_planned = num_repeats(study) if num_repeats(study) > 1 else num_seeds(study, runs)
    results = []
    for arm in study.arms:
        arm_runs = runs[runs["arm"] == arm.name]
        arm_timings = timings[timings["arm"] == arm.name]
        decision = by_arm.get(arm.name)
        seeds = None
        if decision is not None and decision.verdict == "undecided":
            seeds = power.seeds_to_decide(
                pairs[arm.name], margin=margin, num_comparisons=len(family), threshold=threshold
            )
        results.append(
            ArmResult(
                name=arm.name,
                is_baseline=arm.name == base,
                token=arm.settings.token,
                losses=nats[arm.name],
                num_failed=int((_replicates(runs, arm.name)["state"] == RunState.FAILED).sum()),
                num_planned=num_planned,
                **level(nats[arm.name], first),
                differences=pairs.get(arm.name, np.zeros(0)),
                decision=decision,
                seeds_to_decide=seeds,
                incomparable=reasons[arm.name],
                speeds=speeds.get(arm.name, {}),
                **_timed(arm_timings),
                **_described(arm_runs),
                training_seconds=_training_seconds(arm_runs, arm_timings),
                trials=arm_runs[arm_runs["phase"] == "trial"],
            )
        )
    return results


def _replicates(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    return runs[(runs["arm"] == arm) & (runs["phase"] == "replicate")].sort_values(
        "index", kind="stable"
    )


def losses(study: StudyLike, runs: pd.DataFrame, arm: str) -> dict[str, float]:
    """Returns an arm's :attr:`ArmResult.losses`.

    A repeat is among them once all its seeds have ended, or one of them diverged.
    """
    column = "test/loss" if is_held_out(study) else "objective"
    rows = _replicates(runs, arm)
    finished, diverged = rows["state"] == RunState.FINISHED, rows["state"] == RunState.DIVERGED
    rows = rows[diverged | (finished & rows[column].notna())]
    rows = rows.assign(
        nats=np.where(rows["state"] == RunState.DIVERGED, np.inf, rows[column].astype(float))
    )
    if num_repeats(study) == 1:
        return dict(zip(rows["seed"].astype(str), rows["nats"].tolist(), strict=True))
    means = rows.groupby("repeat")["nats"].agg(["mean", "count"])
    # A repeat without all its seeds would not pair seed by seed; where one of them diverged, the
    # others change nothing.
    whole = means[(means["count"] == num_seeds(study, runs)) | np.isinf(means["mean"])]
    names = [f"repeat {repeat}" for repeat in whole.index.astype(int)]
    return dict(zip(names, whole["mean"].tolist(), strict=True))


def num_repeats(study: StudyLike) -> int:
    """Returns how often the whole of tuning and replicating is done."""
    return study.tune.repeats if study.tune else 1


def _training_seconds(rows: pd.DataFrame, timings: pd.DataFrame) -> float | None:
    tokens = rows.loc[
        (rows["phase"] == "replicate") & (rows["state"] == RunState.FINISHED), "tokens"
    ].dropna()
    rates = timings.loc[(timings["mode"] == "train") & (timings["pack"] == 1), "tokens_per_second"]
    if not len(tokens) or not len(rates):
        return None
    return float(tokens.astype(float).median() / rates.median())


def num_first(study: StudyLike, losses: list[dict[str, float]]) -> int | None:
    """Returns how many first-stage seeds all of these arms have, two at least.

    None: the study has no stages.
    """
    plan = study.replicate
    if plan.until is None:
        return None
    stage = {str(plan.first_seed + j) for j in range(plan.seeds)}
    return max(2, len(stage.intersection(*losses)))


def level(losses: dict[str, float], first: int | None) -> dict[str, Any]:
    """Returns the ``mean`` and the ``interval`` of an :class:`ArmResult`.

    ``first`` is what :func:`num_first` returns.
    """
    values = np.array(list(losses.values()), dtype=np.float64)
    finished = values[np.isfinite(values)]
    interval = None
    if len(finished) == len(values):
        interval = inference.student_interval(finished, first=first)
    return {"mean": float(np.mean(finished)) if len(finished) else None, "interval": interval}


def text_of(settings: Settings) -> tuple[Any, ...]:
    """Returns what says which text is read, and how."""
    return tuple(getattr(settings, name) for name in TEXT_FIELDS)


def _incomparable(arm: ArmLike, baseline: ArmLike) -> str:
    """Returns why the losses of two arms do not compare, or nothing."""
    values = zip(TEXT_FIELDS, text_of(baseline.settings), text_of(arm.settings), strict=True)
    return "; ".join(
        f"{name} differs ({theirs} and {ours})" for name, theirs, ours in values if theirs != ours
    )


def _plain(value: Any) -> Any:
    """Returns a cell of a frame as JSON would hold it: no NumPy scalar, None for a missing one."""
    if isinstance(value, dict | list | tuple):
        return value
    return None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value


def _described(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns what the first replicate that knows it tells of an arm; without one, any run."""
    replicates = rows[rows["phase"] == "replicate"].sort_values("index", kind="stable")
    sources = replicates if len(replicates) else rows

    def first(column: str) -> Any:
        present = [value for value in map(_plain, sources[column]) if value not in (None, {}, [])]
        return present[0] if present else None

    names = ("num_parameters", "num_states", "hidden_size", "flops_per_token")
    counts = {name: first(name) for name in names}
    return {
        **{name: None if count is None else int(count) for name, count in counts.items()},
        "tokens": int(rows["tokens"].fillna(0).sum()),
        "params": first("params") or {},
        "samples": list(first("samples") or []),
    }


def _by_phase(rows: pd.DataFrame) -> dict[Phase, pd.DataFrame]:
    phases = sorted(set(zip(rows["mode"], rows["pack"], strict=True)))
    return {
        (str(mode), int(pack)): rows[(rows["mode"] == mode) & (rows["pack"] == pack)]
        for mode, pack in phases
    }


def _timed(rows: pd.DataFrame) -> dict[str, Any]:
    groups = _by_phase(rows)
    return {
        "tokens_per_second": {
            phase: float(group["tokens_per_second"].median()) for phase, group in groups.items()
        },
        "conditions": {phase: _condition_text(group) for phase, group in groups.items()},
    }


def _conditions(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        name: sorted({_plain(value) for value in rows[name]}, key=str) for name in columns.EXECUTION
    }


def _condition_text(rows: pd.DataFrame) -> str:
    texts = {
        name: " and ".join(str(v) for v in values) for name, values in _conditions(rows).items()
    }
    return (
        f"{texts['engine']} on {texts['device']}, {texts['precision']}, threads: {texts['threads']}"
    )


def _timing(rows: pd.DataFrame, arm: str) -> Timing:
    # An arm timed under several conditions equals no other, so the arm's name goes into the value.
    conditions = {
        name: values[0] if len(values) == 1 else f"{' and '.join(map(str, values))} in {arm}"
        for name, values in _conditions(rows).items()
    }
    # Per token, not per update: arms may differ in how many tokens an update reads.
    seconds = 1.0 / rows["tokens_per_second"].astype(float)
    return Timing(dict(zip(rows["round"].astype(int), seconds, strict=True)), conditions)


def _speeds(study: StudyLike, timings: pd.DataFrame) -> dict[str, dict[Phase, SpeedDecision]]:
    base = study.baseline.name
    speeds: dict[str, dict[Phase, SpeedDecision]] = {arm.name: {} for arm in study.arms}
    for phase, group in _by_phase(timings).items():
        timed = {arm.name: _timing(group[group["arm"] == arm.name], arm.name) for arm in study.arms}
        others = [name for name in timed if name != base and timed[name].seconds]
        decided = decisions.decide_speed(
            timed[base], [timed[name] for name in others], threshold=study.measure.threshold
        )
        for name, decision in zip(others, decided, strict=True):
            speeds[name][phase] = decision
    return speeds


def missing(study: StudyLike, runs: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Returns what a complete study would have and this one has not, one line each."""
    lines = []
    for arm in study.arms:
        trials = runs[
            (runs["arm"] == arm.name) & (runs["phase"] == "trial") & runs["state"].isin(TRIAL_ENDS)
        ]
        num_planned = study.tune.num_trials * study.tune.repeats if study.tune else 0
        if len(trials) < num_planned:
            lines.append(f"{arm.name}: {len(trials)} of {num_planned} trials ended.")
        lines += _missing_seeds(study, arm.name, runs)
        if study.measure.runtime and not (timings["arm"] == arm.name).any():
            lines.append(f"{arm.name}: its runtime has not been measured.")
    return lines


def _missing_seeds(study: StudyLike, arm: str, runs: pd.DataFrame) -> list[str]:
    rows = _replicates(runs, arm)
    rows = rows[rows["state"].isin(REPLICATE_ENDS)]
    ended = set(zip(rows["repeat"].astype(int), rows["index"].astype(int), strict=True))
    lines, wanted = [], range(num_seeds(study, runs))
    for repeat in range(num_repeats(study)):
        absent = [j for j in wanted if (repeat, j) not in ended]
        if absent:
            seeds = ", ".join(str(study.replicate.first_seed + j) for j in absent)
            lines.append(
                f"{Unit(arm, repeat=repeat)}: replicates are missing for the seeds {seeds}."
            )
    return lines


def doubts(
    study: StudyLike, runs: pd.DataFrame, timings: pd.DataFrame, results: Sequence[ArmResult]
) -> list[str]:
    """Returns the warnings that the results themselves give rise to, one line each."""
    lines = []
    for result in results:
        lines += _doubts_of_replicates(study, result, _replicates(runs, result.name))
        lines += _disagreement(result, study.measure.threshold)
        is_timed = timings["arm"] == result.name
        num_busy = int((is_timed & (timings["busy"] == True)).sum())  # noqa: E712  (may hold NaN)
        if num_busy:
            of_timings = f"{num_busy} of {int(is_timed.sum())} timings"
            lines.append(f"{result.name}: the machine was busy in {of_timings}.")
    return lines


def _doubts_of_replicates(study: StudyLike, result: ArmResult, rows: pd.DataFrame) -> list[str]:
    """Returns what is doubtful about an arm's replicates, whose runs are ``rows``."""
    lines = []
    column = "test/loss" if is_held_out(study) else "objective"
    if result.num_diverged:
        num_diverged = int((rows["state"] == RunState.DIVERGED).sum())
        lines.append(f"{num_diverged} of {len(rows)} replicates diverged.")
    if result.num_failed:
        rest = " with the rest of their repeats" if num_repeats(study) > 1 else ""
        num_failed = f"{result.num_failed} of {len(rows)} replicates failed"
        lines.append(f"{num_failed} and enter no figure{rest}.")
    if rows["num_parameters"].nunique() > 1:
        lines.append("its repeats chose different sizes; the costs shown are of the first.")
    num_blank = int(((rows["state"] == RunState.FINISHED) & rows[column].isna()).sum())
    if num_blank:
        lines.append(f"{num_blank} finished replicates have no {column} and enter no figure.")
    if num_repeats(study) == 1 and _num_settings(rows) > 1:
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
