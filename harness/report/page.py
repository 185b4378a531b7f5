"""A report as one HTML page that needs nothing beside it: no network, and no script to be read.

Its script tells the values under the pointer and enlarges figures; without it all else is there.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from harness.report import facts, first_screen, headline, samples
from harness.report.condition_report import ConditionReport
from harness.report.markup import (
    STACKED,
    Colors,
    anchors,
    box,
    bullets,
    code,
    folded,
    table,
    text,
)
from harness.report.tables import LONG_ROWS, Section

if TYPE_CHECKING:
    from harness.report import Report
    from harness.report.drawing import LabelledFigure

LONG_QUESTION = 120
"""A question of more characters is set smaller, so that the answer is seen too."""


def html(report: "Report") -> str:
    """Returns the page."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    study, colors = report.study, arm_colors(report)
    together, parts, shown = report.overview[1:], report.conditions, report.first_figure
    body = [
        _sections([*filter(None, [report.differing])], "differing", 2, colors),
        _sections(together, "overview", 2, colors),
    ]
    body += [
        _condition(each, each.warnings if report.overview else report.warnings, colors, shown)
        for each in parts
    ]
    figure = "" if shown is None else _figure(shown, "" if report.overview else parts[0].slug)
    return template.substitute(
        name=text(study.name),
        question=text(study.question or study.name),
        size=' class="long"' if len(study.question) > LONG_QUESTION else "",
        source=f'<p class="quiet">Source: {text(study.source)}</p>' if study.source else "",
        first=first_screen.first_screen(report, figure, colors),
        links=anchors(_links(report)),
        remarks=box("Warnings", report.remarks if report.overview else [], 2),
        body="\n".join([*body, *_facts(report, colors)]),
        method=text(report.method),
        script=_file("page.js").rstrip(),
    )


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def arm_colors(report: "Report") -> dict[str, str]:
    """Returns each arm's colour; there are none where so many arms have no colour of their own."""
    from harness.report import drawing

    arms = report.conditions[0].results
    if len(arms) > len(drawing.COLORS):
        return {}
    looks = drawing.palette(arms)
    return {name: drawing.THEMED.get(look.color, look.color) for name, look in looks.items()}


def _links(report: "Report") -> list[tuple[str, str]]:
    links = [] if report.differing is None else [("differing", report.differing.title)]
    links += [("overview", "All conditions")] if report.overview[1:] else []
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


def _contents(condition: ConditionReport) -> list[tuple[str, str]]:
    links = [(condition.results[0].objective.key, condition.verdicts.title), ("costs", "Costs")]
    links += [("tuning", "Tuned values")] if condition.tuning else []
    links += [("samples", "Samples")] if any(result.samples for result in condition.results) else []
    links += [("ends", condition.ends.title)] if _has_ended(condition) else []
    return [(condition.slug + anchor, name) for anchor, name in links]


def _has_ended(condition: ConditionReport) -> bool:
    """Says whether any run is known, of whose end there is something to tell."""
    return len(condition.ends.header) > 1


def _condition(
    condition: ConditionReport,
    warnings: Sequence[str],
    colors: Colors,
    shown: "LabelledFigure | None",
) -> str:
    """Returns the part of one condition, without the figure that is ``shown`` above."""
    level = 3 if condition.title else 2
    blocks = []
    if condition.title:
        blocks = [
            f'<h2 id="{condition.slug}part">{text(condition.title)}</h2>',
            f'<nav aria-label="{text(condition.title)}">{anchors(_contents(condition))}</nav>',
            first_screen.reasons(headline.reasons(condition.study, condition.results), colors),
        ]
    blocks += [
        folded("Every verdict in a whole sentence", bullets(condition.sentences)),
        box("Missing", condition.missing, level),
        box("Warnings", warnings, level),
    ]
    tested = [condition.verdicts, *condition.beside]
    blocks += [
        _sections(tested, f"{condition.slug}{condition.results[0].objective.key}", level, colors)
    ]
    figures = condition.objective_figures
    differences = [each for each in figures if each is condition.differences and each is not shown]
    curves = [each for each in figures if each is not condition.differences]
    blocks += [_figures(condition, differences), _figures(condition, curves)]
    blocks += [
        _sections(condition.costs, f"{condition.slug}costs", level, colors),
        _figures(condition, condition.cost_figures),
    ]
    tuning = [*condition.tuning, *condition.values_tried]
    blocks += [
        _sections(tuning, f"{condition.slug}tuning", level, colors),
        bullets(condition.sensitivity),
    ]
    blocks += [_figures(condition, condition.tuning_figures)]
    written = samples.section(condition.results)
    if written.rows:
        heading = f'<h{level} id="{condition.slug}samples">{written.title}</h{level}>'
        blocks += [heading, table(written, "samples", colors)]
    if _has_ended(condition):
        blocks += [_sections([condition.ends], f"{condition.slug}ends", level, colors)]
    return f'<article class="part">{"".join(blocks)}</article>'


def _sections(sections: Sequence[Section], anchor: str, level: int, colors: Colors) -> str:
    """Returns tables one after another.

    The first one's title is the heading of them all and has their address.
    """
    blocks = []
    for i, section in enumerate(sections):
        heading = f'h{level} id="{anchor}"' if i == 0 else f"h{level + 1}"
        content = table(section, STACKED if "Verdict" in section.header[:2] else "", colors)
        if len(section.rows) > LONG_ROWS and i > 0:
            content = folded(f"{len(section.rows)} rows", content)
        blocks.append(f"<{heading}>{text(section.title)}</{heading.split()[0]}>{content}")
    return "".join(blocks)


def _figures(condition: ConditionReport, figures: "Iterable[LabelledFigure]") -> str:
    blocks = [_figure(figure, condition.slug) for figure in figures]
    return f'<div class="figures">{"".join(blocks)}</div>' if blocks else ""


def _figure(figure: "LabelledFigure", prefix: str) -> str:
    """Returns a figure with what the page's script tells of it."""
    svg = figure.svg(prefix)
    points, scales = (
        text(json.dumps(values, separators=(",", ":")))
        for values in (figure.places(), figure.scales())
    )
    return (
        f'<figure id="{prefix}{figure.name}" data-points="{points}" data-scales="{scales}">{svg}'
        f"<figcaption>{text(figure.label)}.</figcaption></figure>"
    )


def _facts(report: "Report", colors: Colors) -> list[str]:
    study = report.study
    fixed, varied = facts.fixed(study), facts.varied(study)
    blocks = [f'<h2 id="fixed">{fixed.title}</h2>']
    blocks += [f"<p>{len(fixed.rows)} settings are the same in all arms.</p>"]
    blocks += [folded("All of them", table(fixed, "fixed"))]
    if len(varied.header) > 1 and report.differing is None:
        blocks += [f"<h3>{varied.title}</h3>{table(varied, colors=colors)}"]
    blocks += [f'<h2 id="provenance">{report.provenance.title}</h2>']
    blocks += [
        table(report.provenance) if report.provenance.rows else "<p>Nothing is known of it.</p>"
    ]
    blocks += [
        '<h2 id="reproduce">Run it again</h2>',
        code("\n".join(report.commands)),
    ]
    blocks += [folded("The study file", code(study.text))] if study.text else []
    return blocks
