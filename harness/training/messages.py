"""What a worker says of a run: that it starts, where it stands, how it ended.

Each message is a line of JSON, ``{"run": ..., "kind": ..., "update": ..., "time": ..., "metrics":
{...}, "info": {...}}``, as it was in earlier versions: their records and checkpoints are read too.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from harness.training.fields import (
    MAX_FORECAST_TEXT,
    MAX_MODEL_BYTES,
    MAX_RUN_ID,
    MAX_TEXT,
    FieldReader,
    Sample,
    parsed,
)
from harness.training.state_statistics import StateStatistics, read_statistics


class RunState(StrEnum):
    """Where a run stands; all but the first and the last are ends that a worker reports."""

    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def is_ended(self) -> bool:
        """Whether the run has come to an end of its own; a killed one goes on another time."""
        return self not in (RunState.RUNNING, RunState.KILLED)

    @property
    def has_objective(self) -> bool:
        """Whether the end is a result: a run that diverged is worth what guessing is worth."""
        return self in (RunState.FINISHED, RunState.DIVERGED)


RESULTS = tuple(s for s in RunState if s.is_ended and s is not RunState.FAILED)
"""The ends that are results; a run that failed has none."""


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on from its checkpoint.

    Attributes:
        run: Its id in the plan.
        time: Unix seconds.
        num_states: Values of the state that is carried from update to update, per stream.
        flops_per_token: Forward.
        corpus_fingerprint: SHA-256 of the text.
        digest: What a checkpoint of the run must agree in.
        notes: What was passed over or chosen otherwise than asked.
        provenance: Commit, versions and machine, as :func:`harness.provenance.describe` says them.
    """

    run: str
    time: float
    cell: str
    engine: str
    device: str
    precision: str
    threads: int
    pack_size: int
    hidden_size: int
    num_parameters: int
    num_states: int
    flops_per_token: int
    num_updates: int
    corpus_fingerprint: str
    digest: str
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the message as one line of JSON."""
        info = asdict(self)
        run, time, provenance = info.pop("run"), info.pop("time"), info.pop("provenance")
        return _line(run, "start", 0, time, {}, {**info, **provenance})


@dataclass(frozen=True)
class Evaluation:
    """A run stands at an evaluation point.

    Attributes:
        run: Its id in the plan.
        update: Optimiser steps done.
        time: Unix seconds.
        metrics: Numbers by name, losses in nats.
        notes: What is noted for the first time.
        samples: What it wrote on the way.
    """

    run: str
    update: int
    time: float
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> str:
        """Returns the message as one line of JSON; numbers may be NaN and Infinity."""
        info: dict[str, Any] = {"notes": list(self.notes)} if self.notes else {}
        info |= {"samples": list(self.samples)} if self.samples else {}
        return _line(self.run, "evaluation", self.update, self.time, self.metrics, info)


@dataclass(frozen=True)
class RunEnded:
    """A run ended.

    Attributes:
        run: Its id in the plan.
        update: Optimiser steps done.
        time: Unix seconds.
        state: How.
        metrics: Numbers by name, losses in nats; a result has an ``objective``.
        message: Why it diverged, failed or is not learned.
        diverged_at: The update at which it diverged.
        last_loss: The last finite training loss of one that diverged, in nats.
        out_of_memory: Whether memory did not suffice for one that failed in training.
        refused: Whether the settings of one that failed cannot be trained at all, so that to try
            again is no use; what fails otherwise is trained again. None: a version wrote it that
            did not tell the two apart, and trained neither again.
        not_learned: Whether a finished run never did better than guessing, so that it is worth a
            guess; None where nobody asks, as before version 2 of the study format.
        samples: What it wrote at its best parameters.
        model: A finished run's :class:`harness.training.saved_model.SavedModel` as a file.
        states: What a finished run's states are like, where the plan asks for it.
        forecast: What a finished run forecasts of the test split, as
            :func:`harness.training.forecast_file.forecast_csv` writes it.
    """

    run: str
    update: int
    time: float
    state: RunState
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str | None = None
    diverged_at: int | None = None
    last_loss: float | None = None
    out_of_memory: bool | None = None
    refused: bool | None = None
    not_learned: bool | None = None
    samples: tuple[Sample, ...] = ()
    model: bytes | None = None
    states: StateStatistics | None = None
    forecast: str | None = None

    def to_json(self) -> str:
        """Returns the message as one line of JSON; the model is base64."""
        info: dict[str, Any] = {"state": str(self.state)}
        for name in (
            "message",
            "diverged_at",
            "last_loss",
            "out_of_memory",
            "refused",
            "not_learned",
            "forecast",
        ):
            value = getattr(self, name)
            info |= {} if value is None else {name: value}
        if self.samples or self.state is RunState.FINISHED:
            info["samples"] = list(self.samples)
        if self.states is not None:
            info["states"] = asdict(self.states)
        model = None if self.model is None else base64.b64encode(self.model).decode("ascii")
        return _line(self.run, "end", self.update, self.time, self.metrics, info, model)


Message = RunStarted | Evaluation | RunEnded


def failure(run: str, error: Exception, time: float) -> RunEnded:
    """Returns the end of a run that ``error`` kept from beginning."""
    # A file that is not to be read now is an OSError, or was the cause of ours.
    is_wrong = isinstance(error, ValueError) and not isinstance(error.__cause__, OSError)
    refused = is_wrong and is_ours(error)
    message = error_text(error)
    return RunEnded(run, 0, time, RunState.FAILED, message=message, refused=refused)


def pruned_at(last: Evaluation, loss: str, time: float) -> RunEnded:
    """Returns the end of a run that is pruned where it last stood; ``loss`` is judged of it."""
    metrics = {name: last.metrics[name] for name in ("tokens", "seconds")}
    metrics["objective"] = last.metrics[loss]
    return RunEnded(last.run, last.update, time, RunState.PRUNED, metrics)


def is_ours(error: Exception) -> bool:
    """Returns whether an error is one of this project's, whose message is written for a person."""
    return type(error).__module__.split(".")[0] in ("harness", "cells")


def error_text(error: Exception) -> str:
    """Returns what a message says of an exception, cut to what a message may hold."""
    return f"{type(error).__name__}: {error}"[:MAX_TEXT]


_INCIDENTAL = re.compile(
    r"""
    (['"])[^'"/\\]*[/\\][^'"]*\1  # a path in quotation marks, which may have spaces
    # A path, or the id of a run.
    | (?<![\w.~+-])(?:[A-Za-z]:)?(?:[\w.~+-]*[/\\])+[\w.~+-]*
    | \b0x[0-9a-fA-F]+  # an address or a byte
    # A number, a shape or an amount of memory, but not what belongs to a word: UTF-8, mat1.
    | (?<!\w)(?<!\w[-.])[-+]?\d+(?:[.,x]\d+)*(?:e[-+]?\d+)?(?:\s?(?:[KMGT]i?B|bytes)\b)?
    """,
    re.VERBOSE,
)
"""What differs between two failures of one cause."""


def cause_of(message: str) -> str:
    """Returns what a failed run's message has in common with others of the same cause.

    That is the exception's class and its first line, where ``...`` stands for numbers, paths and
    addresses. An exception without a text has its class alone.
    """
    name, _, text = message.partition(": ")
    first = _first_line(text)
    return _INCIDENTAL.sub("...", _first_line(f"{name}: {first}" if first else name))


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def message_from_json(line: str) -> Message:
    """Returns the message of a line that ``to_json`` wrote.

    Raises:
        MessageError: The line is none; it names the field that is wrong and its value.
    """
    fields = FieldReader(parsed(line), "")
    kind = fields.text("kind", MAX_TEXT)
    if kind not in _READERS:
        raise fields.wrong("kind", "one of start, evaluation and end", kind)
    message = _READERS[kind](fields, fields.inside("info"))
    fields.check_all_read()
    return message


def _line(
    run: str,
    kind: str,
    update: int,
    time: float,
    metrics: Mapping[str, float],
    info: Mapping[str, Any],
    model: str | None = None,
) -> str:
    values = {
        "run": run,
        "kind": kind,
        "update": update,
        "time": time,
        "metrics": dict(metrics),
        "info": dict(info),
    }
    return json.dumps(values if model is None else {**values, "model": model})


def _started(fields: FieldReader, info: FieldReader) -> RunStarted:
    fields.count("update")
    fields.numbers("metrics")
    return RunStarted(
        run=fields.text("run", MAX_RUN_ID),
        time=fields.time("time"),
        cell=info.text("cell", MAX_TEXT),
        engine=info.text("engine", MAX_TEXT),
        device=info.text("device", MAX_TEXT),
        precision=info.text("precision", MAX_TEXT),
        threads=info.count("threads"),
        pack_size=info.count("pack_size"),
        hidden_size=info.count("hidden_size"),
        num_parameters=info.count("num_parameters"),
        num_states=info.count("num_states"),
        flops_per_token=info.count("flops_per_token"),
        num_updates=info.count("num_updates"),
        corpus_fingerprint=info.text("corpus_fingerprint", MAX_TEXT),
        digest=info.text("digest", MAX_TEXT),
        notes=info.texts("notes"),
        provenance=info.rest(),
    )


def _evaluation(fields: FieldReader, info: FieldReader) -> Evaluation:
    message = Evaluation(
        run=fields.text("run", MAX_RUN_ID),
        update=fields.count("update"),
        time=fields.time("time"),
        metrics=fields.numbers("metrics"),
        notes=info.texts("notes") if info.has("notes") else (),
        samples=info.samples("samples"),
    )
    info.check_all_read()
    return message


def _ended(fields: FieldReader, info: FieldReader) -> RunEnded:
    ends = [state for state in RunState if state.is_ended]
    state = info.text("state", MAX_TEXT)
    if state not in ends:
        raise info.wrong("state", f"one of {', '.join(ends)}", state)
    message = RunEnded(
        run=fields.text("run", MAX_RUN_ID),
        update=fields.count("update"),
        time=fields.time("time"),
        state=RunState(state),
        metrics=fields.numbers("metrics"),
        message=info.text("message", MAX_TEXT) if info.has("message") else None,
        diverged_at=info.count("diverged_at") if info.has("diverged_at") else None,
        last_loss=info.number("last_loss", finite=False) if info.has("last_loss") else None,
        out_of_memory=info.flag("out_of_memory") if info.has("out_of_memory") else None,
        refused=info.flag("refused") if info.has("refused") else None,
        not_learned=info.flag("not_learned") if info.has("not_learned") else None,
        samples=info.samples("samples"),
        model=fields.content("model", MAX_MODEL_BYTES) if fields.has("model") else None,
        states=read_statistics(info.inside("states")) if info.has("states") else None,
        forecast=info.text("forecast", MAX_FORECAST_TEXT) if info.has("forecast") else None,
    )
    info.check_all_read()
    return message


_READERS: dict[str, Callable[[FieldReader, FieldReader], Message]] = {
    "start": _started,
    "evaluation": _evaluation,
    "end": _ended,
}
