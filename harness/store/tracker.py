"""What happened, in MLflow: the only importer of mlflow, and the only reader of what it stored.

A study is one experiment. An arm is a parent run; its trials and replicates are child runs, one for
each (arm, phase, index) for ever: a run that was killed is opened again, never made twice. One
process writes. A run's data is written before its status, so that no run is FINISHED without its
numbers.
"""

import functools
import getpass
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from time import time as unix_time
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

# MLflow reads the first when it is imported: a bench reports to nobody. The second keeps its links
# out of stdout.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from harness.store import frames
from harness.store.views import View
from harness.study.units import Unit

logging.getLogger("mlflow.store.db.utils").setLevel(
    logging.WARNING
)  # "Creating initial MLflow database tables..."

FLUSH_SECONDS = 3.0
METRICS_PER_CALL = 1000  # MLflow's limit
EXPERIMENT_TAG_LENGTH = 5000  # taken by every MLflow 3; 3.17 allows 20000

SOURCE_TAGS = {"mlflow.source.name": "harness", "mlflow.source.type": "LOCAL"}
STATUS = {"finished": "FINISHED", "diverged": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}

P = ParamSpec("P")
R = TypeVar("R")


class TrackError(ValueError):
    """The store cannot be used as asked; the message says what to do."""


@dataclass
class _Entry:
    """What this process knows of one MLflow run.

    Attributes:
        resumed_at: The last update booked when the run was opened again; records up to it are there
            already.
        update: Of the last record; -1 before the first.
        time_ms: Of the last record.
        curves: The metrics that records have.
        buffer: Records not yet written.
    """

    run_id: str
    status: str
    params: dict[str, str] = field(default_factory=dict)
    is_loaded: bool = False
    resumed_at: int = -1
    update: int = -1
    time_ms: int = -1
    curves: set[str] = field(default_factory=set)
    buffer: list[list[Metric]] = field(default_factory=list)


def absolute_uri(uri: str) -> str:
    """Returns a SQLite URI with its path made absolute, any other URI as it is."""
    path, (_, mark, options) = sqlite_path(uri), uri.partition("?")
    return uri if path is None else f"sqlite:///{path.resolve()}{mark}{options}"


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a SQLite URI, None for any other."""
    return (
        Path(uri.removeprefix("sqlite:///").partition("?")[0])
        if uri.startswith("sqlite:///")
        else None
    )


def connect(uri: str) -> MlflowClient:
    """Returns a client of the store, made where a SQLite file is not there yet.

    Raises:
        TrackError: The store cannot be reached or is of another MLflow version.
    """
    path = sqlite_path(uri)
    try:
        if path is not None and not path.exists():
            _make(path)
        client = _client(uri)
    except MlflowException as error:
        raise TrackError(
            f"tracking: MLflow's store must be reachable and of this version, but got uri={uri!r}: {error}. "
            "Start the server, correct the URI, or run `mlflow db upgrade URI` on a copy of the database."
        ) from error
    return client


def _client(uri: str) -> MlflowClient:
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)  # the client alone opens nothing
    return client


def _make(path: Path) -> None:
    """Makes a store whole or not at all: one whose making was killed is for MLflow neither old nor
    new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.stem}.new")
    with FileLock(path.with_name(f".{path.stem}.new.lock")):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        _client(f"sqlite:///{making / path.name}")
        os.replace(making / path.name, path)
        making.rmdir()


def experiments(uri: str) -> dict[str, str]:
    """Returns the experiment ids by study name."""
    found = _all_pages(functools.partial(connect(uri).search_experiments, max_results=1000))
    return {experiment.name: experiment.experiment_id for experiment in found}


def study_of(uri: str, run_id: str) -> str | None:
    """Returns the name of the study that an MLflow run is of, None where there is no such run."""
    client = connect(uri)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        ):  # the second: no id at all
            return None
        raise
    return (
        client.get_experiment(run.info.experiment_id).name
        if run.info.lifecycle_stage == "active"
        else None
    )


def rename(uri: str, study_name: str, new_name: str) -> None:
    """Gives a study's experiment another name; nothing where there is none."""
    found = experiments(uri)
    if study_name in found:
        connect(uri).rename_experiment(found[study_name], new_name)


def _timed(
    method: "Callable[Concatenate[Tracker, P], R]",
) -> "Callable[Concatenate[Tracker, P], R]":
    """Counts a public method's seconds; public methods do not call one another."""

    @functools.wraps(method)
    def timed(self: "Tracker", *args: P.args, **kwargs: P.kwargs) -> R:
        start = perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.seconds += perf_counter() - start

    return timed


class Tracker:
    """A study's experiment: one driver writes runs into it, and reads them back as frames.

    Args:
        uri: ``sqlite:///FILE`` (created when missing) or an MLflow server's ``http://...``.
        study_name: Name of the experiment, created when missing.
        artifact_root: Folder of the artifacts of a store that is no server; a server has its own.

    Attributes:
        seconds: Wall seconds spent in this object so far.

    Raises:
        TrackError: The store cannot be used, or its experiment of this name was deleted.
    """

    def __init__(self, uri: str, study_name: str, artifact_root: Path) -> None:
        start = perf_counter()
        self.uri, self.study_name = absolute_uri(uri), study_name
        self._client = connect(self.uri)
        self.experiment_id = self._experiment(study_name, artifact_root)
        self._study_file: dict[str, str | bytes] = {}
        self._buffered_since: float | None = None
        self._entries: dict[str, _Entry] = {}
        self._children: dict[tuple[str, str, int], _Entry] = {}
        self._parents: dict[str, _Entry] = {}
        for run in self._search():
            self._adopt(run)
        self.seconds = perf_counter() - start

    # Writing

    @_timed
    def open(
        self,
        arm: str,
        phase: str,
        index: int,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
    ) -> str:
        """Finds or creates the run of (arm, phase, index) and sets it RUNNING, unless it has
        FINISHED.

        Args:
            arm: The key of the arm's unit; the arm's parent run, of all its repeats, is made on
                demand.
            phase: "trial" or "replicate".
            index: Number of the trial; replicate j of a study has the index that the caller gives
                it, for ever.
            name: Shown in the UI; kept from the first time.
            params: Written the first time. Come back from :meth:`runs` with their types.
            tags: cell, seed, engine, device, precision, threads, pack_size, git_commit, git_dirty,
                corpus_fingerprint, ... Written every time.

        Returns:
            MLflow's run id.

        Raises:
            TrackError: A parameter differs from the stored one.
        """
        parent = self._parent(arm)
        entry = self._children.get((arm, phase, index))
        if entry is None:
            entry = self._create(
                name, arm, phase, index, {**tags, "mlflow.parentRunId": parent.run_id}
            )
        else:
            self._load(entry)
            entry.resumed_at = entry.update
            if entry.status != "FINISHED":
                self._run_again(entry, tags)
        if entry.status != parent.status == "FINISHED":
            self._run_again(parent, {})
        self._log_params(entry, params, where=f"{arm} {phase} {index}")
        return entry.run_id

    @_timed
    def log(self, run_id: str, update: int, metrics: Mapping[str, float], time: float) -> None:
        """Books a record; it reaches MLflow within seconds of training, at :meth:`flush` and at
        :meth:`end`.

        A record of an update that was booked before the run was opened again is dropped: it is
        there already.

        Args:
            run_id: From :meth:`open`.
            update: MLflow's step; at least 1.
            metrics: Values by name; a record is stored whole or not at all.
            time: Unix seconds.
        """
        entry = self._entries[run_id]
        self._load(entry)
        if update <= entry.resumed_at:
            return
        entry.update, entry.time_ms = update, round(time * 1000)
        entry.curves |= metrics.keys()
        entry.buffer.append(_metrics(metrics, update, entry.time_ms))
        if self._buffered_since is None:
            self._buffered_since = monotonic()
        if monotonic() - self._buffered_since > FLUSH_SECONDS:
            self._flush()

    @_timed
    def flush(self) -> None:
        """Writes every buffered record."""
        self._flush()

    @_timed
    def end(
        self,
        run_id: str,
        state: str,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, str | bytes] | None = None,
        samples: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Ends a run: metrics, artifacts and tags first, the status last.

        Args:
            run_id: From :meth:`open`.
            state: "finished", "diverged", "pruned" or "failed".
            tags: Those known only now.
            metrics: The summary that the table of runs shows and sorts by: at the last update where
                records have the metric too, else at step 0, which MLflow draws as bars.
            artifacts: Content by path; :meth:`curves` reads ``curve.csv``.
            samples: ``{"prefix": ..., "text": ...}`` each; stored as JSON, and as text to be read.

        Raises:
            TrackError: The state is none of these.
        """
        if state not in STATUS:
            raise TrackError(
                f"end of a run: state must be one of {', '.join(STATUS)}, but got state={state!r}."
            )
        entry = self._entries[run_id]
        self._load(entry)
        self._write(entry)
        if metrics:
            entry.buffer.append(_summary(entry, metrics))
            self._write(entry)
        self._store(run_id, {**(artifacts or {}), **frames.sample_files(samples)})
        self._set_tags(run_id, {**(tags or {}), "state": state})
        self._terminate(entry, STATUS[state])

    @_timed
    def summary(
        self,
        arm: str,
        metrics: Mapping[str, float],
        artifacts: Mapping[str, str | bytes] | None = None,
    ) -> None:
        """Ends an arm: its metrics on the parent run as ``arm/...``, so that sorting by a metric
        shows leaves only.

        What is no whole number is kept to six digits; what was known before and is no more becomes
        NaN.
        """
        parent = self._parent(arm)
        now = round(unix_time() * 1000)
        values = dict.fromkeys(self._client.get_run(parent.run_id).data.metrics, math.nan)
        values |= {f"arm/{key}": _short(value) for key, value in metrics.items()}
        parent.buffer.append(_metrics(values, 0, now))
        self._write(parent)
        self._store(parent.run_id, artifacts or {})
        self._set_tags(parent.run_id, {"state": "finished"})
        self._terminate(parent, "FINISHED")

    @_timed
    def dataset(self, run_id: str, name: str, fingerprint: str, source: str) -> None:
        """Fills the run's dataset column: the corpus, the first characters of its fingerprint,
        where it is from.
        """
        dataset = Dataset(name, fingerprint[:12], source_type="text", source=source)
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])

    @_timed
    def store_timings(self, timings: pd.DataFrame) -> None:
        """Keeps the raw repeats of the runtime phase, one ``timings.csv`` per arm; replaces what
        was there.
        """
        for arm, rows in timings.groupby("arm"):
            self._store(self._parent(str(arm)).run_id, {"timings.csv": frames.timings_csv(rows)})

    @_timed
    def study_file(self, text: str, name: str) -> None:
        """Keeps the study as it was read, as an artifact of every arm, those to come included."""
        self._study_file = {name: text}
        for parent in self._parents.values():
            self._store(parent.run_id, self._study_file)

    @_timed
    def describe(self, markdown: str) -> None:
        """Shows Markdown on top of the experiment's page, cut at a line where MLflow would refuse
        its length.
        """
        cut = "\n\n*(cut to the length that MLflow takes; `harness report` shows all of it)*\n"
        if len(markdown) > EXPERIMENT_TAG_LENGTH:
            markdown = markdown[: EXPERIMENT_TAG_LENGTH - len(cut)].rpartition("\n")[0] + cut
        self._client.set_experiment_tag(self.experiment_id, "mlflow.note.content", markdown)

    @_timed
    def set_view(self, view: View) -> None:
        """Keeps a view for the experiment's page of runs; one that is longer than MLflow takes is
        left out.
        """
        if len(view.value) <= EXPERIMENT_TAG_LENGTH:
            self._client.set_experiment_tag(self.experiment_id, view.tag, view.value)

    @_timed
    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Keeps what the study is, any JSON, for :meth:`identity`.

        A crash leaves the old one or the new one.
        """
        self._keep("identity", json.dumps(identity, sort_keys=True))

    # Reading

    @_timed
    def identity(self) -> dict[str, Any] | None:
        """Returns what :meth:`set_identity` was given, None for a new study."""
        text = self._kept("identity")
        return None if text is None else json.loads(text)

    @_timed
    def note(self, key: str) -> str | None:
        """Returns what :meth:`set_note` kept under ``key``, None where nothing was."""
        return self._kept(f"note.{key}")

    @_timed
    def set_note(self, key: str, value: str) -> None:
        """Keeps a text with the experiment. A crash leaves the old one or the new one."""
        self._keep(f"note.{key}", value)

    @property
    def birth(self) -> str:
        """When the experiment was made, in milliseconds: tells it from an earlier one of the same
        name.
        """
        return str(self._client.get_experiment(self.experiment_id).creation_time)

    @_timed
    def supersede(self, arm: str, phase: str, index: int) -> None:
        """Puts a run aside, under the phase ``superseded``, so that :meth:`open` makes its place
        anew.
        """
        entry = self._children.pop((arm, phase, index))
        self._set_tags(entry.run_id, {"phase": "superseded"})
        if entry.status == "RUNNING":
            self._terminate(entry, "KILLED")

    @_timed
    def runs(self) -> pd.DataFrame:
        """Returns one row per trial and replicate (:func:`harness.store.frames.runs`)."""
        return frames.runs(
            self._stored(run) for run in self._search() if run.data.tags["phase"] != "arm"
        )

    @_timed
    def curves(self) -> pd.DataFrame:
        """Returns the rows of every run's ``curve.csv`` under its arm, phase and index."""
        return frames.curves(
            (_unit(run), run.data.tags["phase"], int(run.data.tags["index"]), content)
            for run in self._search()
            if run.data.tags["phase"] != "arm"
            and (content := self._artifact(run, "curve.csv")) is not None
        )

    @_timed
    def timings(self) -> pd.DataFrame:
        """Returns what :meth:`store_timings` was given, arm by arm; nothing once the note ``timed``
        was emptied.
        """
        is_stale = self._kept("note.timed") == ""
        return frames.timings(
            (_unit(run), content)
            for run in ([] if is_stale else self._search("tags.phase = 'arm'"))
            if (content := self._artifact(run, "timings.csv")) is not None
        )

    @_timed
    def artifact(self, run_id: str, name: str) -> bytes | None:
        """Returns a file that :meth:`end` or :meth:`summary` was given, None where there is
        none.
        """
        return self._artifact(self._client.get_run(run_id), name)

    @_timed
    def files(self) -> dict[str, dict[str, int]]:
        """Returns the sizes in bytes of all artifacts: run id -> path -> size.

        Arms' own runs are among them.
        """
        return {run.info.run_id: dict(self._sizes(run.info.run_id, None)) for run in self._search()}

    @_timed
    def parents(self) -> dict[str, str]:
        """Returns the id of each arm's own run, by the arm's key."""
        return {arm: entry.run_id for arm, entry in self._parents.items()}

    # Removing

    @_timed
    def remove_file(self, run_id: str, path: str) -> None:
        """Removes one artifact of a run."""
        self._artifacts(run_id).delete_artifacts(path)

    @_timed
    def remove_run(self, run_id: str) -> None:
        """Deletes a run and its artifacts; MLflow keeps its row, marked, until ``mlflow gc``."""
        uri = self._client.get_run(run_id).info.artifact_uri
        self._artifacts(run_id).delete_artifacts()
        if (
            uri.startswith("file:")
            and (folder := Path(local_file_uri_to_path(uri)).parent).name == run_id
        ):
            shutil.rmtree(folder, ignore_errors=True)
        self._client.delete_run(run_id)
        self._parents = {
            arm: entry for arm, entry in self._parents.items() if entry.run_id != run_id
        }
        self._children = {
            place: entry for place, entry in self._children.items() if entry.run_id != run_id
        }
        del self._entries[run_id]

    @_timed
    def remove_experiment(self, new_name: str) -> None:
        """Deletes the experiment under a new name, so that its own is free; MLflow keeps its row,
        marked.
        """
        self._client.rename_experiment(self.experiment_id, new_name)
        self._client.delete_experiment(self.experiment_id)

    # MLflow

    def _artifacts(self, run_id: str) -> ArtifactRepository:
        return get_artifact_repository(
            self._client.get_run(run_id).info.artifact_uri, tracking_uri=self.uri
        )

    def _sizes(self, run_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
        for file in self._client.list_artifacts(run_id, folder):
            if file.is_dir:
                yield from self._sizes(run_id, file.path)
            else:
                yield file.path, file.file_size or 0

    def _experiment(self, study_name: str, artifact_root: Path) -> str:
        experiment = self._client.get_experiment_by_name(study_name)
        if experiment is None:
            location = None if self.uri.startswith("http") else artifact_root.resolve().as_uri()
            return self._client.create_experiment(study_name, artifact_location=location)
        if experiment.lifecycle_stage != "active":
            raise TrackError(
                f"tracking: the study's experiment must not be deleted, but got study={study_name!r}, deleted. "
                f"Restore it (`mlflow experiments restore -x {experiment.experiment_id}`) or rename the study."
            )
        return experiment.experiment_id

    def _keep(self, key: str, text: str) -> None:
        """Writes a text of any length as tags: its parts first, then the one tag that names
        them.
        """
        prefix = f"harness.{key}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        parts = [
            text[i : i + EXPERIMENT_TAG_LENGTH] for i in range(0, len(text), EXPERIMENT_TAG_LENGTH)
        ]
        stale = [
            tag
            for tag in self._experiment_tags()
            if tag.startswith(f"{prefix}.") and digest not in tag
        ]
        for i, part in enumerate(parts):
            self._client.set_experiment_tag(self.experiment_id, f"{prefix}.{digest}.{i}", part)
        self._client.set_experiment_tag(self.experiment_id, prefix, f"{digest} {len(parts)}")
        for tag in stale:
            self._client.delete_experiment_tag(self.experiment_id, tag)

    def _kept(self, key: str) -> str | None:
        tags, prefix = self._experiment_tags(), f"harness.{key}"
        if prefix not in tags:
            return None
        digest, count = tags[prefix].split()
        return "".join(tags[f"{prefix}.{digest}.{i}"] for i in range(int(count)))

    def _experiment_tags(self) -> dict[str, str]:
        return self._client.get_experiment(self.experiment_id).tags

    def _search(self, of: str = "") -> list[MlflowRun]:
        """All of the study's runs, or those of a filter, first made first."""
        order = ["attribute.start_time ASC"]
        query = functools.partial(
            self._client.search_runs, [self.experiment_id], of, order_by=order
        )
        return [run for run in _all_pages(query) if "phase" in run.data.tags]

    def _adopt(self, run: MlflowRun) -> None:
        entry = _Entry(
            run.info.run_id, run.info.status, dict(run.data.params), is_loaded=not run.data.metrics
        )
        self._remember(entry, *_place(run))

    def _remember(self, entry: _Entry, arm: str, phase: str, index: int) -> None:
        self._entries[entry.run_id] = entry
        if phase == "arm":
            self._parents[arm] = entry
        else:
            self._children[arm, phase, index] = entry

    def _create(
        self, name: str, arm: str, phase: str, index: int, tags: Mapping[str, Any]
    ) -> _Entry:
        place = {name: value for name, value in Unit.parse(arm)._asdict().items() if value}
        place |= {"phase": phase, "index": index, "state": "running"}
        texts = _texts({**SOURCE_TAGS, "mlflow.user": _user(), **tags, **place})
        run = self._client.create_run(self.experiment_id, run_name=name, tags=texts)
        entry = _Entry(run.info.run_id, "RUNNING", is_loaded=True)
        self._remember(entry, arm, phase, index)
        return entry

    def _parent(self, unit: str) -> _Entry:
        arm = str(Unit.parse(unit)._replace(repeat=0))
        if arm not in self._parents:
            self._store(self._create(arm, arm, "arm", 0, {}).run_id, self._study_file)
        return self._parents[arm]

    def _run_again(self, entry: _Entry, tags: Mapping[str, Any]) -> None:
        if entry.status != "RUNNING":
            self._client.update_run(entry.run_id, status="RUNNING")
            entry.status = "RUNNING"
        self._set_tags(entry.run_id, {**tags, "state": "running"})

    def _load(self, entry: _Entry) -> None:
        """Reads, once, how far a run had come that another process began."""
        if not entry.is_loaded:
            names = self._client.get_run(entry.run_id).data.metrics
            points = [
                point
                for name in names
                for point in self._client.get_metric_history(entry.run_id, name)
            ]
            points = [point for point in points if point.step > 0]  # else of the summary
            entry.update = max((point.step for point in points), default=-1)
            # A summary stands a millisecond after the record of its update: the first is the
            # record's.
            entry.time_ms = min(
                (point.timestamp for point in points if point.step == entry.update), default=-1
            )
            entry.curves |= {point.key for point in points}
        entry.is_loaded = True

    def _log_params(self, entry: _Entry, params: Mapping[str, Any], where: str) -> None:
        texts = {key: frames.encode(value) for key, value in params.items()}
        wrong = [key for key, text in texts.items() if entry.params.get(key, text) != text]
        if wrong:
            got = ", ".join(
                f"{key}={texts[key]} where {key}={entry.params[key]} is stored" for key in wrong
            )
            raise TrackError(
                f"{where}: a run's parameters must stay as first written, but got {got}. "
                "Give the study another name, or delete the run in MLflow."
            )
        missing = [Param(key, text) for key, text in texts.items() if key not in entry.params]
        if missing:
            self._client.log_batch(entry.run_id, params=missing)
            entry.params |= texts

    def _set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        self._client.log_batch(
            run_id, tags=[RunTag(key, text) for key, text in _texts(tags).items()]
        )

    def _flush(self) -> None:
        for entry in self._entries.values():
            self._write(entry)
        self._buffered_since = None

    def _write(self, entry: _Entry) -> None:
        """Writes an entry's records, as many whole ones a call as MLflow takes."""
        while entry.buffer:
            batch, count = list(entry.buffer[0]), 1
            while (
                count < len(entry.buffer)
                and len(batch) + len(entry.buffer[count]) <= METRICS_PER_CALL
            ):
                batch += entry.buffer[count]
                count += 1
            self._client.log_batch(entry.run_id, metrics=batch)
            del entry.buffer[:count]

    def _store(self, run_id: str, artifacts: Mapping[str, str | bytes]) -> None:
        if not artifacts:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in artifacts.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            self._client.log_artifacts(run_id, folder)

    def _terminate(self, entry: _Entry, status: str) -> None:
        self._client.set_terminated(entry.run_id, status=status)
        entry.status = status

    def _artifact(self, run: MlflowRun, name: str) -> bytes | None:
        if run.info.artifact_uri.startswith("file:"):
            path = Path(local_file_uri_to_path(run.info.artifact_uri), name)
            return path.read_bytes() if path.exists() else None
        if name not in {file.path for file in self._client.list_artifacts(run.info.run_id)}:
            return None
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run.info.run_id, name, folder)).read_bytes()

    def _stored(self, run: MlflowRun) -> frames.StoredRun:
        is_over = run.info.status != "RUNNING"
        content = self._artifact(run, "samples.json") if is_over else None
        samples = json.loads(content) if content is not None else []
        data = run.data
        return frames.StoredRun(
            run.info.run_id, _unit(run), data.tags, data.metrics, data.params, samples, is_over
        )


def _place(run: MlflowRun) -> tuple[str, str, int]:
    return str(_unit(run)), run.data.tags["phase"], int(run.data.tags["index"])


def _unit(run: MlflowRun) -> Unit:
    tags = run.data.tags
    return Unit(tags["arm"], tags.get("condition", ""), int(tags.get("repeat", 0)))


def _all_pages(query: Callable[..., Any]) -> list[Any]:
    found = query()
    page = found
    while page.token:
        page = query(page_token=page.token)
        found += page
    return list(found)


def _metrics(values: Mapping[str, float], update: int, time_ms: int) -> list[Metric]:
    return [Metric(key, float(value), time_ms, update) for key, value in values.items()]


def _short(value: float) -> float:
    """Six significant digits, whole numbers whole: a column shows 3.49640009...e-11 as 3.4964,
    without the exponent.
    """
    return value if float(value).is_integer() else float(f"{value:.6g}")


def _summary(entry: _Entry, metrics: Mapping[str, float]) -> list[Metric]:
    """A run's summary, at a time that is the same whenever it is written, so that a second writing
    adds nothing.

    It is a millisecond after the last record: of two values at one step, MLflow shows the later
    one.
    """
    time_ms = entry.time_ms + 1 if entry.update > 0 else 0
    steps = {key: entry.update if key in entry.curves else 0 for key in metrics}
    return [Metric(key, float(value), time_ms, steps[key]) for key, value in metrics.items()]


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as texts, without those that are None; a commit is given to MLflow's own column too."""
    known = {key: value for key, value in tags.items() if value is not None}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in known.items()
    }
    return texts | (
        {"mlflow.source.git.commit": texts["git_commit"]} if "git_commit" in texts else {}
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user without a name
        return "unknown"
