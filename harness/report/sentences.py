"""Results in words: one sentence per arm, one answer, and how their numbers are written."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from harness.metrics import perplexity
from harness.report import arm_results
from harness.report.arm_results import ArmResult, Phase
from harness.report.protocols import StudyLike
from harness.statistics.decisions import Decision, SpeedDecision
from harness.statistics.inference import Interval
from harness.statistics.power import MAX_SEEDS


def number(value: float, *, decimals: int | None = None) -> str:
    """Returns a perplexity or a rate with about four significant digits, or with ``decimals``."""
    if not math.isfinite(value):
        return str(value)
    if decimals is None:
        decimals = max(0, min(3, 3 - math.floor(math.log10(abs(value))))) if value else 0
    return f"{value:,.{decimals}f}"


def p_text(p: float) -> str:
    """Returns ``= 0.004`` or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def ratio_texts(
    ratio: float, interval: Interval | None, *, decimals: int = 3, sign: str = ""
) -> tuple[str, str, str]:
    """Returns a ratio and the ends of its interval.

    They have ``decimals``, or as many more as show the interval's width. A ``sign`` of "+" writes
    the sign of a difference.
    """
    if interval is None:
        return f"{ratio:{sign},.{decimals}f}", "", ""
    half = (interval.high - interval.low) / 2.0
    if 0.0 < half < 1.0:
        decimals = max(decimals, min(7, math.ceil(-math.log10(half))))
    ratio_text, low, high = (
        f"{value:{sign},.{decimals}f}" for value in (ratio, interval.low, interval.high)
    )
    return ratio_text, low, high


def perplexity_ratio(decision: Decision) -> tuple[str, str, str]:
    """Returns exp of a decision's mean difference and of its interval's ends, as texts."""
    assert decision.mean is not None
    interval = decision.interval
    ends = Interval(perplexity(interval.low), perplexity(interval.high)) if interval else None
    return ratio_texts(perplexity(decision.mean), ends)


def unit(study: StudyLike) -> str:
    """Returns what one pair is: a ``seed`` or a ``repeat``."""
    return "repeat" if arm_results.num_repeats(study) > 1 else "seed"


def method(study: StudyLike) -> str:
    """Returns how the numbers were computed, for a reader who checks them."""
    pairs = "Pairs are replicates of one seed."
    if unit(study) == "repeat":
        pairs = (
            "A pair is one repeat of the whole search: the mean over the arm's replicates of that"
            " repeat, minus the baseline's."
        )
    interval = "intervals are Student's, 95 %, unadjusted"
    if study.replicate.until is not None:
        interval = (
            "intervals are those of Stein's two-stage rule (1945), 95 %, unadjusted: the spread of"
            f" the first {study.replicate.seeds} seeds says how many seeds there are, and enters"
            " interval and test with their degrees of freedom"
        )
    family = (
        "over the arms"
        if len(study.conditions) == 1
        else "over the arms of a condition, not over conditions"
    )
    return (
        f"{pairs} Ratios are exp of the mean paired difference in nats; {interval}; p (Holm) is the"
        f" paired Student test after Holm's correction {family} (a sign test where a replicate"
        " diverged); p (sign-flip) is exact unless it says Monte Carlo, and unadjusted. Speeds are"
        " medians over rounds of paired ratios with order-statistic intervals."
    )


def sentence(study: StudyLike, result: ArmResult) -> str:
    """Returns what the study says of an arm that is not the baseline."""
    where = "At the settings that one search found" if study.tune else "At the settings given"
    if arm_results.num_repeats(study) > 1:
        where = f"Over {arm_results.num_repeats(study)} repeats of the whole search"
    return f"{where}, {_scope(study)}, {_finding(study, result)}.{_speed_sentence(result)}"


def _scope(study: StudyLike) -> str:
    """Returns what the claim is confined to.

    That is ``on this text``, or the condition and its text where there are several.
    """
    if not study.condition:
        return "on this text"
    text = text_name(study)
    return f"on {text}" if text == study.condition else f"under {study.condition} (on {text})"


def text_name(study: StudyLike) -> str:
    """Returns the name of the text that the baseline reads."""
    settings = study.baseline.settings
    return Path(settings.path).name if settings.path else settings.corpus


def _finding(study: StudyLike, result: ArmResult) -> str:
    arm, base, decision = result.name, study.baseline.name, result.decision
    if decision is None:
        return f"{arm} and {base} do not compare: {result.incomparable}"
    if decision.num_pairs == 0:
        pair = f"no {unit(study)} has an ended replicate of both"
        return f"nothing is known of {arm} against {base}: {pair}"
    measured = arm_results.measured(study)
    if decision.num_finished < decision.num_pairs:
        return _conditional(study, result, measured)
    if decision.verdict == "identical":
        pairs = _pairs(study, decision.num_pairs)
        return f"{arm} and {base} are identical: equal loss at each of {pairs}"
    ratio, low, high = perplexity_ratio(decision)
    if decision.adjusted_p is None:
        claim = f"{_verdict(study, result)}: {measured} {ratio} times"
        return f"{claim} at one paired {unit(study)}, which gives no interval and no test"
    return (
        f"{_verdict(study, result)}: {measured} {ratio} times (95 % interval {low} to {high},"
        f" unadjusted), Holm-adjusted p {p_text(decision.adjusted_p)},"
        f" {_pairs(study, decision.num_pairs)}{_stages(study)}{_outlook(study, result)}"
    )


def _verdict(study: StudyLike, result: ArmResult) -> str:
    arm, base, margin = result.name, study.baseline.name, study.measure.margin
    verdict = result.decision.verdict if result.decision else "undecided"
    if verdict == "undecided":
        return f"whether {arm} differs from {base} is undecided"
    if verdict.startswith("equivalent"):
        rest = verdict.removeprefix("equivalent").replace(" and", ", and")
        return f"{arm} is equivalent to {base} within {100 * margin:g} %{rest}"
    return f"{arm} is {verdict} than {base}"


def _pairs(study: StudyLike, num_pairs: int) -> str:
    return f"{num_pairs} paired {unit(study)}{'s' if num_pairs != 1 else ''}"


def _stages(study: StudyLike) -> str:
    """Returns what fixed the number of seeds, where the first of them did."""
    if study.replicate.until is None:
        return ""
    return f" by Stein's two-stage rule, of at most {study.replicate.at_most}"


def _outlook(study: StudyLike, result: ArmResult) -> str:
    if result.decision is None or result.decision.verdict != "undecided":
        return ""
    if result.seeds_to_decide is None:
        pairs = f"not even {MAX_SEEDS} {unit(study)}s"
    else:
        more = result.seeds_to_decide - result.decision.num_pairs
        pairs = f"about {more} more {unit(study)}{'s' if more != 1 else ''}"
    return f"; {pairs} would decide, were effect and spread those seen"


def _conditional(study: StudyLike, result: ArmResult, measured: str) -> str:
    base, decision = study.baseline.name, result.decision
    assert decision is not None
    num_base_diverged = int(np.sum(np.isnan(result.differences) | (result.differences == -np.inf)))
    ends = []
    if result.num_diverged:
        ends += [f"{result.num_diverged} of {len(result.losses)} diverged"]
    if num_base_diverged:
        ends += [f"{base} diverged at {num_base_diverged} of these {unit(study)}s"]
    test = "no test for one pair"
    if decision.adjusted_p is not None:
        whole = "replicate" if unit(study) == "seed" else unit(study)
        p = p_text(decision.adjusted_p)
        test = f"sign test with a diverged {whole} as a loss, Holm-adjusted p {p}"
    rest = "no pair finished"
    if decision.mean is not None:
        pairs = f"{decision.num_finished} finished pair{'s' if decision.num_finished != 1 else ''}"
        ratio = perplexity_ratio(decision)[0]
        rest = f"{measured} {ratio} times over the {pairs} alone, conditional on finishing"
    pairs = _pairs(study, decision.num_pairs)
    return f"{_verdict(study, result)}: {'; '.join(ends)}; {test}, {pairs}; {rest}"


def main_phase(phases: Iterable[Phase]) -> Phase | None:
    """Returns the runtime that the sentence tells: training at the smallest pack, a run alone."""
    training = [phase for phase in phases if phase[0] == "train"]
    return min(training, key=lambda phase: phase[1], default=None)


def phase_text(phase: Phase) -> str:
    """Returns ``training, pack of 1``."""
    return f"{'training' if phase[0] == 'train' else phase[0]}, pack of {phase[1]}"


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
    if speed.verdict == "undecided":
        measured = f"({times} was measured{alone})"
        return f" Whether it trains faster or slower is undecided: {speed.reason} {measured}."
    if speed.verdict == "no difference shown":
        return f" No difference in training speed is shown: {times}{alone}."
    return f" It trains {times}{alone}."


def speed_text(speed: SpeedDecision) -> str:
    """Returns ``1.08 (1.06 to 1.10)``."""
    assert speed.ratio is not None
    ratio, low, high = ratio_texts(speed.ratio, speed.interval, decimals=2)
    return f"{ratio} ({low} to {high})" if low else ratio


def finding(results: Sequence[ArmResult]) -> str:
    """Returns the clause that sums a condition up.

    It reads such as ``gru is worse; in training speed: gru is faster``.
    """
    others = [result for result in results if not result.is_baseline]
    if not any(result.losses for result in results):
        return "no replicate has ended yet"
    timed = [
        (r.name, r.speeds[phase].verdict)
        for r in others
        if (phase := main_phase(r.speeds)) is not None
    ]
    text = _grouped([(r.name, word(r)) for r in others])
    return f"{text}; in training speed: {_grouped(timed)}" if timed else text


def answer(
    study: StudyLike,
    conditions: Sequence[tuple[StudyLike, Sequence[ArmResult], Sequence[str]]],
) -> str:
    """Returns the sentence that sums the study up; of several conditions one each, or one for all.

    Args:
        study: The whole study.
        conditions: The study, the results and what is missing, for each of its conditions.
    """
    findings = [finding(results) for _, results, _ in conditions]
    if not any(result.losses for _, results, _ in conditions for result in results):
        return f"Incomplete: no replicate of {study.name} has ended yet."
    is_complete = not any(missing for _, _, missing in conditions)
    start = "Against" if is_complete else "Incomplete: so far, against"
    start = f"{start} {study.baseline.name}, in {arm_results.measured(study)}"
    if len(conditions) == 1:
        return f"{start}: {findings[0]}."
    if len(set(findings)) == 1:
        return f"{start}, under each of {len(conditions)} conditions: {findings[0]}."
    names = [one.condition for one, _, _ in conditions]
    clauses = [f"{name}: {text}." for name, text in zip(names, findings, strict=True)]
    return f"{start}. {' '.join(clauses)}"


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
        verb = "shows no difference" if len(names) == 1 else "show no difference"
        is_are = "is" if len(names) == 1 else "are"
        rest = verb if verdict == "no difference shown" else f"{is_are} {verdict}"
        texts.append(f"{listed(names)} {rest}")
    return ", ".join(texts) if texts else "nothing to compare"


def listed(names: Sequence[str]) -> str:
    """Returns ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
