"""From the frames of runs and timings to one result per arm, and what is missing or doubtful.

Words are elsewhere.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.statistics import decisions, inference, power
from harness.statistics.decisions import Decision, SpeedDecision, Timing
from harness.statistics.inference import Interval
from harness.study.units import FAILURES_IN_A_ROW, Unit

PLACE_COLUMNS = ("condition", "arm", "repeat", "phase", "index")
RUN_COLUMNS = (
    *(*PLACE_COLUMNS, "seed", "state", "objective", "validation/loss", "test/loss", "train/loss"),
    *("num_parameters", "num_states", "hidden_size", "flops_per_token", "tokens", "seconds"),
    *("engine", "device", "precision", "threads", "pack_size", "params", "samples"),
)
CURVE_COLUMNS = (
    *PLACE_COLUMNS,
    "update",
    "tokens",
    "time_seconds",
    "train/loss",
    "validation/loss",
)
CONDITIONS = ("engine", "device", "precision", "threads")
TIMING_COLUMNS = (
    "condition",
    "arm",
    "mode",
    "pack",
    "round",
    "seconds",
    "tokens_per_second",
    *CONDITIONS,
    "busy",
)
TEXT_FIELDS = (
    "corpus",
    "path",
    "token",
    "min_count",
    "split",
)  # losses compare only where these are equal
TRIAL_ENDS = ("finished", "diverged", "pruned", "failed")
REPLICATE_ENDS = ("finished", "diverged", "failed")

_ALL_FAILED = ["failed"] * FAILURES_IN_A_ROW

Phase = tuple[str, int]  # a runtime's mode ("train" or "forward") and pack


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
    """Returns ``frame`` with all of ``columns``; an empty one may come without any, another without
    a repeat's.
    """
    completed = frame.reindex(
        columns=[*columns, *(name for name in map(str, frame) if name not in columns)]
    )
    return (
        completed.assign(repeat=completed["repeat"].fillna(0)) if "repeat" in columns else completed
    )


def num_seeds(study: Any, runs: pd.DataFrame) -> int:
    """Returns how many seeds a condition takes: those the study says, or as many as its first stage
    asks for.

    ``runs`` are those of the condition. Until all arms have ended the first stage, that is all; an
    arm that failed in it asks for no more.
    """
    plan = study.replicate
    if plan is None or plan.until is None:
        return plan.seeds if plan else 0
    if plan.until == 0.0:  # no interval is narrow enough
        return int(plan.at_most)
    stage = runs[
        (runs["phase"] == "replicate")
        & (runs["index"] < plan.seeds)
        & runs["state"].isin(REPLICATE_ENDS)
    ]
    if any(
        (stage["arm"] == a.name).sum() < plan.seeds and not _is_given_up(study, runs, a.name)
        for a in study.arms
    ):
        return int(plan.seeds)
    nats = {arm.name: losses(study, stage, arm.name) for arm in study.arms}
    base = nats[study.baseline.name]
    others = [
        arm for arm in study.arms if not arm.is_baseline and not _incomparable(arm, study.baseline)
    ]
    pairs = [inference.paired_differences(nats[arm.name], base) for arm in others]
    full = [differences for differences in pairs if len(differences) == plan.seeds]
    if not full:
        return int(plan.seeds)
    return power.stein_seeds(full, half_width_nats=math.log1p(plan.until), at_most=plan.at_most)


def _is_given_up(study: Any, runs: pd.DataFrame, arm: str) -> bool:
    """Says whether an arm will never end the replicates that it lacks: they failed, or it has no
    setting to train.
    """
    own = runs[runs["arm"] == arm].sort_values("index", kind="stable")
    last = own.loc[(own["phase"] == "replicate") & own["state"].isin(REPLICATE_ENDS), "state"].tail(
        FAILURES_IN_A_ROW
    )
    trials = own.loc[(own["phase"] == "trial") & own["state"].isin(TRIAL_ENDS), "state"]
    is_searched = study.tune is not None and (
        len(trials) >= study.tune.num_trials
        or trials.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED
    )
    has_none = is_searched and not trials.isin(["finished", "diverged"]).any()
    return has_none or last.tolist() == _ALL_FAILED


def planned(study: Any, frame: pd.DataFrame, num_seeds: int) -> pd.DataFrame:
    """Returns the runs, or the rows of their curves, that the study as it stands asks for: the
    books may hold more.
    """
    is_asked = (frame["phase"] != "replicate") | (frame["index"] < num_seeds)
    return frame[is_asked & (frame["repeat"] < num_repeats(study))]


def is_held_out(study: Any) -> bool:
    """Says whether the decision is on test loss; without a split it is on the objective, a training
    loss.
    """
    return study.baseline.settings.split == "holdout"


def measured(study: Any) -> str:
    """Returns what the report's perplexity is called."""
    return "perplexity" if is_held_out(study) else "running training perplexity"


def gather(study: Any, runs: pd.DataFrame, timings: pd.DataFrame) -> list[ArmResult]:
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
        own, timed = runs[runs["arm"] == arm.name], timings[timings["arm"] == arm.name]
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
                num_failed=int((_replicates(runs, arm.name)["state"] == "failed").sum()),
                num_planned=num_planned,
                **level(nats[arm.name], first),
                differences=pairs.get(arm.name, np.zeros(0)),
                decision=decision,
                seeds_to_decide=seeds,
                incomparable=reasons[arm.name],
                speeds=speeds.get(arm.name, {}),
                **_timed(timed),
                **_described(own),
                training_seconds=_training_seconds(own, timed),
                trials=own[own["phase"] == "trial"],
            )
        )
    return results


def _replicates(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    return runs[(runs["arm"] == arm) & (runs["phase"] == "replicate")].sort_values(
        "index", kind="stable"
    )


def losses(study: Any, runs: pd.DataFrame, arm: str) -> dict[str, float]:
    """Returns an arm's :attr:`ArmResult.losses`; a repeat is among them once all its seeds ended,
    or one diverged.
    """
    column = "test/loss" if is_held_out(study) else "objective"
    rows = _replicates(runs, arm)
    finished, diverged = rows["state"] == "finished", rows["state"] == "diverged"
    rows = rows[diverged | (finished & rows[column].notna())]
    rows = rows.assign(
        nats=np.where(rows["state"] == "diverged", np.inf, rows[column].astype(float))
    )
    if num_repeats(study) == 1:
        return dict(zip(rows["seed"].astype(str), rows["nats"].tolist(), strict=True))
    means = rows.groupby("repeat")["nats"].agg(["mean", "count"])
    # A repeat without all its seeds would not pair seed by seed; where one of them diverged, the
    # rest is no matter.
    whole = means[(means["count"] == num_seeds(study, runs)) | np.isinf(means["mean"])]
    names = [f"repeat {repeat}" for repeat in whole.index.astype(int)]
    return dict(zip(names, whole["mean"].tolist(), strict=True))


def num_repeats(study: Any) -> int:
    """Returns how often the whole of tuning and replicating is done."""
    return study.tune.repeats if study.tune else 1


def _training_seconds(rows: pd.DataFrame, timings: pd.DataFrame) -> float | None:
    tokens = rows.loc[
        (rows["phase"] == "replicate") & (rows["state"] == "finished"), "tokens"
    ].dropna()
    rates = timings.loc[(timings["mode"] == "train") & (timings["pack"] == 1), "tokens_per_second"]
    return (
        float(tokens.astype(float).median() / rates.median())
        if len(tokens) and len(rates)
        else None
    )


def num_first(study: Any, losses: list[dict[str, float]]) -> int | None:
    """Returns how many first-stage seeds all of these arms have, two at least; None where there are
    no stages.
    """
    plan = study.replicate
    if plan is None or plan.until is None:
        return None
    stage = {str(plan.first_seed + j) for j in range(plan.seeds)}
    return max(2, len(stage.intersection(*losses)))


def level(losses: dict[str, float], first: int | None) -> dict[str, Any]:
    """Returns the ``mean`` and the ``interval`` of an :class:`ArmResult`; ``first`` is from
    :func:`num_first`.
    """
    values = np.array(list(losses.values()), dtype=np.float64)
    finished = values[np.isfinite(values)]
    return {
        "mean": float(np.mean(finished)) if len(finished) else None,
        "interval": inference.student_interval(finished, first=first)
        if len(finished) == len(values)
        else None,
    }


def text_of(settings: Any) -> tuple[Any, ...]:
    """Returns what says which text is read, and how."""
    return tuple(getattr(settings, name) for name in TEXT_FIELDS)


def _incomparable(arm: Any, baseline: Any) -> str:
    pairs = [
        (name, getattr(baseline.settings, name), getattr(arm.settings, name))
        for name in TEXT_FIELDS
    ]
    return "; ".join(
        f"{name} differs ({there} and {here})" for name, there, here in pairs if there != here
    )


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

    counts = {
        name: first(name)
        for name in ("num_parameters", "num_states", "hidden_size", "flops_per_token")
    }
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
    return {name: sorted({_plain(value) for value in rows[name]}, key=str) for name in CONDITIONS}


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


def _speeds(study: Any, timings: pd.DataFrame) -> dict[str, dict[Phase, SpeedDecision]]:
    base = study.baseline.name
    speeds: dict[str, dict[Phase, SpeedDecision]] = {arm.name: {} for arm in study.arms}
    for phase, group in _by_phase(timings).items():
        timed = {arm.name: _timing(group[group["arm"] == arm.name], arm.name) for arm in study.arms}
        arms = [name for name in timed if name != base and timed[name].seconds]
        decided = decisions.decide_speed(
            timed[base], [timed[a] for a in arms], threshold=study.measure.threshold
        )
        for name, decision in zip(arms, decided, strict=True):
            speeds[name][phase] = decision
    return speeds


def missing(study: Any, runs: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Returns what a complete study would have and this one has not, one line each."""
    lines = []
    for arm in study.arms:
        trials = runs[
            (runs["arm"] == arm.name) & (runs["phase"] == "trial") & runs["state"].isin(TRIAL_ENDS)
        ]
        if study.tune and len(trials) < (wanted := study.tune.num_trials * study.tune.repeats):
            lines.append(f"{arm.name}: {len(trials)} of {wanted} trials ended.")
        lines += _missing_seeds(study, arm.name, runs)
        if study.measure.runtime and not (timings["arm"] == arm.name).any():
            lines.append(f"{arm.name}: its runtime has not been measured.")
    return lines


def _missing_seeds(study: Any, arm: str, runs: pd.DataFrame) -> list[str]:
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
    study: Any, runs: pd.DataFrame, timings: pd.DataFrame, results: Sequence[ArmResult]
) -> list[str]:
    """Returns the warnings that the results themselves give rise to, one line each."""
    threshold, lines = study.measure.threshold, []
    column = "test/loss" if is_held_out(study) else "objective"
    for result in results:
        rows = _replicates(runs, result.name)
        if result.num_diverged:
            diverged = int((rows["state"] == "diverged").sum())
            lines.append(f"{result.name}: {diverged} of {len(rows)} replicates diverged.")
        if result.num_failed:
            rest = " with the rest of their repeats" if num_repeats(study) > 1 else ""
            failed = (
                f"{result.num_failed} of {len(rows)} replicates failed and enter no figure{rest}"
            )
            lines.append(f"{result.name}: {failed}.")
        if rows["num_parameters"].nunique() > 1:
            lines.append(
                f"{result.name}: its repeats chose different sizes; the costs shown are of the first."
            )
        num_blank = int(((rows["state"] == "finished") & rows[column].isna()).sum())
        if num_blank:
            lines.append(
                f"{result.name}: {num_blank} finished replicates have no {column} and enter no figure."
            )
        if (
            num_repeats(study) == 1
            and len(
                {
                    json.dumps(p, sort_keys=True, default=str)
                    for p in rows["params"]
                    if isinstance(p, dict)
                }
            )
            > 1
        ):
            lines.append(f"{result.name}: its replicates were trained at different tuned values.")
        lines += _disagreement(result, threshold)
        busy = timings[(timings["arm"] == result.name) & (timings["busy"] == True)]  # noqa: E712  (may hold NaN)
        if len(busy):
            num_timed = int((timings["arm"] == result.name).sum())
            lines.append(
                f"{result.name}: the machine was busy in {len(busy)} of {num_timed} timings."
            )
    return lines


def _disagreement(result: ArmResult, threshold: float) -> list[str]:
    decision = result.decision
    if decision is None or decision.adjusted_p is None or decision.adjusted_sign_flip_p is None:
        return []
    student, flip = decision.adjusted_p, decision.adjusted_sign_flip_p
    if (student < threshold) == (flip < threshold):
        return []
    reach = inference.smallest_p(decision.num_pairs)
    return [
        f"{result.name}: the tests disagree at {threshold:g}: Student's Holm-adjusted p is {student:.3g}, the sign-flip"
        f" test's {flip:.3g} ({decision.num_pairs} pairs cannot go below {reach:.3g} before adjustment)."
    ]
