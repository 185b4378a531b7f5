"""A report as one HTML page that needs nothing beside it: no network, no script."""

import html as escapes
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from harness.report import facts, sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.condition_report import ConditionReport
from harness.report.tables import LONG_ROWS, Section

if TYPE_CHECKING:
    from harness.report import Report
    from harness.report.drawing import LabelledFigure

LONG_TEXT = 40
"""A cell of more characters may be broken into lines."""


def html(report: "Report") -> str:
    """Returns the page."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    study = report.study
    body = [_sections(report.overview, "overview", 2)]
    if report.overview:
        remarks = report.remarks
        body += [_condition(condition, condition.warnings) for condition in report.conditions]
    else:
        remarks = []
        body += [_condition(condition, report.warnings) for condition in report.conditions]
    body += _facts(report)
    return template.substitute(
        name=_text(study.name),
        question=_text(study.question or study.name),
        source=f'<p class="quiet">Source: {_text(study.source)}</p>' if study.source else "",
        kind=_kind_of_all(report.results),
        answer=_text(report.answer),
        glance="\n".join(map(_glance, report.conditions)),
        links=_anchors(_links(report)),
        remarks=_box("warnings", "Warnings", remarks),
        body="\n".join(body),
        method=_text(report.method),
    )


def _text(text: object) -> str:
    return escapes.escape(str(text))


def _kind(verdict: str) -> str:
    """Returns the class of a verdict, which gives it its colour and its sign.

    The words of the verdict are always written out too.
    """
    return verdict.split(" ")[0].rstrip(":")


def _kind_of_all(results: Sequence[ArmResult]) -> str:
    kinds = {_kind(sentences.word(result)) for result in results if not result.is_baseline}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _badge(verdict: str, text: str = "") -> str:
    return f'<span class="verdict {_text(_kind(verdict))}">{_text(text or verdict)}</span>'


def _glance(condition: ConditionReport) -> str:
    items = []
    for result in condition.results:
        if result.is_baseline:
            continue
        badges = [
            _badge(
                sentences.word(result),
                f"{sentences.word(result)} {tables.decided_text(result)}".strip(),
            )
        ]
        phase = sentences.main_phase(result.speeds)
        if phase is not None:
            speed = result.speeds[phase]
            times = f" {sentences.speed_text(speed)}" if speed.ratio is not None else ""
            badges += [_badge(speed.verdict, f"speed: {speed.verdict}{times}")]
        items.append(f"<li><b>{_text(result.name)}</b> {' '.join(badges)}</li>")
    title = f"<h2>{_text(condition.title)}</h2>" if condition.title else ""
    return f'<div class="glance">{title}<ul>{"".join(items)}</ul></div>' if items else ""


def _links(report: "Report") -> list[tuple[str, str]]:
    links = [("overview", "All conditions")] if report.overview else []
    for condition in report.conditions:
        if condition.title:
            links.append((f"{condition.slug}part", condition.title))
        else:
            links += _contents(condition)
    return [
        *links,
        ("fixed", "What was fixed"),
        ("provenance", "Provenance"),
        ("reproduce", "Run it again"),
    ]


def _anchors(links: Sequence[tuple[str, str]]) -> str:
    return " ".join(f'<a href="#{anchor}">{_text(name)}</a>' for anchor, name in links)


def _contents(condition: ConditionReport) -> list[tuple[str, str]]:
    links = [("perplexity", condition.verdicts.title), ("costs", "Costs")]
    links += [("tuning", "Tuned fields")] if condition.tuning else []
    links += [("samples", "Samples")] if any(result.samples for result in condition.results) else []
    return [
        *((condition.slug + anchor, name) for anchor, name in links),
        (f"{condition.slug}ends", "How the runs ended"),
    ]


def _condition(condition: ConditionReport, warnings: Sequence[str]) -> str:
    level = 3 if condition.title else 2
    blocks = []
    if condition.title:
        blocks = [
            f'<h2 id="{condition.slug}part">{_text(condition.title)}</h2>',
            f"<nav>{_anchors(_contents(condition))}</nav>",
        ]
    blocks += [
        _list(condition.sentences),
        _box("missing", "Missing", condition.missing),
        _box("warnings", "Warnings", warnings),
    ]
    tested = [condition.verdicts, *condition.beside]
    blocks += [_sections(tested, f"{condition.slug}perplexity", level)]
    blocks += [
        _figures(condition, condition.perplexity_figures[:1]),
        _figures(condition, condition.perplexity_figures[1:]),
    ]
    blocks += [
        _sections(condition.costs, f"{condition.slug}costs", level),
        _figures(condition, condition.cost_figures),
    ]
    blocks += [
        _sections([*condition.tuning, *condition.values_tried], f"{condition.slug}tuning", level),
        _list(condition.sensitivity),
    ]
    blocks += [_figures(condition, condition.tuning_figures)]
    samples = tables.samples(condition.results)
    if samples.rows:
        heading = f'<h{level} id="{condition.slug}samples">{samples.title}</h{level}>'
        blocks += [heading, _table(samples, "samples")]
    blocks += [_sections([condition.ends], f"{condition.slug}ends", level)]
    return f'<article class="part">{"".join(blocks)}</article>'


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if lines else ""


def _box(kind: str, title: str, lines: Sequence[str]) -> str:
    return f'<section class="box {kind}"><h3>{title}</h3>{_list(lines)}</section>' if lines else ""


def _sections(sections: Sequence[Section], anchor: str, level: int) -> str:
    """Returns tables one after another.

    The first one's title is the heading of them all and has their address.
    """
    blocks = []
    for i, section in enumerate(sections):
        heading = f'h{level} id="{anchor}"' if i == 0 else f"h{level + 1}"
        table = _table(section)
        if len(section.rows) > LONG_ROWS and i > 0:
            table = f"<details><summary>{len(section.rows)} rows</summary>{table}</details>"
        blocks.append(f"<{heading}>{_text(section.title)}</{heading.split()[0]}>{table}")
    return "".join(blocks)


def _table(section: Section, kind: str = "") -> str:
    classes = [' class="number"' if is_number else "" for is_number in section.are_numbers]
    head = "".join(
        f'<th scope="col"{c}>{_text(name)}</th>'
        for c, name in zip(classes, section.header, strict=True)
    )
    rows = []
    for row in section.rows:
        cells = [
            _badge(text) if name == "Verdict" else _text(text)
            for name, text in zip(section.header, row, strict=True)
        ]
        kinds = [
            ' class="long"' if len(text) > LONG_TEXT else c
            for c, text in zip(classes, row, strict=True)
        ]
        rest = "".join(f"<td{c}>{cell}</td>" for c, cell in zip(kinds[1:], cells[1:], strict=True))
        rows.append(f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>')
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    label = _text(section.title)
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{label}">{table}</div>'
    )


def _figures(condition: ConditionReport, figures: "Iterable[LabelledFigure]") -> str:
    blocks = []
    for figure in figures:
        caption = f"<figcaption>{_text(figure.label)}.</figcaption>"
        svg = figure.svg(condition.slug)
        blocks.append(f'<figure id="{condition.slug}{figure.name}">{svg}{caption}</figure>')
    return f'<div class="figures">{"".join(blocks)}</div>' if blocks else ""


def _facts(report: "Report") -> list[str]:
    study = report.study
    fixed, varied = facts.fixed(study), facts.varied(study)
    blocks = [f'<h2 id="fixed">{fixed.title}</h2>']
    blocks += [f"<p>{len(fixed.rows)} settings are the same in all arms.</p>"]
    blocks += [f"<details><summary>All of them</summary>{_table(fixed)}</details>"]
    blocks += [f"<h3>{varied.title}</h3>{_table(varied)}"] if len(varied.header) > 1 else []
    blocks += [f'<h2 id="provenance">{report.provenance.title}</h2>']
    blocks += [
        _table(report.provenance) if report.provenance.rows else "<p>Nothing is known of it.</p>"
    ]
    blocks += [
        '<h2 id="reproduce">Run it again</h2>',
        f"<pre>{_text(chr(10).join(report.commands))}</pre>",
    ]
    blocks += [
        f"<details><summary>The study file</summary><pre>{_text(study.text)}</pre></details>"
    ]
    return blocks
