"""The words of a study's page in MLflow: its description, and the cells of its first table."""

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.report import Report, sentences, tables
from harness.report.arm_results import ArmResult
from harness.store import views

ANSWER_LENGTH = 85
"""Characters of the answer in the first line: the page shows one line of a description at first,
and with the links behind it that line must fit beside the side bar at 1,280 pixels.
"""
LINKS = {
    views.ANSWER: "answer",
    views.CURVES: "curves",
    views.TRIALS: "trials",
    views.COSTS: "costs",
}


def description(report: Report, links: str) -> str:
    """Returns the description of a study that has a report: first a line, then all of it."""
    return f"{short_answer(report)} · {links}\n\n{report.note()}"


def links(experiment_id: str, keys: Sequence[str], report_run: str | None = None) -> str:
    """Returns links to a study's views, and before them to its report where there is one.

    Args:
        experiment_id: MLflow's.
        keys: Of the views.
        report_run: The run that holds the report.
    """
    page = f"#/experiments/{experiment_id}/runs"
    texts = [f"[{LINKS[key]}]({page}?{views.address(key)})" for key in keys]
    if report_run is not None:
        texts.insert(0, f"[report]({page}/{report_run}/artifacts/report.html)")
    return " · ".join(texts)


def short_answer(report: Report) -> str:
    """Returns the verdicts in a few words, the names of arms cut to what one line holds.

    With several conditions an arm has its commonest verdict, and in how many it has that.
    """
    words: dict[str, Counter[str]] = {}
    for result in report.results:
        if not result.is_baseline:
            word = sentences.word(result).split(" and ")[0]
            words.setdefault(result.name, Counter())[word] += 1
    by_word: dict[str, list[str]] = {}
    for arm, counts in words.items():
        ((word, count),) = counts.most_common(1)
        share = "" if len(report.conditions) == 1 else f" in {count} of {len(report.conditions)}"
        by_word.setdefault(f"{word}{share}", []).append(arm)
    baseline = report.study.baseline.name
    room = (ANSWER_LENGTH - len(baseline)) // max(1, len(by_word))
    parts = [f"{word}: {_shortened(arms, room - len(word))}" for word, arms in by_word.items()]
    start = "Incomplete so far; compared" if report.missing else "Compared"
    return f"{start} with {baseline}, {'; '.join(parts)}"


def _shortened(names: Sequence[str], room: int) -> str:
    """Returns as many names as ``room`` characters hold, at least one, and how many more."""
    shown = list(names)
    while len(shown) > 1 and len(", ".join(shown)) > room:
        shown.pop()
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def cells(result: ArmResult, split: str) -> dict[str, str]:
    """Returns an arm's row of the first table, by the column, as the report writes it."""
    finished, planned = result.num_finished, result.num_planned
    parameters = result.num_parameters
    texts = (
        sentences.word(result).split(" and ")[0],
        tables.decided_text(result).replace(" to ", "–"),
        tables.holm_text(result),
        "none" if result.mean is None else sentences.number(result.objective.level(result.mean)),
        _speed_text(result),
        "" if parameters is None else f"{parameters:,}",
        str(finished) if finished == planned else f"{finished} of {planned}",
    )
    return dict(zip(views.verdict_columns(result.objective, split), texts, strict=True))


def _speed_text(result: ArmResult) -> str:
    """Returns how many times as fast as the baseline an arm trains; a ``?`` where undecided."""
    phase = sentences.main_phase(result.speeds)
    speed = result.speeds[phase] if phase is not None else None
    if speed is None or speed.ratio is None:
        return ""
    return f"{speed.ratio:.2f}×" + ("?" if speed.verdict == "undecided" else "")


def under_way(state: str, title: str, ended: Mapping[str, str], moment: str, links: str) -> str:
    """Returns the description of a study that has no report yet.

    Args:
        state: ``running`` or ``stopped``.
        title: What is trained.
        ended: What has ended of each arm.
        moment: When that was so.
        links: To the views.
    """
    rows = "\n".join(f"| {arm} | {text} |" for arm, text in ended.items())
    return (
        f"{state.capitalize()}: {title}, {moment} · {links}\n\n| Arm | Ended |\n|---|---|\n{rows}\n"
    )
