"""The pieces of a page: texts that are escaped, verdicts as signs, lists, boxes and tables."""

import html as escapes
from collections.abc import Mapping, Sequence

from harness.report.tables import Section

LONG_TEXT = 40
"""A cell of so many characters or more may be broken into lines."""
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


def badge(verdict: str, words: str = "") -> str:
    """Returns a verdict as a sign, with other ``words`` where they are given."""
    return f'<span class="verdict {text(kind(verdict))}">{text(words or verdict)}</span>'


def arm(name: str, colors: Colors) -> str:
    """Returns an arm's name after a mark of its colour, or alone where no arm has that name."""
    color = colors.get(name)
    mark = "" if color is None else f'<i class="arm" style="background: {color}"></i>'
    return mark + text(name)


def bullets(lines: Sequence[str]) -> str:
    """Returns a list, or nothing."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if lines else ""


def box(name: str, title: str, lines: Sequence[str]) -> str:
    """Returns a list in a box with a title, or nothing."""
    if not lines:
        return ""
    return f'<section class="box {name}"><h3>{title}</h3>{bullets(lines)}</section>'


def folded(title: str, content: str) -> str:
    """Returns what is shown once its title is clicked, and in print."""
    return f"<details><summary>{text(title)}</summary>{content}</details>" if content else ""


def anchors(links: Sequence[tuple[str, str]]) -> str:
    """Returns links to places of the page."""
    return " ".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name in links)


def table(section: Section, name: str = "", colors: Colors | None = None) -> str:
    """Returns a table that is scrolled where it is too wide; ``name`` is a class of it."""
    classes = [' class="number"' if is_number else "" for is_number in section.are_numbers]
    head = "".join(
        f'<th scope="col"{c}>{text(title)}</th>'
        for c, title in zip(classes, section.header, strict=True)
    )
    rows = []
    for row in section.rows:
        cells = [
            badge(cell) if title == "Verdict" else text(cell)
            for title, cell in zip(section.header, row, strict=True)
        ]
        kinds = [
            ' class="long"' if len(cell) >= LONG_TEXT else c
            for c, cell in zip(classes, row, strict=True)
        ]
        rest = "".join(f"<td{c}>{cell}</td>" for c, cell in zip(kinds[1:], cells[1:], strict=True))
        first = arm(row[0], colors or {}) if section.header[0] == "Arm" else cells[0]
        rows.append(f'<tr><th scope="row">{first}</th>{rest}</tr>')
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    label = text(section.title)
    return (
        f'<div class="scroll {name}" role="region" tabindex="0" aria-label="{label}">'
        f"{content}</div>"
    )
