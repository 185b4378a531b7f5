"""Results in words: one sentence per arm, one answer, and how their numbers are written."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.decisions import MAX_SEEDS, Decision, SpeedDecision
from harness.metrics import perplexity
from harness.report import results
from harness.report.results import ArmResult, Phase
from harness.statistics import Interval


def number(value: float, *, decimals: int | None = None) -> str:
    """Returns a perplexity or a rate with about four digits that count, or with ``decimals``."""
    if not math.isfinite(value):
        return str(value)
    if decimals is None:
        decimals = max(0, min(3, 3 - math.floor(math.log10(abs(value))))) if value else 0
    return f"{value:,.{decimals}f}"


def p_text(p: float) -> str:
    """Returns ``= 0.004`` or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def ratio_texts(ratio: float, interval: Interval | None, *, decimals: int = 3) -> tuple[str, str, str]:
    """Returns a ratio and its interval's ends, with ``decimals`` or as many more as show the interval's width."""
    if interval is None:
        return number(ratio, decimals=decimals), "", ""
    half = (interval.high - interval.low) / 2.0
    if 0.0 < half < 1.0:
        decimals = max(decimals, min(7, math.ceil(-math.log10(half))))
    low, high = number(interval.low, decimals=decimals), number(interval.high, decimals=decimals)
    return number(ratio, decimals=decimals), low, high


def perplexity_ratio(decision: Decision) -> tuple[str, str, str]:
    """Returns exp of a decision's mean difference and of its interval's ends, as texts."""
    assert decision.mean is not None
    interval = decision.interval
    ends = Interval(perplexity(interval.low), perplexity(interval.high)) if interval else None
    return ratio_texts(perplexity(decision.mean), ends)


def sentence(study: Any, result: ArmResult) -> str:
    """Returns what the study says of an arm that is not the baseline."""
    where = "At the settings that one search found" if study.tune else "At the settings given"
    return f"{where}, on this text, {_finding(study, result)}.{_speed_sentence(result)}"


def _finding(study: Any, result: ArmResult) -> str:
    arm, base, decision = result.name, study.baseline.name, result.decision
    if decision is None:
        return f"{arm} and {base} do not compare: {result.incomparable}"
    if decision.num_pairs == 0:
        return f"nothing is known of {arm} against {base}: no seed has an ended replicate of both"
    measured = results.measured(study)
    if decision.num_finished < decision.num_pairs:
        return _conditional(study, result, measured)
    if decision.verdict == "identical":
        return f"{arm} and {base} are identical: equal loss at each of {_seeds(decision.num_pairs)}"
    ratio, low, high = perplexity_ratio(decision)
    if decision.adjusted_p is None:
        claim = f"{_verdict(study, result)}: {measured} {ratio} times"
        return f"{claim} at one paired seed, which gives no interval and no test"
    return (
        f"{_verdict(study, result)}: {measured} {ratio} times (95 % interval {low} to {high}, unadjusted),"
        f" Holm-adjusted p {p_text(decision.adjusted_p)}, {_seeds(decision.num_pairs)}{_outlook(result)}"
    )


def _verdict(study: Any, result: ArmResult) -> str:
    arm, base, margin = result.name, study.baseline.name, study.measure.margin
    verdict = result.decision.verdict if result.decision else "undecided"
    if verdict == "undecided":
        return f"whether {arm} differs from {base} is undecided"
    if verdict.startswith("equivalent"):
        rest = verdict.removeprefix("equivalent").replace(" and", ", and")
        return f"{arm} is equivalent to {base} within {100 * margin:g} %{rest}"
    return f"{arm} is {verdict} than {base}"


def _seeds(num_pairs: int) -> str:
    return f"{num_pairs} paired seed{'s' if num_pairs != 1 else ''}"


def _outlook(result: ArmResult) -> str:
    if result.decision is None or result.decision.verdict != "undecided":
        return ""
    seeds = f"more than {MAX_SEEDS}" if result.seeds_to_decide is None else f"about {result.seeds_to_decide}"
    return f"; {seeds} seeds would decide, were effect and spread those seen"


def _conditional(study: Any, result: ArmResult, measured: str) -> str:
    base, decision = study.baseline.name, result.decision
    assert decision is not None
    num_base_diverged = int(np.sum(np.isnan(result.differences) | (result.differences == -np.inf)))
    ends = [f"{result.num_diverged} of {len(result.losses)} diverged"] if result.num_diverged else []
    ends += [f"{base} diverged at {num_base_diverged} of these seeds"] if num_base_diverged else []
    test = "no test for one pair"
    if decision.adjusted_p is not None:
        test = f"sign test with a diverged replicate as a loss, Holm-adjusted p {p_text(decision.adjusted_p)}"
    rest = "no pair finished"
    if decision.mean is not None:
        pairs = f"{decision.num_finished} finished pair{'s' if decision.num_finished != 1 else ''}"
        rest = f"{measured} {perplexity_ratio(decision)[0]} times over the {pairs} alone, conditional on finishing"
    return f"{_verdict(study, result)}: {'; '.join(ends)}; {test}, {_seeds(decision.num_pairs)}; {rest}"


def main_phase(phases: dict[Phase, Any]) -> Phase | None:
    """Returns the runtime that the sentence tells: of training, at the smallest pack, which is a run alone."""
    return min((phase for phase in phases if phase[0] == "train"), key=lambda phase: phase[1], default=None)


def _speed_sentence(result: ArmResult) -> str:
    phase = main_phase(result.speeds)
    if phase is None:
        return ""
    speed = result.speeds[phase]
    alone = "" if phase[1] == 1 else f", in packs of {phase[1]}"
    if speed.verdict == "not comparable" or speed.ratio is None:
        return f" Its training speed does not compare: {speed.reason}."
    ratio, _, interval = speed_text(speed).partition(" ")
    times = f"{ratio} times as fast {interval}".rstrip()
    if speed.verdict == "no difference shown":
        return f" No difference in training speed is shown: {times}{alone}."
    return f" It trains {times}{alone}."


def speed_text(speed: SpeedDecision) -> str:
    """Returns ``1.08 (1.06 to 1.10)``."""
    assert speed.ratio is not None
    ratio, low, high = ratio_texts(speed.ratio, speed.interval, decimals=2)
    return f"{ratio} ({low} to {high})" if low else ratio


def answer(study: Any, gathered: Sequence[ArmResult], missing: Sequence[str]) -> str:
    """Returns the one sentence that sums the study up."""
    others = [result for result in gathered if not result.is_baseline]
    base = study.baseline.name
    if not any(result.losses for result in gathered):
        return f"Incomplete: no replicate of {study.name} has ended yet."
    start = "Incomplete: so far, against" if missing else "Against"
    text = f"{start} {base}, in {results.measured(study)}: {_grouped([(r.name, word(r)) for r in others])}"
    timed = [(r.name, r.speeds[phase].verdict) for r in others if (phase := main_phase(r.speeds)) is not None]
    return f"{text}; in training speed: {_grouped(timed)}." if timed else f"{text}."


def word(result: ArmResult) -> str:
    """Returns the verdict as a table shows it."""
    decision: Decision | None = result.decision
    if result.is_baseline:
        return "baseline"
    if decision is None:
        return "not comparable"
    return decision.verdict if decision.num_pairs else "not known"


def _grouped(pairs: Sequence[tuple[str, str]]) -> str:
    """``a and b are worse, c is undecided``, in the order in which the words come up."""
    groups: dict[str, list[str]] = {}
    for name, verdict in pairs:
        groups.setdefault(verdict, []).append(name)
    texts = []
    for verdict, names in groups.items():
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        verb = "shows no difference" if len(names) == 1 else "show no difference"
        is_are = "is" if len(names) == 1 else "are"
        texts.append(f"{listed} {verb}" if verdict == "no difference shown" else f"{listed} {is_are} {verdict}")
    return ", ".join(texts) if texts else "nothing to compare"
