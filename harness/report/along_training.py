"""How two arms compare on the way: by the objective at points of training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.report import measure
from harness.report.arm_results import ArmResult
from harness.report.number_texts import difference_texts, p_text
from harness.report.tables import Section
from harness.report.tried import is_not_learned
from harness.statistics import inference
from harness.study import Study
from harness.tasks.objective import Objective, objective_of, split_of
from harness.training.messages import RunState

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""The points of training that are looked at, as shares of the updates that all arms have."""


def section(study: Study, results: Sequence[ArmResult], curves: pd.DataFrame) -> Section | None:
    """Returns a row per arm and a column per point, None where there are fewer than two points.

    A cell has the ratio to the baseline's number or the difference from it, over the pairs whose
    two replicates finished and learned something (the curve of one that did not may go anywhere),
    and its p: Student's, after Holm over all cells, since every point is another look. A design in
    stages takes the spread of its first one, as the verdict does.

    Args:
        study: Of one condition.
        results: Its arms.
        curves: Their rows, with the columns ``state`` and ``not_learned`` of their runs.
    """
    metric = measure.curve_metric(study)
    nats = {result.name: _nats(curves, result.name, metric) for result in results}
    base = nats[study.baseline.name]
    arms = [r.name for r in results if not (r.is_baseline or r.incomparable or r.open)]
    updates = _looks([base, *(nats[arm] for arm in arms)])
    if len(updates) < 2:
        return None
    differences = {
        (arm, update): (nats[arm][update] - base[update]).dropna().groupby("repeat")
        for arm in arms
        for update in updates
    }
    pairs = {
        place: (rows.mean() if study.is_repeated else rows.obj).to_numpy(dtype=np.float64)
        for place, rows in differences.items()
    }
    first = {place: _num_first(study, rows.obj.index) for place, rows in differences.items()}
    p_values = [
        inference.student_p(x, first=first[place]) if len(x) > 1 else None
        for place, x in pairs.items()
    ]
    adjusted = dict(zip(pairs, inference.holm(p_values), strict=True))
    split, objective = split_of(metric), objective_of(study.measure.objective)
    return Section(
        f"{split.capitalize()} {objective.name} along training, as a {objective.scale} (95 %"
        f"{measure.without_search(study)}; p after Holm over all {len(pairs)} comparisons)",
        ("Arm", *_titles(study, curves, updates)),
        [
            (
                arm,
                *(
                    _cell(objective, pairs[arm, u], first[arm, u], adjusted[arm, u])
                    for u in updates
                ),
            )
            for arm in arms
            if any(len(pairs[arm, u]) for u in updates)
        ],
    )


def _nats(curves: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    """Returns the losses of an arm's replicates that learned: a row each, a column an update."""
    rows = curves[
        (curves["arm"] == arm)
        & (curves["phase"] == "replicate")
        & (curves["state"] == RunState.FINISHED)
        & ~is_not_learned(curves)
    ]
    table = rows.pivot(index=["repeat", "index"], columns="update", values=metric)
    return table.astype(float)


def _looks(nats: Sequence[pd.DataFrame]) -> list[int]:
    """Returns the updates to look at: those that all arms have, nearest to the shares."""
    common = sorted(set.intersection(*(set(map(int, table.columns)) for table in nats)))
    if not common:
        return []
    return sorted({min(common, key=lambda u: abs(u - share * common[-1])) for share in SHARES})


def _titles(study: Study, curves: pd.DataFrame, updates: Sequence[int]) -> list[str]:
    """Returns what the columns are called: an epoch where every epoch is evaluated."""
    if study.baseline.settings.evaluations != "epoch":
        return [f"{update:,} updates" for update in updates]
    known: Mapping[int, int] = {
        update: epoch for epoch, update in enumerate(sorted(curves["update"].unique()), 1)
    }
    return [f"epoch {known[update]:,}" for update in updates]


def _num_first(study: Study, pairs: pd.Index) -> int | None:
    """Returns how many of the pairs are of the first stage, two at least; None: there are none.

    These come first: pairs are in the order of their seeds.
    """
    if study.replicate.until is None:
        return None
    return max(2, int((pairs.get_level_values("index") < study.replicate.seeds).sum()))


def _cell(
    objective: Objective, differences: np.ndarray, first: int | None, adjusted_p: float | None
) -> str:
    if not len(differences):
        return ""
    interval = inference.student_interval(differences, first=first)
    ratio, low, high = difference_texts(objective, float(np.mean(differences)), interval)
    dash = "-" if objective.is_ratio else " to "  # which no sign is taken for
    text = f"{ratio} ({low}{dash}{high})" if low else ratio
    return text if adjusted_p is None else f"{text}, p {p_text(adjusted_p)}"
