"""What a process knows of one MLflow run, and how that becomes a call of MLflow's client."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric, Param, RunTag

from harness.store import frames
from harness.store.address import StoreError
from harness.study.units import RunKey

if TYPE_CHECKING:
    from mlflow import MlflowClient

ITEMS_PER_CALL = 1000  # MLflow's limit for metrics, parameters and tags together


@dataclass
class Entry:
    """What this process knows of one MLflow run.

    Attributes:
        params: Those that are stored, and those that wait.
        resumed_at: The last update stored when the run was opened again; no record up to it is new.
        update: Of the last record; -1 before the first.
        time_ms: Of the last record.
        curves: The metrics that records have.
        summarized: What a process wrote of a summary before it was killed: (metric, update).
            Seconds, measured again, would otherwise stand beside it.
        buffer: Records not yet written.
        new_params: Parameters not yet written.
        new_tags: Tags not yet written.
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


def load(client: "MlflowClient", entry: Entry) -> None:
    """Reads, once, how far a run had come that another process began."""
    if not entry.is_loaded:
        names = client.get_run(entry.run_id).data.metrics
        history = client.get_metric_history
        points = [point for name in names for point in history(entry.run_id, name)]
        curve = [point for point in points if point.step > 0]  # else of the summary
        entry.update = max((point.step for point in curve), default=-1)
        # A summary stands a millisecond after its update's record: the first is the record's.
        last = [point for point in curve if point.step == entry.update]
        entry.time_ms = min((point.timestamp for point in last), default=-1)
        entry.curves |= {point.key for point in curve}
        if entry.status == "RUNNING":  # else it ended so, and another end has other numbers
            late = [point for point in last if point.timestamp > entry.time_ms]
            first = [point for point in points if point.step == 0]
            entry.summarized |= {(point.key, point.step) for point in late + first}
    entry.is_loaded = True


def take_params(entry: Entry, params: Mapping[str, Any], key: RunKey) -> None:
    """Has the parameters wait that a run lacks.

    Raises:
        StoreError: One differs from the stored one.
    """
    texts = {name: frames.encode(value) for name, value in params.items()}
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


def write(client: "MlflowClient", entry: Entry) -> None:
    """Writes what waits of a run, as much a call as MLflow takes; records are never cut.

    Parameters go first and tags last: the tag that says how a run ended follows its numbers.
    """
    while entry.buffer or entry.new_params or entry.new_tags:
        room = ITEMS_PER_CALL - len(entry.new_params) - len(entry.new_tags)
        batch: list[Metric] = []
        count = 0
        while count < len(entry.buffer):
            if batch and len(batch) + len(entry.buffer[count]) > room:
                break
            batch += entry.buffer[count]
            count += 1
        tags = entry.new_tags if count == len(entry.buffer) else {}
        _log_batch(client, entry.run_id, batch, entry.new_params, tags)
        del entry.buffer[:count]
        entry.new_params = []
        entry.new_tags = {} if tags else entry.new_tags


def _log_batch(
    client: "MlflowClient",
    run_id: str,
    metrics: list[Metric],
    params: list[Param],
    tags: Mapping[str, str],
) -> None:
    tagged = [RunTag(name, text) for name, text in tags.items()]
    given: dict[str, Any] = {"metrics": metrics, "params": params, "tags": tagged}
    client.log_batch(run_id, **{name: items for name, items in given.items() if items})


def metrics_of(values: Mapping[str, float], update: int, time_ms: int) -> list[Metric]:
    """Returns a record as MLflow takes it."""
    return [Metric(key, float(value), time_ms, update) for key, value in values.items()]


def short(value: float) -> float:
    """Returns six significant digits, whole numbers whole: a column hides exponents."""
    return value if float(value).is_integer() else float(f"{value:.6g}")


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
