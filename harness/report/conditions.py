"""Several conditions side by side, and together where they are enough."""

from collections.abc import Sequence

import numpy as np

from harness.metrics import perplexity
from harness.report import sentences
from harness.report.arm_results import ArmResult
from harness.report.tables import Section, ratio_text
from harness.statistics import aggregates
from harness.statistics.inference import Interval


def overview(parts: Sequence[tuple[str, Sequence[ArmResult]]]) -> Section:
    """Returns every arm's verdict and ratio under every condition, of (condition, results)."""
    names = list(
        dict.fromkeys(r.name for _, gathered in parts for r in gathered if not r.is_baseline)
    )
    found = {(title, r.name): r for title, gathered in parts for r in gathered}
    rows = [(name, *(_in_short(found.get((title, name))) for title, _ in parts)) for name in names]
    return Section("Under every condition", ("Arm", *(title for title, _ in parts)), rows)


def over_all(parts: Sequence[tuple[str, Sequence[ArmResult]]], num_texts: int) -> Section | None:
    """Returns one figure per arm over all conditions, of (condition, results): of few it would hide
    more than it tells.

    None: they are not ``aggregates.MIN_STRATA`` texts or more, each under one condition, or no arm
        has a pair under all of them.
    """
    if not len(parts) == num_texts >= aggregates.MIN_STRATA:
        return None
    rows = []
    for name in dict.fromkeys(
        r.name for _, gathered in parts for r in gathered if not r.is_baseline
    ):
        pairs = [_paired(gathered, name) for _, gathered in parts]
        if all(len(arm) for arm, _ in pairs):
            improved = aggregates.probability_of_improvement(
                [arm for arm, _ in pairs], [base for _, base in pairs]
            )
            middle = aggregates.interquartile_mean([arm - base for arm, base in pairs])
            ends = Interval(perplexity(middle.interval.low), perplexity(middle.interval.high))
            ratio, low, high = sentences.ratio_texts(perplexity(middle.value), ends)
            chance, least, most = sentences.ratio_texts(
                improved.value, improved.interval, decimals=2
            )
            rows.append((name, f"{chance} ({least} to {most})", f"{ratio} ({low} to {high})"))
    header = (
        "Arm",
        "Probability of a lower loss (95 %)",
        "Interquartile mean of the ratios (95 %)",
    )
    return Section(f"Over all {len(parts)} conditions", header, rows) if rows else None


def _paired(gathered: Sequence[ArmResult], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The losses of an arm and of the baseline at the seeds or repeats that both have; none where
    they do not compare.

    A pair that diverged on both sides says nothing.
    """
    arm = next((r for r in gathered if r.name == name and not r.incomparable), None)
    base = next((r for r in gathered if r.is_baseline), None)
    if arm is None or base is None:
        return np.zeros(0), np.zeros(0)
    both = [(arm.losses[key], base.losses[key]) for key in arm.losses if key in base.losses]
    values = np.array([pair for pair in both if np.isfinite(pair).any()], dtype=np.float64).reshape(
        -1, 2
    )
    return values[:, 0], values[:, 1]


def _in_short(result: ArmResult | None) -> str:
    return "" if result is None else f"{sentences.word(result)} {ratio_text(result)}".strip()
