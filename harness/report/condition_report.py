"""The report of one condition: its sentences, tables and figures.

What draws is imported where a figure is asked for: matplotlib takes half a second to load, and a
report on a terminal has no figures.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.report import (
    along_training,
    arm_results,
    cost_tables,
    end_tables,
    factors,
    forecasts,
    frames,
    hyperparameters,
    lengths,
    measure,
    pareto,
    remarks,
    sentences,
    stages,
    states,
    tables,
)
from harness.report.arm_results import ArmResult
from harness.report.evidence import Evidence, evidence_of
from harness.report.tables import LONG_ROWS, Section
from harness.study import Study

if TYPE_CHECKING:
    from harness.report.drawing import LabelledFigure


RUN_OF_CONDITION = ["arm", "repeat", "phase", "index", "draw"]
"""The columns that tell the runs of one condition apart."""
NAME_TYPES = {"arm": "str", "phase": "str"}


@dataclass(frozen=True)
class ConditionReport:
    """What a study shows under one condition.

    Attributes:
        study: The study of this condition alone.
        results: One per arm, in the study's order.
        runs: A row each.
        curves: The rows of the curves, each with the state of its run, and whether that learned
            nothing.
        states: What the states of the replicates are like; empty where nobody asks.
        forecast_errors: How far off forecasts are (:func:`harness.report.forecasts.errors`).
        forecast_rows: What the first replicates forecast; empty where nothing is.
        importances: Arm -> tuned field -> share; empty where they were not asked for.
        sentences: One per arm that is not the baseline.
        missing: What a complete study would have and this one has not.
        warnings: What a reader should know before believing the answer.
    """

    study: Study
    results: list[ArmResult]
    runs: pd.DataFrame
    curves: pd.DataFrame
    states: pd.DataFrame
    forecast_errors: pd.DataFrame
    forecast_rows: pd.DataFrame
    importances: Mapping[str, Mapping[str, float]]
    sentences: list[str]
    missing: list[str]
    warnings: list[str]

    @property
    def title(self) -> str:
        """The condition's name; empty where there is but one, without a name."""
        return self.study.condition

    @property
    def slug(self) -> str:
        """The title as the beginning of a file's name or of an address, with a dash at its end.

        It is empty where the title is.
        """
        if not self.title:
            return ""
        text = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        if text == self.title:
            return f"{text}-"
        # Another name may read the same without its signs.
        return f"{text}-{hashlib.sha256(self.title.encode()).hexdigest()[:4]}-"

    def under_title(self, line: str) -> str:
        """Returns a line with the title before it, where there is a title."""
        return f"{self.title}: {line}" if self.title else line

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every arm's trials."""
        return pd.concat([result.trials for result in self.results], ignore_index=True)

    @cached_property
    def verdicts(self) -> Section:
        """The main table."""
        title, unit = measure.titled(self.study), measure.unit(self.study)
        return tables.verdicts(self.results, title, unit)

    @property
    def short_verdicts(self) -> Section:
        """The main table as a narrow page holds it."""
        title, unit = measure.titled(self.study), measure.unit(self.study)
        return tables.short_verdicts(self.results, title, unit)

    @cached_property
    def beside(self) -> list[Section]:
        """What stands beside the verdicts, from effects of a cross to errors of forecasts."""
        return _with_rows(
            [
                factors.section(self.study, self.results),
                end_tables.divergence(self.results, measure.unit(self.study)),
                end_tables.lost_runs(self.results),
                lengths.section(self.study, self.results, self.runs),
                along_training.section(self.study, self.results, self.curves),
                states.section(self.results, self.states),
                forecasts.section(self.forecast_errors),
            ]
        )

    @cached_property
    def costs(self) -> list[Section]:
        """What every arm costs, what it reaches for that, and the runtime."""
        return _with_rows(
            [
                cost_tables.costs(self.results),
                pareto.section(self.study, self.results),
                pareto.time_to_target(self.study, self.results, self.curves, self.runs),
                cost_tables.runtimes(self.results),
            ]
        )

    @cached_property
    def tuning(self) -> list[Section]:
        """What the search found, and what it tells of the fields."""
        return _with_rows(
            [
                tables.tuned_values(self.results, measure.unit(self.study)),
                hyperparameters.bought(self.study, self.trials),
                hyperparameters.sensitivity_section(self.study, self.trials),
                hyperparameters.importance_section(self.importances),
            ]
        )

    @cached_property
    def values_tried(self) -> list[Section]:
        """What every value that was tried came to, a table per tuned field."""
        return _with_rows(hyperparameters.values_tried(self.study, self.trials))

    @cached_property
    def sensitivity(self) -> list[str]:
        """How wide the range of good values is, a sentence per tuned field."""
        return hyperparameters.sensitivity(self.study, self.trials)

    @cached_property
    def ends(self) -> Section:
        """How the runs ended."""
        return end_tables.ends(self.results, measure.unit(self.study))

    @property
    def sections(self) -> list[Section]:
        """All tables in their order, but those of values tried that are long."""
        values = [section for section in self.values_tried if len(section.rows) <= LONG_ROWS]
        return [self.verdicts, *self.beside, *self.costs, *self.tuning, *values, self.ends]

    @cached_property
    def differences(self) -> "LabelledFigure | None":
        """The pairs of every arm, and their mean."""
        from harness.report import forest

        return forest.paired_differences(self.results, forest.Terms.of(self.study))

    @cached_property
    def objective_figures(self) -> "list[LabelledFigure]":
        """Differences, curves, other lengths, states and forecasts, where there are any."""
        from harness.report import (
            curve_figures,
            forecast_figures,
            length_figures,
            state_figures,
        )

        metric = measure.curve_metric(self.study)
        curves = curve_figures.learning_curves(self.results, self.curves, metric)
        other_lengths = length_figures.of_arms(self.study, self.results, self.runs)
        states = state_figures.of_arms(self.results, self.states)
        shown = forecast_figures.of_arms(self.results, self.forecast_rows)
        return _drawn([self.differences, *curves, other_lengths, states, *shown])

    @cached_property
    def cost_figures(self) -> "list[LabelledFigure]":
        """What is compared, against costs, and speeds."""
        from harness.report import cost_figures

        return _drawn(
            [
                cost_figures.level_against_costs(self.study, self.results),
                cost_figures.speeds(self.results, self.study.baseline.name),
            ]
        )

    @cached_property
    def tuning_figures(self) -> "list[LabelledFigure]":
        """Trials against tuned values, and what a number of trials buys."""
        from harness.report import expected_best, tuning_figures

        return _drawn(
            [
                tuning_figures.trials_by_field(self.study, self.trials),
                expected_best.expected_best(self.study, self.trials),
            ]
        )

    @property
    def figures(self) -> "dict[str, LabelledFigure]":
        """All figures by the stems of their files."""
        figures = [*self.objective_figures, *self.cost_figures, *self.tuning_figures]
        return {self.slug + figure.name: figure for figure in figures}


def condition_report(
    study: Study,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: Sequence[str],
    importances: Mapping[str, Mapping[str, float]],
    searches: Mapping[str, Evidence] | None,
    states: pd.DataFrame,
    simple_errors: Sequence[Mapping[str, Any]],
    forecast_rows: pd.DataFrame,
) -> ConditionReport:
    """Returns what a study shows under one condition, from what is known of that condition.

    Args:
        study: The study of this condition alone.
        runs: As :func:`harness.report.build` takes them.
        curves: Likewise.
        timings: Likewise.
        warnings: What is to be said beside the verdict.
        importances: Arm -> tuned field -> share.
        searches: Arm -> what its searches show; None: what ``runs`` and ``curves`` say.
        states: As :func:`harness.report.build` takes them.
        simple_errors: The errors of simple forecasters, as the study's notes have them.
        forecast_rows: As :func:`harness.report.build` takes them.
    """
    runs = frames.with_columns(runs, frames.RUN_COLUMNS)
    timings = frames.with_columns(timings, frames.TIMING_COLUMNS)
    curves = frames.with_columns(curves, frames.CURVE_COLUMNS)
    searches = evidence_of(study, runs, curves) if searches is None else searches
    open_arms = [name for name, each in searches.items() if each.is_open]
    num_seeds, num_known = stages.num_seeds(study, runs, open_arms), len(runs)
    runs, curves = (stages.planned(study, frame, num_seeds) for frame in (runs, curves))
    left_out = []
    if len(runs) < num_known:
        left_out = [f"{num_known - len(runs)} runs are left out: the study asks for fewer."]
    results = arm_results.gather(study, runs, timings, num_seeds, searches)
    curves = curves.astype(NAME_TYPES)
    ends = (
        runs.astype(NAME_TYPES)
        .drop_duplicates(RUN_OF_CONDITION)
        .set_index(RUN_OF_CONDITION)[["state", "not_learned"]]
    )
    return ConditionReport(
        study=study,
        results=results,
        runs=runs,
        curves=curves.join(ends, on=RUN_OF_CONDITION),
        states=stages.planned(study, states, num_seeds),
        forecast_errors=forecasts.errors([arm.name for arm in study.arms], runs, simple_errors),
        forecast_rows=forecast_rows,
        importances=importances,
        sentences=[
            sentences.sentence(study, result) for result in results if not result.is_baseline
        ],
        missing=remarks.missing(study, runs, timings, results, num_seeds, searches),
        warnings=[*warnings, *left_out, *remarks.doubts(study, runs, timings, results)],
    )


def _with_rows(sections: Iterable[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None and section.rows]


def _drawn(figures: "Iterable[LabelledFigure | None]") -> "list[LabelledFigure]":
    return [figure for figure in figures if figure is not None]
