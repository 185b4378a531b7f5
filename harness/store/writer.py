"""A study's experiment, written by one process.

A study is one experiment. An arm is a parent run; its trials and replicates are child runs, one for
each key for ever: a run that was killed is opened again, never made twice. A run's data is written
before its status, so that no run is FINISHED without its numbers.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from time import time as unix_time
from typing import Any

import pandas as pd

from harness.store import frames
from harness.store.address import StoreError, absolute_uri
from harness.store.columns import stored_name
from harness.store.connection import close, connect
from harness.store.counting import PARENT_TAG, STATUS
from harness.store.entries import (
    Entry,
    changed,
    load,
    metrics_of,
    reopen,
    set_tags,
    short,
    summary_of,
    take_params,
    texts_of,
    write,
)
from harness.store.experiment import (
    create_run,
    describe,
    log_dataset,
    open_experiment,
    set_view,
    store_files,
)
from harness.store.kept import STUDY_FILE
from harness.store.known_runs import KnownRuns
from harness.store.notes import (
    StudyNotes,
    keep_text,
    save_notes,
)
from harness.store.reader import ARM_PHASE, SUPERSEDED_PHASE, StudyReader, unit_of
from harness.store.scratch import remove_left
from harness.store.sqlite_client import SqliteClient, recording_client
from harness.store.stopwatch import timed
from harness.store.views import COLOR_TAG, View
from harness.study.units import RunKey, Unit
from harness.training.messages import RunState


class StudyWriter:
    """Writes what happens into a study's experiment.

    Attributes:
        reader: Of the same experiment.
        experiment_id: MLflow's.
        seconds: Wall seconds spent in this object so far.
    """

    def __init__(self, uri: str, study_name: str, artifact_root: Path) -> None:
        """Opens the experiment, or makes it.

        Args:
            uri: ``sqlite:///FILE`` (created when missing) or an MLflow server's ``http://...``.
            study_name: Name of the experiment, created when missing.
            artifact_root: Folder of the artifacts where the store is no server.

        Raises:
            StoreError: The store cannot be used, or its experiment of this name was deleted.
        """
        start = perf_counter()
        remove_left()
        self.uri = absolute_uri(uri)
        self._client = connect(self.uri)
        location = None if self.uri.startswith("http") else artifact_root.resolve().as_uri()
        self.experiment_id = open_experiment(self._client, study_name, location)
        self._client = recording_client(self.uri, self._client, self.experiment_id)
        self.reader = StudyReader(self.uri, study_name)
        self._study_file: dict[str, str | bytes] = {}
        self._touched: dict[str, Entry] = {}  # of which something may wait
        self._known = KnownRuns()
        self._lack_study_file: set[Unit] = set()
        self._known.take_up(self.reader.search())
        self.seconds = perf_counter() - start

    # Runs

    @timed
    def open_run(
        self, key: RunKey, name: str, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> str:
        """Finds or creates the run of a key and sets it RUNNING, unless it has FINISHED.

        Args:
            key: Where the run belongs; its arm's own run, of all its repeats, is made on demand.
            name: Shown in the UI; kept from the first time.
            params: Written the first time. They come back from the reader with their types.
            tags: cell, seed, engine, device, precision, threads, pack_size, git_commit, git_dirty,
                corpus_fingerprint, ... Written every time.

        Returns:
            MLflow's run id.

        Raises:
            StoreError: A parameter differs from the stored one.
        """
        entry = self._begin(key, name, params, tags)
        write(self._client, entry)
        return entry.run_id

    @timed
    def begin_run(
        self, key: RunKey, name: str, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> None:
        """Does what :meth:`open_run` does; parameters and tags wait for the records."""
        self._begin(key, name, params, tags)

    def run_id(self, key: RunKey) -> str:
        """Returns MLflow's id of a run that was opened, in this process or an earlier one.

        Raises:
            StoreError: There is no such run.
        """
        if key not in self._known.runs:
            raise StoreError(f"{key}: a run must be opened before it goes on, but was not.")
        return self._known.runs[key].run_id

    @timed
    def find_made(self) -> None:
        """Takes up runs that the store made although it did not say so in time."""
        self._known.take_up(self.reader.search())

    def forget(self) -> None:
        """Forgets all runs and what waits of them; :meth:`find_made` takes up what is stored."""
        if isinstance(self._client, SqliteClient):
            self._client.forget()
        self._touched.clear()
        self._known = KnownRuns()

    @timed
    def log(self, run_id: str, update: int, metrics: Mapping[str, float], time: float) -> None:
        """Takes a record; it is written at :meth:`flush` and at the run's end.

        A record of an update that was stored before the run was opened again is dropped: it is
        there already.

        Args:
            run_id: From :meth:`open_run`.
            update: MLflow's step; at least 1.
            metrics: Values by name; a record is stored whole or not at all.
            time: Unix seconds.
        """
        entry = self._known.entries[run_id]
        load(self._client, entry)
        if update <= entry.resumed_at:
            return
        entry.update, entry.time_ms = update, round(time * 1000)
        entry.curves |= metrics.keys()
        self._touched[run_id] = entry
        entry.buffer.append(metrics_of(metrics, update, entry.time_ms))

    @timed
    def flush(self) -> None:
        """Writes all that waits of runs."""
        write(self._client, *self._touched.values())
        self._touched.clear()

    @timed
    def end_run(
        self,
        run_id: str,
        state: RunState,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, str | bytes] | None = None,
        samples: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Ends a run: metrics, artifacts and tags first, the status last.

        Args:
            run_id: From :meth:`open_run`.
            state: "finished", "diverged", "pruned" or "failed".
            tags: Those known only now.
            metrics: The summary that the table of runs shows and sorts by: at the last update where
                records have the metric too, else at step 0, which MLflow draws as bars. They are
                stored as :func:`harness.store.columns.stored_name` names them.
            artifacts: Content by path; the reader's curves are ``curve.csv``.
            samples: ``{"prefix": ..., "text": ...}`` each; stored as JSON, and as text to be read.

        Raises:
            StoreError: The state is none of these.
        """
        if state not in STATUS:
            raise StoreError(
                f"end of a run: state must be one of {', '.join(STATUS)}, but got state={state!r}."
            )
        entry = self._known.entries[run_id]
        load(self._client, entry)
        store_files(self._client, run_id, {**(artifacts or {}), **frames.sample_files(samples)})
        named = {stored_name(name): value for name, value in (metrics or {}).items()}
        summary = summary_of(entry, named)
        if summary and summary not in entry.buffer:  # it is there where a first try failed
            entry.buffer.append(summary)
        entry.new_tags |= texts_of({**(tags or {}), "state": str(state)})
        self._terminate(entry, STATUS[state])

    @timed
    def mark_superseded(self, key: RunKey) -> None:
        """Puts a run aside, under a phase of its own, so that :meth:`open_run` makes it anew.

        Where several are stored of its place, so are all: the one that remained would count.
        """
        for entry in (self._known.runs[key], *self._known.doubles.get(key, ())):
            entry.new_tags["phase"] = SUPERSEDED_PHASE
            if entry.status == "RUNNING":
                entry.new_status = "KILLED"
            write(self._client, entry)
        self._known.forget_place(key)

    @timed
    def end_killed(self, keys: Collection[RunKey]) -> None:
        """Notes of runs that nobody trains them: they were killed, and the next launch goes on.

        So was every arm that was not summarized: its plan may ask for more runs than were begun.
        What waits of them is not written: it was never said to be stored.
        """
        begun = [self._known.runs[key] for key in set(keys) & self._known.runs.keys()]
        for entry in [*begun, *self._known.arms.values()]:
            if entry.status == "RUNNING":
                entry.buffer, entry.new_params = [], []
                entry.new_tags = {"state": str(RunState.KILLED)}
                self._terminate(entry, "KILLED")

    @timed
    def log_dataset(self, run_id: str, name: str, fingerprint: str, source: str) -> None:
        """Fills the run's dataset column: the corpus, the start of its fingerprint, its origin."""
        log_dataset(self._client, run_id, name, fingerprint, source)

    # Arms

    @timed
    def summarize_arm(
        self,
        unit: Unit,
        metrics: Mapping[str, float],
        artifacts: Mapping[str, str | bytes] | None = None,
        tags: Mapping[str, str] | None = None,
        is_over: bool = True,
    ) -> str:
        """Writes an arm's metrics on its own run as ``arm/...``; sorting shows leaves only then.

        A number that is not whole is kept to six digits; one that was known before and is no more
        becomes NaN, and one that is known as it is is not written. ``tags`` are what the page shows
        of it as texts. Its own run ends where the arm ``is_over``: where no run of it is to come.

        Returns:
            MLflow's id of the arm's own run.
        """
        arm_run = self._arm_run(unit)
        numbers = {f"arm/{key}": frames.finite(short(value)) for key, value in metrics.items()}
        store_files(self._client, arm_run.run_id, artifacts or {})
        self._write_numbers(arm_run, numbers, round(unix_time() * 1000))
        arm_run.new_tags |= texts_of(tags or {})
        if is_over:
            arm_run.new_tags["state"] = str(RunState.FINISHED)
            arm_run.new_status = "FINISHED"
        write(self._client, arm_run)
        return arm_run.run_id

    @timed
    def show_arm(self, unit: Unit, tags: Mapping[str, str]) -> None:
        """Sets tags of an arm's own run, made on demand, for the page."""
        set_tags(self._client, self._arm_run(unit).run_id, tags)

    @timed
    def color(self, colors: Mapping[str, str]) -> None:
        """Has the page draw every run in its arm's colour; a person's other choice is lost."""
        for run in self.reader.search():
            color = colors.get(unit_of(run).arm)
            if color is not None and run.tags.get(COLOR_TAG) != color:
                set_tags(self._client, run.run_id, {COLOR_TAG: color})

    @timed
    def store_timings(self, timings: pd.DataFrame) -> None:
        """Keeps the raw repeats of the runtime phase, one ``timings.csv`` an arm."""
        for arm, rows in timings.groupby("arm"):
            arm_run = self._arm_run(Unit.parse(str(arm)))
            store_files(self._client, arm_run.run_id, {"timings.csv": frames.timings_csv(rows)})

    # The study

    @timed
    def store_study_file(self, text: str) -> None:
        """Keeps the study as it was read with every arm, those to come included."""
        self._study_file = {STUDY_FILE: text}
        for arm_run in self._known.arms.values():
            store_files(self._client, arm_run.run_id, self._study_file)

    @timed
    def describe(self, markdown: str) -> None:
        """Shows Markdown on the experiment's page, cut at a line where it is too long."""
        describe(self._client, self.experiment_id, markdown)

    @timed
    def set_view(self, view: View) -> None:
        """Keeps a view for the experiment's page, unless it is longer than MLflow takes."""
        set_view(self._client, self.experiment_id, view)

    @timed
    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Keeps what the study is, any JSON. A crash leaves the old one or the new one."""
        text = json.dumps(identity, sort_keys=True)
        keep_text(self._client, self.experiment_id, "identity", text)

    @timed
    def save_notes(self, notes: StudyNotes) -> None:
        """Keeps what the study remembers from launch to launch."""
        save_notes(self._client, self.experiment_id, notes)

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        close(self._client)
        if isinstance(self._client, SqliteClient):
            self._client.close()

    # MLflow

    def _begin(
        self, key: RunKey, name: str, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> Entry:
        arm_run = self._arm_run(key.unit)
        entry = self._known.runs.get(key)
        if entry is None:
            parent = {PARENT_TAG: arm_run.run_id}
            draw = {"draw": key.draw} if key.draw else {}
            place = {"phase": str(key.phase), "index": key.index, **draw}
            entry = create_run(
                self._client, self.experiment_id, name, key.unit, place, {**tags, **parent}
            )
            self._known.add(key, entry)
        else:
            load(self._client, entry)
            entry.resumed_at = entry.update
            if entry.status != "FINISHED":
                reopen(self._client, entry, tags)
        if entry.status == "RUNNING" != arm_run.status:
            reopen(self._client, arm_run, {})
            write(self._client, arm_run)
        take_params(entry, params, key)
        self._touched[entry.run_id] = entry
        return entry

    def _arm_run(self, unit: Unit) -> Entry:
        arm = unit.first_repeat
        if arm not in self._known.arms:
            place = {"phase": ARM_PHASE, "index": 0}
            made = create_run(self._client, self.experiment_id, str(arm), arm, place, {})
            self._known.add_arm(arm, made)
            self._lack_study_file.add(arm)
        if arm in self._lack_study_file:  # also where a first try failed
            store_files(self._client, self._known.arms[arm].run_id, self._study_file)
            self._lack_study_file.discard(arm)
        return self._known.arms[arm]

    def _terminate(self, entry: Entry, status: str) -> None:
        entry.new_status = status
        write(self._client, entry)

    def _write_numbers(self, arm_run: Entry, numbers: Mapping[str, float], time_ms: int) -> None:
        """Writes those of an arm's numbers that are not what MLflow shows.

        It shows the latest of several by their times: where the clock was set back, or another
        machine's is ahead, those that it shows may be later than ``time_ms``.
        """
        run_id = arm_run.run_id
        lacking = changed(self._client.get_run(run_id).data.metrics, numbers)
        arm_run.buffer = [metrics_of(lacking, 0, time_ms)] if lacking else []  # no failed try's
        if not lacking:
            return
        write(self._client, arm_run)
        if lacking := changed(self._client.get_run(run_id).data.metrics, numbers):
            shown = [p for key in lacking for p in self._client.get_metric_history(run_id, key)]
            arm_run.buffer = [metrics_of(lacking, 0, max(p.timestamp for p in shown) + 1)]
            write(self._client, arm_run)
