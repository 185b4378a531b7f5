"""How fast arms are, by the runtime phase: tokens per second, conditions, and what is faster."""

from typing import Any

import pandas as pd

from harness.report.frames import plain
from harness.statistics import decisions
from harness.statistics.decisions import SpeedDecision, Timing
from harness.store import columns
from harness.study import Study
from harness.training.messages import RunState

Timed = tuple[str, int]
"""What is timed: the mode, ``train`` or ``forward``, and the number of runs in a pack."""
ALONE: Timed = ("train", 1)
"""The timing of a run that trains alone."""


def _by_phase(rows: pd.DataFrame) -> dict[Timed, pd.DataFrame]:
    phases = sorted(set(zip(rows["mode"], rows["pack"], strict=True)))
    return {
        (str(mode), int(pack)): rows[(rows["mode"] == mode) & (rows["pack"] == pack)]
        for mode, pack in phases
    }


def timed(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns the tokens per second of an arm, and under which conditions, by what was timed."""
    groups = _by_phase(rows)
    return {
        "tokens_per_second": {
            phase: float(group["tokens_per_second"].median()) for phase, group in groups.items()
        },
        "conditions": {phase: _condition_text(group) for phase, group in groups.items()},
    }


def _conditions(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        name: sorted({plain(value) for value in rows[name]}, key=str) for name in columns.EXECUTION
    }


def _condition_text(rows: pd.DataFrame) -> str:
    texts = {
        name: " and ".join(str(v) for v in values) for name, values in _conditions(rows).items()
    }
    return (
        f"engine {texts['engine']} on device {texts['device']}, {texts['precision']}, "
        f"threads: {texts['threads']}"
    )


def speed_decisions(study: Study, timings: pd.DataFrame) -> dict[str, dict[Timed, SpeedDecision]]:
    """Returns how fast every arm is beside the baseline, by what was timed."""
    base = study.baseline.name
    speeds: dict[str, dict[Timed, SpeedDecision]] = {arm.name: {} for arm in study.arms}
    for phase, group in _by_phase(timings).items():
        timed = {arm.name: _timing(group[group["arm"] == arm.name], arm.name) for arm in study.arms}
        others = [name for name in timed if name != base and timed[name].seconds]
        decided = decisions.decide_speed(
            timed[base], [timed[name] for name in others], threshold=study.measure.threshold
        )
        for name, decision in zip(others, decided, strict=True):
            speeds[name][phase] = decision
    return speeds


def _timing(rows: pd.DataFrame, arm: str) -> Timing:
    # An arm timed under several conditions equals no other, so the arm's name goes into the value.
    conditions = {
        name: values[0] if len(values) == 1 else f"{' and '.join(map(str, values))} in {arm}"
        for name, values in _conditions(rows).items()
    }
    # Per token, not per update: arms may differ in how many tokens an update reads.
    seconds = 1.0 / rows["tokens_per_second"].astype(float)
    rounds = rows["round"].astype(int)
    busy = rounds[rows["busy"] == True]  # noqa: E712  (may hold NaN)
    return Timing(dict(zip(rounds, seconds, strict=True)), conditions, frozenset(busy))


def training_seconds(rows: pd.DataFrame, timings: pd.DataFrame) -> float | None:
    """Returns how long a replicate trains alone: its tokens by their rate. None: not timed."""
    tokens = rows.loc[
        (rows["phase"] == "replicate") & (rows["state"] == RunState.FINISHED), "tokens"
    ].dropna()
    rates = timings.loc[(timings["mode"] == "train") & (timings["pack"] == 1), "tokens_per_second"]
    if not len(tokens) or not len(rates):
        return None
    return float(tokens.astype(float).median() / rates.median())
