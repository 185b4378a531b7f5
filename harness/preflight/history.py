"""What earlier runs in the books tell of a study before it runs: how fast its arms train, how pairs
spread.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from harness import data, provenance
from harness.model import masks
from harness.preflight.cost import Pace
from harness.preflight.probe import Pilot
from harness.report import arm_results
from harness.settings import PER_RUN, Settings
from harness.statistics import inference
from harness.store import tracker
from harness.store.locations import Places
from harness.study import Study, is_repeated

# Settings that cost no time, or that a run's own columns tell better; of those of single runs,
# noise alone costs any.
_NOT_PACE = {
    *(
        "corpus",
        "path",
        "hidden_size",
        "num_parameters",
        "flops_per_token",
        "initialization",
        "forget_bias",
    ),
    *("budget", "evaluations", "engine", "device", "precision", "threads", "pack_size"),
}
_PACE_FIELDS = [f for f in fields(Settings) if f.name not in (*PER_RUN, *_NOT_PACE)]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Book:
    """What the books hold of one study. ``is_own``: of the very study that is asked about."""

    name: str
    is_own: bool
    baseline: str
    fixed: dict[str, dict[str, Any]]
    runs: pd.DataFrame
    timings: pd.DataFrame


class Shelf:
    """The books of a study, where there are any, then those of every other one, the newest first;
    read when asked.
    """

    def __init__(self, study: Study, places: Places):
        self._read: list[Book] = []
        self._rest = _books(study, places)

    def __iter__(self) -> Iterator[Book]:
        yield from self._read
        for book in self._rest:
            self._read.append(book)
            yield book

    def first(self, ask: Callable[[Book], Answer | None]) -> Answer | None:
        """Returns the first answer that a book gives."""
        return next((answer for book in self if (answer := ask(book)) is not None), None)


def _books(study: Study, places: Places) -> Iterator[Book]:
    """Yields what is there; nothing is made or changed."""
    file = tracker.sqlite_path(places.tracking_uri)
    if file is not None and not file.exists():
        return
    names = tracker.experiments(places.tracking_uri)
    for name in sorted(names, key=lambda name: (name != study.name, -int(names[name]))):
        tracker = tracker.Tracker(places.tracking_uri, name, places.artifacts)
        identity = tracker.identity()
        if identity is None:  # the experiment is no study's
            continue
        is_own = name == study.name and not study.changes_since(identity)
        fixed = json.loads(tracker.note("fixed") or "{}")
        yield Book(name, is_own, identity["baseline"], fixed, tracker.runs(), tracker.timings())


def settled(settings: dict[str, Settings], shelf: Shelf) -> dict[str, Settings]:
    """Returns arms with the updates that their budgets of seconds bought when the study was first
    run.
    """
    found, book = dict(settings), next(iter(shelf), None)
    if book is None or not book.is_own:
        return found
    for arm, own in settings.items():
        updates = book.fixed.get(arm, {}).get("updates")
        if own.budget.seconds is not None and updates is not None:
            found[arm] = replace(own, budget=replace(own.budget, seconds=None, updates=updates))
    return found


def pace(arm: Pilot, book: Book) -> Pace | None:
    """Returns the pace of earlier runs, or timings, whose settings equal an arm's in all that costs
    time; or None.

    Of runs: replicates before trials, of the pack size that is nearest; their seconds hold their
    evaluations.
    """
    ended = book.runs[book.runs["state"] == "finished"].dropna(
        subset=["tokens", "threads", "pack_size"]
    )
    alike = ended[[_is_alike(arm, row) for _, row in ended.iterrows()]]
    if alike.empty:
        return None
    tokens_per_update = arm.settings.batch_size * arm.settings.bptt_length
    same = [params.get("evaluations") == arm.settings.evaluations for params in alike["params"]]
    whole = alike[(alike["tokens"] == arm.num_tokens) & np.array(same)]
    whole = whole[whole["phase"] == "replicate"] if (whole["phase"] == "replicate").any() else whole
    if len(whole):
        size = _nearest(whole["pack_size"], arm.pace.pack)
        rows = whole[whole["pack_size"] == size]
        each = rows["seconds"].astype(float) / rows["tokens"].astype(float) * tokens_per_update
        return replace(
            arm.pace,
            pack=size,
            update_seconds=each.median(),
            evaluation_seconds=0.0,
            source=f"from earlier runs of {_title(book)}",
        )
    return _timed(arm, book, set(zip(alike["condition"], alike["arm"], strict=True)))


def _timed(arm: Pilot, book: Book, arms: set[tuple[str, str]]) -> Pace | None:
    """An update's seconds of the runtime phase; an evaluation is as many passes forward as it has
    minibatches.
    """
    rows = book.timings
    places = zip(rows["condition"], rows["arm"], strict=True)
    rows = rows[
        np.array([place in arms for place in places], dtype=bool) & (rows["threads"] == arm.threads)
    ]
    if rows.empty:
        return None
    size = _nearest(rows["pack"], arm.pace.pack)
    rows = rows[rows["pack"] == size]
    seconds = {
        mode: rows.loc[rows["mode"] == mode, "seconds"].median() for mode in ("train", "forward")
    }
    evaluation = _num_minibatches(arm) * seconds["forward"]
    source = f"from timings of {_title(book)}"
    return replace(
        arm.pace,
        pack=size,
        update_seconds=seconds["train"],
        evaluation_seconds=evaluation,
        source=source,
    )


def _title(book: Book) -> str:
    return "this study" if book.is_own else book.name


def _num_minibatches(arm: Pilot) -> int:
    splits = data.load(arm.settings).splits
    if "validation" not in splits:
        return 0
    starts, _ = data.evaluation_windows(
        len(splits["validation"]), arm.settings.batch_size, arm.settings.bptt_length
    )
    return len(starts)


def _nearest(sizes: pd.Series, size: int) -> int:
    return int(min(sizes.unique(), key=lambda other: abs(other - size)))


def _is_alike(arm: Pilot, row: pd.Series) -> bool:
    params = row["params"]
    return (
        (row["hidden_size"], row["num_parameters"]) == (arm.hidden_size, arm.num_parameters)
        and row["corpus_fingerprint"] == arm.fingerprint
        and (row["engine"], row["device"], row["precision"])
        == (arm.settings.engine, arm.device, arm.settings.precision)
        and (row["threads"], row["device_name"])
        == (arm.threads, provenance.device_name(arm.device))
        and all(
            params.get(f.name, f.default) == getattr(arm.settings, f.name) for f in _PACE_FIELDS
        )
        and all(
            bool(params.get(name)) == bool(getattr(arm.settings, name)) for name in masks.FIELDS
        )
    )


@dataclass(frozen=True)
class Spread:
    """Standard deviations of paired differences, in nats by arm, over ``num_pairs`` pairs each at
    least.
    """

    study: str
    nats: dict[str, float]
    num_pairs: int


def spread(part: Study, book: Book) -> Spread | None:
    """Returns how pairs spread in earlier runs: such pairs as the study of a condition would have,
    or None.

    Of another study: under whatever condition has the same cell as its baseline and the same text.
    """
    nats: dict[str, float] = {}
    counts = []
    for losses in _families(part, book):
        base = losses.pop(book.baseline)
        for arm, own in losses.items():
            differences = inference.paired_differences(own, base)
            differences = differences[np.isfinite(differences)]
            if len(differences) >= 2 and (found := inference.spread(differences)) > 0.0:
                nats[arm] = found
                counts.append(len(differences))
    return Spread(_title(book), nats, min(counts)) if nats else None


def _families(part: Study, book: Book) -> Iterator[dict[str, dict[str, float]]]:
    """Yields losses by arm and pair, the baseline's among them, of every condition that tells of
    ``part``.
    """
    wanted = part.baseline.settings
    for condition, rows in book.runs[book.runs["phase"] == "replicate"].groupby("condition"):
        own = rows[rows["arm"] == book.baseline]
        if own.empty:
            continue
        params = own["params"].iloc[0]
        is_like = all(
            params.get(name) == getattr(wanted, name) for name in ("cell", *arm_results.TEXT_FIELDS)
        )
        if condition == part.condition if book.is_own else is_like:
            known = rows if is_repeated(part) else rows[rows["repeat"] == 0]
            yield {
                str(arm): arm_results.losses(part, known, str(arm)) for arm in rows["arm"].unique()
            }
