"""The part of a report that is of one condition: its sentences, tables and figures."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from harness.report import arm_results, figures, hyperparameters, pareto, sentences, slices, tables
from harness.report.arm_results import ArmResult
from harness.report.drawing import Drawn
from harness.report.tables import Section


@dataclass(frozen=True)
class Part:
    """What a study shows under one condition.

    Attributes:
        study: Of this condition alone.
        curves: With the state of each row's run.
        importances: Of each arm's tuned fields; empty where they were not asked for.
        sentences: One per arm that is not the baseline.
    """

    study: Any
    results: list[ArmResult]
    curves: pd.DataFrame
    importances: Mapping[str, Mapping[str, float]]
    sentences: list[str]
    missing: list[str]
    warnings: list[str]

    @property
    def title(self) -> str:
        """The condition's name; empty where there is but one, without a name."""
        return str(self.study.condition)

    @property
    def slug(self) -> str:
        """The title as part of a file's name or of an address, with a dash behind it; empty where
        the title is.
        """
        if not self.title:
            return ""
        text = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        mark = hashlib.sha256(self.title.encode()).hexdigest()[
            :4
        ]  # other names may read the same without their signs
        return f"{text}-" if text == self.title else f"{text}-{mark}-"

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every arm's trials."""
        return pd.concat([result.trials for result in self.results], ignore_index=True)

    @cached_property
    def verdicts(self) -> Section:
        """The main table."""
        return tables.verdicts(
            self.results, arm_results.measured(self.study), sentences.unit(self.study)
        )

    @cached_property
    def costs(self) -> list[Section]:
        """What every arm costs, what it reaches for that, and the runtime."""
        return _there(
            [
                tables.costs(self.results),
                pareto.section(self.study, self.results),
                pareto.time_to_target(self.study, self.results, self.curves),
                tables.runtimes(self.results),
            ]
        )

    @cached_property
    def tuning(self) -> list[Section]:
        """What the search found, and what it tells of the fields."""
        return _there(
            [
                tables.tuned_values(self.results, sentences.unit(self.study)),
                hyperparameters.bought(self.study, self.trials),
                hyperparameters.sensitivity_section(self.study, self.trials),
                hyperparameters.importance_section(self.importances),
            ]
        )

    @cached_property
    def sensitivity(self) -> list[str]:
        """How wide the range of good values is, a sentence per tuned field."""
        return hyperparameters.sensitivity(self.study, self.trials)

    @cached_property
    def ends(self) -> Section:
        """How the runs ended."""
        return tables.ends(self.results, sentences.unit(self.study))

    @property
    def sections(self) -> list[Section]:
        """All tables in their order."""
        return [self.verdicts, *self.costs, *self.tuning, self.ends]

    @cached_property
    def perplexity_figures(self) -> list[Drawn]:
        """Differences and curves; those that there is something to draw for."""
        metric = "validation/loss" if arm_results.is_held_out(self.study) else "train/loss"
        base, margin = self.study.baseline.name, self.study.measure.margin
        differences = figures.paired_differences(
            self.results, base, margin, sentences.unit(self.study)
        )
        return _drawn([differences, *figures.learning_curves(self.results, self.curves, metric)])

    @cached_property
    def cost_figures(self) -> list[Drawn]:
        """Speeds, and losses against costs."""
        base = self.study.baseline.name
        return _drawn([pareto.figure(self.study, self.results), figures.speeds(self.results, base)])

    @cached_property
    def tuning_figures(self) -> list[Drawn]:
        """Trials against tuned values."""
        return _drawn(
            [slices.slices(self.study, self.trials), slices.expected_best(self.study, self.trials)]
        )

    @property
    def figures(self) -> dict[str, Drawn]:
        """All figures by the stems of their files."""
        drawn = [*self.perplexity_figures, *self.cost_figures, *self.tuning_figures]
        return {self.slug + each.name: each for each in drawn}


def _there(found: Iterable[Section | None]) -> list[Section]:
    return [section for section in found if section is not None and section.rows]


def _drawn(found: Iterable[Drawn | None]) -> list[Drawn]:
    return [drawn for drawn in found if drawn is not None]
