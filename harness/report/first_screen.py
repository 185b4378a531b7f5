"""A page's first screen: the answer in a sentence, the verdicts as signs, and beside them a figure.

Verdicts are a table of arms, or a matrix of conditions and arms where there are several conditions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report import headline, markup, measure, sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.markup import Colors, text

if TYPE_CHECKING:
    from harness.report import Report


LONG_ANSWER = 240
"""An answer of more characters is set smaller, so that what stands below it is seen too."""


def first_screen(report: "Report", figure: str, colors: Colors) -> str:
    """Returns the section.

    Args:
        report: The report.
        figure: The figure that stands beside the answer, as HTML; empty where there is none.
        colors: Arm -> its colour.
    """
    conditions = [(each.title, each.results) for each in report.conditions]
    size = " long" if len(report.headline) > LONG_ANSWER else ""
    blocks = [f'<p class="answer{size}">{text(report.headline)}</p>']
    since = " ".join(filter(None, (report.standing, report.effort)))
    blocks += [f'<p class="quiet">{text(since)}</p>'] if since else []
    if len(conditions) == 1:
        measured = measure.measured(report.conditions[0].study)
        blocks += [_arms(conditions[0][1], measured, colors)]
    else:
        blocks += [_matrix(conditions, colors)]
    blocks += [_reasons(report, colors)]
    kind = _kind_of_all(report.results)
    beside = f'<div class="beside">{figure}</div>' if figure else ""
    wide = "" if figure else " alone"
    return f'<section class="result {kind}{wide}"><div>{"".join(blocks)}</div>{beside}</section>'


def _kind_of_all(results: Sequence[ArmResult]) -> str:
    kinds = {markup.kind(sentences.word(result)) for result in results if not result.is_baseline}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _sign(result: ArmResult) -> str:
    word = sentences.word(result)
    return markup.badge(word, f"{word} {tables.decided_text(result)}".strip())


def _speed_sign(result: ArmResult, before: str = "") -> str:
    """Returns the verdict on an arm's training speed after ``before``; nothing: not timed.

    Its interval has no room: it is in the table of the runtimes.
    """
    phase = sentences.main_phase(result.speeds)
    if phase is None:
        return ""
    speed = result.speeds[phase]
    times = "" if speed.ratio is None else f" {sentences.speed_text(speed).partition(' ')[0]}"
    return markup.badge(speed.verdict, f"{before}{speed.verdict}{times}")


def _arms(results: Sequence[ArmResult], measured: str, colors: Colors) -> str:
    """Returns a row per arm."""
    others = [result for result in results if not result.is_baseline]
    if not others:
        return ""
    is_timed = any(_speed_sign(result) for result in others)
    head = ["Arm", measured[0].upper() + measured[1:], *(["Training speed"] if is_timed else [])]
    rows = [
        (
            markup.arm(result.name, colors),
            _sign(result),
            *([_speed_sign(result)] if is_timed else []),
        )
        for result in others
    ]
    return _table("Verdicts", ["", "", "speed"], [text(name) for name in head], rows)


def _matrix(conditions: Sequence[tuple[str, Sequence[ArmResult]]], colors: Colors) -> str:
    """Returns a table of conditions and arms; those of which there are fewer are its columns."""
    results = {(title, each.name): each for title, rows in conditions for each in rows}
    titles = [title for title, _ in conditions]
    names = list(
        dict.fromkeys(each.name for _, rows in conditions for each in rows if not each.is_baseline)
    )
    marked = {name: markup.arm(name, colors) for name in names}

    def sign(title: str, name: str) -> str:
        result = results.get((title, name))
        return "" if result is None else f"{_sign(result)} {_speed_sign(result, 'speed: ')}"

    label = "Verdicts under every condition"
    if len(names) > len(titles):
        rows = [(marked[name], *(sign(title, name) for title in titles)) for name in names]
        return _table(label, ["", *titles], ["Arm", *map(text, titles)], rows)
    rows = [(text(title), *(sign(title, name) for name in names)) for title in titles]
    notes = ["", *(names if len(names) > 1 else [""])]
    return _table(label, notes, ["Condition", *marked.values()], rows)


def _table(
    label: str, notes: Sequence[str], head: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Returns a table of HTML.

    On a phone, which shows no heads, a cell has its column's note before it.
    """
    titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f'<td data-note="{text(note)}">{cell}</td>'
            for note, cell in zip(notes[1:], rest, strict=False)
        )
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    content = f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return markup.scrolled(label, "glance", content)


def _reasons(report: "Report", colors: Colors) -> str:
    """Returns what no sign says, of a study of one condition; of others their parts do."""
    if len(report.conditions) > 1:
        return ""
    return reasons(headline.reasons(report.study, report.results), colors)


def reasons(found: Sequence[tuple[Sequence[str], str]], colors: Colors) -> str:
    """Returns why verdicts are not clearer and what would decide them, as a list or nothing."""
    items = "".join(
        f"<li>{', '.join(markup.arm(name, colors) for name in names)}: {text(words)}</li>"
        for names, words in found
    )
    return f'<ul class="reasons">{items}</ul>' if items else ""
