"""From runs to an answer: sentences, tables and figures.

A report leaves as a page, as Markdown, LaTeX and CSV, and on a terminal. From the bottom: frames
(their columns), tried and evidence (frames to what the searches tried, and what that shows),
measure and comparability (by what arms are compared, and whether they can be), replicates and
stages (their losses, how many there are), comparison and timings (with the baseline), arm_results
(one result per arm of all that), remarks (what is missing or doubtful), number_texts, outlook,
sentences and methods (the words of a result), tables, cost_tables, end_tables and result_numbers
(its tables, and the one for machines), divergence, factors, lengths, along_training, states,
forecasts and samples (what stands beside the verdicts), searches, hyperparameters and pareto (the
tuned fields, the costs), drawing and the modules of figures (how a figure looks, what it shows),
hover (what a page tells under the pointer), condition_report (all of it for one condition),
conditions (several of them), facts (what was fixed, with what it was run), headline and
first_screen (what a page shows first), markup (a page's pieces), forms, notebook and page (how a
report leaves).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from harness.report import (
    comparability,
    conditions,
    facts,
    forms,
    headline,
    measure,
    methods,
    notebook,
    outlook,
    page,
    result_numbers,
    sentences,
)
from harness.report.arm_results import ArmResult
from harness.report.condition_report import ConditionReport, condition_report
from harness.report.evidence import Evidence
from harness.report.tables import Section
from harness.store.columns import ARM_DTYPES, FORECAST_DTYPES, KEY_DTYPES, STATE_DTYPES
from harness.study import Study
from harness.tasks.objective import objective_of
from harness.training.files import write_whole

if TYPE_CHECKING:
    from harness.report.drawing import LabelledFigure


@dataclass(frozen=True, repr=False)
class Report:
    """What a study shows.

    Attributes:
        study: The study that is reported.
        answer: One sentence; with several conditions that disagree, a short one for each.
        conditions: A report for each condition, at least one.
        remarks: Warnings that concern no single condition.
        provenance: What the runs were made with.
        commands: What to type to run the study again.
        effort: When it began and how long it took, as far as is known; may be empty.
        standing: Who runs a study that is not whole, or when it was last active; may be empty.
        differing: In what the arms of several studies differ; None: one study says it.
    """

    study: Study
    answer: str
    conditions: list[ConditionReport]
    remarks: list[str]
    provenance: Section
    commands: list[str]
    effort: str = ""
    standing: str = ""
    differing: Section | None = None

    def __repr__(self) -> str:
        return f"<report of {self.study.name}: {self.answer}>"

    @property
    def results(self) -> list[ArmResult]:
        """The arms of all conditions, one condition after another."""
        return [result for each in self.conditions for result in each.results]

    @property
    def sentences(self) -> list[str]:
        """The sentences of all conditions; each names its condition."""
        return [line for each in self.conditions for line in each.sentences]

    @property
    def missing(self) -> list[str]:
        """What a complete study would have and this one has not."""
        return [each.under_title(line) for each in self.conditions for line in each.missing]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before believing the answer."""
        warnings = [each.under_title(line) for each in self.conditions for line in each.warnings]
        return self.remarks + warnings

    @property
    def not_comparable(self) -> list[str]:
        """Why arms were not tried at their best: a line a condition, each reason in it once."""
        reasons = [
            dict.fromkeys(clause for result in each.results for clause in result.open)
            for each in self.conditions
        ]
        return [
            each.under_title(f"{'; '.join(clauses)}.")
            for each, clauses in zip(self.conditions, reasons, strict=True)
            if clauses
        ]

    @property
    def undecided(self) -> list[str]:
        """What would decide the arms whose p alone would let a reader expect a verdict."""
        return [
            each.under_title(f"{result.name}: {sentences.why_undecided(each.study, result)}")
            for each in self.conditions
            for result in each.results
            if result.decision is not None
            and result.decision.verdict == "undecided"
            and result.decision.adjusted_p is not None
            and result.decision.adjusted_p < each.study.measure.threshold
        ]

    @property
    def table(self) -> pd.DataFrame:
        """One row per condition and arm, with losses, and what compares it with the baseline."""
        rows = [
            {
                "condition": each.title,
                "split": measure.split_of(each.study),
                **result_numbers.numbers(result),
            }
            for each in self.conditions
            for result in each.results
        ]
        # A count that is not known stays a count.
        counts = dict.fromkeys(result_numbers.COUNTS, "Int64")
        return pd.DataFrame(rows).astype(counts)

    @cached_property
    def figures(self) -> "dict[str, LabelledFigure]":
        """The figures that there is something to draw for, by the stems of their files."""
        first = self.first_figure if self.overview else None
        figures = {} if first is None else {first.name: first}
        for each in self.conditions:
            figures |= each.figures
        return figures

    @cached_property
    def first_figure(self) -> "LabelledFigure | None":
        """The figure of the verdicts, over all conditions; None: there is nothing to draw."""
        if not self.overview:
            return self.conditions[0].differences
        from harness.report import forest

        results = [(each.title, each.results) for each in self.conditions]
        return forest.by_condition(results, forest.Terms.of(self.conditions[0].study))

    @property
    def headline(self) -> str:
        """The answer in one sentence, however many conditions there are."""
        results = [(each.title, each.results) for each in self.conditions]
        return headline.headline(self.study, self.answer, results)

    @cached_property
    def overview(self) -> list[Section]:
        """The verdicts of several conditions side by side, and what they come to together."""
        if len(self.conditions) == 1:
            return []
        results = [(each.title, each.results) for each in self.conditions]
        texts = {comparability.text_of(each.study.baseline.settings) for each in self.conditions}
        over_all = conditions.over_all(self.study, results, len(texts))
        return [conditions.overview(results), *([] if over_all is None else [over_all])]

    @property
    def method(self) -> str:
        """How the numbers were come by."""
        return methods.method(self.study, is_timed=any(each.speeds for each in self.results))

    def csv(self) -> str:
        """Returns ``table``, with what is not known left empty."""
        return self.table.to_csv(index=False)

    def note(self) -> str:
        """Returns a short Markdown text for a narrow page: answer, sentences, remarks, tables.

        Each table is one that breaks no word there, or a list.
        """
        blocks = [
            f"**{forms.plain(self.answer)}**",
            *map(forms.narrow_markdown, self.overview),
            *self._remarks_markdown(),
        ]
        for each in self.conditions:
            blocks += [f"**{forms.plain(each.title)}**"] if each.title else []
            blocks += [forms.narrow_markdown(each.short_verdicts)]
        return "\n\n".join(blocks) + "\n"

    def markdown(self, figures_folder: str = "") -> str:
        """Returns the report for GitHub.

        It is without figures, or with those that lie beside it in ``figures_folder`` as SVG.
        """
        question = forms.prose(self.study.question)
        blocks = [f"## {self.study.name}", question, f"**{forms.plain(self.answer)}**"]
        blocks += [forms.plain(self.standing)] if self.standing else []
        first = [*filter(None, [self.differing]), *self.overview]
        blocks += self._remarks_markdown() + _markdown_sections(first, 3)
        for each in self.conditions:
            blocks += [f"### {forms.plain(each.title)}"] if each.title else []
            blocks += _markdown_sections(each.sections, 4 if each.title else 3)
            blocks += [forms.bullets(each.sensitivity)] if each.sensitivity else []
            if figures_folder:
                blocks += [
                    f"![{figure.label}]({figures_folder}/{stem}.svg)"
                    for stem, figure in each.figures.items()
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
        """Returns verdicts, what stands beside them and costs as floats, captioned."""
        texts = ["% \\usepackage{booktabs}\n"]
        for each in self.conditions:
            where = f"{self.study.name}, {each.title}" if each.title else self.study.name
            clause = sentences.finding(each.study, each.results)
            texts += [forms.latex(each.verdicts, f"{where}: {clause}. {self.method}")]
            for section in [*each.beside, *each.costs]:
                texts.append(forms.latex(section, f"{where}: {section.title}."))
        return "\n".join(texts)

    def html(self) -> str:
        """Returns one page that needs nothing beside it."""
        return page.html(self)

    def _repr_html_(self) -> str:
        """Returns what a notebook shows."""
        return notebook.html(self)

    def files(self, png: bool = True) -> dict[str, str | bytes]:
        """Returns every form of the report, and each figure, by its path in a folder.

        Figures are SVG and, where ``png`` says so, PNG too.
        """
        contents: dict[str, str | bytes] = {
            "report.html": self.html(),
            "report.md": self.markdown("figures"),
            "report.csv": self.csv(),
            "report.tex": self.latex(),
        }
        for stem, figure in self.figures.items():
            contents[f"figures/{stem}.svg"] = figure.svg_file()
            if png:
                contents[f"figures/{stem}.png"] = figure.png()
        return contents

    def write(self, folder: Path) -> list[Path]:
        """Writes ``files`` into ``folder``, which need not exist yet, and returns their paths."""
        paths = []
        for name, content in self.files().items():
            paths.append(folder / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            write_whole(paths[-1], content.encode() if isinstance(content, str) else content)
        return paths

    def terminal(self, console: Console, verbose: bool = False) -> None:
        """Prints tables that fit 80 columns, what is missing or doubtful, and the answer.

        Where ``verbose`` says so the sentences, the costs and how the runs ended are printed too.
        """
        for each in self.conditions:
            if each.title:
                console.print(Text(f"{each.title}", style="bold"))
            console.print(forms.terminal(each.results, measure.titled(each.study), console))
            if verbose:
                console.print()
                for line in each.sentences:
                    console.print(Text(line))
                for section in [*each.beside, *each.costs, *each.tuning, each.ends]:
                    console.print(Text(f"\n{section.title}", style="bold"))
                    console.print(forms.terminal_section(section, console.width))
                    if section.note:
                        console.print(Text(section.note, style="dim"))
            console.print()
        whole = [f"Missing: {line}" for line in self.missing]
        whole += [f"Not comparable: {line}" for line in self.not_comparable]
        whole += [f"{outlook.of_open(self.study)}."] if self.not_comparable else []
        whole += [f"Undecided: {line}" for line in self.undecided]
        whole += [f"Warning: {line}" for line in self.warnings]
        for note in whole:  # without them the verdict cannot be understood
            console.print(Text(note, style="yellow"))
        if not verbose:
            option = "verbose=True" if console.is_jupyter else "--verbose"
            console.print(Text(f"{option} tells more: sentences, costs, tuning.", style="dim"))
        console.print(Text("\n".join(filter(None, (self.standing, self.answer))), style="bold"))


def build(
    study: Study,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: Sequence[str] = (),
    importances: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    searches: Mapping[str, Mapping[str, Evidence]] | None = None,
    states: pd.DataFrame | None = None,
    begun: date | None = None,
    simple_errors: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    forecasts: pd.DataFrame | None = None,
) -> Report:
    """Returns the report of a study as far as it has come.

    Args:
        study: The study that is reported.
        runs: One row per run, the columns of ``report.frames.RUN_COLUMNS``, and those of
            ``facts.FACTS`` where they are known; an empty frame needs none.
        curves: One row per evaluation of a run, ``report.frames.CURVE_COLUMNS``.
        timings: One row per arm, mode, pack and round, ``report.frames.TIMING_COLUMNS``.
        warnings: Warnings of the search, which are printed with the report's own;
            ``condition/arm: ...`` stands beside that condition.
        importances: Condition -> arm -> tuned field -> share.
        searches: Condition -> arm -> what its searches show; None: what ``runs`` and ``curves``
            say.
        states: One row per number of a replicate's states, ``columns.STATE_DTYPES``; None: they
            were not measured.
        begun: When the study was first run; None: it is not known.
        simple_errors: Condition -> the errors of simple forecasters, as the study's notes have
            them.
        forecasts: What the first replicates forecast, ``columns.FORECAST_DTYPES`` under condition
            and arm; None: nothing.
    """
    key, measured = objective_of(study.measure.objective).key, measure.measured(study)
    no_held_out = f"train/{key}: {measured}, no held-out number."
    general = [] if measure.is_held_out(study) else [no_held_out]
    by_condition = {
        name: [line for line in warnings if line.startswith(f"{name}/")]
        for name in study.conditions
        if name
    }
    placed = {line for lines in by_condition.values() for line in lines}
    general += [line for line in warnings if line not in placed]
    empty = pd.DataFrame(columns=[*KEY_DTYPES, *STATE_DTYPES])
    no_forecasts = pd.DataFrame(columns=[*ARM_DTYPES, *FORECAST_DTYPES])
    reports = [
        condition_report(
            study.under(name),
            _of_condition(runs, name),
            _of_condition(curves, name),
            _of_condition(timings, name),
            [line.removeprefix(f"{name}/") for line in by_condition.get(name, [])],
            (importances or {}).get(name, {}),
            None if searches is None else searches[name],
            _of_condition(empty if states is None else states, name),
            (simple_errors or {}).get(name, []),
            _of_condition(no_forecasts if forecasts is None else forecasts, name),
        )
        for name in study.conditions
    ]
    results = [(each.study, each.results, each.missing) for each in reports]
    return Report(
        study=study,
        answer=sentences.answer(study, results),
        conditions=reports,
        remarks=general,
        provenance=facts.provenance(runs),
        commands=facts.commands(study, runs),
        effort=facts.effort(runs, begun),
    )


def _of_condition(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns the rows of one condition; an older export, which names none, is of one alone."""
    rows = (
        frame[frame["condition"].astype(object).fillna("") == name]
        if "condition" in frame
        else frame
    )
    return rows.assign(condition=name)


def _markdown_sections(sections: Sequence[Section], level: int) -> list[str]:
    return [f"{'#' * level} {section.title}\n\n{forms.markdown(section)}" for section in sections]
