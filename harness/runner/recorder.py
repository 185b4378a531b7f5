"""What workers say, into the store: MLflow runs, their curves and ends, and the pruner's word."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harness.data import Data
from harness.report.number_texts import number
from harness.report.tried import is_done, is_lost
from harness.runner.failures import Failures
from harness.runner.progress import Display
from harness.settings import EXECUTION, Settings, to_dict
from harness.store.background import BackgroundWriter
from harness.store.frames import excerpt, key_of_row, moment
from harness.store.reader import StudyReader
from harness.store.views import TRIED_LOSS
from harness.study.units import Phase, RunKey, Unit
from harness.tasks.objective import loss_of, objective_of
from harness.training.fields import Sample
from harness.training.files import FORECAST_FILE, MODEL_FILE, STATES_FILE
from harness.training.messages import Evaluation, Message, RunEnded, RunStarted, RunState

CURVE = ("update", "tokens", "time_seconds", "train/loss", "validation/loss")
STARTED_TAGS = (
    "cell",
    "engine",
    "device",
    "precision",
    "threads",
    "pack_size",
    "num_parameters",
    "num_states",
    "flops_per_token",
    "num_updates",
    "corpus_fingerprint",
)
"""What of the start of a run is kept as tags; its provenance is, too."""


class RecordError(ValueError):
    """Messages that this study did not ask for, or that contradict one another."""


@dataclass(frozen=True)
class Entry:
    """What the store needs to know of a run before it begins.

    Attributes:
        settings: The run's.
        seed: The names that its draws derive from, as one text.
        label: The run's name in the UI.
        tags: What else is kept with it.
        dataset: The text that it must be trained on.
        shown: Numbers that the charts of trials need and nobody else, by name.
    """

    settings: Settings
    seed: str
    label: str
    tags: dict[str, Any]
    dataset: Data
    shown: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """How a run ended that is not trained again.

    Attributes:
        state: Finished, diverged or pruned; failed where its settings cannot be trained at all.
        nats: Its objective, NaN where it has none.
        is_lost: Whether it is worth a guess: it diverged, or did not learn.
    """

    state: RunState
    nats: float
    is_lost: bool = False


@dataclass(frozen=True)
class Point:
    """An evaluation point that a run has come to: its number, from 1, and the objective there."""

    key: RunKey
    number: int
    nats: float


@dataclass
class _OpenRun:
    """A run in training: its key, and what was said of it so far."""

    key: RunKey
    curve: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def key_of(run_id: str) -> RunKey:
    """Returns the key of a run's id.

    Raises:
        RecordError: It is no such id.
    """
    try:
        return RunKey.parse(run_id)
    except ValueError as error:
        raise RecordError(
            f"records: a run must be ARM/PHASE/INDEX, but got run={run_id!r}."
        ) from error


def check_text(started: RunStarted, dataset: Data, where: str = "") -> None:
    """Checks that a run was trained on a text; ``where`` stands before the run in the message.

    Raises:
        RecordError: It was trained on another.
    """
    if started.corpus_fingerprint != dataset.fingerprint:
        raise RecordError(
            f"{where}{started.run}: its text must be this machine's {dataset.name}, but got "
            f"corpus_fingerprint={started.corpus_fingerprint[:12]!r}, not "
            f"{dataset.fingerprint[:12]!r}. Train on the same text; python-docs differs "
            "between versions of Python."
        )


class RunRecorder:
    """Hands what runs say to the writer of a study's experiment.

    Attributes:
        ends: How every run ended that is not trained again.
        failures: What failed in this launch.
    """

    def __init__(
        self,
        writer: BackgroundWriter,
        display: Display,
        objective: str,
        entry_of: Callable[[RunKey], Entry],
    ):
        """Reads what has ended.

        Args:
            writer: The study's experiment.
            display: Told what a person should see.
            objective: The metric that trials are judged by, such as ``validation/perplexity``.
            entry_of: What to write of a run that begins.
        """
        self._writer, self._display = writer, display
        self._entry_of = entry_of
        self._level, self._loss = objective, loss_of(objective)
        self._objective = objective_of(objective)
        self._open: dict[str, _OpenRun] = {}
        self.ends: dict[RunKey, End] = {}
        self.failures = Failures()
        runs = writer.read(StudyReader.runs)
        for row in runs[is_done(runs) & runs["phase"].isin(list(Phase))].to_dict("records"):
            self.ends[key_of_row(row)] = End(RunState(row["state"]), row["objective"], is_lost(row))

    def record(self, messages: Sequence[Message]) -> list[Point]:
        """Writes messages and returns the points that runs have come to.

        Raises:
            RecordError: A run goes on that has not begun, or lacks what its messages must have.
        """
        points = []
        told: set[tuple[Unit, str]] = set()
        for message in messages:
            match message:
                case RunStarted():
                    self._start(message)
                case Evaluation():
                    points.append(self._evaluation(message))
                case RunEnded():
                    self._end(message, told)
        return points

    def _start(self, started: RunStarted) -> None:
        key = key_of(started.run)
        entry = self._entry_of(key)
        check_text(started, entry.dataset)
        tags = {name: getattr(started, name) for name in STARTED_TAGS} | entry.tags
        tags |= {**started.provenance, "seed": entry.seed, "started": moment(started.time)}
        if started.notes:
            tags["notes"] = "\n".join(started.notes)
        params = {**parameters(entry.settings), "hidden_size": started.hidden_size}
        text = entry.dataset
        dataset = (text.name, text.fingerprint, text.source)
        self._writer.open_run(key, entry.label, params, tags, dataset)
        self._open[started.run] = _OpenRun(key)
        self._note(self._open[started.run], started.notes)

    def _evaluation(self, evaluation: Evaluation) -> Point:
        """Writes a point of a curve."""
        run, metrics = self._opened(evaluation), evaluation.metrics
        for name in ("seconds", "tokens_per_second", self._level, self._loss):
            if name not in metrics:
                raise RecordError(f"{evaluation.run}: an evaluation must have {name}, but has not.")
        self._note(run, evaluation.notes)
        run.samples += evaluation.samples
        previous = run.curve[-1]["update"] if run.curve else 0.0
        update = evaluation.update
        values = {"update": float(update), "time_seconds": metrics["seconds"], **metrics}
        run.curve.append({name: values[name] for name in CURVE if name in values})
        self._writer.log(run.key, update, metrics, evaluation.time)
        rate = f"{metrics['tokens_per_second']:,.0f} tokens/s a run"
        level = number(metrics[self._level])
        text = f"{evaluation.run} {self._objective.name} {level}, {rate}"
        unit = run.key.unit
        self._display.advance(
            int(update - previous),
            text,
            arm=unit.arm,
            condition=unit.condition,
            loss=metrics[self._loss],
            level=level,
        )
        return Point(run.key, len(run.curve), metrics[self._loss])

    def _note(self, run: _OpenRun, notes: Sequence[str]) -> None:
        """Says what was not noted of the run before."""
        for note in notes:
            if note not in run.notes:
                run.notes.append(note)
                self._display.say(note, "yellow")

    def _end(self, ended: RunEnded, told: set[tuple[Unit, str]]) -> None:
        run = self._open.pop(ended.run, None) or self._open_failed(ended)
        metrics = {name: value for name, value in ended.metrics.items() if math.isfinite(value)}
        metrics |= self._shown(run.key, ended)
        facts = ("message", "diverged_at", "last_loss", "refused", "not_learned")
        known = {name: value for name in facts if (value := getattr(ended, name)) is not None}
        tags = {name: str(value) for name, value in known.items()}
        if run.notes:
            tags["notes"] = "\n".join(run.notes)
        curve = pd.DataFrame(run.curve, columns=list(run.curve[0]) if run.curve else list(CURVE))
        artifacts: dict[str, str | bytes] = {"curve.csv": curve.to_csv(index=False)}
        if ended.model is not None:
            artifacts[MODEL_FILE] = ended.model
        if ended.states is not None:
            artifacts[STATES_FILE] = ended.states.to_json()
        if ended.forecast is not None and run.key.index == 0:  # one of an arm is drawn
            artifacts[FORECAST_FILE] = ended.forecast
        samples = [*run.samples, *ended.samples]
        if samples:  # a page of runs shows tags beside the numbers, and no files
            tags["sample"] = excerpt(samples)
        self._writer.end_run(run.key, ended.state, tags, metrics, artifacts, samples)
        message = f"{ended.run}: {ended.state}, {ended.message}"
        if ended.state is RunState.FAILED and ended.refused is False:
            if self.failures.add(run.key, ended.message or "", told):
                self._display.say(message, "yellow")
            return
        if ended.state is not RunState.FAILED:
            self.failures.clear(run.key.unit)
        is_lost = ended.state is RunState.DIVERGED or bool(ended.not_learned)
        nats = ended.metrics.get("objective", math.nan)
        self.ends[run.key] = End(ended.state, nats, is_lost)
        if ended.state in (RunState.DIVERGED, RunState.FAILED):
            self._display.say(message, "yellow")

    def _shown(self, key: RunKey, ended: RunEnded) -> dict[str, float]:
        """Returns what a trial's charts show: a loss above that of guessing is drawn as that.

        One trial that diverged would otherwise take the whole axis from all others.
        """
        if key.phase is not Phase.TRIAL or ended.state is RunState.FAILED:
            return {}
        entry = self._entry_of(key)
        guess, loss = self._objective.chance(entry.dataset), ended.metrics.get("objective")
        is_worse = loss is None or not loss < guess  # also where it is no number
        return {**entry.shown, TRIED_LOSS: guess if is_worse or loss is None else loss}

    def _opened(self, evaluation: Evaluation) -> _OpenRun:
        if evaluation.run not in self._open:
            raise RecordError(
                f"{evaluation.run}: must start before it goes on, but got an evaluation first."
            )
        return self._open[evaluation.run]

    def _open_failed(self, ended: RunEnded) -> _OpenRun:
        """Opens a run that failed before it could say that it starts."""
        if ended.state != RunState.FAILED:
            raise RecordError(
                f"{ended.run}: must start before it ends, but got state={str(ended.state)!r}."
            )
        key = key_of(ended.run)
        entry = self._entry_of(key)
        tags = {"seed": entry.seed, **entry.tags}
        params = parameters(entry.settings)
        self._writer.open_run(key, entry.label, params, tags)
        return _OpenRun(key)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Returns settings as parameters that read well in a table; what changes no number is a tag."""
    values = to_dict(settings)
    shown = {k: v for k, v in values.items() if v is not None and k not in EXECUTION}
    shown["budget"] = json.dumps({k: v for k, v in values["budget"].items() if v is not None})
    return shown
