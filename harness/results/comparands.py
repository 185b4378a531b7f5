"""An arm or a run that is in the books, as one side of a comparison: what it was trained with, and
how it was tuned.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from harness.report import arm_results
from harness.report.tables import Section
from harness.results.names import Found
from harness.settings import EXECUTION, Settings, from_dict

ENDED = ("finished", "diverged")
USED = ("engine", "device", "hidden_size")
"""Settings that a run may leave open, and that it was trained with all the same."""


class ComparisonError(ValueError):
    """What was asked for cannot be put side by side."""


@dataclass(frozen=True)
class Side:
    """An arm or a run, with what it was trained with.

    Attributes:
        found: Where it is in the books.
        settings: Field -> value in every replicate that differs from another's, most often one.
        search: How it was tuned; empty where it was not.
        tuned: The fields that were.
        measure: Its study's objective, margin and threshold.
        first_seed: Of its study.
        stages: Of its study's sequential rule: the first stage's seeds and the half-width wanted;
            None without one.
    """

    found: Found
    settings: dict[str, list[Any]]
    search: dict[str, Any]
    tuned: tuple[str, ...]
    measure: dict[str, Any]
    first_seed: int
    stages: tuple[int, float] | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.found.name

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The replicates that ended, in the order of their seeds; the run alone where there is but
        one.
        """
        runs = self.found.runs
        if self.found.is_run:
            return runs
        ended = runs[(runs["phase"] == "replicate") & runs["state"].isin(ENDED)]
        return ended.sort_values(["repeat", "index"], ignore_index=True)

    @property
    def seeds(self) -> list[str]:
        """Those of ``runs``."""
        return list(self.runs["seed"])

    @property
    def text(self) -> tuple[Any, ...]:
        """What two sides must have in common for their losses to compare."""
        fields = [
            self.settings[name]
            for name in arm_results.TEXT_FIELDS
            if name not in ("corpus", "path")
        ]
        return (sorted(set(self.runs["corpus_fingerprint"])), *fields)

    @property
    def rule(self) -> tuple[int, tuple[int, float]] | None:
        """What said how many seeds there are, and which; None where their number was given."""
        return None if self.stages is None else (self.first_seed, self.stages)

    @property
    def measured(self) -> str:
        """What its perplexity is of."""
        if self._reads_test:
            return "test perplexity"
        is_held_out = (
            self.settings["split"] == ["holdout"]
            and self.measure["objective"] == "validation/perplexity"
        )
        return "validation perplexity" if is_held_out else "running training perplexity"

    @property
    def nats(self) -> float:
        """The loss of a single run, of what is ``measured``; NaN where it did not finish."""
        row = self.runs.iloc[0]
        return (
            float(row["test/loss" if self._reads_test else "objective"])
            if row["state"] == "finished"
            else math.nan
        )

    @property
    def _reads_test(self) -> bool:
        """Whether it is measured on a test split: replicates are, where there is one, and trials
        never.
        """
        is_trial = self.found.is_run and self.runs["phase"].iloc[0] == "trial"
        return self.settings["split"] == ["holdout"] and not is_trial

    @property
    def place(self) -> tuple[str, str]:
        """The study and the condition: what is timed together."""
        return self.found.study, self.found.unit.condition

    @property
    def is_timed(self) -> bool:
        """Whether what it was trained with is what is timed: the settings of a later repeat are
        not.
        """
        return self.found.unit.repeat == 0


def side_of(found: Found) -> Side:
    """Returns what is known of an arm or a run.

    Raises:
        ComparisonError: It is of no study that ``harness run`` made.
    """
    identity = found.tracker.identity()
    key = str(found.unit._replace(repeat=0))
    if identity is None or key not in identity["arms"]:
        raise ComparisonError(
            f"{found.name}: must be of a study that `harness run` made, but is of none."
        )
    search = identity.get("tunes", {}).get(found.unit.condition) or identity["shared"]["tune"] or {}
    names = [field.name for field in dataclasses.fields(Settings)]
    tuned = tuple(name for name in names if name in search)
    fixed = {name: value for name, value in identity["arms"][key].items() if name in names}
    runs = found.runs if found.is_run else found.runs[found.runs["phase"] == "replicate"]
    settings = {name: [value] for name, value in dataclasses.asdict(from_dict(fixed)).items()}
    params = list(runs["params"])
    for name in (*tuned, "path"):
        settings[name] = _distinct([own.get(name) for own in params])
    for name in USED:
        settings[name] = _distinct(list(runs[name].dropna())) or settings[name]
    settings["cell source"] = [identity["arms"][key].get("cell_source", "")[:12]]
    search = {**search, "trials": _num_trials(found)} if search else {}
    stages = identity.get("stages")
    return Side(
        found,
        settings,
        search,
        tuned,
        measure=identity["shared"]["measure"],
        first_seed=identity["first_seed"],
        stages=None if stages is None else (int(stages[0]), float(stages[1])),
    )


def _num_trials(found: Found) -> int:
    """Returns how many trials ended of the searches that are meant: all of an arm's, or that of one
    repeat.
    """
    runs = found.arm_runs
    if found.is_run or found.unit.repeat:
        runs = runs[runs["repeat"] == found.unit.repeat]
    return int(((runs["phase"] == "trial") & runs["state"].isin(arm_results.TRIAL_ENDS)).sum())


def _distinct(values: list[Any]) -> list[Any]:
    """Returns the values once each, in their order."""
    return list({json.dumps(value, default=str): value for value in values}.values())


def differences(sides: Sequence[Side]) -> Section:
    """Returns every setting in which sides differ, and how each was tuned; what changes no number
    is left out.
    """
    rows = []
    for name in sides[0].settings:
        if name in EXECUTION:
            continue
        texts = [", ".join(text_of(value) for value in side.settings[name]) for side in sides]
        marks = [" (tuned)" if name in side.tuned else "" for side in sides]
        if len(set(texts)) > 1 or len(set(marks)) > 1:
            rows.append((name, *(text + mark for text, mark in zip(texts, marks, strict=True))))
    for name in dict.fromkeys(name for side in sides for name in side.search):
        texts = [text_of(side.search.get(name)) if side.search else "not tuned" for side in sides]
        if len(set(texts)) > 1:
            rows.append((f"tune: {name}", *texts))
    return Section("What differs", ("Setting", *(side.name for side in sides)), rows)


def text_of(value: Any) -> str:
    """Returns a setting's value as a table shows it."""
    if isinstance(value, dict):
        return " ".join(
            f"{name}: {text_of(item)}" for name, item in value.items() if item is not None
        )
    if isinstance(value, list):
        return ", ".join(map(text_of, value))
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
