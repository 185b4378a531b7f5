"""What earlier runs in the store tell of a study before it runs.

They tell how fast its arms train, and how much paired differences spread.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from harness import data, provenance
from harness.model import masks
from harness.preflight.cost import Pace
from harness.preflight.probe import Probe
from harness.report import comparability, replicates
from harness.settings import PER_RUN, Settings, from_dict, to_dict
from harness.statistics import inference
from harness.store.address import sqlite_path
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.source import experiment_ids
from harness.study import Study
from harness.study.units import Phase
from harness.tasks.objective import Objective, objective_of
from harness.training.messages import RunState

# Settings that cost no time, or that a run's own columns tell better. Of the settings of single
# runs, noise alone costs time.
_NOT_PACE = (
    "corpus",
    "path",
    "paths",
    "hidden_size",
    "num_parameters",
    "flops_per_token",
    "initialization",
    "forget_bias",
    "budget",
    "evaluations",
    "engine",
    "device",
    "precision",
    "threads",
    "pack_size",
)
_FIELDS = [f.name for f in fields(Settings)]
_PACE_FIELDS = [f for f in fields(Settings) if f.name not in (*PER_RUN, *_NOT_PACE)]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StoredStudy:
    """What the store holds of one study.

    Attributes:
        name: The experiment's.
        is_same: Whether it is the very study that is asked about.
        baseline: The name of its baseline.
        objective: What its arms are compared by.
        pinned: Arm -> what was resolved when it was first run.
        runs: As :func:`harness.store.frames.runs` returns them.
        timings: As :func:`harness.store.frames.timings` returns them.
    """

    name: str
    is_same: bool
    baseline: str
    objective: Objective
    pinned: Mapping[str, Mapping[str, Any]]
    runs: pd.DataFrame
    timings: pd.DataFrame

    @property
    def title(self) -> str:
        """What the study is called beside the one that is asked about."""
        return "this study" if self.is_same else self.name


class History:
    """The studies of a store: the one that is asked about first, then the others, newest first.

    Each is read when it is asked for, once.
    """

    def __init__(self, study: Study, locations: Locations) -> None:
        self._read: list[StoredStudy] = []
        self._unread = _stored_studies(study, locations)

    def __iter__(self) -> Iterator[StoredStudy]:
        yield from self._read
        for stored in self._unread:
            self._read.append(stored)
            yield stored

    def first(self, ask: Callable[[StoredStudy], Answer | None]) -> Answer | None:
        """Returns the first answer that a stored study gives."""
        return next((answer for stored in self if (answer := ask(stored)) is not None), None)


def _stored_studies(study: Study, locations: Locations) -> Iterator[StoredStudy]:
    """Yields the studies that are in the store; nothing is made or changed."""
    file = sqlite_path(locations.tracking_uri)
    if file is not None and not file.exists():
        return
    ids = experiment_ids(locations.tracking_uri)
    for name in sorted(ids, key=lambda name: (name != study.name, -int(ids[name]))):
        reader = StudyReader(locations.tracking_uri, name)
        identity = reader.identity()
        if identity is None:  # the experiment is no study's
            continue
        yield StoredStudy(
            name=name,
            is_same=name == study.name and not study.changes_since(identity),
            baseline=identity["baseline"],
            objective=objective_of(identity["shared"]["measure"]["objective"]),
            pinned=reader.notes().pinned,
            runs=reader.runs(),
            timings=reader.timings(),
        )


def with_pinned_budgets(settings: Mapping[str, Settings], history: History) -> dict[str, Settings]:
    """Returns arms' settings with the updates that their budgets of seconds bought.

    They were measured when the study was first run; other budgets stay as they are.
    """
    stored = next(iter(history), None)
    if stored is None or not stored.is_same:
        return dict(settings)
    pinned = dict(settings)
    for arm, arm_settings in settings.items():
        budget, updates = arm_settings.budget, stored.pinned.get(arm, {}).get("updates")
        if budget.seconds is not None and updates is not None:
            budget = replace(budget, seconds=None, updates=updates)
            pinned[arm] = replace(arm_settings, budget=budget)
    return pinned


def pace(arm: Probe, stored: StoredStudy) -> Pace | None:
    """Returns the pace of earlier runs or timings of an arm, or None where there are none.

    They are those whose settings equal the arm's in all that costs time. Of runs, replicates count
    before trials, and of them those of the nearest pack size; their seconds hold their evaluations.
    """
    finished = stored.runs[stored.runs["state"] == RunState.FINISHED].dropna(
        subset=["tokens", "threads", "pack_size"]
    )
    columns = _columns_of(arm)
    alike = finished[[_is_alike(arm, columns, row) for _, row in finished.iterrows()]]
    if alike.empty:
        return None
    is_evaluated_alike = [
        params.get("evaluations") == arm.settings.evaluations for params in alike["params"]
    ]
    whole = alike[(alike["tokens"] == arm.num_tokens) & np.array(is_evaluated_alike)]
    if len(whole):
        return _pace_of_runs(arm, stored, whole)
    return _pace_of_timings(arm, stored, set(zip(alike["condition"], alike["arm"], strict=True)))


def _pace_of_runs(arm: Probe, stored: StoredStudy, runs: pd.DataFrame) -> Pace:
    """Returns the pace of runs that are like the arm's in budget and evaluations too."""
    is_replicate = runs["phase"] == Phase.REPLICATE
    rows = runs[is_replicate] if is_replicate.any() else runs
    pack_size = _nearest(rows["pack_size"], arm.pace.pack)
    rows = rows[rows["pack_size"] == pack_size]
    seconds_per_update = (
        rows["seconds"].astype(float) / rows["tokens"].astype(float) * arm.targets_per_update
    )
    return replace(
        arm.pace,
        pack=pack_size,
        update_seconds=float(seconds_per_update.median()),
        evaluation_seconds=0.0,
        source=f"from earlier runs of {stored.title}",
    )


def _pace_of_timings(arm: Probe, stored: StoredStudy, arms: set[tuple[str, str]]) -> Pace | None:
    """Returns the pace that the runtime phase measured, or None where it did not.

    An evaluation takes as many passes forward as it has minibatches; of minibatches of another
    size than those of training nothing is known. ``arms`` are pairs of condition and arm.
    """
    if arm.settings.evaluation_batch_size not in (None, arm.settings.batch_size):
        return None
    timings = stored.timings
    keys = zip(timings["condition"], timings["arm"], strict=True)
    is_of_arms = np.array([key in arms for key in keys], dtype=bool)
    rows = timings[is_of_arms & (timings["threads"] == arm.threads)]
    if rows.empty:
        return None
    pack_size = _nearest(rows["pack"], arm.pace.pack)
    rows = rows[rows["pack"] == pack_size]
    seconds = {
        mode: float(rows.loc[rows["mode"] == mode, "seconds"].median())
        for mode in ("train", "forward")
    }
    return replace(
        arm.pace,
        pack=pack_size,
        update_seconds=seconds["train"],
        evaluation_seconds=_num_minibatches(arm) * seconds["forward"],
        source=f"from timings of {stored.title}",
    )


def _num_minibatches(arm: Probe) -> int:
    return data.load(arm.settings).num_minibatches(arm.settings, "validation")


def _nearest(sizes: pd.Series, size: int) -> int:
    return int(min(sizes.unique(), key=lambda other: abs(other - size)))


def _columns_of(arm: Probe) -> dict[str, Any]:
    """Returns the columns of a run's row that decide what time it costs, as the arm has them."""
    return {
        "hidden_size": arm.hidden_size,
        "num_parameters": arm.num_parameters,
        "corpus_fingerprint": arm.fingerprint,
        "engine": arm.settings.engine,
        "device": arm.device,
        "precision": arm.settings.precision,
        "threads": arm.threads,
        "device_name": provenance.device_name(arm.device),
    }


def _is_alike(arm: Probe, columns: Mapping[str, Any], row: pd.Series) -> bool:
    """Returns whether a stored run costs the time that a run of the arm does."""
    settings, params = arm.settings, row["params"]
    return (
        all(row[column] == value for column, value in columns.items())
        and all(params.get(f.name, f.default) == getattr(settings, f.name) for f in _PACE_FIELDS)
        and all(bool(params.get(name)) == bool(getattr(settings, name)) for name in masks.FIELDS)
    )


@dataclass(frozen=True)
class Spread:
    """Standard deviations of paired differences.

    Attributes:
        study: What the study of the pairs is called.
        nats: By arm.
        num_pairs: How many pairs each of them is over, at least.
    """

    study: str
    nats: dict[str, float]
    num_pairs: int


def spread(part: Study, stored: StoredStudy) -> Spread | None:
    """Returns how pairs spread in earlier runs, or None where there are no such pairs.

    The pairs are those that the study of a condition would have. Another study's count under any
    condition that has the same cell as its baseline and the same text, and where they are compared
    by the same.
    """
    if stored.objective != objective_of(part.measure.objective):
        return None
    nats: dict[str, float] = {}
    counts = []
    for losses in _families(part, stored):
        baseline_losses = losses.pop(stored.baseline)
        for arm, arm_losses in losses.items():
            differences = inference.paired_differences(arm_losses, baseline_losses)
            differences = differences[np.isfinite(differences)]
            deviation = inference.spread(differences) if len(differences) >= 2 else 0.0
            if deviation > 0.0:
                nats[arm] = deviation
                counts.append(len(differences))
    return Spread(stored.title, nats, min(counts)) if nats else None


def _families(part: Study, stored: StoredStudy) -> Iterator[dict[str, dict[str, float]]]:
    """Yields losses by arm and pair of every condition that tells of ``part``.

    They are those of the baseline and of all arms that read what it does.
    """
    wanted = _read_by(to_dict(part.baseline.settings))
    ended = stored.runs[stored.runs["phase"] == Phase.REPLICATE]
    for condition, rows in ended.groupby("condition"):
        firsts = rows.drop_duplicates("arm")
        read = dict(zip(firsts["arm"], map(_read_by, firsts["params"]), strict=True))
        own = read.get(stored.baseline)
        if own is None:
            continue
        if condition == part.condition if stored.is_same else own == wanted:
            alike = [arm for arm, each in read.items() if each and each.text == own.text]
            known = rows if part.is_repeated else rows[rows["repeat"] == 0]
            yield {str(arm): replicates.losses(part, known, str(arm)) for arm in alike}


class _Read(NamedTuple):
    """A cell, and what it reads, as :func:`harness.report.comparability.text_of` says it."""

    cell: str
    text: tuple[tuple[str, Any], ...]


def _read_by(params: Mapping[str, Any]) -> _Read | None:
    """Returns what a run with such parameters is and reads; None where they are not whole."""
    own = {name: params[name] for name in _FIELDS if name in params}
    if not {"cell", "corpus"} <= own.keys():
        return None
    settings = from_dict(own)
    return _Read(settings.cell, comparability.text_of(settings))
