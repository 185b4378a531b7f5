"""What a worker says of a run: that it starts, where it stands, how it ended. One line of JSON each.

The lines are the same as ever: ``{"run": ..., "kind": ..., "update": ..., "time": ..., "metrics": {...},
"info": {...}}``, so that records and checkpoints of earlier versions are read too.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

MAX_RUN_ID = 1_000
MAX_TEXT = 10_000
MAX_SAMPLE_TEXT = 1_000_000
MAX_ITEMS = 10_000
MAX_MODEL_BYTES = 2**31
MAX_COUNT = 2**63 - 1

Sample = dict[str, Any]
"""``prefix`` and ``text``, and ``update`` where it was written on the way."""


class MessageError(ValueError):
    """A line that no worker wrote; the message names the field and its value."""


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
        """Whether the run has come to an end of its own: a killed one goes on at the next launch."""
        return self not in (RunState.RUNNING, RunState.KILLED)

    @property
    def has_objective(self) -> bool:
        """Whether the end is a result: a run that diverged is worth what guessing is worth."""
        return self in (RunState.FINISHED, RunState.DIVERGED)


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
        """Returns the message as one line of JSON; a number that is not finite is NaN or Infinity."""
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
        metrics: Numbers by name, losses in nats; ``objective`` among them where the end is a result.
        message: Why it diverged or failed.
        diverged_at: The update at which it diverged.
        last_loss: The last finite training loss of one that diverged, in nats.
        out_of_memory: Whether memory did not suffice for one that failed in training.
        samples: What it wrote at its best parameters.
        model: A finished run's :class:`harness.training.saved_model.SavedModel` as a file.
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
    samples: tuple[Sample, ...] = ()
    model: bytes | None = None

    def to_json(self) -> str:
        """Returns the message as one line of JSON; the model is base64."""
        info: dict[str, Any] = {"state": str(self.state)}
        for name in ("message", "diverged_at", "last_loss", "out_of_memory"):
            value = getattr(self, name)
            info |= {} if value is None else {name: value}
        if self.samples or self.state is RunState.FINISHED:
            info["samples"] = list(self.samples)
        model = None if self.model is None else base64.b64encode(self.model).decode("ascii")
        return _line(self.run, "end", self.update, self.time, self.metrics, info, model)


Message = RunStarted | Evaluation | RunEnded


def failure(run: str, error: Exception, time: float) -> RunEnded:
    """Returns the end of a run that ``error`` kept from beginning."""
    return RunEnded(run, 0, time, RunState.FAILED, message=error_text(error))


def error_text(error: Exception) -> str:
    """Returns what a message says of an exception, cut to what a message may hold."""
    return f"{type(error).__name__}: {error}"[:MAX_TEXT]


def message_from_json(line: str) -> Message:
    """Returns the message of a line that ``to_json`` wrote.

    Raises:
        MessageError: The line is none; it names the field that is wrong and its value.
    """
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise MessageError(
            f"records: a line must be what a worker wrote, but got {line[:80]!r}."
        ) from error
    fields = _Fields(values, "")
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


def _started(fields: "_Fields", info: "_Fields") -> RunStarted:
    fields.count("update")
    fields.numbers("metrics")
    return RunStarted(
        run=fields.text("run", MAX_RUN_ID),
        time=fields.number("time"),
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


def _evaluation(fields: "_Fields", info: "_Fields") -> Evaluation:
    message = Evaluation(
        run=fields.text("run", MAX_RUN_ID),
        update=fields.count("update"),
        time=fields.number("time"),
        metrics=fields.numbers("metrics"),
        notes=info.texts("notes") if info.has("notes") else (),
        samples=info.samples("samples"),
    )
    info.check_all_read()
    return message


def _ended(fields: "_Fields", info: "_Fields") -> RunEnded:
    ends = [state for state in RunState if state.is_ended]
    state = info.text("state", MAX_TEXT)
    if state not in ends:
        raise info.wrong("state", f"one of {', '.join(ends)}", state)
    message = RunEnded(
        run=fields.text("run", MAX_RUN_ID),
        update=fields.count("update"),
        time=fields.number("time"),
        state=RunState(state),
        metrics=fields.numbers("metrics"),
        message=info.text("message", MAX_TEXT) if info.has("message") else None,
        diverged_at=info.count("diverged_at") if info.has("diverged_at") else None,
        last_loss=info.number("last_loss", finite=False) if info.has("last_loss") else None,
        out_of_memory=info.flag("out_of_memory") if info.has("out_of_memory") else None,
        samples=info.samples("samples"),
        model=fields.content("model", MAX_MODEL_BYTES) if fields.has("model") else None,
    )
    info.check_all_read()
    return message


class _Fields:
    """The fields of a JSON object, each read once, by its type and within its bounds."""

    def __init__(self, values: Any, path: str):
        self._path = path
        if not isinstance(values, dict):
            raise MessageError(
                f"records: {path.rstrip('.') or 'a line'} must be a JSON object, "
                f"but got {_shown(values)}. Give the file that a worker wrote."
            )
        self._values = dict(values)

    def wrong(self, name: str, rule: str, value: Any) -> MessageError:
        return MessageError(
            f"records: {self._path}{name} must be {rule}, but got {name}={_shown(value)}. "
            "Give the file that a worker wrote."
        )

    def has(self, name: str) -> bool:
        return name in self._values

    def _take(self, name: str) -> Any:
        if name not in self._values:
            raise MessageError(
                f"records: {self._path}{name} must be given, but is missing. "
                "Give the file that a worker wrote."
            )
        return self._values.pop(name)

    def inside(self, name: str) -> "_Fields":
        return _Fields(self._take(name), f"{self._path}{name}.")

    def text(self, name: str, longest: int) -> str:
        value = self._take(name)
        if not isinstance(value, str) or len(value) > longest:
            raise self.wrong(name, f"a text of at most {longest:,} characters", value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._take(name)
        is_list = isinstance(value, list) and len(value) <= MAX_ITEMS
        if not is_list or not all(isinstance(v, str) and len(v) <= MAX_TEXT for v in value):
            raise self.wrong(name, f"a list of at most {MAX_ITEMS:,} texts", value)
        return tuple(value)

    def count(self, name: str) -> int:
        value = self._take(name)
        if type(value) is not int or not 0 <= value <= MAX_COUNT:
            raise self.wrong(name, "a whole number from 0", value)
        return value

    def number(self, name: str, *, finite: bool = True) -> float:
        value = self._take(name)
        if not _is_number(value) or (finite and not math.isfinite(value)):
            raise self.wrong(name, "a finite number" if finite else "a number", value)
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def numbers(self, name: str) -> dict[str, float]:
        value = self._take(name)
        is_object = isinstance(value, dict) and len(value) <= MAX_ITEMS
        if not is_object or not all(map(_is_number, value.values())):
            raise self.wrong(name, f"an object of at most {MAX_ITEMS:,} numbers", value)
        return {str(key): float(number) for key, number in value.items()}

    def samples(self, name: str) -> tuple[Sample, ...]:
        value = self._values.pop(name, [])
        if not isinstance(value, list) or len(value) > MAX_ITEMS or not all(map(_is_sample, value)):
            raise self.wrong(name, "a list of {prefix, text}", value)
        return tuple(value)

    def content(self, name: str, most_bytes: int) -> bytes:
        value = self._take(name)
        try:
            if isinstance(value, str) and len(value) <= most_bytes * 4 // 3 + 4:
                return base64.b64decode(value, validate=True)
        except binascii.Error:
            pass
        raise self.wrong(name, f"base64 of at most {most_bytes:,} bytes", value)

    def rest(self) -> dict[str, str]:
        """Returns all that was not read yet: texts, since nothing else may be there."""
        texts = {name: self.text(name, MAX_TEXT) for name in list(self._values)[: MAX_ITEMS + 1]}
        if len(texts) > MAX_ITEMS:
            raise self.wrong("info", f"at most {MAX_ITEMS:,} texts", len(texts))
        return texts

    def check_all_read(self) -> None:
        for name, value in self._values.items():
            raise self.wrong(name, "left out", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_sample(value: Any) -> bool:
    if not isinstance(value, dict) or not {"prefix", "text"} <= value.keys() <= {
        "prefix",
        "text",
        "update",
    }:
        return False
    texts = (value["prefix"], value["text"])
    is_text = all(isinstance(text, str) and len(text) <= MAX_SAMPLE_TEXT for text in texts)
    return is_text and type(value.get("update", 0)) is int


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_READERS: dict[str, Callable[[_Fields, _Fields], Message]] = {
    "start": _started,
    "evaluation": _evaluation,
    "end": _ended,
}
