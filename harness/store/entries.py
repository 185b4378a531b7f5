"""What a process knows of one MLflow run, and how that becomes a call of MLflow's client."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric, Param, RunTag

from harness.store import frames
from harness.store.address import StoreError
from harness.study.units import RunKey
from harness.training.messages import RunState

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLACES = {"path", "paths"}
"""Parameters that change where a folder is moved. What a text is, its fingerprint tells."""
ITEMS_PER_CALL = 1000  # MLflow's limit for metrics, parameters and tags together


@dataclass(slots=True)
class Entry:
    """What this process knows of one MLflow run; of one that has ended it holds next to nothing.

    Attributes:
        params: Those that are stored, and those that wait, once it is loaded.
        is_loaded: Whether this process knows what the store has of it.
        resumed_at: The last update stored when the run was opened again; no record up to it is new.
        update: Of the last record; -1 before the first.
        time_ms: Of the last record.
        curves: The metrics that records have.
        summarized: What a process wrote of a summary before it was killed: (metric, update).
            Seconds, measured again, would otherwise stand beside it.
        buffer: Records not yet written.
        new_params: Parameters not yet written.
        new_tags: Tags not yet written.
        new_status: How it ended, not yet written.
    """

    run_id: str
    status: str
    params: dict[str, str] = field(default_factory=dict)
    is_loaded: bool = False
    resumed_at: int = -1
    update: int = -1
    time_ms: int = -1
    curves: set[str] = field(default_factory=set)
    summarized: set[tuple[str, int]] = field(default_factory=set)
    buffer: list[list[Metric]] = field(default_factory=list)
    new_params: list[Param] = field(default_factory=list)
    new_tags: dict[str, str] = field(default_factory=dict)
    new_status: str | None = None


def load(client: "MlflowClient", entry: Entry) -> None:
    """Reads, once, how far a run had come that another process began, or that has ended."""
    if not entry.is_loaded:
        stored, history = client.get_run(entry.run_id).data, client.get_metric_history
        entry.params |= stored.params
        points = [point for name in stored.metrics for point in history(entry.run_id, name)]
        curve = [point for point in points if point.step > 0]  # else of the summary
        entry.update = max((point.step for point in curve), default=-1)
        # A summary stands a millisecond after its update's record: the first is the record's.
        last = [point for point in curve if point.step == entry.update]
        entry.time_ms = min((point.timestamp for point in last), default=-1)
        entry.curves |= {point.key for point in curve}
        if entry.status in ("RUNNING", "KILLED"):  # else another end has other numbers
            late = [point for point in last if point.timestamp > entry.time_ms]
            first = [point for point in points if point.step == 0]
            entry.summarized |= {(point.key, point.step) for point in late + first}
    entry.is_loaded = True


def reopen(client: "MlflowClient", entry: Entry, tags: Mapping[str, Any]) -> None:
    """Sets a run RUNNING again; its tags wait for the next :func:`write`."""
    # Why the run failed before is no more true of it.
    stale = {"message": ""} if entry.status == "FAILED" else {}
    if entry.status != "RUNNING":
        client.update_run(entry.run_id, status="RUNNING")
        entry.status = "RUNNING"
    entry.new_tags |= texts_of({**stale, **tags, "state": str(RunState.RUNNING)})


def set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, Any]) -> None:
    """Sets tags of a run at once."""
    client.log_batch(run_id, tags=[RunTag(name, text) for name, text in texts_of(tags).items()])


def take_params(entry: Entry, params: Mapping[str, Any], key: RunKey) -> None:
    """Has the parameters wait that a run lacks; what says where its text lay stays as it was.

    Raises:
        StoreError: Another one differs from the stored one.
    """
    texts = {name: frames.encode(value) for name, value in params.items()}
    texts |= {name: entry.params[name] for name in PLACES & texts.keys() & entry.params.keys()}
    wrong = [name for name, text in texts.items() if entry.params.get(name, text) != text]
    if wrong:
        got = ", ".join(
            f"{name}={texts[name]} where {name}={entry.params[name]} is stored" for name in wrong
        )
        raise StoreError(
            f"{key}: a run's parameters must stay as first "
            f"written, but got {got}. Give the study another name, or delete the run in MLflow."
        )
    missing = [Param(name, text) for name, text in texts.items() if name not in entry.params]
    entry.new_params += missing
    entry.params |= texts


@dataclass(frozen=True)
class _Step:
    """What is written of a run at once: its first records and what follows them; or its status."""

    num_records: int = 0
    metrics: Sequence[Metric] = ()
    params: Sequence[Param] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None


def write(client: "MlflowClient", *entries: Entry) -> None:
    """Writes what waits of runs, as much a call as MLflow takes; records are never cut.

    Parameters go first and the status last: what says how a run ended follows its numbers. A client
    that can do so writes all of it in one transaction, and nothing where that fails.
    """
    steps = [(entry, step) for entry in entries for step in _steps(entry)]
    together = getattr(client, "together", None)
    for group in [steps] if together else [[each] for each in steps]:
        with together() if together else nullcontext():
            for entry, step in group:
                _write(client, entry.run_id, step)
        for entry, step in group:
            _forget(entry, step)


def _steps(entry: Entry) -> list[_Step]:
    steps, count, params, tags = [], 0, entry.new_params, entry.new_tags
    while count < len(entry.buffer) or params or tags:
        start, room = count, ITEMS_PER_CALL - len(params) - len(tags)
        metrics: list[Metric] = []
        while count < len(entry.buffer):
            if metrics and len(metrics) + len(entry.buffer[count]) > room:
                break
            metrics += entry.buffer[count]
            count += 1
        is_last = count == len(entry.buffer)
        steps.append(_Step(count - start, metrics, params, tags if is_last else {}))
        params, tags = [], {} if is_last else tags
    return steps + ([_Step(status=entry.new_status)] if entry.new_status else [])


def _write(client: "MlflowClient", run_id: str, step: _Step) -> None:
    if step.status is not None:
        client.set_terminated(run_id, status=step.status)
        return
    tags = [RunTag(name, text) for name, text in step.tags.items()]
    given: dict[str, Any] = {"metrics": step.metrics, "params": step.params, "tags": tags}
    client.log_batch(run_id, **{name: items for name, items in given.items() if items})


def _forget(entry: Entry, step: _Step) -> None:
    """Forgets what was written."""
    del entry.buffer[: step.num_records]
    if step.params:
        entry.new_params = []
    if step.tags:
        entry.new_tags = {}
    if step.status is not None:
        entry.status, entry.new_status = step.status, None
        entry.is_loaded, entry.params = False, {}  # the store has it, if it is begun again
        entry.curves.clear()
        entry.summarized.clear()


def metrics_of(values: Mapping[str, float], update: int, time_ms: int) -> list[Metric]:
    """Returns a record as MLflow takes it."""
    return [Metric(key, float(value), time_ms, update) for key, value in values.items()]


def short(value: float) -> float:
    """Returns six significant digits, whole numbers whole: a column hides exponents."""
    return value if float(value).is_integer() else float(f"{value:.6g}")


def changed(known: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics to write where some are known; one that is no more becomes NaN.

    A launch that adds nothing to the study, or is killed here and begun again, adds no point.
    """
    found = {**dict.fromkeys(known, math.nan), **values}
    return {key: value for key, value in found.items() if not is_same(value, known.get(key))}


def is_same(value: float, known: float | None) -> bool:
    """Returns whether a value is the known one; two that are not numbers are the same."""
    return value == known or (known is not None and math.isnan(value) and math.isnan(known))


def summary_of(entry: Entry, metrics: Mapping[str, float]) -> list[Metric]:
    """Returns a run's summary at a time that is the same whenever it is written.

    What is stored of it is left out, so that a second writing adds nothing. It is a millisecond
    after the last record: of two values at one step, MLflow shows the later one.
    """
    time_ms = entry.time_ms + 1 if entry.update > 0 else 0
    steps = {key: entry.update if key in entry.curves else 0 for key in metrics}
    new = [key for key, step in steps.items() if (key, step) not in entry.summarized]
    return [Metric(key, float(metrics[key]), time_ms, steps[key]) for key in new]


def texts_of(tags: Mapping[str, Any]) -> dict[str, str]:
    """Returns tags as texts, without those that are None; the commit is MLflow's own too."""
    known = {name: value for name, value in tags.items() if value is not None}
    texts = {
        n: value if isinstance(value, str) else json.dumps(value) for n, value in known.items()
    }
    if "git_commit" in texts:
        texts["mlflow.source.git.commit"] = texts["git_commit"]
    return texts
