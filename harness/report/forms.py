"""A report's tables as Markdown, as LaTeX and on a terminal."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.report import sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.number_texts import number
from harness.report.tables import Section
from harness.statistics.decisions import SpeedDecision

COLORS = {"better": "green", "worse": "red"}  # every other verdict is yellow
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
"""Character -> what LaTeX prints it by."""
GAP = 2
"""Characters between two columns on a terminal."""
NARROW, NARROW_GAP = 120, 2
"""Characters of a table for which MLflow's page has room beside its side bar at 1,280 pixels, and
those between two of its columns.
"""
LEAST_NAME_WIDTH = 18
"""Characters that an arm's name has in a table of verdicts, before its other columns are folded."""
NARROW_TITLE = 14
"""Characters of a line of a title that is folded for the sake of long names."""
MAX_WIDTH = 10_000
"""Characters in which any table has room."""


def prose(text: str) -> str:
    r"""Returns a person's text for Markdown, in one paragraph: no sign in it is meant as one.

    >>> prose("1. Does *it*\n# matter? <b>")
    '1\\. Does \\*it\\* \\# matter? &lt;b>'
    """
    text = re.sub(r"([\\`*_#~$\[\]]|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
    # A list, a quotation or a heading begins a paragraph.
    return plain(re.sub(r"^(\d+(?=[.)])|(?=[-+>=]))", r"\1\\", text))


def plain(text: str) -> str:
    """Returns a text for Markdown: a bar or a tag in a name is not meant as one."""
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text.replace("|", "\\|"))


def bullets(lines: Sequence[str]) -> str:
    """Returns a Markdown list."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def markdown(section: Section) -> str:
    """Returns a table as GitHub renders it, numbers to the right, and its note below."""
    rules = tuple("---:" if is_number else "---" for is_number in section.are_numbers)
    table = "\n".join(
        f"| {' | '.join(map(plain, line))} |" for line in (section.header, rules, *section.rows)
    )
    return f"{table}\n\n{plain(section.note)}" if section.note else table


def narrow_markdown(section: Section) -> str:
    """Returns a table as Markdown for MLflow's page, which breaks words where it has no room.

    It sets columns side by side without a gap and ignores how they are to be aligned, so that the
    gaps are written. A table of more than ``NARROW`` characters becomes a list of its rows.
    """
    widths = [max(map(len, column)) for column in zip(section.header, *section.rows, strict=True)]
    if sum(widths) + NARROW_GAP * (len(widths) - 1) <= NARROW:
        lines = [" | ".join(f"{plain(cell)}&emsp;" for cell in row) for row in section.rows]
        head = " | ".join(f"{plain(cell)}&emsp;" for cell in section.header)
        rule = " | ".join(["---"] * len(widths))
        lines = [f"| {line} |" for line in (head, rule, *lines)]
    else:
        lines = [f"- {' · '.join(_named(section.header, row))}" for row in section.rows]
    return "\n".join([*lines, *(["", plain(section.note)] if section.note else [])])


def _named(header: Sequence[str], row: Sequence[str]) -> list[str]:
    """Returns a row's cells behind what they are; those that are empty are left out."""
    named = zip(header[1:], row[1:], strict=True)
    return [f"**{plain(row[0])}**", *(f"{name}: {plain(cell)}" for name, cell in named if cell)]


def latex(section: Section, caption: str) -> str:
    """Returns a floating table, to be set with the package booktabs."""
    columns = "".join("r" if is_number else "l" for is_number in section.are_numbers)
    lines = [" & ".join(map(escaped, line)) + r" \\" for line in (section.header, *section.rows)]
    rows = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    head = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    return "\n".join([*head, *rows, r"\end{tabular}", r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """Returns a text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in text)


def terminal(results: Sequence[ArmResult], title: str, console: Console) -> Table:
    """Returns the verdicts as a table that fits 80 columns.

    The interval is the one that the verdict rests on, with the search's own spread where it is
    known. Speeds have theirs where the console has room for it; else ``(1.03)`` is no difference
    shown. ``1.03?`` is undecided in both forms, and an interval with a star leaves 1 out where no
    difference is shown: it is of one arm, and the verdict of all. ``title`` says what is compared.
    """
    table = _verdicts(results, title, with_intervals=True)
    unbounded = console.options.update(max_width=MAX_WIDTH)
    has_intervals = Measurement.get(console, unbounded, table).maximum <= console.width
    if not has_intervals:
        table = _verdicts(results, title, with_intervals=False)
        room = _room_for_names(table, results, console, unbounded)
        if is_narrow := room < min(_longest(results), LEAST_NAME_WIDTH):
            table = _verdicts(results, title, with_intervals=False, is_narrow=True)
            room = _room_for_names(table, results, console, unbounded)
        table = _verdicts(results, title, False, is_narrow, name_width=room)
    speeds = [speed for result in results if (speed := sentences.main_speed(result)) is not None]
    kinds = {_speed_kind(speed) for speed in speeds}
    signs = _speed_signs(has_intervals).items()
    if used := dict.fromkeys(text for kind, (_, text) in signs if kind in kinds):
        table.caption, table.caption_justify = f"Speed {'; '.join(used)}.", "left"
    return table


def _longest(results: Sequence[ArmResult]) -> int:
    return max(len(result.name) for result in results)


def _room_for_names(
    table: Table, results: Sequence[ArmResult], console: Console, unbounded: ConsoleOptions
) -> int:
    """Returns how many characters of a name fit beside what else a table of verdicts holds."""
    too_wide = Measurement.get(console, unbounded, table).maximum - console.width
    return max(1, _longest(results) - max(0, too_wide))


def broken_at_joints(name: str, width: int) -> str:
    """Returns a name in lines that end at its joints, each of at most ``width`` if parts allow it.

    >>> broken_at_joints("forget-gate:lstm-coupled", 18).splitlines()
    ['forget-gate:lstm-', 'coupled']
    >>> broken_at_joints("cell=gru,hidden_size=24", 21).splitlines()
    ['cell=gru,', 'hidden_size=24']
    """
    lines = [""]
    for part in _parts(name, width):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _parts(name: str, width: int) -> Iterator[str]:
    """Yields what a name is joined of; of a part that is longer than ``width``, its own parts."""
    for part in re.findall(r"[^-:/,]*[-:/,]|[^-:/,]+", name):
        yield from [part] if len(part) <= width else re.findall(r"[^=_]*[=_]|[^=_]+", part)


def _ranged(text: str) -> str:
    """Returns an interval without blanks; bounds that have signs keep their ``to``.

    >>> _ranged("1.03 (0.99 to 1.1)"), _ranged("+0.05 (-0.18 to +0.28)")
    ('1.03 (0.99-1.1)', '+0.05 (-0.18 to +0.28)')
    """
    return text if re.search("to [-+]", text) else text.replace(" to ", "-")


def _verdicts(
    results: Sequence[ArmResult],
    title: str,
    with_intervals: bool,
    is_narrow: bool = False,
    name_width: int = MAX_WIDTH,
) -> Table:
    """Returns the table; where it ``is_narrow``, titles and intervals stand in more lines."""
    table = _terminal_table()
    is_wide = any(tables.wide_text(result) for result in results)
    scale = results[0].objective.scale.capitalize()
    ratio = f"{scale} (95 %,\nwith the search)" if is_wide else f"{scale} (95 %)"
    title = title.replace(" (", "\n(")
    if is_narrow:
        ratio = ratio.replace("\n", " ").replace(" (95 %", "\n(95 %").replace(" the", "\nthe")
        title = "\n".join(textwrap.fill(line, NARROW_TITLE) for line in title.splitlines())
    table.add_column("Arm", overflow="fold")
    for name in (title, ratio, "p", "Speed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for result in results:
        word = sentences.word(result).split(" and ")[0]  # the sentences say lower or higher
        cells = (
            number(result.objective.level(result.mean)) if result.mean is not None else "none",
            _ranged(tables.decided_text(result)).replace(" (", "\n(" if is_narrow else " ("),
            tables.holm_text(result),
            _speed_text(result, with_intervals),
        )
        style = "" if result.is_baseline else COLORS.get(word, "yellow")
        table.add_row(
            Text(broken_at_joints(result.name, name_width)), *cells, Text(word, style=style)
        )
    return table


def terminal_section(section: Section, width: int) -> Table:
    """Returns any table for a terminal of ``width`` characters, which folds its cells."""
    columns = list(zip(section.header, *section.rows, strict=True))
    table = _terminal_table()
    widths = _widths(columns, width)
    for name, is_number, own in zip(section.header, section.are_numbers, widths, strict=True):
        justify: JustifyMethod = "right" if is_number else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", width=own)
    for row in section.rows:
        # Names alone have joints: a number's sign is none.
        table.add_row(
            *(
                Text(cell if is_number else _words_at_joints(cell, own))
                for cell, is_number, own in zip(row, section.are_numbers, widths, strict=True)
            )
        )
    return table


def _words_at_joints(cell: str, width: int) -> str:
    words = cell.split(" ")
    return " ".join(broken_at_joints(w, width) if len(w) > width else w for w in words)


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Returns the columns' widths: no word is broken where that fits into ``width``.

    What is left goes to the columns that are folded most; what is too much is taken from the
    widest.
    """
    whole = [max(map(len, column)) for column in columns]
    # The sign of "< 0.001" is a part of its number.
    words = [[re.split(r"(?<!<) ", cell) for cell in column] for column in columns]
    own = [max(len(word) for cell in column for word in cell) for column in words]
    room = width - GAP * len(columns)
    while sum(own) > room and max(own) > 1:
        own[own.index(max(own))] -= 1
    while sum(own) < min(room, sum(whole)):
        folds = [have / want for have, want in zip(own, whole, strict=True)]
        own[folds.index(min(folds))] += 1
    return own


def _terminal_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


_OF_ONE_ARM = "of one arm"


def _speed_kind(speed: SpeedDecision) -> str:
    return _OF_ONE_ARM if speed.is_of_one_arm else speed.verdict


def _speed_signs(with_intervals: bool) -> dict[str, tuple[str, str]]:
    """Returns the kinds of speed that have a sign: its form, and what it stands for.

    An interval shows by itself where there is no difference, unless it is of its arm alone.
    """
    undecided = {"undecided": ("{}?", "?: undecided")}
    if with_intervals:
        return {_OF_ONE_ARM: ("{}*", "*: no difference is shown among all arms"), **undecided}
    sign = ("({})", "in ( ): no difference is shown")
    return {"no difference shown": sign, _OF_ONE_ARM: sign, **undecided}


def _speed_text(result: ArmResult, is_whole: bool) -> str:
    """Returns the ratio with its interval, or with a sign for it; what is undecided has a ?."""
    speed = sentences.main_speed(result)
    if speed is None or speed.ratio is None:
        return ""
    form, _ = _speed_signs(is_whole).get(_speed_kind(speed), ("{}", ""))
    text = _ranged(sentences.speed_text(speed)) if is_whole else f"{speed.ratio:.2f}"
    return form.format(text)
