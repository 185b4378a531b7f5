"""Tables of a report: one of numbers, for machines, and those of texts, for readers."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.metrics import bits, perplexity
from harness.report import sentences
from harness.report.arm_results import ArmResult, Timed
from harness.report.sentences import number
from harness.report.tried import ENDS, is_not_learned
from harness.statistics.inference import Interval
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
FALL = math.log1p(0.05)
"""A run whose loss ended so many nats above its best one got worse while it trained."""
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
    """Returns an arm's row: losses in nats, ratios and speeds against the baseline.

    What is not known is None.
    """
    decision, mean, interval = result.decision, result.mean, result.interval
    ratio, wide = (decision.interval, decision.wide) if decision else (None, None)
    difference = bits_difference(result)
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
        "perplexity": None if mean is None else perplexity(mean),
        "perplexity_low": perplexity(interval.low) if interval else None,
        "perplexity_high": perplexity(interval.high) if interval else None,
        "bits_per_character": bits(mean) if mean is not None and result.token == "char" else None,
        "ratio": perplexity(decision.mean) if decision and decision.mean is not None else None,
        "ratio_low": perplexity(ratio.low) if ratio else None,
        "ratio_high": perplexity(ratio.high) if ratio else None,
        "bits_difference": difference[0] if difference else None,
        "bits_difference_low": difference[1].low if difference and difference[1] else None,
        "bits_difference_high": difference[1].high if difference and difference[1] else None,
        "p": decision.p if decision else None,
        "p_holm": decision.adjusted_p if decision else None,
        "search_spread": result.search_spread,
        "ratio_low_with_search": perplexity(wide.low) if wide else None,
        "ratio_high_with_search": perplexity(wide.high) if wide else None,
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
        "nats_above_best": result.fall,
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


def bits_difference(result: ArmResult) -> tuple[float, Interval | None] | None:
    """Returns the mean paired difference in bits per character, and its interval.

    None: there is no pair, or the tokens are no characters.
    """
    decision = result.decision
    if decision is None or decision.mean is None or result.token != "char":
        return None
    ends = decision.interval
    return bits(decision.mean), Interval(bits(ends.low), bits(ends.high)) if ends else None


def verdicts(results: Sequence[ArmResult], title: str, unit: str) -> Section:
    """Returns the main table, without columns that say nothing, such as bits for words.

    ``title`` says what the perplexity is of, ``unit`` what a pair is: a seed or a repeat.
    """
    header = (
        "Arm",
        "Verdict",
        f"{title}, 95 %",
        "Ratio (95 %)",
        "Spread of the search",
        "Ratio with that spread (95 %)",
        "Bits per character",
        "Difference in bits (95 %)",
        "p (Holm)",
        "p (sign-flip)",
        f"{unit.capitalize()}s ended",
        "Note",
    )
    rows = [
        (
            result.name,
            sentences.word(result),
            _perplexity_text(result),
            ratio_text(result),
            _spread_text(result),
            wide_text(result).partition(" ")[2].strip("()"),
            _bits_text(result),
            _bits_difference_text(result),
            holm_text(result),
            _flip_text(result),
            _seeds_text(result),
            _note_text(result),
        )
        for result in results
    ]
    return Section(title, header, rows).without_empty(
        "Spread of the search",
        "Ratio with that spread (95 %)",
        "Bits per character",
        "Difference in bits (95 %)",
        "p (sign-flip)",
        "Note",
    )


def _perplexity_text(result: ArmResult) -> str:
    if result.mean is None:
        return "none"
    mark = f" ({result.num_finished} finished only)" if result.num_diverged else ""
    if result.interval is None:
        return number(perplexity(result.mean)) + mark
    low, high = number(perplexity(result.interval.low)), number(perplexity(result.interval.high))
    return f"{number(perplexity(result.mean))} ({low} to {high})"


def ratio_text(result: ArmResult) -> str:
    """Returns ``1.031 (1.012 to 1.050)``, or nothing."""
    if result.decision is None or result.decision.mean is None:
        return ""
    ratio, low, high = sentences.perplexity_ratio(result.decision)
    return _ranged(ratio, low, high, result)


def _spread_text(result: ArmResult) -> str:
    return "" if result.search_spread is None else sentences.percent(result.search_spread)


def wide_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that holds the search's own spread too, or nothing."""
    wide = result.decision.wide if result.decision else None
    if result.decision is None or result.decision.mean is None or wide is None:
        return ""
    ends = Interval(perplexity(wide.low), perplexity(wide.high))
    return _ranged(*sentences.ratio_texts(perplexity(result.decision.mean), ends), result)


def decided_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that the verdict rests on, or nothing."""
    return wide_text(result) or ratio_text(result)


def _note_text(result: ArmResult) -> str:
    """Returns what the perplexity does not show: it is that of a run's best evaluation."""
    if result.fall is None or result.fall <= FALL:
        return ""
    return f"ended {result.fall:.2g} nats above its best"


def _bits_difference_text(result: ArmResult) -> str:
    difference = bits_difference(result)
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


def _bits_text(result: ArmResult) -> str:
    if result.mean is None or result.token != "char":
        return ""
    return number(bits(result.mean), decimals=3)


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
        )
        for result in results
    ]
    return Section("Costs", header, rows).without_empty("Updates of the search")


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
    states = runs["state"].where(~is_not_learned(runs), "not learned")
    ends = (RunState.FINISHED, "not learned", *ENDS[1:], RunState.RUNNING)
    return {f"{what} {end}": int((states == end).sum()) for end in ends}


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
