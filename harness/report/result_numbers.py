"""What is known of an arm as plain numbers, by the columns of report.csv."""

import json
from typing import Any

from harness.report import sentences
from harness.report.arm_results import ArmResult
from harness.statistics.inference import Interval
from harness.tasks.objective import Reading

COUNTS = (
    "pairs",
    "finished_pairs",
    "seeds_to_decide",
    "num_parameters",
    "hidden_size",
    "flops_per_token",
    "num_states",
    "tokens",
)
"""The columns of :func:`numbers` that hold whole numbers, or nothing."""


def numbers(result: ArmResult) -> dict[str, Any]:
    """Returns an arm's row: losses, ratios or differences, and speeds against the baseline.

    What is not known is None.
    """
    decision, mean, interval = result.decision, result.mean, result.interval
    objective, shown = result.objective, result.objective.scale
    compared, wide = (decision.interval, decision.wide) if decision else (None, None)
    low, high = objective.level_ends(interval.low, interval.high) if interval else (None, None)
    row: dict[str, Any] = {
        "arm": result.name,
        "verdict": sentences.word(result),
        "finished": result.num_finished,
        "diverged": result.num_diverged,
        "not_learned": result.num_not_learned,
        "failed": result.num_failed,
        "pairs": decision.num_pairs if decision else None,
        "finished_pairs": decision.num_finished if decision else None,
        "loss": mean,
        objective.key: None if mean is None else objective.level(mean),
        f"{objective.key}_low": low,
        f"{objective.key}_high": high,
        **{
            each.key: each.read(mean, result.readings[each])
            if mean is not None and each in result.readings
            else None
            for each in objective.readings
        },
        shown: objective.difference(decision.mean)
        if decision and decision.mean is not None
        else None,
        **_ends_of_difference(result, compared, ""),
        **{
            name: value
            for each in objective.readings
            if each.unit
            for name, value in _differences_in(result, each).items()
        },
        "p": decision.p if decision else None,
        "p_holm": decision.adjusted_p if decision else None,
        "search_spread": result.search_spread,
        **_ends_of_difference(result, wide, "_with_search"),
        "p_holm_divergence": result.divergence.adjusted_p if result.divergence else None,
        "p_holm_lost_runs": result.lost_runs.adjusted_p if result.lost_runs else None,
        "p_sign_flip": decision.sign_flip.p if decision and decision.sign_flip else None,
        "seeds_to_decide": result.seeds_to_decide,
        "hidden_size": result.hidden_size,
        "num_parameters": result.num_parameters,
        "flops_per_token": result.flops_per_token,
        "training_seconds": result.training_seconds,
        "num_states": result.num_states,
        "tokens": result.tokens,
        "searched_updates": result.searched_updates,
        f"{objective.loss_unit or 'loss'}_above_best": result.fall,
        "params": json.dumps(result.params, sort_keys=True, default=str),
    }
    for (mode, pack), rate in result.tokens_per_second.items():
        row[f"{mode}_pack_{pack}_tokens_per_second"] = rate
        speed = result.speeds.get((mode, pack))
        if speed is not None and speed.ratio is not None:
            row[f"{mode}_pack_{pack}_speed"] = speed.ratio
            row[f"{mode}_pack_{pack}_speed_low"] = speed.interval.low if speed.interval else None
            row[f"{mode}_pack_{pack}_speed_high"] = speed.interval.high if speed.interval else None
    return row


def _ends_of_difference(
    result: ArmResult, interval: Interval | None, which: str
) -> dict[str, float | None]:
    """Returns the ends of an interval of the arm's difference by the names of their columns."""
    objective = result.objective
    ends = (None, None) if interval is None else (interval.low, interval.high)
    low, high = ends if interval is None else objective.difference_ends(*ends)
    return {f"{objective.scale}_low{which}": low, f"{objective.scale}_high{which}": high}


def _differences_in(result: ArmResult, reading: Reading) -> dict[str, float | None]:
    """Returns the mean paired difference in another unit, and its interval, by their columns."""
    value, interval = difference_in(result, reading) or (None, None)
    column = f"{reading.unit.replace(' ', '_')}_difference"
    return {
        column: value,
        f"{column}_low": interval.low if interval else None,
        f"{column}_high": interval.high if interval else None,
    }


def difference_in(result: ArmResult, reading: Reading) -> tuple[float, Interval | None] | None:
    """Returns the mean paired difference in another unit, and its interval.

    None: there is no pair, or nobody reads the arm's loss in that unit.
    """
    decision = result.decision
    if decision is None or decision.mean is None or reading not in result.readings:
        return None
    ends, per_token = decision.interval, result.readings[reading]
    low_high = [reading.read(end, per_token) for end in (ends.low, ends.high)] if ends else []
    return reading.read(decision.mean, per_token), Interval(*low_high) if ends else None
