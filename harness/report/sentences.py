"""Results in words: a few sentences an arm, and one answer."""

from collections.abc import Iterable, Sequence

import numpy as np

from harness.report import measure, outlook, unknown_search
from harness.report.arm_results import ArmResult
from harness.report.measure import unit
from harness.report.number_texts import difference_texts, p_text, ratio_texts
from harness.report.timings import Timed
from harness.statistics.decisions import SEARCH_FACTOR, Decision, SpeedDecision
from harness.study import Study
from harness.tasks.objective import objective_of

MOST_NAMED = 12
"""Arms of one verdict whose names a sentence lists; of more it says how many they are."""
INCOMPLETE = "The study is incomplete."
ON_BUSY = "measured on a busy machine"
"""What is said of a speed where others kept the machine busy in most of its rounds."""


def _difference_texts(result: ArmResult) -> tuple[str, str, str]:
    decision = result.decision
    assert decision is not None
    return difference_texts(result.objective, _mean(decision), decision.interval)


def sentence(study: Study, result: ArmResult) -> str:
    """Returns what the study says of an arm that is not the baseline, in a few sentences."""
    parts = [
        _claim(study, result),
        *_grounds(study, result),
        *_lost_runs(study, result),
        *_speed_sentences(result),
    ]
    return " ".join(f"{part}." for part in parts)


def _claim(study: Study, result: ArmResult) -> str:
    """Returns the verdict, what it is confined to, and the reason where it is one in words."""
    arm, base, decision = result.name, study.baseline.name, result.decision
    if decision is None:
        return f"{arm} and {base} do not compare: {result.incomparable}"
    if decision.num_pairs == 0:
        return f"{arm} has no result beside {base} yet: no {unit(study)} has ended in both"
    verdict = decision.verdict
    if verdict == "not comparable":
        claim = f"{arm} is not comparable with {base}"
    elif verdict == "undecided":
        claim = f"Whether {arm} differs from {base} is undecided"
    elif verdict == "identical":
        claim = f"{arm} and {base} are identical"
    elif verdict.startswith("equivalent"):
        objective, side = result.objective, word(result).removeprefix("equivalent and ")
        rest = "" if side == verdict else f", and its {objective.name} is {side}"
        margin = objective.margin_text(study.measure.margin)
        claim = f"{arm} is equivalent to {base} within {margin}{rest}"
    else:
        claim = f"{arm} is {verdict} than {base}"
    reason = f": {'; '.join(result.open)}" if verdict == "not comparable" else ""
    return f"{claim} {_scope(study)}, {_settings(study)}{reason}"


def _settings(study: Study) -> str:
    if study.is_repeated:
        return f"over {study.num_repeats} repeats of the whole search"
    return "at the settings that one search found" if study.tune else "at the settings given"


def _scope(study: Study) -> str:
    """Returns what the claim is confined to.

    That is ``on this text`` or ``on these sequences``, or the condition and its text where there
    are several.
    """
    if not study.condition:
        return f"on {objective_of(study.measure.objective).data}"
    text = text_name(study)
    return f"on {text}" if text == study.condition else f"under {study.condition} (on {text})"


def text_name(study: Study) -> str:
    """Returns the name of the text that the baseline reads."""
    return study.baseline.settings.text_name


def _grounds(study: Study, result: ArmResult) -> list[str]:
    """Returns the numbers that a verdict rests on, and what would change it, a sentence each."""
    decision = result.decision
    if decision is None or decision.num_pairs == 0:
        return []
    if decision.num_finished < decision.num_pairs:
        grounds = conditional_grounds(study, result)
    elif decision.verdict == "identical":
        grounds = [f"Their losses are equal at each of {_pairs(study, decision.num_pairs)}"]
    elif decision.interval is None:
        times = _times(study, result, _difference_texts(result)[0])
        grounds = [f"{times} at one paired {unit(study)}, which gives no interval and no test"]
    else:
        nothing = [f"It {_learned_nothing(study)}"] if result.learned_nothing else []
        grounds = [*nothing, _measured_ratio(study, result), *_with_search(study, result)]
    excuses = [f"At an end of what was tried: {'; '.join(result.excuses)}"]
    return grounds + (excuses if result.excuses else []) + outlook.of(study, result)


def _learned_nothing(study: Study) -> str:
    return f"learned nothing at {'any setting tried' if study.tune else 'the settings given'}"


def loses_more(study: Study, result: ArmResult) -> bool | None:
    """Says whether an arm's search lost more runs than the baseline's, or fewer; None: neither."""
    lost = result.lost_runs
    if lost is None or lost.adjusted_p is None or lost.adjusted_p >= study.measure.threshold:
        return None
    return lost.num_more > lost.num_fewer


def _lost_runs(study: Study, result: ArmResult) -> list[str]:
    """Returns how many runs the arm's search lost, where that tells it from the baseline."""
    lost = result.lost_runs
    if lost is None or lost.adjusted_p is None or loses_more(study, result) is None:
        return []
    return [
        f"At the {lost.num_settings} settings that both tried with the same seeds, "
        f"{lost.num_arm} of its {lost.num_runs} runs diverged or learned nothing, and "
        f"{lost.num_baseline} of {study.baseline.name}'s: more at {lost.num_more} settings, fewer "
        f"at {lost.num_fewer} (sign test, Holm-adjusted p {p_text(lost.adjusted_p)})"
    ]


def _times(study: Study, result: ArmResult, ratio: str) -> str:
    clause = result.objective.compared(measure.measured(study), ratio, study.baseline.name)
    return f"I{clause[1:]}"


def _measured_ratio(study: Study, result: ArmResult) -> str:
    decision = result.decision
    assert decision is not None
    ratio, low, high = _difference_texts(result)
    details = [f"95 % interval {low} to {high}, unadjusted"]
    if decision.adjusted_p is not None:
        details.append(f"Holm-adjusted p {p_text(decision.adjusted_p)}")
    details.append(f"{_pairs(study, decision.num_pairs)}{_stages(study)}")
    return f"{_times(study, result, ratio)} ({'; '.join(details)})"


def _with_search(study: Study, result: ArmResult) -> list[str]:
    """Returns what the search's own spread does to the interval, where it is asked for."""
    decision, spread = result.decision, result.search_spread
    assert decision is not None
    if spread is None or not unknown_search.asks_search(study, result):
        return unknown_search.grounds(study, result)
    share = f"The search's own spread is {result.objective.amount(spread)}"
    if decision.wide is None:
        return [f"{share}, which the {unit(study)}s hold already"]
    _, low, high = difference_texts(result.objective, _mean(decision), decision.wide)
    return [f"{share}; with it the interval is {low} to {high}"]


def _pairs(study: Study, num_pairs: int) -> str:
    return f"{num_pairs} paired {unit(study)}{'s' if num_pairs != 1 else ''}"


def _stages(study: Study) -> str:
    """Returns what fixed the number of seeds, where the first of them did."""
    if study.replicate.until is None:
        return ""
    return f" by Stein's two-stage rule, of at most {study.replicate.at_most}"


def why_undecided(study: Study, result: ArmResult) -> str:
    """Returns why an arm is undecided whose p alone would not say so, and what would decide it."""
    decision = result.decision
    assert decision is not None
    is_conditional = decision.num_finished < decision.num_pairs
    grounds = _sign_test_with_search if is_conditional else unknown_search.grounds
    return f"{'. '.join(grounds(study, result) + outlook.of(study, result))}."


def _mean(decision: Decision) -> float:
    assert decision.mean is not None
    return decision.mean


def conditional_grounds(study: Study, result: ArmResult) -> list[str]:
    """Returns the grounds where a pair diverged."""
    base, decision = study.baseline.name, result.decision
    assert decision is not None
    whole = "replicate" if unit(study) == "seed" else unit(study)
    num_base_diverged = int(np.sum(np.isnan(result.differences) | (result.differences == -np.inf)))
    ends = []
    if result.num_diverged:
        ends += [f"{result.num_diverged} of its {len(result.losses)} {whole}s diverged"]
    if num_base_diverged:
        ends += [f"{base} diverged at {num_base_diverged} of these {unit(study)}s"]
    pairs = _pairs(study, decision.num_pairs)
    test = f"One pair allows no test ({pairs})"
    if decision.adjusted_p is not None:
        p = p_text(decision.adjusted_p)
        test = f"A sign test counts a diverged {whole} as a loss (Holm-adjusted p {p}; {pairs})"
    elif decision.verdict == "not comparable":
        test = f"There are {pairs}"
    rest = "No pair finished"
    if decision.mean is not None:
        pairs = f"{decision.num_finished} pair{'s' if decision.num_finished != 1 else ''}"
        times = _times(study, result, _difference_texts(result)[0]).replace("Its", "its", 1)
        rest = f"Over the {pairs} in which both finished, {times}"
    return [", and ".join(ends), test, *_sign_test_with_search(study, result), rest]


def _sign_test_with_search(study: Study, result: ArmResult) -> list[str]:
    """Returns what the search's own spread does to a sign test, where it is asked for."""
    spread = result.search_spread
    if unit(study) == "repeat":
        return []
    if spread is None or not unknown_search.asks_search(study, result):
        return unknown_search.grounds(study, result)
    near = result.objective.amount(SEARCH_FACTOR * spread)
    return [f"Pairs that differ by less than {near} count against it, as another search may differ"]


def main_phase(phases: Iterable[Timed]) -> Timed | None:
    """Returns the runtime that the sentence tells: training at the smallest pack, a run alone."""
    training = [phase for phase in phases if phase[0] == "train"]
    return min(training, key=lambda phase: phase[1], default=None)


def main_speed(result: ArmResult) -> SpeedDecision | None:
    """Returns how fast an arm is in that runtime; None: it was not timed."""
    phase = main_phase(result.speeds)
    return None if phase is None else result.speeds[phase]


def phase_text(phase: Timed) -> str:
    """Returns ``training, pack of 1``."""
    return f"{'training' if phase[0] == 'train' else phase[0]}, pack of {phase[1]}"


def _speed_sentences(result: ArmResult) -> list[str]:
    phase = main_phase(result.speeds)
    if phase is None:
        return []
    speed = result.speeds[phase]
    alone = "" if phase[1] == 1 else f", in packs of {phase[1]}"
    if speed.verdict == "not comparable" or speed.ratio is None:
        return [f"Its training speed does not compare: {speed.reason}"]
    ratio, _, interval = speed_text(speed).partition(" ")
    times = f"{ratio} times as fast {interval}".rstrip()
    alone += f", {ON_BUSY}" if speed.is_disturbed else ""
    if speed.verdict == "undecided":
        measured = f"({times} was measured{alone})"
        return [f"Whether it trains faster or slower is undecided: {speed.reason} {measured}"]
    if speed.is_of_one_arm and speed.adjusted_p is not None:
        times = f"{times[:-1]} for it alone; Holm-adjusted p {p_text(speed.adjusted_p)})"
    if speed.verdict == "no difference shown":
        return [f"No difference in training speed is shown: {times}{alone}"]
    return [f"It trains {times}{alone}"]


def speed_text(speed: SpeedDecision) -> str:
    """Returns ``1.08 (1.06 to 1.10)``."""
    assert speed.ratio is not None
    ratio, low, high = ratio_texts(speed.ratio, speed.interval, decimals=2)
    return f"{ratio} ({low} to {high})" if low else ratio


def finding(study: Study, results: Sequence[ArmResult]) -> str:
    """Returns the clause that sums a condition up.

    It reads such as ``gru is worse; more runs were lost in the search of gru; in training
    speed, gru is faster``.
    """
    others = [result for result in results if not result.is_baseline]
    if not any(result.losses for result in results):
        return _nothing_ended(results, "replicate")
    timed = [(r.name, speed.verdict) for r in others if (speed := main_speed(r)) is not None]
    text = grouped([(r.name, word(r)) for r in others])
    if nothing := [r.name for r in results if r.learned_nothing]:
        text = f"{text}; {listed(nothing)} {_learned_nothing(study)}"
    for is_more, what in ((True, "more"), (False, "fewer")):
        names = [r.name for r in others if loses_more(study, r) is is_more]
        if names:
            text = f"{text}; {what} runs were lost in the search of {listed(names)}"
    return f"{text}; {in_speed(others)}, {grouped(timed)}" if timed else text


def _nothing_ended(results: Iterable[ArmResult], what: str) -> str:
    """Returns why there is no loss of any replicate."""
    if any(result.num_failed for result in results):
        return f"no {what} has ended but by failing"
    return f"no {what} has ended yet"


def in_speed(results: Iterable[ArmResult]) -> str:
    """Returns what a clause on speeds begins with: it says where a busy machine measured them."""
    is_disturbed = any((speed := main_speed(r)) and speed.is_disturbed for r in results)
    return f"in training speed, {ON_BUSY}" if is_disturbed else "in training speed"


def answer(
    study: Study,
    conditions: Sequence[tuple[Study, Sequence[ArmResult], Sequence[str]]],
) -> str:
    """Returns the sentence that sums the study up; of several conditions one each, or one for all.

    Args:
        study: The whole study.
        conditions: The study, the results and what is missing, for each of its conditions.
    """
    if all(result.is_baseline for _, results, _ in conditions for result in results):
        return f"There is nothing to compare with {study.baseline.name}."
    findings = [finding(one, results) for one, results, _ in conditions]
    if not any(result.losses for _, results, _ in conditions for result in results):
        together = [result for _, results, _ in conditions for result in results]
        text = _nothing_ended(together, f"replicate of {study.name}")
        return f"{text[0].upper()}{text[1:]}."
    is_complete = not any(missing for _, _, missing in conditions)
    start = f"{study.baseline.name} in {measure.measured(study)}"
    start = f"Compared with {start}" if is_complete else f"So far, compared with {start}"
    start = start if is_complete else f"{INCOMPLETE} {start}"
    if len(conditions) == 1:
        return f"{start}, {findings[0]}."
    if len(set(findings)) == 1:
        return f"{start}, under each of {len(conditions)} conditions, {findings[0]}."
    names = [one.condition for one, _, _ in conditions]
    first, *rest = (f"nder {name}, {text}." for name, text in zip(names, findings, strict=True))
    return " ".join([f"{start}: u{first}", *(f"U{clause}" for clause in rest)])


def word(result: ArmResult) -> str:
    """Returns the verdict as a table shows it."""
    decision: Decision | None = result.decision
    if result.is_baseline:
        return "baseline"
    if decision is None:
        return "not comparable"
    if not decision.num_pairs:
        return "not known"
    match decision.verdict:
        case "equivalent and lower":  # of the loss
            return f"equivalent and {result.objective.side('lower')}"
        case "equivalent and higher":
            return f"equivalent and {result.objective.side('higher')}"
    return decision.verdict


def grouped(pairs: Sequence[tuple[str, str]]) -> str:
    """``a and b are worse, and c is undecided``, in the order in which the words come up."""
    groups: dict[str, list[str]] = {}
    for name, verdict in pairs:
        groups.setdefault(verdict, []).append(name)
    texts = []
    for verdict, names in groups.items():
        is_one = len(names) == 1
        rest = f"{'is' if is_one else 'are'} {verdict}"
        if verdict in ("no difference shown", "not known"):
            what = "difference" if verdict == "no difference shown" else "result yet"
            verb = ("shows" if is_one else "show") if what == "difference" else "has"
            rest = f"{verb if is_one or verb == 'show' else 'have'} no {what}"
        named = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} arms"
        texts.append(f"{named} {rest}")
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, and {texts[-1]}"


def listed(names: Sequence[str]) -> str:
    """Returns ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
