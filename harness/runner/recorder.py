"""Records into the books: MLflow runs, their curves and ends, and what Optuna's pruner says to
them.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harness.data import Dataset
from harness.runner.progress import Display
from harness.settings import Settings, to_dict
from harness.store.tracker import Tracker
from harness.study.units import Unit
from harness.training import saved_model
from harness.training.messages import Record

TAGS = ("cell", "engine", "device", "precision", "threads", "pack_size", "git_commit", "git_dirty")
CURVE = ("update", "tokens", "time_seconds", "train/loss", "validation/loss")

Place = tuple[str, str, int]
"""The key of a unit, phase, index: where a run belongs, for ever."""


class RecordError(ValueError):
    """Records that this study did not ask for, or that contradict one another."""


@dataclass(frozen=True)
class Entry:
    """What the books need to know of a run before it begins."""

    settings: Settings
    seed: str
    label: str
    tags: dict[str, Any]
    dataset: Dataset


@dataclass
class _Open:
    """A run in training: its place, its MLflow run, its curve's rows so far, what was noted of it,
    what it wrote.
    """

    place: Place
    run_id: str
    curve: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)


def place_of(run: str) -> Place:
    """Returns where the run with that id belongs; ids are made by :func:`id_of`.

    Raises:
        RecordError: It is no such id.
    """
    try:
        arm, phase, index = run.rsplit("/", 2)
        return arm, phase, int(index)
    except (ValueError, AttributeError) as error:
        raise RecordError(
            f"records: a run must be ARM/PHASE/INDEX, but got run={run!r}."
        ) from error


def id_of(arm: str, phase: str, index: int) -> str:
    """Returns the id of a run."""
    return f"{arm}/{phase}/{index}"


class Books:
    """Books what runs say. ``ends`` holds the state and the nats of every run that has ended."""

    def __init__(
        self,
        tracker: Tracker,
        display: Display,
        objective: str,
        entry: Callable[[Place], Entry],
        report: Callable[[Place, int, float], bool],
    ):
        """Reads what has ended.

        Args:
            tracker: The study's experiment.
            display: Told what a person should see.
            objective: ``validation/perplexity`` or ``train/perplexity``.
            entry: What to book of a run that begins.
            report: Told (place, evaluation point, nats), says whether the run should be pruned.
        """
        self._tracker, self._display, self._entry, self._report = tracker, display, entry, report
        self._split = objective.partition("/")[0]
        self._open: dict[str, _Open] = {}
        self.ends: dict[Place, tuple[str, float]] = {}
        for row in tracker.runs().to_dict("records"):
            if row["state"] not in ("running", "killed"):
                unit = str(Unit(row["arm"], row["condition"], row["repeat"]))
                self.ends[unit, row["phase"], row["index"]] = (row["state"], row["objective"])

    def listen(self, records: list[Record]) -> set[str]:
        """Books records and returns the ids of the runs to prune.

        Raises:
            RecordError: A run goes on that has not begun, or a record lacks what every one has.
        """
        pruned = set()
        for record in records:
            try:
                if record.kind == "start":
                    self._start(record)
                elif record.kind == "evaluation":
                    if self._evaluation(record):
                        pruned.add(record.run)
                else:
                    self._end(record)
            except KeyError as error:
                raise RecordError(
                    f"{record.run}: a {record.kind} must have {error}, but has not."
                ) from error
        return pruned

    def _start(self, record: Record) -> None:
        place = place_of(record.run)
        entry, info = self._entry(place), record.info
        if info["corpus_fingerprint"] != entry.dataset.fingerprint:
            raise RecordError(
                f"{record.run}: its text must be this machine's {entry.dataset.name}, but got "
                f"corpus_fingerprint={info['corpus_fingerprint'][:12]!r}, not {entry.dataset.fingerprint[:12]!r}. "
                "Train on the same text; python-docs differs between versions of Python."
            )
        tags = {name: info[name] for name in TAGS} | entry.tags
        tags |= {
            key: value for key, value in info.items() if key.startswith(("version_", "device_name"))
        }
        tags |= {
            key: info[key]
            for key in ("num_parameters", "num_states", "flops_per_token", "num_updates")
        }
        tags |= {"seed": entry.seed, "corpus_fingerprint": info["corpus_fingerprint"]}
        tags |= {"mlflow.source.git.commit": info["git_commit"]}
        tags |= {"notes": "\n".join(info["notes"])} if info["notes"] else {}
        params = {**parameters(entry.settings), "hidden_size": info["hidden_size"]}
        run_id = self._tracker.open(*place, entry.label, params, tags)
        self._tracker.dataset(
            run_id, entry.dataset.name, entry.dataset.fingerprint, entry.dataset.source
        )
        self._open[record.run] = _Open(place, run_id)
        self._note(self._open[record.run], record)

    def _evaluation(self, record: Record) -> bool:
        """Books a point of a curve and returns whether the run should be pruned."""
        run = self._opened(record)
        self._note(run, record)
        run.samples += record.info.get("samples", ())
        previous = run.curve[-1]["update"] if run.curve else 0.0
        values = {
            "update": float(record.update),
            "time_seconds": record.metrics["seconds"],
            **record.metrics,
        }
        run.curve.append({name: values[name] for name in CURVE if name in values})
        self._tracker.log(run.run_id, record.update, record.metrics, record.time)
        rate = record.metrics["tokens_per_second"]
        level = record.metrics[f"{self._split}/perplexity"]
        self._display.advance(
            int(record.update - previous),
            f"{record.run} perplexity {level:.3f}, {rate:,.0f} tokens/s a run",
        )
        return self._report(run.place, len(run.curve), record.metrics[f"{self._split}/loss"])

    def _note(self, run: _Open, record: Record) -> None:
        """Says what was not noted of the run before."""
        for note in record.info.get("notes", ()):
            if note not in run.notes:
                run.notes.append(note)
                self._display.say(note, "yellow")

    def _end(self, record: Record) -> None:
        run = self._open.pop(record.run, None) or self._unbegun(record)
        state = record.info["state"]
        metrics = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
        tags = {
            k: str(v)
            for k, v in record.info.items()
            if k in ("message", "diverged_at", "last_loss")
        }
        tags |= {"notes": "\n".join(run.notes)} if run.notes else {}
        curve = pd.DataFrame(run.curve, columns=list(run.curve[0]) if run.curve else list(CURVE))
        artifacts: dict[str, str | bytes] = {"curve.csv": curve.to_csv(index=False)}
        artifacts |= {} if record.model is None else {saved_model.FILE: record.model}
        self._tracker.end(
            run.run_id,
            state,
            tags,
            metrics,
            artifacts,
            [*run.samples, *record.info.get("samples", ())],
        )
        self.ends[run.place] = (state, record.metrics.get("objective", math.nan))
        if state in ("diverged", "failed"):
            self._display.say(f"{record.run}: {state}, {record.info['message']}", "yellow")

    def _opened(self, record: Record) -> _Open:
        if record.run not in self._open:
            raise RecordError(
                f"{record.run}: must start before it goes on, but got kind={record.kind!r} first."
            )
        return self._open[record.run]

    def _unbegun(self, record: Record) -> _Open:
        """Opens a run that failed before it could say that it starts."""
        if record.info.get("state") != "failed":
            raise RecordError(
                f"{record.run}: must start before it ends, but got state={record.info.get('state')!r}."
            )
        place = place_of(record.run)
        entry = self._entry(place)
        params = parameters(entry.settings)
        return _Open(
            place,
            self._tracker.open(*place, entry.label, params, {"seed": entry.seed, **entry.tags}),
        )


def parameters(settings: Settings) -> dict[str, Any]:
    """Returns settings as parameters that read well in a table; what changes no number is a tag,
    not a parameter.
    """
    values = {
        k: v
        for k, v in to_dict(settings).items()
        if v is not None and k not in ("threads", "pack_size")
    }
    values["budget"] = json.dumps({k: v for k, v in values["budget"].items() if v is not None})
    return values
