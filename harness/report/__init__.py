"""From runs to answer, sentences, table and figures; as Markdown, HTML, CSV and on a terminal."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.metrics import perplexity
from harness.report import figures, results, sentences, tables
from harness.report.results import ArmResult
from harness.report.sentences import number
from harness.report.tables import Section

COLORS = {"better": "green", "worse": "red", "faster": "green", "slower": "red"}  # every other verdict is yellow
NO_HELD_OUT = "train/perplexity: running training perplexity, no held-out number."
METHOD = (
    "Pairs are replicates of one seed. Ratios are exp of the mean paired difference in nats; intervals are Student's,"
    " 95 %, unadjusted; p (Holm) is the paired Student test after Holm's correction over the arms (a sign test where a"
    " replicate diverged); p (sign-flip) is exact unless it says Monte Carlo, and unadjusted. Speeds are medians over"
    " rounds of paired ratios with order-statistic intervals."
)


@dataclass(frozen=True)
class Report:
    """What a study shows. ``table`` has numbers, one row per arm; the other forms are made of the same results."""

    study: Any
    results: list[ArmResult]
    curves: pd.DataFrame
    answer: str
    sentences: list[str]
    missing: list[str]
    warnings: list[str]

    @property
    def table(self) -> pd.DataFrame:
        """One row per arm; losses in nats, ``tokens_per_second`` medians, ``ratio`` and ``speed`` to the baseline."""
        frame = pd.DataFrame([tables.numbers(result) for result in self.results])
        return frame.astype(dict.fromkeys(tables.COUNTS, "Int64"))  # a count that is not known stays a count

    def csv(self) -> str:
        """Returns ``table``, with what is not known left empty."""
        return self.table.to_csv(index=False)

    def note(self) -> str:
        """Returns a short Markdown text: answer, sentences, remarks and the main table."""
        return "\n\n".join([f"**{self.answer}**", *self._remarks_markdown(), _markdown(self._main())]) + "\n"

    def markdown(self) -> str:
        """Returns the whole report without its figures, for GitHub."""
        head = [f"## {self.study.name}", self.study.question, f"**{self.answer}**", *self._remarks_markdown()]
        texts = [f"### {section.title}\n\n{_markdown(section)}" for section in self._sections()]
        return "\n\n".join([*head, *texts, METHOD]) + "\n"

    def _remarks_markdown(self) -> list[str]:
        blocks = [self.sentences, [f"Missing: {x}" for x in self.missing], [f"Warning: {x}" for x in self.warnings]]
        return ["\n".join(f"- {_cell(line)}" for line in lines) for lines in blocks if lines]

    def _main(self) -> Section:
        return tables.perplexities(self.results, results.measured(self.study))

    def _sections(self) -> list[Section]:
        return [s for s in (self._main(), tables.runtimes(self.results), tables.tuned_values(self.results)) if s.rows]

    def terminal(self, console: Console) -> None:
        """Prints the answer, a table that fits 80 columns, the sentences and the warnings."""
        console.print(Text(self.answer, style="bold"))
        console.print(_terminal_table(self.results))
        for line in self.sentences:
            console.print(Text(line))
        for line in self.missing:
            console.print(Text(f"Missing: {line}", style="yellow"))
        for line in self.warnings:
            console.print(Text(f"Warning: {line}", style="yellow"))

    def html(self) -> str:
        """Returns one self-contained page."""
        template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
        source = getattr(self.study, "source", None)
        return template.substitute(
            title=html.escape(self.study.name),
            question=html.escape(self.study.question or ""),
            source=f'<p class="quiet">Source: {html.escape(source)}</p>' if source else "",
            answer=html.escape(self.answer),
            sentences=_html_list(self.sentences, ""),
            missing=_html_list(self.missing, "missing"),
            warnings=_html_list(self.warnings, "warnings"),
            tables="\n".join(_html_table(section) for section in self._sections()),
            figures="\n".join(f"<figure>{svg}</figure>" for svg in self.figures()),
            samples=_html_samples(self.results),
            method=html.escape(METHOD),
        )

    def figures(self) -> list[str]:
        """Returns the figures that there is something to draw for, as inline SVG."""
        base, metric = self.study.baseline.name, "validation/loss" if results.is_held_out(self.study) else "train/loss"
        drawn = [
            figures.paired_differences(self.results, base, self.study.measure.margin),
            figures.speeds(self.results, base),
            figures.learning_curves(self.results, self.curves, metric),
        ]
        return [svg for svg in drawn if svg is not None]


def build(
    study: Any, runs: pd.DataFrame, curves: pd.DataFrame, timings: pd.DataFrame, warnings: Sequence[str] = ()
) -> Report:
    """Returns the report of a study as far as it has come.

    Args:
        study: With ``name``, ``question``, ``arms``, ``baseline``, ``measure``, ``tune`` and ``replicate``.
        runs: One row per run, the columns of ``results.RUN_COLUMNS``; an empty frame needs none.
        curves: One row per evaluation of a run, ``results.CURVE_COLUMNS``.
        timings: One row per arm, mode, pack and round, ``results.TIMING_COLUMNS``.
        warnings: Of the search, printed with the report's own.
    """
    runs = results.with_columns(runs, results.RUN_COLUMNS)
    timings = results.with_columns(timings, results.TIMING_COLUMNS)
    gathered = results.gather(study, runs, timings)
    missing = results.missing(study, runs, timings)
    remarks = [] if results.is_held_out(study) else [NO_HELD_OUT]
    return Report(
        study=study,
        results=gathered,
        curves=results.with_columns(curves, results.CURVE_COLUMNS),
        answer=sentences.answer(study, gathered, missing),
        sentences=[sentences.sentence(study, result) for result in gathered if not result.is_baseline],
        missing=missing,
        warnings=[*remarks, *warnings, *results.doubts(study, runs, timings, gathered)],
    )


def _cell(text: str) -> str:
    """A name may hold a bar or a tag; in a table or a rendered note neither is meant as such."""
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text.replace("|", "\\|"))


def _markdown(section: Section) -> str:
    lines = [section.header, tuple("---" for _ in section.header), *section.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _terminal_table(gathered: Sequence[ArmResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("Arm", overflow="fold")
    for name in ("Perplexity", "Ratio (95 %)", "p", "Speed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for result in gathered:
        phase = sentences.main_phase(result.speeds)
        speed = result.speeds[phase].ratio if phase is not None else None
        level = number(perplexity(result.mean)) if result.mean is not None else "none"
        word = sentences.word(result).split(" and ")[0]  # the sentences below say lower or higher
        cells = (
            level,
            tables.ratio_text(result).replace(" to ", "-"),
            tables.holm_text(result),
            f"{speed:.2f}" if speed else "",
        )
        style = "" if result.is_baseline else COLORS.get(word, "yellow")
        table.add_row(Text(result.name), *cells, Text(word, style=style))
    return table


def _html_list(lines: Sequence[str], kind: str) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    title = f"<h2>{kind.capitalize()}</h2>" if kind else ""
    return f'<section class="{kind}">{title}<ul>{items}</ul></section>'


def _html_table(section: Section) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in section.header)
    column = section.header.index("Verdict") if "Verdict" in section.header else -1
    rows = []
    for row in section.rows:
        cells = [f"<td>{html.escape(cell)}</td>" for cell in row]
        if column >= 0:
            kind = row[column].split(" ")[0].rstrip(":")
            cells[column] = f'<td><span class="verdict {html.escape(kind)}">{html.escape(row[column])}</span></td>'
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<h2>{html.escape(section.title)}</h2><div class="scroll">{table}</div>'


def _html_samples(gathered: Sequence[ArmResult]) -> str:
    parts = [
        f"<dt>{html.escape(result.name)}</dt>"
        + "".join(
            f"<dd><b>{html.escape(str(sample['prefix']))}</b>{html.escape(str(sample['text']))}</dd>"
            for sample in result.samples
        )
        for result in gathered
        if result.samples
    ]
    return f"<h2>Samples of the first replicate</h2><dl>{''.join(parts)}</dl>" if parts else ""
