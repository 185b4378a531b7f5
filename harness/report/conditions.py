"""Several conditions side by side, and together where they are enough."""

from collections.abc import Sequence

import numpy as np

from harness.report import measure, number_texts, sentences
from harness.report.arm_results import ArmResult
from harness.report.tables import Section, decided_text
from harness.statistics import aggregates
from harness.study import Study

Conditions = Sequence[tuple[str, Sequence[ArmResult]]]
"""The name of each condition with its results."""


def overview(conditions: Conditions) -> Section:
    """Returns every arm's verdict and ratio under every condition."""
    titles = [title for title, _ in conditions]
    by_name = {(title, r.name): r for title, results in conditions for r in results}
    rows = [
        (name, *(_in_short(by_name.get((title, name))) for title in titles))
        for name in _compared(conditions)
    ]
    return Section("Under every condition", ("Arm", *titles), rows)


def over_all(study: Study, conditions: Conditions, num_texts: int) -> Section | None:
    """Returns one figure per arm over all conditions.

    An arm that is not comparable under one of them is not comparable over all. None: there are not
    ``aggregates.MIN_STRATA`` texts or more, each under one condition, so that
    one figure would hide more than it tells, or no arm has a pair under all of them.
    """
    if not len(conditions) == num_texts >= aggregates.MIN_STRATA:
        return None
    rows, objective = [], conditions[0][1][0].objective
    for name in _compared(conditions):
        pairs = [_paired(results, name) for _, results in conditions]
        if any(r.open for _, results in conditions for r in results if r.name == name):
            rows.append((name, "not comparable", "not comparable"))
        elif all(len(arm) for arm, _ in pairs):
            improved = aggregates.probability_of_improvement(
                [arm for arm, _ in pairs], [base for _, base in pairs]
            )
            middle = aggregates.interquartile_mean([arm - base for arm, base in pairs])
            ratio, low, high = number_texts.difference_texts(
                objective, middle.value, middle.interval
            )
            chance, least, most = number_texts.ratio_texts(
                improved.value, improved.interval, decimals=2
            )
            rows.append((name, f"{chance} ({least} to {most})", f"{ratio} ({low} to {high})"))
    header = (
        "Arm",
        "Probability of a lower loss (95 %)",
        f"Interquartile mean of the {objective.scale}s (95 %)",
    )
    note = (
        f"Percentile intervals of a bootstrap that draws {measure.unit(study)}s within every"
        f" condition{measure.without_search(study)}: they say nothing of other texts."
    )
    title = f"Over all {len(conditions)} conditions"
    return Section(title, header, rows, note) if rows else None


def _compared(conditions: Conditions) -> list[str]:
    """Returns the names of the arms that are compared with a baseline, each once."""
    results = [result for _, results in conditions for result in results]
    return list(dict.fromkeys(result.name for result in results if not result.is_baseline))


def _paired(results: Sequence[ArmResult], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the losses of an arm and of the baseline at the seeds or repeats that both have.

    There are none where the two do not compare. A pair of which both diverged says nothing and is
    left out.
    """
    arm = next((r for r in results if r.name == name and not r.incomparable), None)
    base = next((r for r in results if r.is_baseline), None)
    if arm is None or base is None:
        return np.zeros(0), np.zeros(0)
    both = [(arm.losses[key], base.losses[key]) for key in arm.losses if key in base.losses]
    kept = [pair for pair in both if np.isfinite(pair).any()]
    values = np.array(kept, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _in_short(result: ArmResult | None) -> str:
    return "" if result is None else f"{sentences.word(result)} {decided_text(result)}".strip()
