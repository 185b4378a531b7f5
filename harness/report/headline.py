"""The words of a page's first screen, which has verdicts and numbers as signs beside them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.report import measure, outlook, sentences, unknown_search
from harness.report.arm_results import ArmResult
from harness.study import Study

NAMES = {"not known": "not known yet", "no difference shown": "not shown to differ"}
"""Verdict -> how it reads after ``is``, where that is not its own word."""
RUNNING = "The study is running."
"""How the answer begins where what is missing is to come."""


def while_running(answer: str) -> str:
    """Returns the answer of a study that is not whole, told while a process runs it."""
    return answer.replace(sentences.INCOMPLETE, RUNNING, 1)


def headline(
    study: Study, answer: str, conditions: Sequence[tuple[str, Sequence[ArmResult]]]
) -> str:
    """Returns one sentence: the answer, or how many conditions say what where they disagree.

    Args:
        study: The whole study.
        answer: What :func:`harness.report.sentences.answer` returns.
        conditions: The title and the results of each condition.
    """
    others = [result for _, results in conditions for result in results if not result.is_baseline]
    if not others or len({sentences.finding(study, results) for _, results in conditions}) == 1:
        return answer
    verdicts = _counted([(r.name, sentences.word(r)) for r in others], len(conditions))
    speeds = [
        (result.name, speed.verdict)
        for result in others
        if (speed := sentences.main_speed(result)) is not None
    ]
    state = next((each for each in (sentences.INCOMPLETE, RUNNING) if answer.startswith(each)), "")
    start = f"{state} So far, compared with" if state else "Compared with"
    text = f"{start} {study.baseline.name} in {measure.measured(study)}, {verdicts}"
    for is_more, what in ((True, "more"), (False, "fewer")):
        counts = Counter(r.name for r in others if sentences.loses_more(study, r) is is_more)
        if counts:
            arms = [f"{name} (under {count})" for name, count in counts.items()]
            text = f"{text}; {what} runs were lost in the search of {sentences.listed(arms)}"
    if speeds:
        text = f"{text}; {sentences.in_speed(others)}, {_counted(speeds, len(conditions))}"
    return f"{text}."


def _counted(pairs: Iterable[tuple[str, str]], num_conditions: int) -> str:
    """``a is worse under 2 of 3 conditions and undecided under 1, and b is better under all 3``."""
    verdicts: dict[str, Counter[str]] = {}
    for name, verdict in pairs:
        verdicts.setdefault(name, Counter())[NAMES.get(verdict, verdict)] += 1
    alike: dict[str, list[str]] = {}
    for name, counts in verdicts.items():
        alike.setdefault(_under(counts, num_conditions), []).append(name)
    clauses = [
        f"{sentences.listed(names)} {'is' if len(names) == 1 else 'are'} {text}"
        for text, names in alike.items()
    ]
    return sentences.listed(clauses) if len(clauses) < 3 else "; ".join(clauses)


def _under(counts: Counter[str], num_conditions: int) -> str:
    (first, number), *rest = counts.most_common()
    share = "all" if number == num_conditions else f"{number} of"
    texts = [f"{first} under {share} {num_conditions} conditions"]
    return sentences.listed(texts + [f"{word} under {count}" for word, count in rest])


def reasons(study: Study, results: Sequence[ArmResult]) -> list[tuple[list[str], str]]:
    """Returns why verdicts are not clearer and what would decide them: arms with their text.

    Verdict, ratio and interval are not said again. Arms of one text stand together.

    Args:
        study: Of one condition.
        results: Of that condition.
    """
    alike: dict[str, list[str]] = {}
    for result in results:
        parts = [] if result.is_baseline else [*_of_verdict(study, result), *_of_speed(result)]
        if parts:
            text = " ".join(f"{_capitalised(part, result)}." for part in parts)
            alike.setdefault(text, []).append(result.name)
    return [(names, text) for text, names in alike.items()]


def _capitalised(part: str, result: ArmResult) -> str:
    """Returns a part as the beginning of a sentence; an arm's name keeps its letters."""
    begins_with_arm = bool(result.open) and part.startswith(result.open[0])
    return part if begins_with_arm else f"{part[0].upper()}{part[1:]}"


def _of_verdict(study: Study, result: ArmResult) -> list[str]:
    decision = result.decision
    if decision is None:
        return [f"it does not compare: {result.incomparable}"]
    if decision.num_pairs == 0:
        return []
    parts = ["; ".join(result.open)] if decision.verdict == "not comparable" else []
    if decision.num_finished < decision.num_pairs:
        parts += sentences.conditional_grounds(study, result)
    else:
        parts += unknown_search.grounds(study, result)
    parts += [f"at an end of what was tried: {'; '.join(result.excuses)}"] if result.excuses else []
    return [part for part in [*parts, *outlook.of(study, result)] if part]


def _of_speed(result: ArmResult) -> list[str]:
    speed = sentences.main_speed(result)
    if speed is None:
        return []
    if speed.verdict == "not comparable" or speed.ratio is None:
        return [f"its training speed does not compare: {speed.reason}"]
    if speed.verdict == "undecided":
        return [f"whether it trains faster or slower is undecided: {speed.reason}"]
    return []
