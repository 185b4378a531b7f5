"""Tables of a report: one of numbers, for machines, and those of texts, for readers."""

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report import sentences
from harness.report.arm_results import ArmResult
from harness.report.sentences import number
from harness.report.timings import Timed
from harness.report.tried import ENDS, counted
from harness.statistics.inference import Interval
from harness.tasks.objective import Reading
from harness.training.messages import RunState

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
LONG_ROWS = 12
"""A table with more rows is folded away, or left out where nothing folds: a figure or another table
shows its gist at a glance.
"""
NUMBER_TEXT = re.compile(r"[-+<]?\s?[\d.,]*\d( %)?( \(.*\))?( of \d+(, .*)?)?")


@dataclass(frozen=True)
class Section:
    """A table of texts with its title."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    @property
    def are_numbers(self) -> tuple[bool, ...]:
        """Whether most cells of a column are numbers, which are set to the right, by column."""
        columns = [[row[i] for row in self.rows if row[i]] for i in range(len(self.header))]
        return tuple(
            2 * sum(bool(NUMBER_TEXT.fullmatch(cell)) for cell in cells) > len(cells)
            for cells in columns
        )

    def without_empty(self, *optional: str) -> "Section":
        """Returns the table without those ``optional`` columns that are empty in all rows."""
        kept = [
            i
            for i, name in enumerate(self.header)
            if name not in optional or any(row[i] for row in self.rows)
        ]
        rows = [tuple(row[i] for i in kept) for row in self.rows]
        return Section(self.title, tuple(self.header[i] for i in kept), rows)


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
    value, interval = _difference_in(result, reading) or (None, None)
    column = f"{reading.unit.replace(' ', '_')}_difference"
    return {
        column: value,
        f"{column}_low": interval.low if interval else None,
        f"{column}_high": interval.high if interval else None,
    }


def _difference_in(result: ArmResult, reading: Reading) -> tuple[float, Interval | None] | None:
    """Returns the mean paired difference in another unit, and its interval.

    None: there is no pair, or nobody reads the arm's loss in that unit.
    """
    decision = result.decision
    if decision is None or decision.mean is None or reading not in result.readings:
        return None
    ends, per_token = decision.interval, result.readings[reading]
    low_high = [reading.read(end, per_token) for end in (ends.low, ends.high)] if ends else []
    return reading.read(decision.mean, per_token), Interval(*low_high) if ends else None


def verdicts(results: Sequence[ArmResult], title: str, unit: str) -> Section:
    """Returns the main table, without columns that say nothing, such as bits for words.

    ``title`` says what is compared, ``unit`` what a pair is: a seed or a repeat.
    """
    objective = results[0].objective
    scale = objective.scale.capitalize()
    readings = objective.readings
    optional = (
        "Spread of the search",
        f"{scale} with that spread (95 %)",
        *(each.title for each in readings),
        *(f"Difference in {each.unit} (95 %)" for each in readings if each.unit),
        "p (sign-flip)",
        "Note",
    )
    header = (
        "Arm",
        "Verdict",
        f"{title}, 95 %",
        f"{scale} (95 %)",
        *optional[:-2],
        "p (Holm)",
        "p (sign-flip)",
        f"{unit.capitalize()}s ended",
        "Note",
    )
    rows = [
        (
            result.name,
            sentences.word(result),
            _level_text(result),
            ratio_text(result),
            _spread_text(result),
            wide_text(result).partition(" ")[2].strip("()"),
            *(_reading_text(result, each) for each in readings),
            *(_reading_difference_text(result, each) for each in readings if each.unit),
            holm_text(result),
            _flip_text(result),
            _seeds_text(result),
            _note_text(result),
        )
        for result in results
    ]
    return Section(title, header, rows).without_empty(*optional)


def _level_text(result: ArmResult) -> str:
    if result.mean is None:
        return "none"
    mark = f" ({result.num_finished} finished only)" if result.num_diverged else ""
    text = sentences.level_text(result.objective, result.mean, result.interval)
    return text if result.interval is not None else text + mark


def ratio_text(result: ArmResult) -> str:
    """Returns ``1.031 (1.012 to 1.050)``, of differences with their sign, or nothing."""
    decision = result.decision
    if decision is None or decision.mean is None:
        return ""
    texts = sentences.difference_texts(result.objective, decision.mean, decision.interval)
    return _ranged(*texts, result)


def _spread_text(result: ArmResult) -> str:
    return "" if result.search_spread is None else result.objective.amount(result.search_spread)


def wide_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that holds the search's own spread too, or nothing."""
    wide = result.decision.wide if result.decision else None
    if result.decision is None or result.decision.mean is None or wide is None:
        return ""
    texts = sentences.difference_texts(result.objective, result.decision.mean, wide)
    return _ranged(*texts, result)


def decided_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that the verdict rests on, or nothing."""
    return wide_text(result) or ratio_text(result)


def _note_text(result: ArmResult) -> str:
    """Returns what the number does not show: it is that of a run's best evaluation."""
    objective = result.objective
    if result.fall is None or result.fall <= objective.within(objective.near):
        return ""
    unit = f" {objective.loss_unit}" if objective.loss_unit else ""
    side = "above" if objective.better == "lower" else "below"
    return f"ended {result.fall:.2g}{unit} {side} its best"


def _reading_difference_text(result: ArmResult, reading: Reading) -> str:
    difference = _difference_in(result, reading)
    if difference is None:
        return ""
    return _ranged(*sentences.ratio_texts(*difference, sign="+"), result)


def _ranged(value: str, low: str, high: str, result: ArmResult) -> str:
    assert result.decision is not None
    if result.decision.num_finished < result.decision.num_pairs:
        return f"{value} (conditional)"
    return f"{value} ({low} to {high})" if low else value


def holm_text(result: ArmResult) -> str:
    """Returns the adjusted p, or nothing."""
    return _p_cell(result.decision.adjusted_p if result.decision else None)


def _p_cell(p: float | None) -> str:
    return "" if p is None else sentences.p_text(p).removeprefix("= ")


def _flip_text(result: ArmResult) -> str:
    flip = result.decision.sign_flip if result.decision else None
    if flip is None:
        return ""
    text = _p_cell(flip.p)
    return text if flip.is_exact else f"{text} (Monte Carlo)"


def _seeds_text(result: ArmResult) -> str:
    ends = [f"{result.num_finished} of {result.num_planned}"]
    ends += [f"{result.num_diverged} diverged"] if result.num_diverged else []
    ends += [f"{result.num_not_learned} not learned"] if result.num_not_learned else []
    ends += [f"{result.num_failed} failed"] if result.num_failed else []
    return ", ".join(ends)


def _reading_text(result: ArmResult, reading: Reading) -> str:
    if result.mean is None or reading not in result.readings:
        return ""
    return number(reading.read(result.mean, result.readings[reading]), decimals=3)


def _integer(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def costs(results: Sequence[ArmResult]) -> Section:
    """Returns what each arm costs, whatever the study holds equal."""
    header = (
        "Arm",
        "Hidden size",
        "Parameters",
        "FLOPs per token",
        "Training seconds (alone)",
        "States",
        "Tokens spent",
        "Updates of the search",
        "Updates of a replicate",
    )
    rows = [
        (
            result.name,
            _integer(result.hidden_size),
            _integer(result.num_parameters),
            _integer(result.flops_per_token),
            _seconds_text(result.training_seconds),
            _integer(result.num_states),
            _integer(result.tokens),
            _integer(result.searched_updates or None),
            _span(result.replicate_updates),
        )
        for result in results
    ]
    optional = "Updates of the search", "Updates of a replicate"
    return Section("Costs", header, rows).without_empty(*optional)


def _span(counts: Sequence[int]) -> str:
    """Returns the median with the least and the most, nothing of nothing.

    >>> _span((1000, 3000, 1200)), _span(())
    ('1,200 (1,000 to 3,000)', '')
    """
    if not counts:
        return ""
    return f"{statistics.median_low(counts):,} ({min(counts):,} to {max(counts):,})"


def _seconds_text(seconds: float | None) -> str:
    return "" if seconds is None else number(seconds)


def ends(results: Sequence[ArmResult], unit: str) -> Section:
    """Returns how the trials, the finalists and the replicates of each arm ended.

    An end that no run came to has no column. Where ``unit`` is a repeat, it diverged where one of
    its replicates did.
    """
    whole = "Replicates" if unit == "seed" else f"{unit.capitalize()}s"
    rows = []
    for result in results:
        counts = _ends_of(result.trials, "Trials") | _ends_of(result.finalists, "Finalist runs")
        learned = result.num_finished - (result.num_not_learned if unit == "seed" else 0)
        counts |= {
            f"{whole} finished": learned,
            "Replicates not learned": result.num_not_learned,
            f"{whole} diverged": result.num_diverged,
            "Replicates failed": result.num_failed,
        }
        rows.append((result.name, counts))
    header = tuple(rows[0][1])
    texts = [(name, *(str(count or "") for count in counts.values())) for name, counts in rows]
    return Section("How the runs ended", ("Arm", *header), texts).without_empty(*header)


def divergence(results: Sequence[ArmResult], unit: str) -> Section | None:
    """Returns how often every arm diverged beside the baseline, by ``unit``; None: none did."""
    rows = [
        (
            result.name,
            f"{each.num_arm} of {each.num_pairs}",
            f"{each.num_baseline} of {each.num_pairs}",
            str(each.num_only_arm),
            str(each.num_only_baseline),
            _p_cell(each.adjusted_p) or "not comparable",
        )
        for result in results
        if (each := result.divergence) is not None
    ]
    header = (
        "Arm",
        f"{unit.capitalize()}s at which it diverged",
        "At which the baseline did",
        "It alone",
        "The baseline alone",
        "p (McNemar, exact, Holm)",
    )
    return Section("Divergence", header, rows) if rows else None


def lost_runs(results: Sequence[ArmResult]) -> Section | None:
    """Returns how many runs every arm's search lost beside the baseline's; None: none did."""
    rows = [
        (
            result.name,
            f"{each.num_arm} of {each.num_runs}",
            f"{each.num_baseline} of {each.num_runs}",
            f"{each.num_more} of {each.num_settings}",
            f"{each.num_fewer} of {each.num_settings}",
            _p_cell(each.adjusted_p) or "not comparable",
        )
        for result in results
        if (each := result.lost_runs) is not None
    ]
    header = (
        "Arm",
        "Runs that its search lost",
        "That the baseline's lost",
        "Settings at which it lost more",
        "At which it lost fewer",
        "p (sign test, Holm)",
    )
    title = "Runs that diverged or learned nothing, at the settings that all arms tried"
    return Section(title, header, rows) if rows else None


def _ends_of(runs: pd.DataFrame, what: str) -> dict[str, int]:
    """Returns how many of these runs ended how; one that did not learn did not just finish."""
    return {f"{what} {end}": n for end, n in counted(runs, (*ENDS, RunState.RUNNING)).items()}


def runtimes(results: Sequence[ArmResult]) -> Section:
    """Returns one row per mode, pack and arm."""
    rows = [
        _runtime_row(result, phase)
        for phase in phases_of(results)
        for result in results
        if phase in result.tokens_per_second
    ]
    header = (
        "What",
        "Arm",
        "Verdict",
        "Times as fast (95 %)",
        "p (Holm)",
        "Tokens/s of a run",
        "Because",
    )
    machines = {row[-1] for row in rows}
    if len(machines) == 1:  # as it should be: it is told once
        section = Section(f"Runtime ({machines.pop()})", header, [row[:-1] for row in rows])
    else:
        section = Section("Runtime", (*header, "On"), rows)
    return section.without_empty("Because")


def _runtime_row(result: ArmResult, phase: Timed) -> tuple[str, ...]:
    verdict, times, p, reason = "baseline" if result.is_baseline else "", "", "", ""
    speed = result.speeds.get(phase)
    if speed is not None:
        verdict, reason, p = speed.verdict, speed.reason, _p_cell(speed.adjusted_p)
        times = sentences.speed_text(speed) if speed.ratio is not None else ""
    return (
        sentences.phase_text(phase),
        result.name,
        verdict,
        times,
        p,
        number(result.tokens_per_second[phase], decimals=0),
        reason,
        result.conditions[phase],
    )


def phases_of(results: Sequence[ArmResult]) -> list[Timed]:
    """Returns what was timed, training first, small packs first."""
    phases = {phase for result in results for phase in result.tokens_per_second}
    return sorted(phases, key=lambda phase: (phase[0] != "train", phase[1]))


def tuned_values(results: Sequence[ArmResult], unit: str) -> Section:
    """Returns the values that each arm's replicates were trained at.

    Where a ``unit`` is a repeat, they are those of the first repeat.
    """
    names = sorted({name for result in results for name in result.params})
    rows = [
        (r.name, *(_value_text(r.params.get(name)) for name in names)) for r in results if r.params
    ]
    title = "Tuned values" if unit == "seed" else f"Tuned values of the first {unit}"
    return Section(title, ("Arm", *names), rows)


def _value_text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
