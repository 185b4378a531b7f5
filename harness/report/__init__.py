"""From runs to answer, sentences, tables and figures; as a page, Markdown, LaTeX, CSV and on a
terminal.

From the bottom: results (frames to one result per arm), sentences and tables (their words), drawing
(how a figure looks) and figures, searches, hyperparameters, slices and pareto (the tuned fields,
the costs), parts (all of it for one condition), conditions (several of them), facts (what was
fixed, with what it was run), forms and page (how it leaves).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from harness.report import arm_results, conditions, facts, forms, page, sentences, tables
from harness.report.arm_results import ArmResult
from harness.report.drawing import Drawn
from harness.report.parts import Part
from harness.report.tables import Section

CURVE_OF = ["arm", "repeat", "phase", "index"]
"""What tells the runs of one condition apart."""
NAMES = {"arm": "str", "phase": "str"}
NO_HELD_OUT = "train/perplexity: running training perplexity, no held-out number."


@dataclass(frozen=True, repr=False)
class Report:
    """What a study shows, a part for each of its conditions.

    Attributes:
        answer: One sentence; with several conditions that disagree, a short one for each.
        parts: One for each condition, at least one.
        remarks: Warnings that are of no one condition.
        provenance: What the runs were made with.
        commands: What to type to run the study again.
    """

    study: Any
    answer: str
    parts: list[Part]
    remarks: list[str]
    provenance: Section
    commands: list[str]

    def __repr__(self) -> str:
        return f"<report of {self.study.name}: {self.answer}>"

    @property
    def results(self) -> list[ArmResult]:
        """The arms of all parts, one part after another."""
        return [result for part in self.parts for result in part.results]

    @property
    def sentences(self) -> list[str]:
        """Those of all parts; each names its condition."""
        return [line for part in self.parts for line in part.sentences]

    @property
    def missing(self) -> list[str]:
        """What a complete study would have and this one has not."""
        return [_under(part, line) for part in self.parts for line in part.missing]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before believing the answer."""
        return self.remarks + [_under(part, line) for part in self.parts for line in part.warnings]

    @property
    def table(self) -> pd.DataFrame:
        """One row per condition and arm; losses in nats, ``ratio`` and ``speed`` to the
        baseline.
        """
        rows = [
            {"condition": part.title, **tables.numbers(r)}
            for part in self.parts
            for r in part.results
        ]
        return pd.DataFrame(rows).astype(
            dict.fromkeys(tables.COUNTS, "Int64")
        )  # one that is not known stays a count

    @cached_property
    def figures(self) -> dict[str, Drawn]:
        """Those that there is something to draw for, by the stems of their files."""
        return {stem: drawn for part in self.parts for stem, drawn in part.figures.items()}

    @cached_property
    def overview(self) -> list[Section]:
        """The verdicts under all conditions side by side, and what they come to together, where
        there are several.
        """
        found = [(part.title, part.results) for part in self.parts]
        texts = {arm_results.text_of(part.study.baseline.settings) for part in self.parts}
        sections = (
            [conditions.overview(found), conditions.over_all(found, len(texts))]
            if len(found) > 1
            else []
        )
        return [section for section in sections if section is not None]

    @property
    def method(self) -> str:
        """How the numbers were come by."""
        return sentences.method(self.study)

    def csv(self) -> str:
        """Returns ``table``, with what is not known left empty."""
        return self.table.to_csv(index=False)

    def note(self) -> str:
        """Returns a short Markdown text: answer, sentences, remarks and the main tables."""
        blocks = [
            f"**{forms.plain(self.answer)}**",
            *map(forms.markdown, self.overview),
            *self._remarks_markdown(),
        ]
        for part in self.parts:
            blocks += [f"**{forms.plain(part.title)}**"] if part.title else []
            blocks += [forms.markdown(part.verdicts)]
        return "\n\n".join(blocks) + "\n"

    def markdown(self, figures_folder: str = "") -> str:
        """Returns the report for GitHub, without figures or with those that lie in a folder beside
        it as SVG.
        """
        blocks = [f"## {self.study.name}", self.study.question, f"**{forms.plain(self.answer)}**"]
        blocks += self._remarks_markdown() + _markdown_sections(self.overview, 3)
        for part in self.parts:
            blocks += [f"### {forms.plain(part.title)}"] if part.title else []
            blocks += _markdown_sections(part.sections, 4 if part.title else 3)
            blocks += [forms.bullets(part.sensitivity)] if part.sensitivity else []
            if figures_folder:
                blocks += [
                    f"![{each.label}]({figures_folder}/{stem}.svg)"
                    for stem, each in part.figures.items()
                ]
        return "\n\n".join([*blocks, self.method]) + "\n"

    def _remarks_markdown(self) -> list[str]:
        kinds = [
            self.sentences,
            [f"Missing: {x}" for x in self.missing],
            [f"Warning: {x}" for x in self.warnings],
        ]
        return [forms.bullets(lines) for lines in kinds if lines]

    def latex(self) -> str:
        """Returns the tables of verdicts and costs as floats, their captions with the answer."""
        texts = ["% \\usepackage{booktabs}\n"]
        for part in self.parts:
            where = f"{self.study.name}, {part.title}" if part.title else self.study.name
            clause = sentences.finding(part.study, part.results)
            texts += [forms.latex(part.verdicts, f"{where}: {clause}. {self.method}")]
            texts += [forms.latex(section, f"{where}: {section.title}.") for section in part.costs]
        return "\n".join(texts)

    def html(self) -> str:
        """Returns one page that needs nothing beside it."""
        return page.html(self)

    def files(self, png: bool = True) -> dict[str, str | bytes]:
        """Returns every form by its path in a folder: the report's, and each figure as SVG and, if
        wanted, PNG.
        """
        found: dict[str, str | bytes] = {
            "report.html": self.html(),
            "report.md": self.markdown("figures"),
            "report.csv": self.csv(),
            "report.tex": self.latex(),
        }
        for stem, drawn in self.figures.items():
            found[f"figures/{stem}.svg"] = drawn.svg_file()
            if png:
                found[f"figures/{stem}.png"] = drawn.png()
        return found

    def write(self, folder: Path) -> list[Path]:
        """Writes ``files`` into ``folder``, which is made where it is not there, and returns their
        paths.
        """
        paths = []
        for name, content in self.files().items():
            paths.append(folder / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return paths

    def terminal(self, console: Console) -> None:
        """Prints the answer, tables that fit 80 columns, the sentences and the warnings."""
        console.print(Text(self.answer, style="bold"))
        for line in self.remarks:
            console.print(Text(f"Warning: {line}", style="yellow"))
        for part in self.parts:
            if part.title:
                console.print(Text(f"\n{part.title}", style="bold"))
            console.print(forms.terminal(part.results))
            for line in part.sentences:
                console.print(Text(line))
            for line in part.missing:
                console.print(Text(f"Missing: {line}", style="yellow"))
            for line in part.warnings:
                console.print(Text(f"Warning: {line}", style="yellow"))


def build(
    study: Any,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: Sequence[str] = (),
    importances: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> Report:
    """Returns the report of a study as far as it has come.

    Args:
        study: With ``name``, ``question``, ``conditions``, ``under``, ``arms``, ``baseline``,
            ``measure``, ``tune`` and ``replicate``.
        runs: One row per run, the columns of ``results.RUN_COLUMNS``, and those of ``facts.FACTS``
            where they are known; an empty frame needs none.
        curves: One row per evaluation of a run, ``results.CURVE_COLUMNS``.
        timings: One row per arm, mode, pack and round, ``results.TIMING_COLUMNS``.
        warnings: Of the search, printed with the report's own; ``condition/arm: ...`` beside that
            condition.
        importances: Condition -> arm -> tuned field -> share.
    """
    remarks = [] if arm_results.is_held_out(study) else [NO_HELD_OUT]
    told = {
        name: [line for line in warnings if line.startswith(f"{name}/")]
        for name in study.conditions
        if name
    }
    remarks += [
        line for line in warnings if line not in {line for lines in told.values() for line in lines}
    ]
    parts = [
        _part(
            study.under(name),
            _of_condition(runs, name),
            _of_condition(curves, name),
            _of_condition(timings, name),
            [line.removeprefix(f"{name}/") for line in told.get(name, [])],
            (importances or {}).get(name, {}),
        )
        for name in study.conditions
    ]
    return Report(
        study=study,
        answer=sentences.answer(
            study, [(part.study, part.results, part.missing) for part in parts]
        ),
        parts=parts,
        remarks=remarks,
        provenance=facts.provenance(runs),
        commands=facts.commands(study, runs),
    )


def _part(
    study: Any,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: Sequence[str],
    importances: Mapping[str, Mapping[str, float]],
) -> Part:
    runs = arm_results.with_columns(runs, arm_results.RUN_COLUMNS)
    timings = arm_results.with_columns(timings, arm_results.TIMING_COLUMNS)
    curves = arm_results.with_columns(curves, arm_results.CURVE_COLUMNS)
    num_seeds, num_known = arm_results.num_seeds(study, runs), len(runs)
    runs, curves = (arm_results.planned(study, frame, num_seeds) for frame in (runs, curves))
    left_out = (
        [f"{num_known - len(runs)} runs are left out: the study asks for fewer."]
        if len(runs) < num_known
        else []
    )
    gathered = arm_results.gather(study, runs, timings)
    curves = curves.astype(NAMES)
    ends = runs.astype(NAMES).drop_duplicates(CURVE_OF).set_index(CURVE_OF)["state"]
    return Part(
        study=study,
        results=gathered,
        curves=curves.join(ends, on=CURVE_OF),
        importances=importances,
        sentences=[
            sentences.sentence(study, result) for result in gathered if not result.is_baseline
        ],
        missing=arm_results.missing(study, runs, timings),
        warnings=[*warnings, *left_out, *arm_results.doubts(study, runs, timings, gathered)],
    )


def _of_condition(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one condition; an older export has no such column and is all of one."""
    rows = frame[frame["condition"].fillna("") == name] if "condition" in frame else frame
    return rows.assign(condition=name)


def _under(part: Part, line: str) -> str:
    return f"{part.title}: {line}" if part.title else line


def _markdown_sections(sections: Sequence[Section], level: int) -> list[str]:
    return [f"{'#' * level} {section.title}\n\n{forms.markdown(section)}" for section in sections]
