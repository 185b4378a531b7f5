"""Arms and runs that are compared: what each was trained with, and how it was tuned."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from harness.report import comparability
from harness.report.tables import Section
from harness.report.tried import num_trials
from harness.results.names import Selection
from harness.settings import EXECUTION, Settings, all_values, from_dict
from harness.study.units import Phase
from harness.tasks.objective import Objective, objective_of, split_of
from harness.training.messages import RunState

WITH_RESULT = [str(state) for state in RunState if state.has_objective]
"""The states of the replicates that count."""
TRAINED_WITH = ("engine", "device", "hidden_size")
"""Settings that a study may leave open; what they were resolved to stands with the runs."""
CELL_SOURCE = "cell source"
"""What stands among the settings for the source of the cell: the start of its fingerprint."""


class ComparisonError(ValueError):
    """What was asked for cannot be compared."""


@dataclass(frozen=True)
class Comparand:
    """An arm or a run, with what it was trained with.

    Attributes:
        selection: Its stored runs.
        settings: Field -> value in every replicate that differs from another's, most often one.
        search: How it was tuned; empty where it was not.
        tuned: The fields that were.
        measure: Its study's objective, margin and threshold.
        first_seed: Of its study.
        version: That of its study's format.
        stages: Of its study's sequential rule: the first stage's seeds and the half-width wanted;
            None without one.
    """

    selection: Selection
    settings: dict[str, list[Any]]
    search: dict[str, Any]
    tuned: tuple[str, ...]
    measure: dict[str, Any]
    first_seed: int
    version: int
    stages: tuple[int, float] | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.selection.name

    @property
    def is_run(self) -> bool:
        """Whether it is a single run."""
        return self.selection.is_run

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The replicates that ended, in the order of their seeds; of a run, that run alone."""
        runs = self.selection.runs
        if self.is_run:
            return runs
        ended = runs[(runs["phase"] == Phase.REPLICATE) & runs["state"].isin(WITH_RESULT)]
        return ended.sort_values(["repeat", "index"], ignore_index=True)

    @property
    def seeds(self) -> list[str]:
        """Those of ``runs``."""
        return list(self.runs["seed"])

    @cached_property
    def first_settings(self) -> Settings:
        """The first of each of ``settings``."""
        return from_dict(
            {name: values[0] for name, values in self.settings.items() if name != CELL_SOURCE}
        )

    @property
    def text(self) -> tuple[Any, ...]:
        """What comparands must have in common for their losses to compare."""
        fields = dict(comparability.text_of(self.first_settings))
        read = {name: fields[name] for name in fields if name not in comparability.TEXT_NAMES}
        return (sorted(set(self.runs["corpus_fingerprint"])), self.objective.key, read)

    @property
    def rule(self) -> tuple[int, tuple[int, float]] | None:
        """The first seed and the stages that set the seeds; None where their number was given."""
        return None if self.stages is None else (self.first_seed, self.stages)

    @property
    def measured(self) -> str:
        """What its number is called."""
        if self._reads_test:
            return f"test {self.objective.name}"
        is_held_out = (
            self.settings["split"] == ["holdout"]
            and split_of(self.measure["objective"]) == "validation"
        )
        split = "validation" if is_held_out else "running training"
        return f"{split} {self.objective.name}"

    @property
    def objective(self) -> Objective:
        """What its study compares by."""
        return objective_of(self.measure["objective"])

    @property
    def nats(self) -> float:
        """The loss of a single run, of what is ``measured``; NaN where it did not finish."""
        row = self.runs.iloc[0]
        if row["state"] != RunState.FINISHED:
            return math.nan
        return float(row["test/loss" if self._reads_test else "objective"])

    @property
    def _reads_test(self) -> bool:
        """Whether it is measured on a test split.

        Replicates are, where there is one; trials and finalists never.
        """
        is_searched = self.is_run and self.runs["phase"].iloc[0] != Phase.REPLICATE
        return self.settings["split"] == ["holdout"] and not is_searched

    @property
    def timing_group(self) -> tuple[str, str]:
        """The study and the condition, whose arms are timed in the same rounds."""
        return self.selection.study, self.selection.unit.condition

    @property
    def is_timed(self) -> bool:
        """Whether it is timed with the settings that it was trained with.

        Those of a later repeat are not timed.
        """
        return self.selection.unit.repeat == 0


def comparand_of(selection: Selection) -> Comparand:
    """Returns what is known of an arm or a run.

    Raises:
        ComparisonError: It is of no study that ``harness run`` made.
    """
    identity = selection.reader.identity()
    key = str(selection.unit.first_repeat)
    if identity is None or key not in identity["arms"]:
        raise ComparisonError(
            f"{selection.name}: must be of a study that `harness run` made, but is of none."
        )
    shared, tunes = identity["shared"], identity.get("tunes", {})
    search = tunes.get(selection.unit.condition) or shared["tune"] or {}
    tuned = tuple(field.name for field in dataclasses.fields(Settings) if field.name in search)
    stages = identity.get("stages")
    return Comparand(
        selection=selection,
        settings=_settings(selection, identity["arms"][key], tuned),
        search={**search, "trials": _num_trials(selection)} if search else {},
        tuned=tuned,
        measure=shared["measure"],
        first_seed=identity["first_seed"],
        version=identity["version"],
        stages=None if stages is None else (int(stages[0]), float(stages[1])),
    )


def _settings(
    selection: Selection, arm_identity: dict[str, Any], tuned: Sequence[str]
) -> dict[str, list[Any]]:
    """Returns the :attr:`Comparand.settings`: the identity's, and those that the runs hold."""
    names = {field.name for field in dataclasses.fields(Settings)}
    fixed = {name: value for name, value in arm_identity.items() if name in names}
    settings = {name: [value] for name, value in all_values(from_dict(fixed)).items()}
    runs = selection.runs
    if not selection.is_run:
        runs = runs[runs["phase"] == Phase.REPLICATE]
    for name in (*tuned, "path", "paths"):
        settings[name] = _distinct([params.get(name) for params in runs["params"]])
    for name in TRAINED_WITH:
        settings[name] = _distinct(list(runs[name].dropna())) or settings[name]
    settings[CELL_SOURCE] = [arm_identity.get("cell_source", "")[:12]]
    return settings


def _num_trials(selection: Selection) -> int:
    """Returns how many trials ended of the searches that are meant.

    They are all of an arm's, or that of one repeat.
    """
    runs = selection.arm_runs
    if selection.is_run or selection.unit.repeat:
        runs = runs[runs["repeat"] == selection.unit.repeat]
    return num_trials(runs)


def _distinct(values: list[Any]) -> list[Any]:
    """Returns the values once each, in their order."""
    return list({json.dumps(value, default=str): value for value in values}.values())


def differences(comparands: Sequence[Comparand]) -> Section:
    """Returns every setting in which comparands differ, and how each was tuned.

    What changes no number is left out.
    """
    rows = []
    for name in comparands[0].settings:
        if name in EXECUTION:
            continue
        texts = [", ".join(map(text_of, each.settings[name])) for each in comparands]
        marks = [" (tuned)" if name in each.tuned else "" for each in comparands]
        if len(set(texts)) > 1 or len(set(marks)) > 1:
            rows.append((name, *(text + mark for text, mark in zip(texts, marks, strict=True))))
    for name in dict.fromkeys(name for each in comparands for name in each.search):
        texts = [
            text_of(each.search.get(name)) if each.search else "not tuned" for each in comparands
        ]
        if len(set(texts)) > 1:
            rows.append((f"tune: {name}", *texts))
    header = ("Setting", *(each.name for each in comparands))
    return Section("What differs", header, rows)


def text_of(value: Any) -> str:
    """Returns a setting's value as a table shows it."""
    if isinstance(value, dict):
        return " ".join(
            f"{name}: {text_of(item)}" for name, item in value.items() if item is not None
        )
    if isinstance(value, list):
        return ", ".join(map(text_of, value))
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
