"""From the frames of runs and timings to one result per arm, and what is missing or doubtful. Words are elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness import decisions, statistics
from harness.decisions import Decision, SpeedDecision, Timing
from harness.statistics import Interval

RUN_COLUMNS = (
    *("arm", "phase", "index", "seed", "state", "objective", "validation/loss", "test/loss", "train/loss"),
    *("num_parameters", "num_states", "tokens", "seconds", "engine", "device", "precision", "threads", "pack_size"),
    *("params", "samples"),
)
CURVE_COLUMNS = ("arm", "phase", "index", "update", "tokens", "time_seconds", "train/loss", "validation/loss")
CONDITIONS = ("engine", "device", "precision", "threads")
TIMING_COLUMNS = ("arm", "mode", "pack", "round", "seconds", "tokens_per_second", *CONDITIONS, "busy")
TEXT_FIELDS = ("corpus", "path", "token", "min_count", "split")  # losses compare only where these are equal
TRIAL_ENDS = ("finished", "diverged", "pruned", "failed")
REPLICATE_ENDS = ("finished", "diverged", "failed")

Phase = tuple[str, int]  # a runtime's mode ("train" or "forward") and pack


@dataclass(frozen=True)
class ArmResult:
    """What is known of an arm.

    Attributes:
        losses: Nats by seed, of the replicates that ended; infinite where one diverged.
        mean: Over the finished replicates, in nats. None: there is none.
        interval: 95 %, of ``mean``. None: fewer than two replicates, or a diverged one.
        differences: Paired with the baseline, in nats; empty for the baseline itself.
        decision: None for the baseline and for an arm that reads another text.
        incomparable: Why the losses do not compare with the baseline's, or nothing.
        speeds: Against the baseline.
        num_states: Floats of state per stream.
        tokens: Spent on all trials and replicates.
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
    tokens: int
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
    """Returns ``frame`` with all of ``columns``; an empty one may come without any."""
    return frame.reindex(columns=list(columns))


def is_held_out(study: Any) -> bool:
    """Says whether the decision is on test loss; without a split it is on the objective, a training loss."""
    return study.baseline.settings.split == "holdout"


def measured(study: Any) -> str:
    """Returns what the report's perplexity is called."""
    return "perplexity" if is_held_out(study) else "running training perplexity"


def gather(study: Any, runs: pd.DataFrame, timings: pd.DataFrame) -> list[ArmResult]:
    """Returns one result per arm of ``study``, in its order. Frames have RUN_COLUMNS and TIMING_COLUMNS."""
    losses = {arm.name: _losses(study, runs, arm.name) for arm in study.arms}
    base = study.baseline.name
    reasons = {arm.name: _incomparable(arm, study.baseline) for arm in study.arms}
    pairs = {name: statistics.paired_differences(losses[name], losses[base]) for name in losses if name != base}
    family = [name for name in pairs if not reasons[name]]
    margin, threshold = study.measure.margin, study.measure.threshold
    decided = decisions.decide([pairs[name] for name in family], margin=margin, threshold=threshold)
    by_arm = dict(zip(family, decided, strict=True))
    speeds = _speeds(study, timings)
    results = []
    for arm in study.arms:
        decision = by_arm.get(arm.name)
        seeds = None
        if decision is not None and decision.verdict == "undecided":
            seeds = decisions.seeds_to_decide(
                pairs[arm.name], margin=margin, num_comparisons=len(family), threshold=threshold
            )
        results.append(
            ArmResult(
                name=arm.name,
                is_baseline=arm.name == base,
                token=arm.settings.token,
                losses=losses[arm.name],
                num_failed=int((_replicates(runs, arm.name)["state"] == "failed").sum()),
                num_planned=study.replicate.seeds if study.replicate else 0,
                **_level(losses[arm.name]),
                differences=pairs.get(arm.name, np.zeros(0)),
                decision=decision,
                seeds_to_decide=seeds,
                incomparable=reasons[arm.name],
                speeds=speeds.get(arm.name, {}),
                **_timed(timings[timings["arm"] == arm.name]),
                **_described(runs[runs["arm"] == arm.name]),
            )
        )
    return results


def _replicates(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    return runs[(runs["arm"] == arm) & (runs["phase"] == "replicate")].sort_values("index", kind="stable")


def _losses(study: Any, runs: pd.DataFrame, arm: str) -> dict[str, float]:
    column = "test/loss" if is_held_out(study) else "objective"
    rows = _replicates(runs, arm)
    finished, diverged = rows["state"] == "finished", rows["state"] == "diverged"
    rows = rows[diverged | (finished & rows[column].notna())]
    values = np.where(rows["state"] == "diverged", np.inf, rows[column].astype(float))
    return dict(zip(rows["seed"].astype(str), values.tolist(), strict=True))


def _level(losses: dict[str, float]) -> dict[str, Any]:
    values = np.array(list(losses.values()), dtype=np.float64)
    finished = values[np.isfinite(values)]
    return {
        "mean": float(np.mean(finished)) if len(finished) else None,
        "interval": statistics.student_interval(finished) if len(finished) == len(values) else None,
    }


def _incomparable(arm: Any, baseline: Any) -> str:
    pairs = [(name, getattr(baseline.settings, name), getattr(arm.settings, name)) for name in TEXT_FIELDS]
    return "; ".join(f"{name} differs ({there} and {here})" for name, there, here in pairs if there != here)


def _plain(value: Any) -> Any:
    """A cell of a frame as JSON would hold it: no NumPy scalar, None for what is missing."""
    if isinstance(value, dict | list | tuple):
        return value
    return None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value


def _described(rows: pd.DataFrame) -> dict[str, Any]:
    last = rows[rows["phase"] == "replicate"].sort_values("index", kind="stable")
    last = last if len(last) else rows

    def first(column: str) -> Any:
        present = [value for value in map(_plain, last[column]) if value not in (None, {}, [])]
        return present[0] if present else None

    num_parameters, num_states = first("num_parameters"), first("num_states")
    return {
        "num_parameters": None if num_parameters is None else int(num_parameters),
        "num_states": None if num_states is None else int(num_states),
        "tokens": int(rows["tokens"].fillna(0).sum()),
        "params": first("params") or {},
        "samples": list(first("samples") or []),
    }


def _by_phase(rows: pd.DataFrame) -> dict[Phase, pd.DataFrame]:
    phases = sorted(set(zip(rows["mode"], rows["pack"], strict=True)))
    return {(str(mode), int(pack)): rows[(rows["mode"] == mode) & (rows["pack"] == pack)] for mode, pack in phases}


def _timed(rows: pd.DataFrame) -> dict[str, Any]:
    groups = _by_phase(rows)
    return {
        "tokens_per_second": {phase: float(group["tokens_per_second"].median()) for phase, group in groups.items()},
        "conditions": {phase: _condition_text(group) for phase, group in groups.items()},
    }


def _conditions(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {name: sorted({_plain(value) for value in rows[name]}, key=str) for name in CONDITIONS}


def _condition_text(rows: pd.DataFrame) -> str:
    texts = {name: " and ".join(str(v) for v in values) for name, values in _conditions(rows).items()}
    return f"{texts['engine']} on {texts['device']}, {texts['precision']}, threads: {texts['threads']}"


def _timing(rows: pd.DataFrame, arm: str) -> Timing:
    # An arm timed under several conditions equals no other, so the arm's name goes into the value.
    conditions = {
        name: values[0] if len(values) == 1 else f"{' and '.join(map(str, values))} in {arm}"
        for name, values in _conditions(rows).items()
    }
    # Per token, not per update: arms may differ in how many tokens an update reads.
    seconds = 1.0 / rows["tokens_per_second"].astype(float)
    return Timing(dict(zip(rows["round"].astype(int), seconds, strict=True)), conditions)


def _speeds(study: Any, timings: pd.DataFrame) -> dict[str, dict[Phase, SpeedDecision]]:
    base = study.baseline.name
    speeds: dict[str, dict[Phase, SpeedDecision]] = {arm.name: {} for arm in study.arms}
    for phase, group in _by_phase(timings).items():
        timed = {arm.name: _timing(group[group["arm"] == arm.name], arm.name) for arm in study.arms}
        arms = [name for name in timed if name != base and timed[name].seconds]
        decided = decisions.decide_speed(timed[base], [timed[a] for a in arms], threshold=study.measure.threshold)
        for name, decision in zip(arms, decided, strict=True):
            speeds[name][phase] = decision
    return speeds


def missing(study: Any, runs: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Returns what a complete study would have and this one has not, one line each."""
    lines = []
    for arm in study.arms:
        trials = runs[(runs["arm"] == arm.name) & (runs["phase"] == "trial") & runs["state"].isin(TRIAL_ENDS)]
        if study.tune and len(trials) < study.tune.num_trials:
            lines.append(f"{arm.name}: {len(trials)} of {study.tune.num_trials} trials ended.")
        rows = _replicates(runs, arm.name)
        ended = set(rows.loc[rows["state"].isin(REPLICATE_ENDS), "index"].astype(int))
        planned = range(study.replicate.seeds if study.replicate else 0)
        absent = [str(study.replicate.first_seed + j) for j in planned if j not in ended]
        if absent:
            lines.append(f"{arm.name}: replicates are missing for the seeds {', '.join(absent)}.")
        if study.measure.runtime and not (timings["arm"] == arm.name).any():
            lines.append(f"{arm.name}: its runtime has not been measured.")
    return lines


def doubts(study: Any, runs: pd.DataFrame, timings: pd.DataFrame, results: Sequence[ArmResult]) -> list[str]:
    """Returns the warnings that the results themselves give rise to, one line each."""
    threshold, lines = study.measure.threshold, []
    column = "test/loss" if is_held_out(study) else "objective"
    for result in results:
        rows = _replicates(runs, result.name)
        if result.num_diverged:
            lines.append(f"{result.name}: {result.num_diverged} of {len(result.losses)} replicates diverged.")
        if result.num_failed:
            lines.append(f"{result.name}: {result.num_failed} of {len(rows)} replicates failed and enter no figure.")
        num_blank = int(((rows["state"] == "finished") & rows[column].isna()).sum())
        if num_blank:
            lines.append(f"{result.name}: {num_blank} finished replicates have no {column} and enter no figure.")
        if len({json.dumps(p, sort_keys=True, default=str) for p in rows["params"] if isinstance(p, dict)}) > 1:
            lines.append(f"{result.name}: its replicates were trained at different tuned values.")
        lines += _disagreement(result, threshold)
        busy = timings[(timings["arm"] == result.name) & (timings["busy"] == True)]  # noqa: E712  (may hold NaN)
        if len(busy):
            num_timed = int((timings["arm"] == result.name).sum())
            lines.append(f"{result.name}: the machine was busy in {len(busy)} of {num_timed} timings.")
    return lines


def _disagreement(result: ArmResult, threshold: float) -> list[str]:
    decision = result.decision
    if decision is None or decision.adjusted_p is None or decision.adjusted_sign_flip_p is None:
        return []
    student, flip = decision.adjusted_p, decision.adjusted_sign_flip_p
    if (student < threshold) == (flip < threshold):
        return []
    reach = statistics.smallest_p(decision.num_pairs)
    return [
        f"{result.name}: the tests disagree at {threshold:g}: Student's Holm-adjusted p is {student:.3g}, the sign-flip"
        f" test's {flip:.3g} ({decision.num_pairs} pairs cannot go below {reach:.3g} before adjustment)."
    ]
