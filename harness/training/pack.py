"""A pack in, a stream of records out. Plain arguments: knows no YAML, no Optuna, no MLflow."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

import cells
from harness import provenance, timing
from harness.engine import Parameters
from harness.model import network
from harness.model.architecture import architecture
from harness.settings import Settings
from harness.tasks.objective import loss_of, objective_of, split_of
from harness.tasks.registry import task_of
from harness.tasks.task import Task
from harness.training import checkpoint, saved_model, state_measurement
from harness.training.execution import out_of_memory, resolve_device, resolve_engine
from harness.training.fields import Sample
from harness.training.forecast_file import forecast_csv
from harness.training.messages import (
    Evaluation,
    Message,
    RunEnded,
    RunStarted,
    RunState,
    error_text,
    message_from_json,
)
from harness.training.patience import is_early_end, waits
from harness.training.plan import Plan, PlanError, Run
from harness.training.saved_model import Interface, SavedModel
from harness.training.shard import Progress, Shard
from harness.training.state_statistics import StateStatistics
from harness.training.threads import Threads

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints of a run, which are written at evaluation points; a short run
writes none.
"""

Result = TypeVar("Result")
Member = tuple[Run, checkpoint.Checkpoint | None]
"""A run, and where its checkpoint left it."""


@dataclass
class Standing:
    """A shard at an evaluation point.

    ``tests``, ``forecasts`` and ``states`` are there only where a run ends, and ``samples`` there
    and on demand.

    Attributes:
        progress: What it did since the last point.
        validation: The means of every run's evaluation on the validation split.
        ending: Which of its runs end here: their budget is spent, or their patience.
        tests: Likewise on every test split.
        samples: What its runs wrote.
        states: What their states are like.
        forecasts: What they forecast of the test split.
    """

    progress: Progress
    validation: list[list[float]] | None
    ending: list[bool]
    tests: dict[str, list[list[float]]] = field(default_factory=dict)
    samples: list[list[Sample]] = field(default_factory=list)
    states: list[StateStatistics | None] | None = None
    forecasts: list[str | None] | None = None


@dataclass(frozen=True)
class Turn:
    """A shard's way to its next evaluation point.

    Attributes:
        began: When, in Unix seconds.
        trained: When its training had ended, by the monotonic clock.
        standing: Where it stands; or what it raised, so that an exception ends the runs of its own
            shard alone.
    """

    began: float
    trained: float
    standing: Standing | Exception


class Pack:
    """Runs in training.

    ``turn`` trains a shard to its next evaluation point, on any thread; ``take`` then says where
    its runs stand. Runs may be dropped between the two calls for their shard's next turn.
    """

    def __init__(self, plan: Plan, pool: Threads | None = None):
        """Draws the weights, or takes the runs up where their checkpoints left them.

        Args:
            plan: What to train.
            pool: Threads that several packs share, as :func:`shard_threads` makes them; None: the
                pack has its own.

        Raises:
            ValueError: The plan cannot be trained; one of INPUT_ERRORS.
        """
        self.plan = plan
        for path in plan.cell_files:
            cells.load_file(path)
        settings = plan.settings
        self.device = torch.device(resolve_device(settings.device))
        self.engine, notes = resolve_engine(settings, self.device.type)
        self.notes = tuple(notes)
        timing.reset_peak_memory(self.device)
        self.task = task_of(settings, self.device, plan.objective)
        _check_text(plan, self.task)
        _check_held_out(plan, self.task)
        _check_directions(plan)
        self._objective_key = objective_key(plan, self.task)
        self._objective = objective_of(plan.objective)
        self.task.check(plan.samples)
        arch = architecture(
            settings, self.task.num_inputs, self.task.num_outputs, self.task.reads_tokens
        )
        self.num_updates = settings.budget.num_updates(
            updates_per_epoch=self.task.updates_per_epoch,
            tokens_per_update=self.task.targets_per_update,
        )
        self.points = evaluation_points(settings, self.num_updates, self.task.updates_per_epoch)
        self.threads = threads_of(settings)
        if self.device.type == "cpu":
            timing.keep_freed_memory()
        # A GPU works for one shard at a time anyhow, and while one is recorded no other may touch
        # it.
        self.most_threads = self.threads if self.device.type == "cpu" else 1
        self.model = network.Model(arch, self.engine)
        self._own_pool = shard_threads(self.most_threads) if pool is None else None
        self._pool = pool or self._own_pool
        self._history: dict[str, list[Evaluation]] = {run.id: [] for run in plan.runs}
        self._seconds_before = {run.id: 0.0 for run in plan.runs}
        self.shards = self._make_shards(list(plan.runs))
        self._untold = {run_id: list(told) for run_id, told in self._history.items()}
        self._begun = time.monotonic()
        self._saved = dict.fromkeys(self._history, self._begun)
        self._last = dict.fromkeys(self._history, self._begun)  # when a run came to its last point

    @property
    def running(self) -> list[str]:
        """The ids of the runs that still train."""
        return [run.id for shard in self.shards for run in shard.runs]

    def _make_shards(self, runs: list[Run]) -> list[Shard]:
        """Returns shards whose runs stand at the same update; on a CPU each run has its own."""
        groups: dict[object, list[Member]] = {}
        for position, run in enumerate(runs):
            stored = None
            if self.plan.checkpoint_folder is not None:
                folder = self.plan.checkpoint_folder
                stored, note = checkpoint.load(folder, run, self.task.fingerprint)
                self.notes += (note,) if note else ()
            update = 0 if stored is None else stored.update
            group = position if self.device.type == "cpu" else update
            groups.setdefault(group, []).append((run, stored))
        made = self._each(self._make_shards_of, list(groups.values()))
        self.notes += tuple(note for _, notes in made for note in notes)
        return [shard for shards, _ in made for shard in shards]

    def _make_shards_of(self, members: list[Member]) -> tuple[list[Shard], list[str]]:
        """Returns the shard of runs that stand at one update, and what is said of some.

        Runs whose checkpoints cannot be gone on from have a shard of their own, and begin anew.
        """
        runs = [run for run, _ in members]
        shard = Shard(runs, self.task, self.model, self.num_updates, self.device)
        unfit = [
            run
            for index, (run, stored) in enumerate(members)
            if stored is not None and not self._restore(shard, index, stored)
        ]
        if not unfit:
            return [shard], []
        fit: list[Member] = [member for member in members if member[0] not in unfit]
        anew: list[Member] = [(run, None) for run in unfit]
        shards = [shard for part in (fit, anew) if part for shard in self._make_shards_of(part)[0]]
        return shards, [checkpoint.unfit(run) for run in unfit]

    def _restore(self, shard: Shard, index: int, stored: checkpoint.Checkpoint) -> bool:
        """Takes a run up where its checkpoint left it; returns whether that could be done."""
        run, values = shard.runs[index], stored.values
        fresh = shard.snapshot(index).arrays
        if stored.update > self.num_updates or _forms(fresh) != _forms(stored.arrays):
            return False
        try:
            history = [_evaluation(line) for line in values["records"]]
            seconds = float(values["seconds"])
            shard.restore(index, stored)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        if any(each.run != run.id or each.update > stored.update for each in history):
            return False
        self._history[run.id], self._seconds_before[run.id] = history, seconds
        return True

    def _each(self, function: Callable[..., Result], *columns: list[Any]) -> list[Result]:
        assert self._pool is not None
        return list(self._pool.map(function, *columns))

    def _seconds(self, run: Run) -> float:
        """Returns the seconds since the run's pack began, and those of earlier processes."""
        return self._seconds_before[run.id] + time.monotonic() - self._begun

    def _spent(self, shard: Shard, run: Run) -> dict[str, float]:
        """Returns what a run has cost so far: part of every record but the first."""
        return {
            "tokens": float(shard.update * self.task.targets_per_update),
            "seconds": self._seconds(run),
        }

    def _start(self, run: Run, time: float) -> RunStarted:
        arch, settings = self.model.arch, run.settings
        return RunStarted(
            run=run.id,
            time=time,
            cell=settings.cell,
            engine=self.engine.name,
            device=self.device.type,
            precision=settings.precision,
            threads=self.threads,
            pack_size=len(self.plan.runs),
            hidden_size=arch.hidden_size,
            num_parameters=arch.num_parameters(),
            num_states=arch.num_states(),
            flops_per_token=arch.flops_per_token(),
            num_updates=self.num_updates,
            corpus_fingerprint=self.task.fingerprint,
            digest=checkpoint.digest(run, self.task.fingerprint),
            notes=tuple(self.notes),
            provenance=provenance.describe(self.device.type),
        )

    def groups(self) -> list[list[Shard]]:
        """Returns the shards that wait for one another at every evaluation point.

        On a CPU these are the runs that are judged together, and others wait for nobody; on an
        accelerator all shards are one group.
        """
        groups: dict[object, list[Shard]] = {}
        for shard in self.shards:
            run = shard.runs[0]
            key = (run.judged_with or shard) if self.device.type == "cpu" else self
            groups.setdefault(key, []).append(shard)
        return list(groups.values())

    def furthest_behind(self, shards: Sequence[Shard]) -> list[Shard]:
        """Returns which of a group's shards, all of which rest, go next."""
        target = min(map(self._next_point, shards))
        return [shard for shard in shards if self._next_point(shard) == target]

    def advance(self) -> list[Message]:
        """Trains the runs that are furthest behind to their next point, and says where they stand.

        All of them wait for one another, for a clock outside; :mod:`harness.training.steps` trains
        packs without that. Where nothing is left to train, there are no messages.
        """
        if not self.shards:
            return []
        going = self.furthest_behind(self.shards)
        turns = self._each(self.turn, going, [self._share(going)] * len(going))
        return self.take(self.shards, dict(zip(going, turns, strict=True)))

    def _share(self, shards: Sequence[Shard]) -> int:
        """Returns how many threads each of some shards has that train at once."""
        return max(1, self.most_threads // len(shards))

    def turn(self, shard: Shard, threads: int) -> Turn:
        """Trains a shard to its next evaluation point and evaluates it, on the calling thread.

        ``threads`` is how many may work at it, this one among them; no number depends on it.
        """
        began, trained = time.time(), time.monotonic()
        standing: Standing | Exception
        try:
            shard.use_threads(threads)
            shard.advance(self._next_point(shard))
            timing.synchronize(self.device)
            trained = time.monotonic()
            standing = Stopped() if shard.stopping else self._evaluate(shard)
        except Exception as error:
            # Its traceback would hold this frame, which holds it: a shard that did not fit in
            # memory would stay there.
            standing = error.with_traceback(None)
        return Turn(began, trained, standing)

    def remembered(self, group: Sequence[Shard]) -> list[Message]:
        """Returns the starts of a group that goes on from checkpoints, and all that these remember.

        So it is judged by its past before it goes on. There are none where nothing is remembered,
        or all is told.
        """
        if not any(self._untold.get(run.id) for shard in group for run in shard.runs):
            return []
        return self._beginnings(group, time.time())

    def _beginnings(self, group: Sequence[Shard], began: float) -> list[Message]:
        """Returns what was not told yet of how the runs of a group begin."""
        runs = [run for shard in group for run in shard.runs if run.id in self._untold]
        starts: list[Message] = [self._start(run, began) for run in runs]
        return [*starts, *(message for run in runs for message in self._untold.pop(run.id))]

    def take(self, group: Sequence[Shard], turns: Mapping[Shard, Turn]) -> list[Message]:
        """Returns what there is to say after the turns of some shards of a group.

        That is first how each of the group's runs begins, which tells what its first turn noted. A
        run whose training raised ends as failed.
        """
        notes = self._gather_notes(list(turns))
        beginnings = self._beginnings(group, min(turn.began for turn in turns.values()))
        messages: list[Message] = []
        for shard, turn in turns.items():
            if isinstance(turn.standing, Exception):
                messages += self._fail(shard, turn.standing)
            else:
                messages += self._report(shard, turn.standing, turn.trained, notes)
                messages += self._finish(shard, turn.standing)
                if shard in self.shards:  # what has ended would train on from a checkpoint
                    self._save_if_due(shard)
        return [*beginnings, *messages]

    def _gather_notes(self, shards: list[Shard]) -> tuple[str, ...]:
        """Returns what is noted for the first time."""
        noted = dict.fromkeys(note for shard in shards for note in shard.notes)
        fresh = tuple(note for note in noted if note not in self.notes)
        self.notes += fresh
        return fresh

    def _next_point(self, shard: Shard) -> int:
        """Returns the next point; the last one again for runs that had only to finish."""
        return next((point for point in self.points if point > shard.update), self.num_updates)

    def _evaluate(self, shard: Shard) -> Standing:
        progress = shard.progress()
        means = shard.evaluate("validation") if "validation" in self.task.splits else None
        if progress.update_seconds:  # none where a resumed run had only to finish
            criteria = [self.task.criterion(each) for each in means or []]
            if means is not None:
                shard.hear(criteria)
            if self._objective_key == "train/loss":  # the last evaluation counts, not the lowest
                shard.best_nats.fill_(torch.inf)
                shard.keep_best(progress.train_nats)
            else:
                shard.keep_best(criteria)
        is_last = shard.update == self.num_updates
        ending = [
            is_last or is_early_end(run.settings, heard)
            for run, heard in zip(shard.runs, shard.heard, strict=True)
        ]
        standing = Standing(progress, means, ending)
        if any(ending):
            if self.plan.read_test:
                standing.tests = {
                    split: shard.evaluate(split, of_best=True) for split in self.task.test_splits
                }
                if "test" in standing.tests:
                    standing.forecasts = self._forecasts(shard)
            if self.plan.states:
                standing.states = self._measure_states(shard, progress)
        request, number = self.plan.samples, self.points.index(shard.update) + 1
        is_asked = bool(request.every) and number % (request.every or 1) == 0
        standing.samples = [
            shard.samples(index, request, shard.best if is_end else shard.evaluated)
            if is_end or is_asked
            else []
            for index, is_end in enumerate(ending)
        ]
        return standing

    def _measure_states(self, shard: Shard, progress: Progress) -> list[StateStatistics | None]:
        """Returns what the states of every run are like that has not diverged."""
        return [
            state_measurement.measure(self.task, self.model, run, parameters) if bad < 0 else None
            for (run, parameters), bad in zip(_best(shard), progress.bad_update, strict=True)
        ]

    def _forecasts(self, shard: Shard) -> list[str | None]:
        """Returns what every run forecasts of the test split."""
        return [forecast_csv(self.task, self.model, *each) for each in _best(shard)]

    def _report(
        self, shard: Shard, standing: Standing, trained: float, notes: tuple[str, ...]
    ) -> list[Message]:
        """Returns where every run that has not diverged stands.

        A run's speed is its own tokens over the seconds from its last point to ``trained``: those
        in which it waited for a thread are among them.
        """
        progress = standing.progress
        if not progress.update_seconds:
            return []
        messages: list[Message] = []
        num_updates = len(progress.update_seconds)
        for index, run in enumerate(shard.runs):
            seconds, self._last[run.id] = trained - self._last[run.id], time.monotonic()
            if progress.bad_update[index] >= 0:
                continue
            metrics = self.task.training_metrics(progress.train_nats[index])
            if standing.validation is not None:
                metrics |= self.task.evaluation_metrics("validation", standing.validation[index])
            metrics |= {
                "train/gradient_norm": progress.gradient_norm[index],
                "train/clipped_fraction": progress.clipped_fraction[index],
                **self._spent(shard, run),
                "tokens_per_second": num_updates * self.task.targets_per_update / seconds,
                "update_seconds_p50": timing.quantile(progress.update_seconds, 0.5),
                "update_seconds_p90": timing.quantile(progress.update_seconds, 0.9),
                "peak_memory_bytes": float(timing.peak_memory_bytes(self.device)),
            }
            samples: tuple[Sample, ...] = ()
            if not standing.ending[index]:
                samples = tuple({**s, "update": shard.update} for s in standing.samples[index])
            evaluation = Evaluation(run.id, shard.update, time.time(), metrics, notes, samples)
            self._history[run.id].append(evaluation)
            messages.append(evaluation)
        return messages

    def _finish(self, shard: Shard, standing: Standing) -> list[Message]:
        """Ends the runs that diverged, and those whose budget or patience is spent."""
        ends: list[Message] = []
        for index in range(len(shard.runs)):
            is_broken = standing.progress.bad_update[index] >= 0
            is_end = standing.ending[index]
            if is_broken or (is_end and self._is_given_up(standing, index)):
                ends.append(self._diverged(shard, index))
            elif is_end:
                ends.append(self._finished(shard, standing, index))
        self._drop(shard, {end.run for end in ends})
        return ends

    def _is_given_up(self, standing: Standing, index: int) -> bool:
        """Returns whether version 1 calls a run diverged that ends worse than guessing.

        It keeps doing so, since a study under way must not mix two rules.
        """
        if self.plan.version != 1 or standing.validation is None:
            return False
        loss = self.task.loss(self.task.criterion(standing.validation[index]))
        return not loss <= self.task.chance_loss

    def _finished(self, shard: Shard, standing: Standing, index: int) -> RunEnded:
        """A run is worth its best evaluation; from version 2 on no less than a guess."""
        run, chance = shard.runs[index], self.task.chance_loss
        worth, best_update = self.task.loss(float(shard.best_nats[index])), shard.best_update[index]
        # Also where no evaluation was a number: training stayed finite, so nothing diverged.
        not_learned = None if self.plan.version == 1 else not worth < self.task.learned_below
        worth = chance if not_learned else worth
        metrics = {
            "objective": worth,
            "best_update": float(best_update),
            **self._spent(shard, run),
        }
        for last in self._history[run.id][-1:]:
            metrics["final/loss"] = last.metrics[self._objective_key]
        is_validated = self._objective_key == "validation/loss"
        if not_learned:
            # Anybody can guess, on data that nobody has seen too; of the model nothing is told.
            for split in (*(["validation"] if is_validated else []), *standing.tests):
                metrics |= self.task.guess(split)
        else:
            if is_validated:  # a table shows the value that selected
                metrics |= self._validation_at(run, int(best_update))
                metrics |= self.task.metrics("validation", worth)
            for split, means in standing.tests.items():
                metrics |= self.task.evaluation_metrics(split, means[index])
        return RunEnded(
            run.id,
            shard.update,
            time.time(),
            RunState.FINISHED,
            metrics,
            message=self._not_learned_message() if not_learned else None,
            not_learned=not_learned,
            samples=tuple(standing.samples[index]),
            model=self._best_model(shard, index).to_bytes() if self.plan.keep_models else None,
            states=None if standing.states is None else standing.states[index],
            forecast=None if standing.forecasts is None else standing.forecasts[index],
        )

    def _validation_at(self, run: Run, update: int) -> dict[str, float]:
        """Returns what the evaluation after an update said of the validation split."""
        said = [each.metrics for each in self._history[run.id] if each.update == update]
        return {
            name: value
            for metrics in said
            for name, value in metrics.items()
            if split_of(name) == "validation"
        }

    def _not_learned_message(self) -> str:
        chance, needed = (
            f"{loss:.3f} {self._objective.loss_unit}".rstrip()
            for loss in (self.task.chance_loss, self.task.learned_below)
        )
        guess = f"below that of guessing, {chance}"
        if self.task.learned_below < self.task.chance_loss:
            guess = f"below {needed}: guessing has {chance}, and by luck some less"
        if self._objective_key == "train/loss":  # of which the last counts, not the lowest
            return f"not learned: the last training loss was not {guess}"
        return f"not learned: no evaluation had a validation loss {guess}"

    def _best_model(self, shard: Shard, index: int) -> SavedModel:
        """Returns what one run knows at its best update."""
        return saved_model.of_run(
            shard.runs[index],
            {name: values[index] for name, values in shard.best.items()},
            vocabulary=self.task.vocabulary,
            interface=Interface(
                self.task.num_inputs,
                self.task.num_outputs,
                self.task.reads_tokens,
                dict(self.task.meaning),
            ),
            hidden_size=self.model.arch.hidden_size,
            corpus_fingerprint=self.task.fingerprint,
            cell_files=self.plan.cell_files,
        )

    def _diverged(self, shard: Shard, index: int) -> RunEnded:
        """A diverged run is worth what guessing is worth; its last finite loss is kept beside."""
        run, bad_update = shard.runs[index], int(shard.bad_update[index])
        if bad_update >= 0:
            reason, diverged_at = "loss or gradient norm not finite", bad_update
        else:
            reason, diverged_at = "final validation loss above that of guessing", shard.update
        return RunEnded(
            run.id,
            shard.update,
            time.time(),
            RunState.DIVERGED,
            {"objective": self.task.chance_loss, **self._spent(shard, run)},
            message=reason,
            diverged_at=diverged_at,
            last_loss=float(shard.last_loss[index]),
        )

    def _fail(self, shard: Shard, error: Exception) -> list[Message]:
        ends: list[Message] = [
            RunEnded(
                run.id,
                shard.update,
                time.time(),
                RunState.FAILED,
                self._spent(shard, run),
                message=error_text(error),
                out_of_memory=out_of_memory(error),
                refused=False,
            )
            for run in shard.runs
        ]
        self._drop(shard, {run.id for run in shard.runs})
        return ends

    def drop(self, run_ids: set[str]) -> list[Message]:
        """Prunes runs: they leave, the rest is repacked. Returns their ends."""
        ends: list[Message] = []
        for shard in list(self.shards):
            leaving = [run for run in shard.runs if run.id in run_ids]
            for run in leaving:
                last = self._history[run.id][-1].metrics if self._history[run.id] else {}
                metrics = {"objective": last[self._objective_key]} if last else {}
                metrics |= self._spent(shard, run)
                ends.append(RunEnded(run.id, shard.update, time.time(), RunState.PRUNED, metrics))
            self._drop(shard, {run.id for run in leaving})
        return ends

    def _drop(self, shard: Shard, leaving: set[str]) -> None:
        staying = [i for i, run in enumerate(shard.runs) if run.id not in leaving]
        if not staying:
            self.shards.remove(shard)
        elif leaving:
            shard.keep(staying)

    def save(self) -> None:
        """Writes a checkpoint of every run that still trains, where the plan names a folder.

        All of them must rest.
        """
        for shard in self.shards:
            for index, run in enumerate(shard.runs):
                self._save(shard, index, run)

    def _save_if_due(self, shard: Shard) -> None:
        """Writes a checkpoint of those of a shard's runs that have none that is recent."""
        for index, run in enumerate(shard.runs):
            if time.monotonic() - self._saved[run.id] > CHECKPOINT_SECONDS:
                self._save(shard, index, run)

    def _save(self, shard: Shard, index: int, run: Run) -> None:
        self._saved[run.id] = time.monotonic()
        if self.plan.checkpoint_folder is None:
            return
        snapshot = shard.snapshot(index)
        snapshot.values["seconds"] = self._seconds(run)
        snapshot.values["records"] = [e.to_json() for e in self._history[run.id]]
        checkpoint.save(self.plan.checkpoint_folder, run, self.task.fingerprint, snapshot)

    def train_updates(self, count: int) -> None:
        """Trains every shard ``count`` updates, for a clock outside.

        Where a budget ends, it begins again.
        """
        share = self._share(self.shards)

        def work(shard: Shard) -> None:
            shard.use_threads(share)
            left = count
            while left:
                shard.update %= self.num_updates
                step = min(left, self.num_updates - shard.update)
                shard.advance(shard.update + step)
                left -= step

        self._each(work, self.shards)
        timing.synchronize(self.device)
        self._gather_notes(self.shards)

    def forward_updates(self, count: int) -> None:
        """Runs every shard forward ``count`` times, without gradients: for a clock outside."""
        share = self._share(self.shards)

        def work(shard: Shard) -> None:
            shard.use_threads(share)
            shard.forward(count)

        self._each(work, self.shards)
        timing.synchronize(self.device)

    def close(self) -> None:
        """Ends the threads; a shard that is training stops after its present update.

        One whose update does not end soon is left.
        """
        for shard in self.shards:
            shard.stopping = True
        if self._own_pool is not None:
            self._own_pool.end()


class Stopped(RuntimeError):
    """A shard was stopped on its way, since its pack is being closed."""


def threads_of(settings: Settings) -> int:
    """Returns how many threads the runs of a pack may use together."""
    return settings.threads or timing.cpu_count()


def shard_threads(count: int) -> Threads:
    """Returns threads that train shards: torch's own operations use no other thread there."""
    return Threads(count, torch.set_num_threads, 1)


def _best(shard: Shard) -> Iterator[tuple[Run, Parameters]]:
    """Yields every run with its best parameters, (1, ...) each."""
    for index, run in enumerate(shard.runs):
        yield run, {name: values[index : index + 1] for name, values in shard.best.items()}


def _forms(arrays: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Returns the shape and the precision of every array: a checkpoint has those of its run."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _evaluation(line: str) -> Evaluation:
    """Returns what a checkpoint remembers of an evaluation point."""
    message = message_from_json(line)
    assert isinstance(message, Evaluation)
    return message


def _check_text(plan: Plan, task: Task) -> None:
    """Raises PlanError where this machine's text is not the one that the plan was made for."""
    asked = plan.corpus_fingerprint
    if asked is not None and asked != task.fingerprint:
        raise PlanError(
            f"plan: corpus must be the text that the plan was made for, "
            f"corpus_fingerprint={asked[:12]!r}, but this machine's {plan.settings.corpus} is "
            f"{task.fingerprint[:12]!r}. Copy the text, or use the same version of Python: "
            "python-docs differs between versions."
        )


def _check_directions(plan: Plan) -> None:
    """Raises PlanError where states are to be followed that have no one order."""
    if plan.states and plan.settings.bidirectional:
        raise PlanError(
            "states: must be false with bidirectional layers, whose states do not follow one "
            "another in one order, but got states=True. Leave one of the two out."
        )


def _check_held_out(plan: Plan, task: Task) -> None:
    """Raises PlanError where a run waits for a validation loss and there is no validation text."""
    waiting = [field for run in plan.runs for field in waits(run.settings)]
    if waiting and "validation" not in task.splits:
        raise PlanError(
            f"plan: there must be a validation text with {waiting[0]}, which waits for its losses, "
            f"but got split={plan.settings.split!r}. Write split: holdout."
        )


def objective_key(plan: Plan, task: Task) -> str:
    """Returns the metric that selects and prunes, a loss.

    Raises:
        PlanError: The objective is unknown, or needs a split that the corpus does not have.
    """
    trained = [f"train/{each.key}" for each in task.trained_objectives]
    held_out = [f"validation/{each.key}" for each in task.objectives]
    is_known = plan.objective in (*trained, *held_out)
    if not is_known or split_of(plan.objective) not in task.splits:
        raise PlanError(
            f"objective: must be {' or '.join(trained)}, or {' or '.join(held_out)} where there is "
            f"a validation split, but got objective={plan.objective!r}. "
            f"Write objective: {trained[0]} where split is none."
        )
    return loss_of(plan.objective)


def evaluation_points(settings: Settings, num_updates: int, updates_per_epoch: int) -> list[int]:
    """Returns the updates after which a run is evaluated, the last one always among them."""
    if settings.evaluations == "epoch":
        return sorted({*range(updates_per_epoch, num_updates, updates_per_epoch), num_updates})
    count = min(settings.evaluations, num_updates)
    return [round((k + 1) * num_updates / count) for k in range(count)]
