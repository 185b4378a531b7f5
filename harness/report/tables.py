"""Tables of a report: one of numbers, for machines, and three of texts, for readers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.metrics import bits, perplexity
from harness.report import sentences
from harness.report.results import ArmResult
from harness.report.sentences import number

COUNTS = ("pairs", "finished_pairs", "seeds_to_decide", "num_parameters", "num_states", "tokens")


@dataclass(frozen=True)
class Section:
    """A table of texts with its title."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def numbers(result: ArmResult) -> dict[str, Any]:
    """Returns an arm's row: losses in nats, ratios and speeds against the baseline, None for what is not known."""
    decision, mean, interval = result.decision, result.mean, result.interval
    ratio = decision.interval if decision else None
    row: dict[str, Any] = {
        "arm": result.name,
        "verdict": sentences.word(result),
        "finished": result.num_finished,
        "diverged": result.num_diverged,
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
        "p": decision.p if decision else None,
        "p_holm": decision.adjusted_p if decision else None,
        "p_sign_flip": decision.sign_flip.p if decision and decision.sign_flip else None,
        "seeds_to_decide": result.seeds_to_decide,
        "num_parameters": result.num_parameters,
        "num_states": result.num_states,
        "tokens": result.tokens,
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


def perplexities(gathered: Sequence[ArmResult], measured: str) -> Section:
    """Returns the main table. ``measured`` says what the perplexity is of."""
    has_bits = any(result.token == "char" for result in gathered)
    header = (
        "Arm",
        "Verdict",
        f"{measured.capitalize()} (95 %)",
        "Ratio (95 %)",
        "p (Holm)",
        "p (sign-flip)",
        "Seeds ended",
    )
    counts = ("Parameters", "States", "Tokens spent")
    rows = [
        (
            *(result.name, sentences.word(result), _perplexity_text(result), ratio_text(result)),
            *(holm_text(result), _flip_text(result), _seeds_text(result)),
            *([_bits_text(result)] if has_bits else []),
            *(_integer(result.num_parameters), _integer(result.num_states), _integer(result.tokens)),
        )
        for result in gathered
    ]
    return Section(measured.capitalize(), (*header, *(["Bits per character"] if has_bits else []), *counts), rows)


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
    if result.decision.num_finished < result.decision.num_pairs:
        return f"{ratio} (conditional)"
    return f"{ratio} ({low} to {high})" if low else ratio


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
    return text if flip.is_exact else f"{text} (Monte Carlo, {flip.num_flips:,} flips)"


def _seeds_text(result: ArmResult) -> str:
    ends = [f"{result.num_finished} of {result.num_planned}"]
    ends += [f"{result.num_diverged} diverged"] if result.num_diverged else []
    ends += [f"{result.num_failed} failed"] if result.num_failed else []
    return ", ".join(ends)


def _bits_text(result: ArmResult) -> str:
    return number(bits(result.mean), decimals=3) if result.mean is not None and result.token == "char" else ""


def _integer(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def runtimes(gathered: Sequence[ArmResult]) -> Section:
    """Returns one row per mode, pack and arm."""
    rows = []
    for phase in sorted({p for r in gathered for p in r.tokens_per_second}, key=lambda p: (p[0] != "train", p[1])):
        for result in gathered:
            rate, speed = result.tokens_per_second.get(phase), result.speeds.get(phase)
            if rate is None:
                continue
            verdict = "baseline" if result.is_baseline else ""
            text = p = ""
            if speed is not None:
                verdict = f"{speed.verdict}: {speed.reason}" if speed.reason else speed.verdict
                text = sentences.speed_text(speed) if speed.ratio is not None else ""
                p = _p_cell(speed.adjusted_p)
            cells = (result.name, verdict, text, p, number(rate, decimals=0), result.conditions[phase])
            rows.append((f"{'training' if phase[0] == 'train' else phase[0]}, pack of {phase[1]}", *cells))
    header = ("What", "Arm", "Verdict", "Times as fast (95 %)", "p (Holm)", "Tokens/s of a run", "On")
    return Section("Runtime", header, rows)


def tuned_values(gathered: Sequence[ArmResult]) -> Section:
    """Returns the values that each arm's replicates were trained at."""
    names = sorted({name for result in gathered for name in result.params})
    rows = [(r.name, *(_value_text(r.params.get(name)) for name in names)) for r in gathered if r.params]
    return Section("Tuned values", ("Arm", *names), rows)


def _value_text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
