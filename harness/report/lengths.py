"""What was learned at one length, on test sequences of others; and what else is told of test."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.data.errors import DataError
from harness.data.sequences import Level, memory
from harness.report.arm_results import ArmResult
from harness.report.number_texts import number
from harness.report.tables import Section
from harness.report.tried import is_not_learned
from harness.study import Study
from harness.tasks.objective import objective_of
from harness.training.messages import RunState

BESIDE = {"excess": "Excess in nats", "macro_f1": "Macro F1"}
"""Metric of the test split -> its column."""
GUESS, FLOOR = "a guess", "the best there is"
"""What the lines of a task are called that are known of it."""
_LOSS = re.compile(r"test/(\d+)x_loss")


@dataclass(frozen=True)
class Bounds:
    """What is known of a task at some length; None: that is not known.

    Attributes:
        guess: What the best prediction scores that remembers nothing.
        floor: What the best prediction scores that there is.
    """

    guess: float | None = None
    floor: float | None = None


def tested(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per finished replicate and length, the columns ``arm, multiple, loss``.

    ``multiple`` is the length in lengths of training. It is empty where nothing was tested on
    another length. A replicate without a number there has an infinite loss: what is not finite is
    not stored.
    """
    ended = _finished(runs)
    others = {int(match[1]): match[0] for match in map(_LOSS.fullmatch, map(str, runs)) if match}
    columns = dict(sorted({1: "test/loss", **others}.items())) if others else {}
    parts = [
        ended[["arm"]].assign(multiple=multiple, loss=ended[column].astype(float).fillna(math.inf))
        for multiple, column in columns.items()
    ]
    empty = pd.DataFrame(columns=["arm", "multiple", "loss"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _finished(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[(runs["phase"] == "replicate") & (runs["state"] == RunState.FINISHED)]


def bounds(study: Study, multiples: Sequence[int]) -> dict[int, Bounds]:
    """Returns what is known of the study's task at every multiple of its length."""
    settings, key = study.baseline.settings, objective_of(study.measure.objective).key
    if settings.task != "memory" or not multiples:
        return {}
    options = {} if settings.options is None else settings.options.to_dict()
    if settings.path is not None:
        options["path"] = settings.path
    try:
        task = memory.make(settings.corpus, options)
        lengths = {multiple: multiple * settings.bptt_length for multiple in multiples}
        return {
            multiple: Bounds(_value(task.chance(length), key), _value(task.floor(length), key))
            for multiple, length in lengths.items()
        }
    except DataError:  # the images lie on another machine
        return {}


def _value(level: Level | None, key: str) -> float | None:
    """Returns the number of a level that an objective's key names, where it has it."""
    if level is None:
        return None
    if level.accuracy is None:
        return level.loss if key == "mse" else None
    return {"accuracy": level.accuracy, "cross_entropy": level.loss}.get(key)


def lines(known: Mapping[int, Bounds]) -> dict[str, dict[int, float]]:
    """Returns name -> length -> number of what is known of a task, for a row or a dotted line."""
    found = {
        GUESS: {length: each.guess for length, each in known.items() if each.guess is not None},
        FLOOR: {length: each.floor for length, each in known.items() if each.floor is not None},
    }
    return {name: values for name, values in found.items() if values}


def section(study: Study, results: Sequence[ArmResult], runs: pd.DataFrame) -> Section | None:
    """Returns a row per arm: what it scores at every length, and what else test tells.

    None: there is neither. A number is the median over the replicates that finished, with their
    range; one that has learned nothing is at the guess. What test tells beside is left out where a
    replicate lacks it, as one at the guess lacks the F1: the others are not the arm.

    Args:
        study: Of one condition.
        results: Its arms.
        runs: Of that condition, with the columns that :data:`columns.BESIDE_TEST` describes.
    """
    found, objective = tested(runs), objective_of(study.measure.objective)
    multiples = list(found["multiple"].unique())
    beside = {key: title for key, title in BESIDE.items() if f"test/{key}" in runs}
    ended = _finished(runs)
    rows: list[tuple[str, ...]] = []
    for result in results:
        own, of_arm = found[found["arm"] == result.name], ended[ended["arm"] == result.name]
        losses = [own.loc[own["multiple"] == each, "loss"].to_numpy() for each in multiples]
        values = [of_arm[f"test/{key}"].to_numpy(np.float64) for key in beside]
        told = [each if np.isfinite(each).all() else each[:0] for each in values]
        cells = [_ranged(each) for each in [*map(objective.levels, losses), *told]]
        num_guesses = int(is_not_learned(of_arm).sum())
        remark = f"{num_guesses} of {len(of_arm)} at the guess" if num_guesses else ""
        if any(cells):
            rows.append((result.name, *cells, remark))
    if not rows:
        return None
    for name, by_length in lines(bounds(study, multiples)).items():
        shown = (number(by_length[each]) if each in by_length else "" for each in multiples)
        rows.append((name, *shown, *[""] * (len(beside) + 1)))
    steps = study.baseline.settings.bptt_length
    titles = [f"{each}× ({each * steps:,} steps)" for each in multiples]
    what = f"Other lengths: {objective.axis}" if multiples else f"Beside the {objective.name}"
    title = f"{what} on test, the median of the replicates and their range"
    header = ("Arm", *titles, *beside.values(), "Remark")
    return Section(title, header, rows).without_empty(*beside.values(), "Remark")


def _ranged(values: np.ndarray) -> str:
    if not len(values):
        return ""
    middle, low, high = (number(float(f(values))) for f in (np.median, np.min, np.max))
    return middle if low == high else f"{middle} ({low} to {high})"
