"""The words of a study's page in MLflow: its description, and the cells of its first table."""

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.report import Report, forms, number_texts, sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.tables import Section
from harness.store import views

LINE_LENGTH = 95
"""Characters of the answer in the first line: the page shows one line of a description at first,
and with the links behind it that line must fit beside the side bar at 1,280 pixels.
"""
NAME_LENGTH = 24
"""Characters of the baseline in that line."""
SHORTEST = 8
"""The fewest characters of a name that still tell which arm it is."""
LINKS = {
    views.ANSWER: "answer",
    views.CURVES: "curves",
    views.TRIALS: "trials",
    views.COSTS: "costs",
}

ENDED = {views.TRIALS_TAG: "Trials ended", views.SEEDS_TAG: "Seeds ended"}
"""Tag of what has ended of an arm -> the title of its column in the description."""


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
    start = "Incomplete so far; compared" if report.missing else "Compared"
    start += f" with {_clipped(report.study.baseline.name, NAME_LENGTH)}, "
    room, texts = LINE_LENGTH - len(start), {}
    shortest_first = sorted(by_word.items(), key=lambda item: len(", ".join(item[1])))
    for num_left, (word, arms) in zip(range(len(by_word), 0, -1), shortest_first, strict=True):
        texts[word] = f"{word}: {_shortened(arms, room // num_left - len(f'; {word}: '))}"
        room -= len(f"; {texts[word]}")  # what one leaves, the longer ones have
    answer = start + "; ".join(texts[word] for word in by_word)
    return answer if len(answer) <= LINE_LENGTH else _cut(answer)


def _cut(answer: str) -> str:
    """Returns as many of the verdicts as the line holds."""
    return f"{answer[: answer.rindex('; ', 0, LINE_LENGTH - 1)]}; …"


def _shortened(names: Sequence[str], room: int) -> str:
    """Returns as many names as ``room`` characters hold, and how many more; or how many in all."""
    for count in range(len(names), 0, -1):
        more = f" and {len(names) - count} more" if count < len(names) else ""
        text = ", ".join(names[:count]) + more
        if len(text) <= room:
            return text
    if room - len(more) >= SHORTEST:
        return _clipped(names[0], room - len(more)) + more
    return str(len(names))


def _clipped(name: str, length: int) -> str:
    """Returns a name in ``length`` characters: its middle is what names of arms have in common.

    >>> _clipped("lstm-with-a-long-name-64", 12)
    'lstm-w…me-64'
    """
    if len(name) <= length:
        return name
    end = (length - 1) // 2
    return f"{name[: length - 1 - end]}…{name[-end:]}"


def cells(result: ArmResult, split: str) -> dict[str, str]:
    """Returns an arm's row of the first table, by the column, as the report writes it."""
    finished, planned = result.num_finished, result.num_planned
    parameters = result.num_parameters
    texts = (
        sentences.word(result).split(" and ")[0],
        tables.decided_text(result).replace(" to ", "–"),
        tables.holm_text(result),
        "none" if result.mean is None else number_texts.number(result.objective.level(result.mean)),
        _speed_text(result),
        "" if parameters is None else f"{parameters:,}",
        str(finished) if finished == planned else f"{finished}/{planned}",
    )
    return dict(zip(views.verdict_columns(result.objective, split), texts, strict=True))


def _speed_text(result: ArmResult) -> str:
    """Returns how many times as fast as the baseline an arm trains; a ``?`` where undecided."""
    phase = sentences.main_phase(result.speeds)
    speed = result.speeds[phase] if phase is not None else None
    if speed is None or speed.ratio is None:
        return ""
    return f"{speed.ratio:.2f}×" + ("?" if speed.verdict == "undecided" else "")


def under_way(
    state: str, title: str, ended: Mapping[str, Mapping[str, str]], moment: str, links: str
) -> str:
    """Returns the description of a study that has no report yet.

    Args:
        state: ``running`` or ``stopped``.
        title: What is trained.
        ended: How many of each arm's runs have ended, by their tag.
        moment: When that was so.
        links: To the views.
    """
    tags = [tag for tag in ENDED if all(tag in counts for counts in ended.values())]
    rows = [(arm, *(counts[tag] for tag in tags)) for arm, counts in ended.items()]
    table = forms.narrow_markdown(Section("", ("Arm", *(ENDED[tag] for tag in tags)), rows))
    return f"{state.capitalize()}: {title}, {moment} · {links}\n\n{table}\n"
