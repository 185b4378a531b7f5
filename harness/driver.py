"""The driver of a study: what is missing, who trains it, and the books. One driver a study writes; workers compute.

Everything that happened lives in Optuna's storage and in MLflow, so a driver that starts asks these what is missing
and does that: after a crash, after an interruption, and when a finished study is run again.
"""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from harness import checkpoint, data, executor, pilot, runtime, search, track
from harness.places import Places
from harness.plan import Plan, Record, Run
from harness.progress import Display
from harness.report import Report, build
from harness.settings import Settings, to_dict
from harness.study import Study
from harness.tasks import Samples

TAGS = ("cell", "engine", "device", "precision", "threads", "pack_size", "git_commit", "git_dirty")


class IdentityError(ValueError):
    """A study of the same name is something else."""


@dataclass
class _Booking:
    """A run in training: where it belongs, its MLflow run, the rows of its curve."""

    arm: str
    phase: str
    index: int
    run_id: str
    curve: list[dict[str, float]]
    begun: float


class Driver:
    """Knows what a study still lacks, hands out plans, and books what comes back."""

    def __init__(self, study: Study, places: Places, display: Display):
        """Opens the books.

        Raises:
            ValueError: A store cannot be used, or an arm's cell, engine or device is not to be had.
            IdentityError: The study of this name in the books is something else.
        """
        self.study, self.places, self.display = study, places, display
        self.train_seconds = self.timing_seconds = 0.0
        self.settings, self.notes = pilot.resolve(study)
        self.tracker = track.Tracker(places.tracking_uri, study.name, places.artifacts)
        self._check_identity()
        self._convert_seconds()
        storage = search.open_storage(places.storage_url) if study.tune else None
        self.searches = {arm.name: self._search(arm.name, storage) for arm in study.arms} if storage else {}
        self._bookings: dict[str, _Booking] = {}
        self._ends: dict[tuple[str, str, int], tuple[str, float]] = {}
        for row in self.tracker.runs().to_dict("records"):
            if row["state"] not in ("running", "killed"):
                self._ends[row["arm"], row["phase"], row["index"]] = (row["state"], row["objective"])

    def _check_identity(self) -> None:
        old = self.tracker.identity()
        if old is not None:
            changes = self.study.changes_since(old)
            if changes:
                raise IdentityError(
                    f"study: {self.study.name!r} in {self.places.tracking_uri} must be this study, but differs:\n"
                    + "\n".join(f"  {change}" for change in changes)
                    + "\nRename the study, or give --new to put the old one aside and start afresh."
                )
        self.tracker.set_identity(self.study.identity())
        self.tracker.study_file(self.study.text, "study.yaml")

    def _convert_seconds(self) -> None:
        """Turns budgets in seconds into updates: measured once, kept with the experiment, and said."""
        for arm, settings in self.settings.items():
            if settings.budget.seconds is None:
                continue
            known = self.tracker.note(f"updates.{arm}")
            if known is None:
                tuned = replace(settings, **pilot.first_values(self.study))
                known = str(pilot.seconds_to_updates(self.study, arm, tuned).budget.updates)
                self.tracker.set_note(f"updates.{arm}", known)
            self.display.say(f"{arm}: {settings.budget.seconds:g} s are {known} updates of a run alone")
            self.settings[arm] = replace(settings, budget=replace(settings.budget, seconds=None, updates=int(known)))

    def _search(self, arm: str, storage: Any) -> search.ArmSearch:
        """Opens the arm's search; its name holds the experiment's birth, so that a new experiment searches anew."""
        name = f"{self.study.name}/{arm}/{self.tracker.birth}"
        evaluations = self.settings[arm].evaluations
        num_points = evaluations if isinstance(evaluations, int) else 20
        assert self.study.tune is not None
        return search.ArmSearch(storage, name, arm, self.study.tune, num_points)

    # What is missing

    def next_plans(self) -> list[Plan]:
        """Returns the next packs: a round of trials of every arm that still searches, else the missing replicates."""
        self.settle()
        runs = [run for arm in self.searches for run in self._trials(arm)]
        phase = "trial"
        if not runs:
            runs, phase = [run for arm in self.settings for run in self._replicates(arm)], "replicate"
        samples = self.study.measure.samples
        if not runs:
            return []
        template = Plan(
            (runs[0],),
            objective=self.study.measure.objective,
            read_test=phase == "replicate",
            samples=Samples(samples.prefixes, samples.length, samples.temperature),
            cell_files=self.study.cell_files,
            checkpoint_folder=str(self.places.checkpoints(self.study.name)),
        )
        return executor.cut(runs, template)

    def settle(self) -> None:
        """Tells Optuna of a round's trials, in number order, once all have ended: also those before a crash."""
        for arm, own in self.searches.items():
            asked = own.running()
            if all((arm, "trial", trial.number) in self._ends for trial in asked):
                for trial in asked:
                    state, nats = self._ends[arm, "trial", trial.number]
                    own.tell(trial.number, state, nats)

    def _trials(self, arm: str) -> list[Run]:
        assert self.study.tune is not None
        search_seed = self.study.tune.search_seed
        return [
            Run(
                f"{arm}/trial/{trial.number}",
                (search_seed, "trial", trial.number),
                replace(self.settings[arm], **trial.values),
            )
            for trial in self.searches[arm].ask()
            if (arm, "trial", trial.number) not in self._ends
        ]

    def chosen(self, arm: str) -> Settings | None:
        """Returns the settings that the arm's replicates train with, None while there are none to be had."""
        if arm not in self.searches:
            return self.settings[arm]
        best = self.searches[arm].best()
        return None if best is None else replace(self.settings[arm], **best.values)

    def _replicates(self, arm: str) -> list[Run]:
        settings = self.chosen(arm)
        if settings is None:
            return []
        self._supersede(arm, settings)
        first = self.study.replicate.first_seed
        return [
            Run(f"{arm}/replicate/{j}", (first + j,), settings)
            for j in range(self.study.replicate.seeds)
            if (arm, "replicate", j) not in self._ends
        ]

    def _supersede(self, arm: str, settings: Settings) -> None:
        """Puts replicates of another setting aside: more trials may have found a better one."""
        fields = self.study.tune.space if self.study.tune else {}
        stale = []
        for row in self.tracker.runs().to_dict("records"):
            if row["arm"] == arm and row["phase"] == "replicate":
                if any(row["params"].get(field) != getattr(settings, field) for field in fields):
                    stale.append(row["index"])
        for index in stale:
            self.tracker.supersede(arm, "replicate", index)
            self._ends.pop((arm, "replicate", index), None)
        if stale:
            self.display.say(f"{arm}: more trials chose another setting; {len(stale)} replicates are put aside")

    # Training

    def train(self, plans: Iterable[Plan]) -> None:
        """Trains packs in this process and books what they say."""
        plans = list(plans)
        begun, before = time.monotonic(), self.book_seconds
        phases = {run.id.split("/")[-2] for plan in plans for run in plan.runs}
        arms = {run.id.rsplit("/", 2)[0] for plan in plans for run in plan.runs}
        count = sum(len(plan.runs) for plan in plans)
        title = f"{count} {' and '.join(sorted(phases))}{'s' if count > 1 else ''} of {len(arms)} arms"
        self.display.begin(title, sum(self._num_updates(plan) for plan in plans))
        try:
            for plan in plans:
                executor.execute(plan, self.listen)
        finally:
            self.tracker.flush()
            self.display.end()
            self.train_seconds += time.monotonic() - begun - (self.book_seconds - before)

    def _num_updates(self, plan: Plan) -> int:
        """Returns the updates of all runs of a plan: for the bar."""
        settings = plan.settings
        windows = data.windows(settings, len(data.load(settings).splits["train"]))
        per_update = settings.batch_size * settings.bptt_length
        budget = settings.budget
        return len(plan.runs) * budget.num_updates(
            updates_per_epoch=windows.updates_per_epoch, tokens_per_update=per_update
        )

    @property
    def book_seconds(self) -> float:
        """Seconds spent on MLflow and Optuna so far."""
        return self.tracker.seconds + sum(own.seconds for own in self.searches.values())

    def listen(self, records: list[Record]) -> set[str]:
        """Books records and returns the runs to prune."""
        pruned = set()
        for record in records:
            if record.kind == "start":
                self._start(record)
            elif record.kind == "evaluation":
                if self._evaluation(record):
                    pruned.add(record.run)
            else:
                self._end(record)
        return pruned

    def _start(self, record: Record) -> None:
        arm, phase, text = record.run.rsplit("/", 2)
        index = int(text)
        settings, seed = self._run_of(arm, phase, index)
        tags: dict[str, Any] = {name: record.info[name] for name in TAGS}
        tags |= {key: value for key, value in record.info.items() if key.startswith(("version_", "device_name"))}
        tags |= {"seed": seed, "corpus_fingerprint": record.info["corpus_fingerprint"]}
        tags |= {
            "mlflow.source.git.commit": record.info["git_commit"],
            "mlflow.source.name": f"harness {self.study.name}",
        }
        tags |= {"overrides": " ".join(self.study.overrides)} if self.study.overrides else {}
        notes = [*self.notes, *record.info["notes"]]
        tags |= {"notes": "\n".join(notes)} if notes else {}
        if phase == "replicate" and arm in self.searches:
            best = self.searches[arm].best()
            tags["chosen_trial"] = "" if best is None else best.number
        sizes = {k: record.info[k] for k in ("num_parameters", "num_states", "flops_per_token", "num_updates")}
        params = {**_flat(settings), "hidden_size": record.info["hidden_size"]}
        label = f"{arm} trial {index}" if phase == "trial" else f"{arm} seed {seed}"
        run_id = self.tracker.open(arm, phase, index, label, params, {**tags, **sizes})
        dataset = data.load(settings)
        self.tracker.dataset(run_id, dataset.name, dataset.fingerprint, dataset.source)
        for note in record.info["notes"]:
            self.display.say(note, "yellow")
        self._bookings[record.run] = _Booking(arm, phase, index, run_id, [], record.time)

    def _run_of(self, arm: str, phase: str, index: int) -> tuple[Settings, Any]:
        """Returns a run's settings and its seed as it is shown."""
        if phase == "trial":
            assert self.study.tune is not None
            trial = next(t for t in self.searches[arm].trials() if t.number == index)
            seed = f"{self.study.tune.search_seed}/trial/{index}"
            return replace(self.settings[arm], **trial.params), seed
        settings = self.chosen(arm)
        assert settings is not None
        return settings, self.study.replicate.first_seed + index

    def _evaluation(self, record: Record) -> bool:
        """Books a point of a curve and returns whether the run should be pruned."""
        booking = self._bookings[record.run]
        previous = booking.curve[-1]["update"] if booking.curve else 0
        seconds = record.time - booking.begun
        row = {"update": float(record.update), "tokens": record.metrics["tokens"], "time_seconds": seconds}
        row |= {key: value for key, value in record.metrics.items() if key in ("train/loss", "validation/loss")}
        booking.curve.append(row)
        self.tracker.log(booking.run_id, record.update, record.metrics, record.time)
        split = self.study.measure.objective.partition("/")[0]
        rate = record.metrics["tokens_per_second"]
        text = f"{record.run} perplexity {record.metrics[f'{split}/perplexity']:.3f}, {rate:,.0f} tokens/s a run"
        self.display.advance(int(record.update - previous), text)
        if booking.phase != "trial":
            return False
        step = len(booking.curve)
        return self.searches[booking.arm].report(booking.index, step, record.metrics[f"{split}/loss"])

    def _end(self, record: Record) -> None:
        booking, state = self._bookings.pop(record.run), record.info["state"]
        metrics = {k: v for k, v in record.metrics.items() if math.isfinite(v)}
        metrics["seconds"] = record.time - booking.begun
        if booking.curve:
            metrics["tokens"] = booking.curve[-1]["tokens"]
        tags = {k: str(v) for k, v in record.info.items() if k in ("message", "diverged_at", "last_loss")}
        artifacts: dict[str, str | bytes] = {"curve.csv": pd.DataFrame(booking.curve).to_csv(index=False)}
        self.tracker.end(booking.run_id, state, tags, metrics, artifacts, record.info.get("samples", ()))
        self._ends[booking.arm, booking.phase, booking.index] = (state, record.metrics.get("objective", math.nan))
        if state in ("diverged", "failed"):
            self.display.say(f"{record.run}: {state}, {record.info['message']}", "yellow")
        ended = Run(record.run, (), self.settings[booking.arm])
        checkpoint.remove(self.places.checkpoints(self.study.name), ended)

    # Runtime and the end

    def timing_plans(self) -> dict[str, list[Plan]]:
        """Returns what the runtime phase still has to measure: a pack of 1 and one of the study's size of every arm."""
        phase = self.study.measure.runtime
        chosen = {arm: settings for arm in self.settings if (settings := self.chosen(arm)) is not None}
        if phase is None or not chosen:
            return {}
        known = self.tracker.timings()
        done = known.groupby("arm")["round"].nunique().to_dict()
        if all(arm in done and done[arm] >= phase.rounds for arm in chosen):
            return {}
        return {
            arm: [
                pilot.pack_of(self.study, arm, settings, size)
                for size in sorted({1, pilot.study_pack_size(self.study, settings)})
            ]
            for arm, settings in chosen.items()
        }

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
                self.display.advance(1, f"{measurement.arm}, {measurement.mode}, pack {measurement.pack}: {rate}")
        finally:
            self.display.end()
            self.timing_seconds += time.monotonic() - begun
        self.store_timings(rows)

    def store_timings(self, rows: list[runtime.Measurement]) -> None:
        """Books the runtime phase, whole."""
        self.tracker.store_timings(pd.DataFrame([asdict(row) for row in rows]))

    def report(self) -> Report:
        """Returns the report of the study as far as it has come."""
        warnings = self.warnings()
        self.tracker.set_note("warnings", "\n".join(warnings))
        return build_report(self.study, self.tracker, warnings)

    def warnings(self) -> list[str]:
        """Returns what the search has to say beside the verdict."""
        found = [line for own in self.searches.values() if own.done for line in own.warnings()]
        return [*self.notes, *found]

    def close_books(self, made: Report) -> None:
        """Writes each arm's summary and the verdict where the UI shows them first."""
        table = made.table.set_index("arm")
        for arm in self.settings:
            row = table.loc[arm]
            numbers = {str(k): float(v) for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
            self.tracker.summary(arm, numbers, artifacts={"report.html": made.html(), "report.md": made.markdown()})
        self.tracker.describe(made.note())


def build_report(study: Study, tracker: track.Tracker, warnings: list[str]) -> Report:
    """Returns the report from the books: of the values that were tuned, and no others."""
    runs = tracker.runs()
    fields = list(study.tune.space) if study.tune else []
    tuned = [{field: params[field] for field in fields if field in params} for params in runs["params"]]
    runs["params"] = pd.Series(tuned, index=runs.index, dtype=object)
    return build(study, runs, tracker.curves(), tracker.timings(), warnings)


def _flat(settings: Settings) -> dict[str, Any]:
    """Returns settings as parameters that read well in a table."""
    values = to_dict(settings)
    budget = {k: v for k, v in values.pop("budget").items() if v is not None}
    return {**{k: v for k, v in values.items() if v is not None}, "budget": json.dumps(budget)}
