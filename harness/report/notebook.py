"""A report in a notebook: the answer, the verdicts with their figure, and what is missing.

A notebook has a style of its own, light or dark, so there are plain tables and no classes, and a
figure is drawn in the colour of the notebook's text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.report.markup import bullets, heading, text, whole_intervals
from harness.tasks.objective import OBJECTIVES

if TYPE_CHECKING:
    from harness.report import Report


FIGURE_STYLE = (
    "max-width: 40rem; fill: currentColor; --ink: currentColor; --faint: currentColor; "
    "--paper: transparent; --grid: #8886"
)
"""Of what holds a figure; the variables are those of ``drawing.THEMED``."""
COLUMNS = (
    "condition",
    "arm",
    "verdict",
    "ratio",
    "ratio_low",
    "ratio_high",
    "ratio_low_with_search",
    "ratio_high_with_search",
    "difference",
    "difference_low",
    "difference_high",
    "difference_low_with_search",
    "difference_high_with_search",
    "p_holm",
    "train_pack_1_speed",
    "num_parameters",
    "finished",
    "diverged",
)
"""The columns of a report's table that a notebook shows."""


def html(report: "Report") -> str:
    """Returns what a notebook shows of a report."""
    name, answer = text(report.study.name), text(report.headline)
    blocks = [f"<p><b>{name}</b><br>{answer}</p>"]
    blocks += [f"<p>{text(each)}</p>" for each in (report.standing, report.effort) if each]
    sections = report.overview or [report.conditions[0].verdicts]
    blocks += [table(section.header, section.rows) for section in sections]
    for title, lines in (("Missing", report.missing), ("Warnings", report.warnings)):
        blocks += [f"<p>{title}</p>{bullets(lines)}"] if lines else []
    if report.first_figure is not None:
        # The ids of a figure that is shown by two cells must be the same twice, or differ.
        svg = report.first_figure.svg("notebook-")
        blocks += [f'<div style="{FIGURE_STYLE}">{svg}</div>']
    return f"<div>{''.join(blocks)}</div>"


def results_html(name: str, verdict: pd.DataFrame, warnings: Sequence[str], num_runs: int) -> str:
    """Returns what a notebook shows of a study's frames: ``verdict``'s main columns, rounded.

    A column that is empty in all rows is left out.
    """
    first, rest = COLUMNS[: COLUMNS.index("ratio")], COLUMNS[COLUMNS.index("ratio") :]
    shown = verdict[[column for column in (*first, *OBJECTIVES, *rest) if column in verdict]]
    shown = shown.replace("", None).dropna(axis="columns", how="all")
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    blocks = [
        f"<p><b>{text(name)}</b>: {num_runs:,} runs</p>",
        table([str(column) for column in shown], rows),
    ]
    blocks += [f"<p>Warnings</p>{bullets(warnings)}"] if warnings else []
    return f"<div>{''.join(blocks)}</div>"


def _cell(value: object) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table without a style."""
    head = "".join(f"<th>{heading(name)}</th>" for name in header)
    lines = ["".join(f"<td>{text(whole_intervals(cell))}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
