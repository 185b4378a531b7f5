"""A study's records, written by one thread while the driver goes on training.

The driver hands over what happened, in order, and waits only for what it reads back. Runs are named
by their keys here; MLflow's ids are the writer's own affair.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from harness.store.address import sqlite_path
from harness.store.handover import Handover
from harness.store.lock import Assure, held
from harness.store.operations import Doer
from harness.store.patience import Check, Say
from harness.store.reader import StudyReader
from harness.store.spool import Spool
from harness.store.views import View
from harness.store.writer import StudyWriter
from harness.study.units import RunKey, Unit
from harness.training.messages import RunState

R = TypeVar("R")


class BackgroundWriter:
    """Takes records and writes them behind the driver's back, in order.

    Whatever could not be written is raised by the next call here, and nothing is written after.

    Attributes:
        reader: Of the same experiment.
        experiment_id: MLflow's.
    """

    def __init__(
        self,
        writer: StudyWriter,
        spool: Path,
        *,
        say: Say,
        check: Check = lambda: None,
        when_ended: Callable[[RunKey, RunState], None] = lambda *_: None,
        assure: Assure = held,
    ) -> None:
        """Takes a writer, which nobody else uses from now on.

        Args:
            writer: Of the study's experiment.
            spool: The file in which records wait for a store that does not answer.
            say: Told what a person should know.
            check: Called while the driver waits; raises where a person wants to end.
            when_ended: Called by the thread when a run's end is stored.
            assure: Makes sure that the study is still held: nothing is written where it is not.
        """
        self.reader: StudyReader = writer.reader
        self.experiment_id = writer.experiment_id
        self._writer, self._when_ended, self._assure = writer, when_ended, assure
        self._begun: set[RunKey] = set()
        self._has_begun = False
        self._opening_seconds, self._own_reading = writer.seconds, 0.0
        self._handover = Handover(
            {
                "begin": Doer(self._begin),
                "log": Doer(self._log),
                "end": Doer(self._end, is_urgent=True),
                "show": Doer(self._show, is_kept=False),
                "describe": Doer(writer.describe, is_kept=False),
                "view": Doer(writer.set_view, is_kept=False),
            },
            self._flush,
            self._find_made,
            writer.forget,
            Spool(spool, f"{writer.experiment_id} {writer.reader.birth}"),
            say,
            check,
            str(sqlite_path(writer.uri) or writer.uri),
        )

    @property
    def seconds(self) -> float:
        """Wall seconds for which the driver waited for the store."""
        waited = self._handover.wait_seconds + self.reader.seconds - self._own_reading
        return self._opening_seconds + waited

    @property
    def busy_seconds(self) -> float:
        """Wall seconds for which the thread worked."""
        return self._handover.busy_seconds

    # Runs

    def open_run(
        self,
        key: RunKey,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        dataset: tuple[str, str, str] | None = None,
    ) -> None:
        """Finds or creates a run, as :meth:`StudyWriter.open_run` does.

        Args:
            key: Where the run belongs.
            name: Shown in the UI.
            params: Its parameters.
            tags: Its tags.
            dataset: Name, fingerprint and source of its text.
        """
        arguments = {"key": key, "name": name, "params": dict(params), "tags": dict(tags)}
        self._handover.put("begin", {**arguments, "dataset": dataset})

    def log(self, key: RunKey, update: int, metrics: Mapping[str, float], time: float) -> None:
        """Takes a record of a run that was opened."""
        arguments = {"key": key, "update": update, "metrics": dict(metrics), "time": time}
        self._handover.put("log", arguments)

    def end_run(
        self,
        key: RunKey,
        state: RunState,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        artifacts: Mapping[str, str | bytes] | None = None,
        samples: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Ends a run: its data first, its status last."""
        arguments = {"key": key, "state": str(state), "tags": tags, "metrics": metrics}
        self._handover.put("end", {**arguments, "artifacts": artifacts, "samples": list(samples)})

    # The page

    def show_arm(self, unit: Unit, tags: Mapping[str, str]) -> None:
        """Sets tags of an arm's own run."""
        self._handover.put("show", {"unit": unit, "tags": dict(tags)})

    def describe(self, markdown: str) -> None:
        """Shows Markdown on the experiment's page."""
        self._handover.put("describe", {"markdown": markdown})

    def set_view(self, view: View) -> None:
        """Keeps a view for the experiment's page."""
        self._handover.put("view", {"view": view})

    # Waiting

    def call(self, function: Callable[[StudyWriter], R]) -> R:
        """Returns what a function of the writer returns, once all before it is stored."""

        def own() -> R:
            self._assure()
            before = self.reader.seconds
            try:
                return function(self._writer)
            finally:  # the driver counts these seconds as it waits for them
                self._own_reading += self.reader.seconds - before

        result: R = self._handover.call(own)
        return result

    def read(self, function: Callable[[StudyReader], R]) -> R:
        """Returns what a function of the reader returns, once all before it is stored."""
        return self.call(lambda writer: function(writer.reader))

    def drain(self) -> None:
        """Waits until all that was handed over is stored."""
        self.call(lambda _: None)

    def resume(self) -> None:
        """Writes what an earlier launch could not; it is over when this returns."""
        self._handover.resume()

    def close(self) -> None:
        """Ends the thread; what the store has not taken waits in the file for the next launch.

        A launch that was ended has runs that nobody trains: they are not left as if they went on.
        """
        if not self._handover.close():
            return
        try:
            if self._has_begun and (not self._handover.is_left or sqlite_path(self._writer.uri)):
                with suppress(Exception):  # the reason why the launch ends is told, and no other
                    self._assure(at_once=True)
                    self._writer.end_killed(self._begun)
        finally:  # also at a second Ctrl-C
            self._writer.close()

    def mark_superseded(self, key: RunKey) -> None:
        """Puts a run aside, as :meth:`StudyWriter.mark_superseded` does."""
        self.call(lambda writer: writer.mark_superseded(key))

    def summarize_arm(
        self,
        unit: Unit,
        metrics: Mapping[str, float],
        artifacts: Mapping[str, str | bytes] | None = None,
        tags: Mapping[str, str] | None = None,
        is_over: bool = True,
    ) -> str:
        """Sums an arm up as :meth:`StudyWriter.summarize_arm`; returns the id of its own run."""
        return self.call(
            lambda writer: writer.summarize_arm(unit, metrics, artifacts, tags, is_over)
        )

    # The thread's side

    def _flush(self) -> None:
        self._assure()
        self._writer.flush()

    def _find_made(self) -> None:
        self._assure(at_once=True)
        self._writer.find_made()

    def _begin(
        self,
        key: RunKey,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        dataset: Sequence[str] | None,
    ) -> None:
        self._assure()
        self._begun.add(key)
        self._has_begun = True
        self._writer.begin_run(key, name, params, tags)
        if dataset is not None:
            self._writer.log_dataset(self._writer.run_id(key), *dataset)

    def _show(self, unit: Unit, tags: Mapping[str, str]) -> None:
        self._has_begun = True  # an arm that is made for it is under way
        self._writer.show_arm(unit, tags)

    def _log(self, key: RunKey, update: int, metrics: Mapping[str, float], time: float) -> None:
        self._writer.log(self._writer.run_id(key), update, metrics, time)

    def _end(self, key: RunKey, state: str, **given: Any) -> None:
        self._assure()
        self._writer.end_run(self._writer.run_id(key), RunState(state), **given)
        self._begun.discard(key)
        self._when_ended(key, RunState(state))
