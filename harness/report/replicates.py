"""The replicates of an arm: their losses, a seed or a repeat each, and the mean of these."""

from typing import Any

import numpy as np
import pandas as pd

from harness.report.measure import is_held_out
from harness.statistics import inference
from harness.study import Study
from harness.training.messages import RunState


def replicates_of(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Returns an arm's replicates in the order of their seeds."""
    return runs[(runs["arm"] == arm) & (runs["phase"] == "replicate")].sort_values(
        "index", kind="stable"
    )


def losses(study: Study, runs: pd.DataFrame, arm: str) -> dict[str, float]:
    """Returns an arm's losses, as :class:`harness.report.arm_results.ArmResult` has them.

    A repeat is among them once all its seeds have ended, or one of them diverged.
    """
    column = "test/loss" if is_held_out(study) else "objective"
    rows = replicates_of(runs, arm)
    finished, diverged = rows["state"] == RunState.FINISHED, rows["state"] == RunState.DIVERGED
    rows = rows[diverged | (finished & rows[column].notna())]
    rows = rows.assign(
        nats=np.where(rows["state"] == RunState.DIVERGED, np.inf, rows[column].astype(float))
    )
    if not study.is_repeated:
        return dict(zip(rows["seed"].astype(str), rows["nats"].tolist(), strict=True))
    means = rows.groupby("repeat")["nats"].agg(["mean", "count"])
    # A repeat without all its seeds would not pair seed by seed; where one of them diverged, the
    # others change nothing.
    whole = means[(means["count"] == study.replicate.seeds) | np.isinf(means["mean"])]
    names = [f"repeat {repeat}" for repeat in whole.index.astype(int)]
    return dict(zip(names, whole["mean"].tolist(), strict=True))


def level(losses: dict[str, float], first: int | None) -> dict[str, Any]:
    """Returns the ``mean`` and the ``interval`` of losses, as ``ArmResult`` has them.

    ``first`` is what :func:`harness.report.stages.num_first` returns.
    """
    values = np.array(list(losses.values()), dtype=np.float64)
    finished = values[np.isfinite(values)]
    interval = None
    if len(finished) == len(values):
        interval = inference.student_interval(finished, first=first)
    return {"mean": float(np.mean(finished)) if len(finished) else None, "interval": interval}
