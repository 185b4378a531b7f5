"""The pieces of a page: texts that are escaped, verdicts as signs, lists, boxes and tables."""

import html as escapes
import re
from collections.abc import Mapping, Sequence

from harness.report.tables import Section

LONG_TEXT = 40
"""A cell of so many characters or more may be broken into lines."""
NO_BREAK = "\u00a0"
STACKED = "stacked"
"""The class of a table whose cells stand below each other on a phone, each after its column's name.
"""
Colors = Mapping[str, str]
"""Arm -> the colour that it has in every figure."""


def text(value: object) -> str:
    """Returns a text in which nothing is meant as a tag."""
    return escapes.escape(str(value))


def kind(verdict: str) -> str:
    """Returns the class of a verdict, which gives it its colour and its sign.

    The words of the verdict are always written out too.
    """
    return verdict.split(" ")[0].rstrip(":")


def whole_intervals(value: str) -> str:
    """Returns a text in which what stands in brackets is not broken into lines."""
    return re.sub(r"\(.*?\)", lambda found: found[0].replace(" ", NO_BREAK), value)


def heading(title: str) -> str:
    """Returns a column's title, in which no sign of a percentage stands alone on a line."""
    return text(title.replace(" %", f"{NO_BREAK}%"))


def badge(verdict: str, words: str = "") -> str:
    """Returns a verdict as a sign, with other ``words`` where they are given."""
    shown = text(whole_intervals(words or verdict))
    return f'<span class="verdict {text(kind(verdict))}">{shown}</span>'


def arm(name: str, colors: Colors) -> str:
    """Returns an arm's name after a mark of its colour, or alone where no arm has that name."""
    color = colors.get(name)
    mark = "" if color is None else f'<i class="arm" style="background: {color}"></i>'
    return mark + breakable(name)


def breakable(name: str) -> str:
    """Returns a name that may be broken into lines where its settings are joined.

    >>> breakable("cell=gru,hidden_size=24")
    'cell=gru,<wbr>hidden_size=24'
    """
    return re.sub(r"(?<=[,:/])(?=.)", "<wbr>", text(name))


def bullets(lines: Sequence[str]) -> str:
    """Returns a list, or nothing."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if lines else ""


def box(title: str, lines: Sequence[str], level: int) -> str:
    """Returns a list in a box, under a heading of a level, or nothing."""
    if not lines:
        return ""
    return f'<section class="box"><h{level}>{title}</h{level}>{bullets(lines)}</section>'


def code(content: str) -> str:
    """Returns a text as it is, which the keyboard scrolls where it is too wide."""
    return f'<pre tabindex="0">{text(content)}</pre>'


def folded(title: str, content: str) -> str:
    """Returns what is shown once its title is clicked, and in print."""
    return f"<details><summary>{text(title)}</summary>{content}</details>" if content else ""


def anchors(links: Sequence[tuple[str, str]]) -> str:
    """Returns links to places of the page."""
    return " ".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name in links)


def table(section: Section, name: str = "", colors: Colors | None = None) -> str:
    """Returns a table that is scrolled where it is too wide, and its note below.

    ``name`` is a class of it.
    """
    kinds = [' class="number"' if is_number else "" for is_number in section.are_numbers]
    head = "".join(
        f'<th scope="col"{kind}>{heading(title)}</th>'
        for kind, title in zip(kinds, section.header, strict=True)
    )
    rows = []
    for first, *rest in section.rows:
        is_arm = section.header[0] == "Arm"
        row = arm(first, colors or {}) if is_arm else text(first)
        cells = "".join(
            _cell(title, cell, kind, name == STACKED)
            for title, cell, kind in zip(section.header[1:], rest, kinds[1:], strict=True)
        )
        rows.append(f'<tr><th scope="row">{row}</th>{cells}</tr>')
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    note = f'<p class="quiet">{text(section.note)}</p>' if section.note else ""
    return scrolled(section.title, name, content) + note


def scrolled(label: str, name: str, content: str) -> str:
    """Returns a table in a box that the keyboard scrolls too; ``name`` is a class of the box."""
    classes = f"scroll {name}".rstrip()
    label = text(label)
    return f'<div class="{classes}" role="group" tabindex="0" aria-label="{label}">{content}</div>'


def _cell(title: str, cell: str, kind: str, is_noted: bool) -> str:
    """Returns a cell; where it ``is_noted`` it has its column's title, which a phone shows."""
    note = f' data-note="{heading(title)}"' if is_noted and cell else ""
    if title == "Verdict":
        return f"<td{note}>{badge(cell)}</td>"
    if kind:  # an interval may stand below its number, and is whole
        cell = cell.replace(" ", NO_BREAK).replace(f"{NO_BREAK}(", " (")
    elif len(cell) >= LONG_TEXT:
        kind = ' class="long"'
    return f"<td{kind}{note}>{text(cell)}</td>"
