"""The driver of a study: what is missing, who trains it. One driver a study writes; workers
compute.

Everything that happened lives in Optuna's storage and in MLflow, so a driver that starts asks these
what is missing and does that: after a crash, after an interruption, and when a finished study is
run again.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from numbers import Real
from typing import Any

import pandas as pd

from harness import data, tuning
from harness.preflight import probe
from harness.randomness import Name
from harness.report import Report, arm_results, build
from harness.runner import executor, signals
from harness.runner.progress import Display
from harness.runner.recorder import Books, Entry, Place, id_of, place_of
from harness.settings import SampleRequest, Settings, to_dict
from harness.store import tracker, views
from harness.store.locations import Places
from harness.study import Study
from harness.study.units import Unit
from harness.training import checkpoint, runtime
from harness.training.messages import Plan, Record, Run


class IdentityError(ValueError):
    """A study of the same name is something else."""


class Driver:
    """Knows what a study still lacks, hands out plans, and books what comes back."""

    def __init__(self, study: Study, places: Places, display: Display):
        """Opens the books.

        Raises:
            ValueError: A store cannot be used, or an arm's cell, engine, text or device is not to
                be had.
            IdentityError: The study of this name in the books is something else.
        """
        self.study, self.places, self.display = study, places, display
        self.train_seconds = self.timing_seconds = 0.0
        by_arm, self.notes = probe.resolve(study)
        self.datasets = {arm: data.load(settings) for arm, settings in by_arm.items()}
        self.tracker = tracker.Tracker(places.tracking_uri, study.name, places.artifacts)
        check_identity(study, self.tracker, places)
        by_arm = self._fixed(by_arm)
        self.units = {str(unit): unit for unit in study.units}
        self.settings = {key: by_arm[_arm_of(unit)] for key, unit in self.units.items()}
        self.tracker.set_identity(study.identity())
        self.tracker.study_file(study.text, "study.yaml")
        path = None if study.path is None else str(study.path)
        self.tracker.set_note("origin", json.dumps({"path": path, "overrides": study.overrides}))
        storage = tuning.open_storage(places.storage_url) if study.tune else None
        self.searches = (
            {key: self._search(unit, storage) for key, unit in self.units.items()}
            if storage
            else {}
        )
        self.books = Books(self.tracker, display, study.measure.objective, self._entry, self._point)

    def _fixed(self, by_arm: dict[str, Settings]) -> dict[str, Settings]:
        """Returns arms with what was settled when they were first run: engine, text, a budget of
        seconds in updates.

        Raises:
            IdentityError: It would be settled otherwise now, so that runs of one arm or study would
                not compare.
        """
        text = self.tracker.note("fixed")
        old = json.loads(text) if text else {}
        changes, found = [], dict(by_arm)
        for arm, settings in by_arm.items():
            kept = old.setdefault(arm, {})
            now = {"engine": settings.engine, "text": self.datasets[arm].fingerprint[:12]}
            changes += [
                f"{arm}: {k}: {kept[k]} -> {v}"
                for k, v in now.items()
                if kept.setdefault(k, v) != v
            ]
            if settings.budget.seconds is not None:
                if "updates" not in kept:
                    tuned = replace(
                        settings, **probe.first_values(self.study.under(Unit.parse(arm).condition))
                    )
                    kept["updates"] = probe.seconds_to_updates(
                        self.study, arm, tuned
                    ).budget.updates
                self.display.say(
                    f"{arm}: {settings.budget.seconds:g} s are {kept['updates']} updates of a run alone"
                )
                budget = replace(settings.budget, seconds=None, updates=kept["updates"])
                found[arm] = replace(settings, budget=budget)
        if changes:
            raise IdentityError(_differs(self.study, self.places, changes))
        self.tracker.set_note("fixed", json.dumps(old))
        return found

    def _search(self, unit: Unit, storage: Any) -> tuning.ArmSearch:
        """Opens the unit's search; its name holds the experiment's birth, so that a new experiment
        searches anew.
        """
        name = f"{self.study.name}/{unit}/{self.tracker.birth}"
        evaluations, tune = (
            self.settings[str(unit)].evaluations,
            self.study.under(unit.condition).tune,
        )
        num_points = evaluations if isinstance(evaluations, int) else 20
        assert tune is not None
        tune = replace(tune, search_seed=tune.search_seed + unit.repeat)
        return tuning.ArmSearch(storage, name, _arm_of(unit), tune, num_points)

    # What is missing

    @signals.held()
    def next_plans(self) -> list[Plan]:
        """Returns the next packs: a round of trials of every arm that still searches, else the
        missing replicates.
        """
        self.settle()
        runs = [run for arm in self.searches for run in self._trials(arm)]
        phase = "trial"
        if not runs:
            self._supersede()
            num_seeds = self._num_seeds()
            runs = [
                run
                for arm, unit in self.units.items()
                for run in self._replicates(arm, num_seeds[unit.condition])
            ]
            phase = "replicate"
        samples = self.study.measure.samples
        if not runs:
            return []
        template = Plan(
            (runs[0],),
            objective=self.study.measure.objective,
            read_test=phase == "replicate",
            keep_models=phase == "replicate" and self.study.measure.models == "replicates",
            samples=SampleRequest(
                samples.prefixes,
                samples.length,
                samples.temperature,
                samples.every if phase == "replicate" else None,
            ),
            cell_files=self.study.cell_files,
            checkpoint_folder=str(self.places.checkpoints(self.study.name)),
        )
        return executor.cut(runs, template)

    def settle(self) -> None:
        """Tells Optuna of a round's trials, in number order, once all have ended: also those before
        a crash.
        """
        for arm, own in self.searches.items():
            asked = own.running()
            if all((arm, "trial", trial.number) in self.books.ends for trial in asked):
                for trial in asked:
                    state, nats = self.books.ends[arm, "trial", trial.number]
                    own.tell(trial.number, state, nats)

    def _trials(self, arm: str) -> list[Run]:
        own = self.searches[arm]
        return [
            Run(
                id_of(arm, "trial", trial.number),
                (own.tune.search_seed, "trial", trial.number),
                replace(self.settings[arm], **trial.values),
            )
            for trial in own.ask()
            if (arm, "trial", trial.number) not in self.books.ends
        ]

    def chosen(self, arm: str) -> Settings | None:
        """Returns the settings that the arm's replicates train with, None while there are none to
        be had.
        """
        if arm not in self.searches:
            return self.settings[arm]
        best = self.searches[arm].best()
        return None if best is None else replace(self.settings[arm], **best.values)

    def _seed(self, arm: str, index: int) -> tuple[Name, ...]:
        """Returns the names that replicate ``index`` draws from: the same for all arms, fresh in
        every repeat.
        """
        seed, repeat = self.study.replicate.first_seed + index, self.units[arm].repeat
        return (seed, "repeat", repeat) if repeat else (seed,)

    def _replicates(self, arm: str, num_seeds: int) -> list[Run]:
        settings = self.chosen(arm)
        if settings is None or self.given_up(arm):
            return []
        return [
            Run(id_of(arm, "replicate", j), self._seed(arm, j), settings)
            for j in range(num_seeds)
            if (arm, "replicate", j) not in self.books.ends
        ]

    def given_up(self, arm: str) -> bool:
        """Returns whether the arm's last replicates failed, so many in a row that it is no
        accident.
        """
        ends = sorted(
            (i, state)
            for (a, phase, i), (state, _) in self.books.ends.items()
            if (a, phase) == (arm, "replicate")
        )
        last = [state for _, state in ends[-tuning.FAILURES_IN_A_ROW :]]
        return last == ["failed"] * tuning.FAILURES_IN_A_ROW

    def _num_seeds(self) -> dict[str, int]:
        """Returns how many seeds every condition takes: as many as the study says, or as its first
        stage asks for.
        """
        if self.study.replicate.until is None:
            return dict.fromkeys(self.study.conditions, self.study.replicate.seeds)
        runs = self.tracker.runs()
        return {
            name: arm_results.num_seeds(self.study.under(name), runs[runs["condition"] == name])
            for name in self.study.conditions
        }

    def _supersede(self) -> None:
        """Puts replicates of another setting aside: more trials may have found a better one."""
        if not self.searches:
            return
        chosen = {arm: self.chosen(arm) for arm in self.settings}
        count = 0
        for row in self.tracker.runs().to_dict("records"):
            arm = str(Unit(row["arm"], row["condition"], row["repeat"]))
            settings = chosen.get(arm)
            if row["phase"] != "replicate" or settings is None:
                continue
            if any(
                row["params"].get(name) != getattr(settings, name)
                for name in self.searches[arm].tune.space
            ):
                self.tracker.supersede(arm, "replicate", row["index"])
                self.books.ends.pop((arm, "replicate", row["index"]), None)
                count += 1
        if count:
            self.tracker.set_note("timed", "")  # what was timed is of other settings
            self.display.say(f"more trials chose another setting; {count} replicates are put aside")

    # What the books ask

    def _entry(self, place: Place) -> Entry:
        arm, phase, index = place
        tags = {"mlflow.source.name": f"harness {self.study.name}"}
        tags |= {"overrides": " ".join(self.study.overrides)} if self.study.overrides else {}
        if phase == "trial":
            own = self.searches[arm]
            trial = next(t for t in own.trials() if t.number == index)
            settings = replace(self.settings[arm], **trial.params)
            seed, label = f"{own.tune.search_seed}/trial/{index}", f"{arm} trial {index}"
        else:
            chosen = self.chosen(arm)
            assert chosen is not None
            settings, seed = chosen, "/".join(map(str, self._seed(arm, index)))
            label = f"{arm} seed {seed}"
            if arm in self.searches and (best := self.searches[arm].best()) is not None:
                tags["chosen_trial"] = str(best.number)
        return Entry(settings, seed, label, tags, self.datasets[_arm_of(self.units[arm])])

    def _point(self, place: Place, step: int, nats: float) -> bool:
        arm, phase, index = place
        return phase == "trial" and self.searches[arm].report(index, step, nats)

    # Training

    def train(self, plans: Iterable[Plan]) -> None:
        """Trains packs in this process and books what they say."""
        plans = list(plans)
        begun, before = time.monotonic(), self.book_seconds
        places = [place_of(run.id) for plan in plans for run in plan.runs]
        phase, arms = places[0][1], {_arm_of(self.units[key]) for key, _, _ in places}
        title = f"{len(places)} {phase}{'s' if len(places) > 1 else ''} of {len(arms)} arm{'s' if len(arms) > 1 else ''}"
        self.display.begin(title, sum(self._num_updates(plan) for plan in plans))
        try:
            for plan in plans:
                executor.execute(plan, self.listen)
        finally:
            with signals.held():
                self.tracker.flush()
            self.display.end()
            self.train_seconds += time.monotonic() - begun - (self.book_seconds - before)

    @signals.held()
    def listen(self, records: list[Record]) -> set[str]:
        """Books records and returns the runs to prune; what has ended needs its checkpoint no
        more.
        """
        pruned = self.books.listen(records)
        for record in records:
            if record.kind == "end":
                ended = Run(record.run, (), next(iter(self.settings.values())))
                checkpoint.remove(self.places.checkpoints(self.study.name), ended)
        return pruned

    def _num_updates(self, plan: Plan) -> int:
        """Returns the updates of all runs of a plan: for the bar.

        Runs that cannot begin have none.
        """
        settings = plan.settings
        unit = self.units[place_of(plan.runs[0].id)[0]]
        train = self.datasets[_arm_of(unit)].splits["train"]
        try:
            updates_per_epoch = data.windows(settings, len(train)).updates_per_epoch
        except data.DataError:
            return 0
        tokens_per_update = settings.batch_size * settings.bptt_length
        return len(plan.runs) * settings.budget.num_updates(
            updates_per_epoch=updates_per_epoch, tokens_per_update=tokens_per_update
        )

    @property
    def book_seconds(self) -> float:
        """Seconds spent on MLflow and Optuna so far."""
        return self.tracker.seconds + sum(own.seconds for own in self.searches.values())

    # Runtime and the end

    def timing_plans(self) -> dict[str, list[Plan]]:
        """Returns what the runtime phase still has to measure: a pack of 1 and one of the study's
        size of every arm.

        Nothing where all arms have been measured together at the settings that are now chosen.
        """
        phase = self.study.measure.runtime
        chosen = {
            arm: settings
            for arm in self.first_repeat()
            if (settings := self.chosen(arm)) is not None
        }
        if phase is None or not chosen or self.tracker.note("timed") == self._timed_digest():
            return {}
        return {
            arm: [
                probe.pack_of(self.study, arm, settings, size)
                for size in sorted({1, probe.study_pack_size(self.study, settings)})
            ]
            for arm, settings in chosen.items()
        }

    def first_repeat(self) -> list[str]:
        """Returns the units of the first repeat: an arm is timed once, at the settings that its
        first search chose.
        """
        return [key for key, unit in self.units.items() if unit.repeat == 0]

    def _timed_digest(self) -> str:
        """Returns what timings must agree in to stand: the phase, and every arm's settings."""
        phase = self.study.measure.runtime
        chosen = {
            arm: None if (own := self.chosen(arm)) is None else to_dict(own)
            for arm in self.first_repeat()
        }
        asked = None if phase is None else asdict(phase)
        return hashlib.sha256(json.dumps([asked, chosen], sort_keys=True).encode()).hexdigest()

    def measure(self) -> None:
        """Runs the runtime phase, all arms in turn, where it has not been run for all of them."""
        plans, phase = self.timing_plans(), self.study.measure.runtime
        if not plans or phase is None:
            return
        begun = time.monotonic()
        repeats = sum(len(sizes) for sizes in plans.values()) * phase.rounds * len(runtime.MODES)
        self.display.begin("runtime", repeats)
        rows = []
        try:
            for measurement in runtime.measure(plans, rounds=phase.rounds, seconds=phase.seconds):
                rows.append(measurement)
                rate = f"{measurement.tokens_per_second:,.0f} tokens/s"
                self.display.advance(
                    1, f"{measurement.arm}, {measurement.mode}, pack {measurement.pack}: {rate}"
                )
        finally:
            self.display.end()
            self.timing_seconds += time.monotonic() - begun
        self.store_timings(rows)

    @signals.held()
    def store_timings(self, rows: list[runtime.Measurement]) -> None:
        """Books the runtime phase, whole."""
        self.tracker.store_timings(pd.DataFrame([asdict(row) for row in rows]))
        self.tracker.set_note("timed", self._timed_digest())

    def report(self) -> Report:
        """Returns the report of the study as far as it has come."""
        own = self.tracker
        own.set_note("warnings", "\n".join(self.warnings()))
        return build_report(
            self.study, own.runs(), own.curves(), own.timings(), warnings_of(self.study, own)
        )

    def warnings(self) -> list[str]:
        """Returns what the search has to say beside the verdict."""
        done: dict[str, list[tuning.ArmSearch]] = {}
        for arm, own in self.searches.items():
            done.setdefault(_arm_of(self.units[arm]), []).extend([own] if own.done else [])
        found = [line for own in done.values() for line in tuning.warnings(own)]
        for arm, own in self.searches.items():
            best = own.best() if own.done else None
            if (
                best is not None
                and self.books.ends.get((arm, "trial", best.number), ("",))[0] == "diverged"
            ):
                found.append(
                    f"{arm}: all of its trials diverged; its replicates train as the first of them did."
                )
        given_up = [arm for arm in self.settings if self.given_up(arm)]
        found += [
            f"{arm}: stopped after {tuning.FAILURES_IN_A_ROW} failed replicates in a row."
            for arm in given_up
        ]
        return [*self.notes, *found]

    def close_books(self, made: Report) -> None:
        """Writes each arm's summary and the verdict where the UI shows them first, and clears what
        is not needed.

        The report's files are with the first baseline's own run: an experiment has no place for
        files. A report that says what the last one said is not written again.
        """
        digest = hashlib.sha256((made.csv() + made.note()).encode()).hexdigest()
        if self.tracker.note("reported") != digest:
            self._book_report(made)
            self.tracker.set_note("reported", digest)
        if not made.missing:
            looks = {*json.loads(self.tracker.note("looks") or "[]"), probe.num_pairs(self.study)}
            self.tracker.set_note("looks", json.dumps(sorted(looks)))
            shutil.rmtree(self.places.checkpoints(self.study.name), ignore_errors=True)

    @signals.held()
    def _book_report(self, made: Report) -> None:
        for row in made.table.to_dict("records"):
            numbers = {
                str(k): float(v) for k, v in row.items() if isinstance(v, Real) and math.isfinite(v)
            }
            arm = str(Unit(row["arm"], row["condition"]))
            files = made.files(png=False) if arm == self.study.baseline.key else {}
            self.tracker.summary(arm, numbers, artifacts=files)
        self.tracker.describe(made.note())
        measure, tuned = self.study.measure, self.study.tune.space if self.study.tune else ()
        for each in views.of_study(
            self.study.units, measure.objective, tuned, measure.runtime is not None
        ):
            self.tracker.set_view(each)


def _arm_of(unit: Unit) -> str:
    """Returns the key of an arm under its condition, whatever the repeat."""
    return str(unit._replace(repeat=0))


def warnings_of(study: Study, tracker: tracker.Tracker) -> list[str]:
    """Returns what the books have to say beside a study's verdict: the search's warnings, and the
    study's growth.
    """
    return [*(tracker.note("warnings") or "").splitlines(), *_extensions(study, tracker)]


def _extensions(study: Study, tracker: tracker.Tracker) -> list[str]:
    """Returns where pairs were added after a verdict was seen, which no fixed number of pairs
    allows for.
    """
    pairs = probe.num_pairs(study)
    grown = [count for count in json.loads(tracker.note("looks") or "[]") if count < pairs]
    if not grown or study.replicate.until is not None:
        return []
    seen = f"{', '.join(map(str, grown))} of its {pairs} pairs"
    return [
        f"a verdict was seen at {seen}; p and intervals are not adjusted for that. Plan seeds by stages."
    ]


def check_identity(study: Study, tracker: tracker.Tracker, places: Places) -> None:
    """Raises IdentityError where the books hold a study of this name that is something else."""
    old = tracker.identity()
    changes = [] if old is None else study.changes_since(old)
    if changes:
        raise IdentityError(_differs(study, places, changes))


def _differs(study: Study, places: Places, changes: list[str]) -> str:
    return (
        f"study: {study.name!r} in {places.tracking_uri} must be this study, but differs:\n"
        + "\n".join(f"  {change}" for change in changes)
        + "\nRename the study, or run it with --new to put the old one aside and start afresh."
    )


def build_report(
    study: Study,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    timings: pd.DataFrame,
    warnings: list[str],
) -> Report:
    """Returns the report from the books, or from their export: of the values that were tuned, and
    no others.
    """
    parts = {name: study.under(name) for name in study.conditions}
    fields = {name: list(part.tune.space) if part.tune else [] for name, part in parts.items()}
    pairs = zip(runs["condition"], runs["params"], strict=True)
    tuned = [
        {field: params[field] for field in fields.get(name, ()) if field in params}
        for name, params in pairs
    ]
    runs = runs.assign(params=pd.Series(tuned, index=runs.index, dtype=object))
    importances = {
        name: tuning.importances(part, runs[runs["condition"] == name])
        for name, part in parts.items()
    }
    return build(study, runs, curves, timings, warnings, importances)
