"""What arms cost: sizes, seconds, tokens, and how fast they are in the runtime phase."""

import statistics
from collections.abc import Sequence

from harness.report import sentences
from harness.report.arm_results import ArmResult
from harness.report.number_texts import number
from harness.report.tables import Section, p_cell
from harness.report.timings import Timed

PACKS = (
    "A pack is so many runs that train together, as one batched computation; a pack of 1 is a run"
    " alone. Tokens/s are those of each of its runs."
)


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


def _integer(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


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
        section = Section(f"Runtime ({machines.pop()})", header, [row[:-1] for row in rows], PACKS)
    else:
        section = Section("Runtime", (*header, "On"), rows, PACKS)
    return section.without_empty("Because")


def _runtime_row(result: ArmResult, phase: Timed) -> tuple[str, ...]:
    verdict, times, p, reason = "baseline" if result.is_baseline else "", "", "", ""
    speed = result.speeds.get(phase)
    if speed is not None:
        verdict, reason, p = speed.verdict, speed.reason, p_cell(speed.adjusted_p)
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
