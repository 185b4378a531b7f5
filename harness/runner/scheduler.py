"""What a study still lacks, and who trains it. One scheduler a study writes; workers compute.

Everything that happened lives in Optuna's storage and in MLflow, so a scheduler that starts asks
these what is missing and does that: after a crash, after an interruption, and when a finished study
is run again.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from harness import data
from harness.preflight import sequences
from harness.preflight.resolve import resolve
from harness.report import Report, stages
from harness.report.assemble import build_report, read, warnings_of
from harness.report.evidence import open_arms
from harness.runner import executor
from harness.runner.live_page import LivePage
from harness.runner.missing_runs import MissingRuns
from harness.runner.pinned import pin_resolved
from harness.runner.progress import Display
from harness.runner.recorder import Entry, RunRecorder, key_of
from harness.runner.remaining import remaining_updates, updates_of_run
from harness.runner.restoring import restore
from harness.runner.searches import Searches
from harness.runner.simple_errors import simple_errors
from harness.settings import Settings
from harness.store import signals
from harness.store.address import sqlite_path
from harness.store.background import BackgroundWriter
from harness.store.frames import key_of_row, unit_of_row
from harness.store.identity import IdentityError, check_identity, difference
from harness.store.locations import Locations
from harness.store.lock import Assure, held
from harness.store.notes import Origin
from harness.store.patience import Patience
from harness.store.reader import StudyReader
from harness.store.writer import StudyWriter
from harness.study import Study
from harness.study.units import Phase, RunKey, Unit
from harness.training import checkpoint
from harness.training.messages import (
    Evaluation,
    Message,
    RunEnded,
    RunStarted,
    RunState,
)
from harness.training.plan import Plan, Run


class Scheduler:
    """Knows what a study still lacks, hands out plans, and records what comes back.

    Attributes:
        units: Every arm under every condition in every repeat.
        settings: Every unit's settings before its search, with what is pinned.
        datasets: Every arm's text, by its unit of the first repeat.
        searches: Every unit's search.
        missing: Which runs a unit lacks.
        recorder: Knows how runs ended.
        page: The study's page while it is trained.
        notes: What the study remembers from launch to launch, as stored.
        executor: Where packs train; in this process, until a launch says otherwise.
        resolve_notes: What is done otherwise than asked for, as engines that were passed over.
        train_seconds: Wall seconds of training so far, without what the stores took.
        has_recorded: Whether anything was recorded, so that the page shows no report.
        first_update: When the first update of this process had ended, by ``time.monotonic``; None
            before any has.
    """

    def __init__(self, study: Study, locations: Locations, display: Display, assure: Assure = held):
        """Reads the texts and opens the stores.

        Args:
            study: What is run.
            locations: Where its results live.
            display: Told what a person should see.
            assure: Makes sure that the study is still held, before anything is written.

        Raises:
            ValueError: A store cannot be used, or an arm's cell, engine, text or device is
                missing.
            IdentityError: The study of this name in the store is something else.
        """
        self.study, self.locations, self.display = study, locations, display
        self._assure = assure
        self.executor: executor.Executor = executor.Inline()
        self.train_seconds = 0.0
        self.has_recorded = False
        self.first_update: float | None = None
        self._begun: dict[str, float] = {}
        resolved, self.resolve_notes = resolve(study)
        arms = {Unit.parse(key): settings for key, settings in resolved.items()}
        self.datasets = {unit: data.load(settings) for unit, settings in arms.items()}
        self._opened = ExitStack()
        try:
            self._open_stores(arms)
        except BaseException:
            self.close()
            raise

    def _open_stores(self, arms: dict[Unit, Settings]) -> None:
        study, locations, display = self.study, self.locations, self.display
        with signals.held():
            writer = StudyWriter(locations.tracking_uri, study.name, locations.artifacts)
            self.writer = BackgroundWriter(
                writer,
                locations.waiting_records(study.name),
                say=display.say,
                check=signals.check,
                when_ended=self._remove_checkpoint,
                assure=self._assure,
            )
            self._opened.callback(self.writer.close)
        check_identity(study, writer.reader, locations)
        self.writer.resume()
        self.notes = self.writer.read(StudyReader.notes)
        arms, pins, changes = pin_resolved(
            study, arms, self.datasets, self.notes.pinned, display.say
        )
        if changes:
            if self.writer.read(StudyReader.has_result):
                raise IdentityError(difference(study, locations, changes))
            # What was pinned has shown nothing yet.
            arms, pins, _ = pin_resolved(study, arms, self.datasets, {}, display.say)
        errors = simple_errors(study, self.datasets, {} if changes else self.notes.simple_errors)
        self.units = study.units
        self.settings = {unit: arms[unit.first_repeat] for unit in self.units}
        identity = study.identity()
        self.writer.call(lambda writer: writer.set_identity(identity))
        self.writer.call(lambda writer: writer.store_study_file(study.text))
        origin = Origin(None if study.path is None else str(study.path), study.overrides)
        texts = tuple(facts.to_json() for facts in data.facts_of(self.datasets.values()))
        self.note(
            pinned=pins,
            origin=origin,
            texts=texts,
            simple_errors=errors,
        )
        self.recorder = RunRecorder(self.writer, display, study.measure.objective, self._entry)
        self.page = LivePage(study, self.writer, self.recorder.ends)
        place = sqlite_path(locations.storage_url) or locations.storage_url
        patience = Patience("Optuna's storage", display.say, signals.check, self._assure, place)
        self.searches = Searches(
            study,
            self.settings,
            locations.storage_url,
            self.writer.reader.birth,
            self.recorder.ends,
            signals.held()(patience),
        )
        self._opened.callback(self.searches.close)
        self.missing = MissingRuns(study, self.settings, self.searches, self.recorder.ends)
        self._restore_searches()

    def _restore_searches(self) -> None:
        """Makes searches again whose storage was lost: their trials would else be trained again."""
        num_restored = restore(
            self.searches,
            lambda: self.writer.read(StudyReader.runs),
            lambda keys: self.writer.read(lambda reader: reader.curves(keys)),
            self.recorder.ends,
            self.study.measure.objective.partition("/")[0],
        )
        if num_restored:
            self.display.say(
                f"Optuna's storage lacked {num_restored} trials whose runs MLflow holds; "
                "they were restored from there",
                "yellow",
            )

    def note(self, **changes: Any) -> None:
        """Keeps changed notes of the study."""
        self.notes = replace(self.notes, **changes)
        notes = self.notes
        self.writer.call(lambda writer: writer.save_notes(notes))

    def close(self) -> None:
        """Ends what writes, and closes the stores."""
        with signals.held():
            self._opened.close()

    # What is missing

    def next_plans(self) -> list[Plan]:
        """Returns the next packs: a round of trials of every arm that still searches.

        Once no arm does, the packs are of the best settings with fresh seeds, and then of the
        missing replicates. A run that failed is among them again, unless its unit's failures are no
        accident.

        Raises:
            KeyboardInterrupt: A signal came before, and a library swallowed what it raised.
        """
        signals.check()
        self.writer.drain()  # Optuna is told of what MLflow holds, and of nothing else
        self.searches.tell_finished()
        self.searches.ask()
        units = [unit for unit in self.units if not self.recorder.failures.stops(unit)]
        searching = [unit for unit in units if unit in self.searches.by_unit]
        if trials := [run for unit in searching for run in self.missing.trials(unit)]:
            return executor.cut(trials, self._template(trials[0], Phase.TRIAL))
        if finalists := [run for unit in searching for run in self.missing.finalists(unit)]:
            return executor.cut(finalists, self._template(finalists[0], Phase.FINALIST))
        self.mark_superseded()
        num_seeds = self._num_seeds()
        replicates = [
            run
            for unit in units
            for run in self.missing.replicates(unit, num_seeds[unit.condition])
        ]
        if not replicates:
            return []
        return executor.cut(replicates, self._template(replicates[0], Phase.REPLICATE))

    def _template(self, run: Run, phase: Phase) -> Plan:
        """Returns a plan of one run, with what all plans of its phase share."""
        measure, is_replicate = self.study.measure, phase is Phase.REPLICATE
        request = measure.samples if is_replicate else replace(measure.samples, every=None)
        return Plan(
            (run,),
            objective=measure.objective,
            read_test=is_replicate,
            keep_models=is_replicate and measure.models == "replicates",
            samples=request,
            cell_files=self.study.cell_files,
            checkpoint_folder=str(self.locations.checkpoints(self.study.name)),
            version=self.study.version,
            states=is_replicate and measure.states,
        )

    def _num_seeds(self) -> dict[str, int]:
        """Returns how many seeds every condition takes.

        They are as many as the study says, or as its first stage asks for.
        """
        study = self.study
        if study.replicate.until is None:
            return dict.fromkeys(study.conditions, study.replicate.seeds)
        runs = self.writer.read(StudyReader.runs)
        curves = self.writer.read(StudyReader.curves)
        num_seeds = {}
        for name in study.conditions:
            part, rows = study.under(name), runs[runs["condition"] == name]
            left_out = open_arms(part, rows, curves[curves["condition"] == name])
            num_seeds[name] = stages.num_seeds(part, rows, left_out)
        return num_seeds

    def mark_superseded(self) -> None:
        """Puts replicates of another setting aside: more trials may have found a better one."""
        if not self.searches.by_unit:
            return
        chosen = {unit: self.missing.chosen(unit) for unit in self.units}
        num_superseded = 0
        replicates = self.writer.read(lambda reader: reader.runs(Phase.REPLICATE))
        for row in replicates.to_dict("records"):
            unit = unit_of_row(row)
            settings = chosen.get(unit)
            if settings is None:
                continue
            space, params = self.searches.by_unit[unit].tune.space, row["params"]
            # A run that was killed before it had parameters is begun again as it is.
            if params and any(params.get(name) != getattr(settings, name) for name in space):
                key = key_of_row(row)
                self.writer.mark_superseded(key)
                self.recorder.ends.pop(key, None)
                num_superseded += 1
        if num_superseded:
            self.note(timed="")  # what was timed is of other settings
            self.display.say(
                f"more trials chose another setting; {num_superseded} replicates are put aside"
            )

    # What the recorder asks

    def _entry(self, key: RunKey) -> Entry:
        unit = key.unit
        tags = {"mlflow.source.name": f"harness {self.study.name}", **self.page.tags(unit)}
        if self.study.overrides:
            tags["overrides"] = " ".join(self.study.overrides)
        if key.phase is Phase.REPLICATE:
            seed = "/".join(map(str, self.missing.seed(unit, key.index)))
            settings = self.settings[unit]
            label = f"{unit} seed {seed}"
            if unit in self.searches.by_unit:
                best = self.searches.chosen(unit)
                assert best is not None
                settings = replace(settings, **best.values)
                tags["chosen_trial"] = str(best.number)
        else:
            settings = replace(self.settings[unit], **self.searches.values(key))
            seed = "/".join(map(str, self.searches.seed(key)))
            draw = f" seed {key.draw}" if key.draw or key.phase is Phase.FINALIST else ""
            label = f"{unit} {key.phase} {key.index}{draw}"
        shown = self.page.shown(settings) if key.phase is Phase.TRIAL else {}
        return Entry(settings, seed, label, tags, self.datasets[unit.first_repeat], shown)

    # Training

    def train(self, plans: Iterable[Plan]) -> None:
        """Trains packs; what they say is stored when this returns."""
        plans = list(plans)
        begun, store_seconds = time.monotonic(), self.store_seconds
        keys = [key_of(run.id) for plan in plans for run in plan.runs]
        arms = {key.unit.first_repeat for key in keys}
        runs = f"{len(keys)} {keys[0].phase}{'s' if len(keys) > 1 else ''}"
        title = f"{runs} of {len(arms)} arm{'s' if len(arms) > 1 else ''}"
        total = sum(self._num_updates(plan) for plan in plans)
        try:
            with self.display.stage(title, total, self._remaining_updates(plans)):
                with self.page.training(title, keys[0].phase):
                    self.executor.execute(plans, self.record)
                self.writer.drain()
        finally:
            stored = self.store_seconds - store_seconds
            self.train_seconds += time.monotonic() - begun - stored

    @signals.held()
    def record(self, messages: Sequence[Message]) -> set[str]:
        """Records messages and returns the runs to prune.

        Raises:
            KeyboardInterrupt: A signal came before, and a library swallowed what it raised.
        """
        signals.check()
        self.has_recorded = True
        points = self.recorder.record(messages)
        self._note_first_update(messages)
        ends = [message for message in messages if isinstance(message, RunEnded)]
        self.page.tell()
        return self.searches.to_prune(points, [key_of(end.run) for end in ends])

    def _remove_checkpoint(self, key: RunKey, state: RunState) -> None:
        """Removes the checkpoint of a run whose end is stored; a failed one goes on from it."""
        if state is not RunState.FAILED:
            checkpoint.remove(self.locations.checkpoints(self.study.name), str(key))

    def _note_first_update(self, messages: Sequence[Message]) -> None:
        """Notes when the first update ended: a median update after its run began.

        Of a worker's clock, which may be another machine's or be set, it counts what has passed.
        """
        for message in messages if self.first_update is None else ():
            if isinstance(message, RunStarted):
                self._begun[message.run] = message.time
            elif isinstance(message, Evaluation):
                update_seconds = message.metrics.get("update_seconds_p50", 0.0)
                passed = message.time - self._begun[message.run] - update_seconds
                self.first_update = time.monotonic() - max(0.0, passed)
                return

    def _remaining_updates(self, plans: Sequence[Plan]) -> int:
        """Returns the updates of all runs to come, those of ``plans`` among them, for the bar."""
        planned = {key_of(run.id): run.settings for plan in plans for run in plan.runs}
        settings = {key.unit: own for key, own in planned.items()}
        units = [unit for unit in self.units if not self.recorder.failures.stops(unit)]
        return remaining_updates(
            self.study,
            units,
            self.recorder.ends,
            planned,
            lambda unit: self._updates(unit, settings.get(unit)),
        )

    def _num_updates(self, plan: Plan) -> int:
        """Returns the updates of all runs of a plan, for the bar; none where they cannot begin."""
        unit = key_of(plan.runs[0].id).unit
        return len(plan.runs) * self._updates(unit, plan.settings)

    def _updates(self, unit: Unit, settings: Settings | None = None) -> int:
        """Returns the updates of one of a unit's runs; none where it cannot begin."""
        return updates_of_run(self.datasets[unit.first_repeat], settings or self.settings[unit])

    @property
    def store_seconds(self) -> float:
        """Seconds for which this process waited for MLflow and Optuna so far."""
        return self.writer.seconds + self.searches.seconds

    # The end

    def report(self) -> Report:
        """Returns the report of what there is so far."""
        self.note(warnings=tuple(self.warnings()))
        stored = self.writer.read(lambda reader: read(self.study, reader))
        return build_report(self.study, warnings=warnings_of(self.study, self.notes), **stored)

    def warnings(self) -> list[str]:
        """Returns what the data and the search have to say beside the verdict."""
        again = f"harness run {self.study.name}{self.locations.options}"
        texts = {str(unit): each for unit, each in self.datasets.items()}
        coarse = sequences.warnings(texts, self.study.measure)
        searched = self.searches.warnings()
        return [*self.resolve_notes, *coarse, *searched, *self.recorder.failures.lines(again)]
