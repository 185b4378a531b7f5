"""From the frames of runs and timings to one result per arm.

The words of a report are in ``sentences`` and ``tables``, what is missing or doubtful in
``remarks``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.report import tried
from harness.report.comparison import compare
from harness.report.divergence import Divergence
from harness.report.evidence import Evidence
from harness.report.frames import plain
from harness.report.lost_runs import LostRuns
from harness.report.measure import is_held_out
from harness.report.replicates import replicates_of
from harness.report.timings import Timed, speed_decisions, timed, training_seconds
from harness.statistics.decisions import Decision, SpeedDecision
from harness.statistics.inference import Interval
from harness.study import Arm, Study
from harness.study.units import Phase
from harness.tasks.objective import Objective, Reading, objective_of, units_metric
from harness.training.messages import RESULTS, RunState


@dataclass(frozen=True)
class ArmResult:
    """What is known of an arm.

    Attributes:
        objective: What the arms are compared by.
        readings: What its loss is told as beside that, with how many of each one's units a token
            stands for.
        losses: By the name of a pair, of what ended; infinite where it diverged. A pair is a
            seed; where the whole is repeated it is a repeat, with the mean of its seeds, diverged
            where one of them did.
        mean: Loss over the finished replicates. None: there is none.
        interval: 95 %, of ``mean``. None: fewer than two replicates, or a diverged one.
        differences: Paired with the baseline's losses; empty for the baseline itself.
        decision: None for the baseline and for an arm that reads another text.
        incomparable: Why the losses do not compare with the baseline's, or nothing.
        is_open: Whether it was not tried at its best.
        open: Why the arm or the baseline was not tried at its best, a clause each.
        excuses: Where the best value of the arm or of the baseline lies at an end for which no
            search is to blame, a clause each.
        search_spread: How far the difference from the baseline hangs on the settings that were
            tried, as a loss; over repeats the root mean square. None: not known, or not asked.
        shares_search: Whether its search and the baseline's drew the same settings; true where
            nothing was searched.
        speeds: Against the baseline.
        num_states: Floats of state per stream.
        tokens: Spent on all trials, finalists and replicates.
        searched_updates: Updates spent on trials and finalists.
        replicate_updates: Those of every finished replicate; empty where nothing ends one before
            its budget is spent.
        training_seconds: Of a replicate that trains alone, by the runtime phase. None: not timed.
        divergence: How often it diverged beside the baseline; None for the baseline, and where no
            run of the condition diverged.
        lost_runs: How many runs its search lost beside the baseline's; None for the baseline,
            without a shared search, and where no run of it was lost.
        fall: By how much loss a finished replicate ended above its best, the median. None: not
            known.
        trials: Its trials, a row each, as :func:`harness.report.tried.whole` returns them.
        finalists: The runs in which its best settings were tried again.
    """

    name: str
    is_baseline: bool
    objective: Objective
    readings: Mapping[Reading, float]
    losses: dict[str, float]
    num_failed: int
    num_not_learned: int
    num_planned: int
    mean: float | None
    interval: Interval | None
    differences: np.ndarray
    decision: Decision | None
    seeds_to_decide: int | None
    incomparable: str
    is_open: bool
    open: list[str]
    excuses: list[str]
    search_spread: float | None
    shares_search: bool
    speeds: dict[Timed, SpeedDecision]
    tokens_per_second: dict[Timed, float]
    conditions: dict[Timed, str]
    num_parameters: int | None
    num_states: int | None
    hidden_size: int | None
    flops_per_token: int | None
    tokens: int
    searched_updates: int
    replicate_updates: tuple[int, ...]
    training_seconds: float | None
    divergence: Divergence | None
    lost_runs: LostRuns | None
    fall: float | None
    trials: pd.DataFrame
    finalists: pd.DataFrame
    params: dict[str, Any]
    samples: list[dict[str, str]]

    @property
    def num_finished(self) -> int:
        """Number of replicates that finished."""
        return int(np.isfinite(list(self.losses.values())).sum()) if self.losses else 0

    @property
    def learned_nothing(self) -> bool:
        """Whether all replicates are at the guess, and every trial was as bad where it ended."""
        if not 0 < self.num_not_learned == len(self.losses):
            return False
        if self.trials.empty:
            return True
        ended = self.trials[self.trials["state"].isin(RESULTS)]
        is_guess = tried.is_not_learned(ended)
        is_no_better = ended["objective"] >= ended.loc[is_guess, "objective"].max()
        is_pruned = (ended["state"] == RunState.PRUNED) & is_no_better
        return bool((is_guess | is_pruned | (ended["state"] == RunState.DIVERGED)).all())

    @property
    def num_diverged(self) -> int:
        """Number of replicates that diverged."""
        return len(self.losses) - self.num_finished


def gather(
    study: Study,
    runs: pd.DataFrame,
    timings: pd.DataFrame,
    num_seeds: int,
    searches: Mapping[str, Evidence],
) -> list[ArmResult]:
    """Returns one result per arm of ``study``, in its order.

    Frames have the columns of :mod:`harness.report.frames`; ``num_seeds`` is what
    :func:`harness.report.stages.num_seeds` returns, and ``searches`` what
    :func:`harness.report.evidence.evidence_of` does.
    """
    comparison, objective = compare(study, runs, searches), objective_of(study.measure.objective)
    speeds = speed_decisions(study, timings)
    num_planned = study.num_repeats if study.is_repeated else num_seeds
    results = []
    for arm in study.arms:
        arm_runs = runs[runs["arm"] == arm.name]
        arm_timings = timings[timings["arm"] == arm.name]
        replicates = replicates_of(runs, arm.name)
        results.append(
            ArmResult(
                name=arm.name,
                is_baseline=arm.name == study.baseline.name,
                objective=objective,
                readings=_readings(study, objective, arm, replicates),
                num_failed=int((replicates["state"] == RunState.FAILED).sum()),
                num_not_learned=int(tried.is_not_learned(replicates).sum()),
                num_planned=num_planned,
                **comparison.of(arm.name),
                speeds=speeds.get(arm.name, {}),
                **timed(arm_timings),
                **_described(arm_runs),
                searched_updates=sum(
                    _updates_of(
                        arm, arm_runs[arm_runs["phase"].isin([Phase.TRIAL, Phase.FINALIST])]
                    )
                ),
                replicate_updates=_replicate_updates(arm, replicates),
                training_seconds=training_seconds(arm_runs, arm_timings),
                fall=_fall(replicates),
                trials=tried.whole(study.trial_seeds, arm_runs[arm_runs["phase"] == Phase.TRIAL]),
                finalists=arm_runs[arm_runs["phase"] == Phase.FINALIST],
            )
        )
    return results


def _readings(
    study: Study, objective: Objective, arm: Arm, replicates: pd.DataFrame
) -> dict[Reading, float]:
    """Returns what an arm's loss is read as; without a run nobody knows what subwords stand for."""
    split = "test" if is_held_out(study) else "train"
    return {
        reading: _first(replicates, units_metric(split, reading.per))
        for reading in objective.readings
        if reading.applies(arm.settings)
    }


def _first(replicates: pd.DataFrame, column: str) -> float:
    """Returns how many units a token stands for: one where no run says otherwise."""
    known = replicates[column].dropna().tolist() if column in replicates else []
    return float(known[0]) if known else 1.0


def _updates_of(arm: Arm, rows: pd.DataFrame) -> list[int]:
    """Returns the updates of an arm's runs that are known: their tokens, by those of an update."""
    updates = []
    known = rows[rows["tokens"].notna()]
    for tokens, params in zip(known["tokens"], known["params"], strict=True):
        batch_size = params.get("batch_size", arm.settings.batch_size)
        updates.append(
            round(tokens / (batch_size * params.get("bptt_length", arm.settings.bptt_length)))
        )
    return updates


def _replicate_updates(arm: Arm, replicates: pd.DataFrame) -> tuple[int, ...]:
    if arm.settings.early_stopping_patience is None:
        return ()
    return tuple(_updates_of(arm, replicates[replicates["state"] == RunState.FINISHED]))


def _fall(replicates: pd.DataFrame) -> float | None:
    """Returns by how much loss finished replicates ended above their best, the median."""
    rows = replicates[
        (replicates["state"] == RunState.FINISHED) & ~tried.is_not_learned(replicates)
    ]
    falls = (rows["final/loss"].astype(float) - rows["objective"].astype(float)).dropna()
    return float(falls.median()) if len(falls) else None


def _described(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns what the first replicate that knows it tells of an arm; without one, any run."""
    replicates = rows[rows["phase"] == "replicate"].sort_values("index", kind="stable")
    sources = replicates if len(replicates) else rows

    def first(column: str) -> Any:
        present = [value for value in map(plain, sources[column]) if value not in (None, {}, [])]
        return present[0] if present else None

    names = ("num_parameters", "num_states", "hidden_size", "flops_per_token")
    counts = {name: first(name) for name in names}
    return {
        **{name: None if count is None else int(count) for name, count in counts.items()},
        "tokens": int(rows["tokens"].fillna(0).sum()),
        "params": first("params") or {},
        "samples": list(first("samples") or []),
    }
