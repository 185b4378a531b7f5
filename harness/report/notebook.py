"""A report in a notebook: the answer, the verdicts with their figure, and what is missing.

A notebook has a style of its own, so there are plain tables and no classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report.markup import bullets, text
from harness.report.tables import Section

if TYPE_CHECKING:
    from harness.report import Report


def html(report: "Report") -> str:
    """Returns what a notebook shows of a report."""
    name, answer = text(report.study.name), text(report.headline)
    blocks = [f"<p><b>{name}</b><br>{answer}</p>"]
    blocks += [f"<p>{text(report.effort)}</p>"] if report.effort else []
    sections = report.overview or [report.conditions[0].verdicts]
    blocks += [table(section.header, section.rows) for section in sections]
    for title, lines in (("Missing", report.missing), ("Warnings", report.warnings)):
        blocks += [f"<p>{title}</p>{bullets(lines)}"] if lines else []
    if report.first_figure is not None:
        # The ids of a figure that is shown by two cells must be the same twice, or differ.
        svg = report.first_figure.svg("notebook-")
        blocks += [f'<div style="max-width: 40rem">{svg}</div>']
    return f"<div>{''.join(blocks)}</div>"


def section_html(section: Section) -> str:
    """Returns what a notebook shows of a table."""
    return f"<p>{text(section.title)}</p>{table(section.header, section.rows)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table without a style."""
    head = "".join(f"<th>{text(name)}</th>" for name in header)
    lines = ["".join(f"<td>{text(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
