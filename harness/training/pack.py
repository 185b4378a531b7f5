"""A pack in, a stream of records out. Plain arguments: knows no YAML, no Optuna, no MLflow."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

import cells
from harness import engine, provenance, timing
from harness.model import network
from harness.model.regularization import varied_cell
from harness.settings import Settings
from harness.tasks.language_modelling import LanguageModelling, Task
from harness.training import checkpoint, saved_model
from harness.training.messages import Plan, PlanError, Record, Run
from harness.training.saved_model import SavedModel
from harness.training.shard import Progress, Shard

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints of a pack, which are written at evaluation points; a short run
writes none.
"""

Result = TypeVar("Result")


@dataclass
class Standing:
    """A shard at an evaluation point; ``test`` only where its budget is spent, ``samples`` there
    and on demand.
    """

    progress: Progress
    nats: list[float] | None
    test: list[float] | None = None
    samples: list | None = None


class Pack:
    """Runs in training.

    ``advance`` goes to the next evaluation point; between two calls runs may be dropped.
    """

    def __init__(self, plan: Plan):
        """Draws the weights, or takes the runs up where their checkpoints left them.

        Raises:
            ValueError: The plan cannot be trained; one of INPUT_ERRORS.
        """
        self.plan = plan
        for path in plan.cell_files:
            cells.load_file(path)
        settings = plan.settings
        self.device = torch.device(resolve_device(settings.device))
        self.engine, self.notes = resolve_engine(settings, self.device.type)
        engine.allow_tf32(settings.precision)
        timing.reset_peak_memory(self.device)
        self.task: Task = LanguageModelling(settings, self.device)
        self._objective_key = objective_key(plan, self.task)
        self.task.check(plan.samples)
        arch = network.architecture(settings, self.task.num_inputs, self.task.num_outputs)
        self.num_updates = settings.budget.num_updates(
            updates_per_epoch=self.task.updates_per_epoch,
            tokens_per_update=self.task.tokens_per_update,
        )
        self.points = evaluation_points(settings, self.num_updates, self.task.updates_per_epoch)
        self.threads = settings.threads or cpu_count()
        if self.device.type == "cpu":
            timing.keep_freed_memory()
        alone = (
            self.device.type == "cpu" and len(plan.runs) == 1
        )  # a pack's runs take a thread each
        self.model = network.Model(arch, self.engine, self.threads if alone else 1)
        # A GPU works for one shard at a time anyhow, and while one is recorded no other may touch
        # it.
        workers = self.threads if self.device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(
            workers, "shard", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._history: dict[str, list[Record]] = {run.id: [] for run in plan.runs}
        self._seconds_before = {run.id: 0.0 for run in plan.runs}
        self.shards = self._make_shards(list(plan.runs))
        self._waiting = [
            self._start(run) for run in plan.runs
        ]  # after the shards: it tells what they note
        self._begun = self._saved = time.monotonic()

    @property
    def running(self) -> list[str]:
        """The ids of the runs that still train."""
        return [run.id for shard in self.shards for run in shard.runs]

    def _make_shards(self, runs: list[Run]) -> list[Shard]:
        """Returns shards whose runs stand at the same update: one run each on a CPU, else as many
        as agree.
        """
        groups: dict[object, list[tuple[Run, checkpoint.Checkpoint | None]]] = {}
        for place, run in enumerate(runs):
            found = None
            if self.plan.checkpoint_folder is not None:
                found, note = checkpoint.load(
                    self.plan.checkpoint_folder, run, self.task.fingerprint
                )
                self.notes += [note] if note else []
            at = 0 if found is None else found.update
            groups.setdefault(place if self.device.type == "cpu" else at, []).append((run, found))
        return self._each(self._make_shard, list(groups.values()))

    def _make_shard(self, members: list[tuple[Run, checkpoint.Checkpoint | None]]) -> Shard:
        shard = Shard(
            [run for run, _ in members], self.task, self.model, self.num_updates, self.device
        )
        for index, (run, found) in enumerate(members):
            if found is not None:
                shard.restore(index, found)
                self._history[run.id] = [Record.from_json(line) for line in found.values["records"]]
                self._seconds_before[run.id] = found.values["seconds"]
        return shard

    def _each(self, function: Callable[..., Result], *columns: list) -> list[Result]:
        return list(self._pool.map(function, *columns))

    def _attempt_each(
        self, function: Callable[[Shard], Result], shards: list[Shard]
    ) -> list[tuple]:
        """Returns every shard with what ``function`` returned or raised: an exception ends its runs
        alone.
        """

        def attempt(shard: Shard) -> Result | Exception:
            try:
                return function(shard)
            except Exception as error:
                return error

        return list(zip(shards, self._each(attempt, shards), strict=True))

    def _seconds(self, run: Run) -> float:
        """Returns how long the run has trained and been evaluated, in earlier processes too."""
        return self._seconds_before[run.id] + time.monotonic() - self._begun

    def _spent(self, shard: Shard, run: Run) -> dict[str, float]:
        """Returns what a run has cost so far: part of every record but the first."""
        return {
            "tokens": float(shard.update * self.task.tokens_per_update),
            "seconds": self._seconds(run),
        }

    def _start(self, run: Run) -> Record:
        arch, settings = self.model.arch, run.settings
        info = {
            "cell": settings.cell,
            "engine": self.engine.name,
            "device": self.device.type,
            "precision": settings.precision,
            "threads": self.threads,
            "pack_size": len(self.plan.runs),
            "hidden_size": arch.hidden_size,
            "num_parameters": arch.num_parameters(),
            "num_states": arch.num_states(),
            "flops_per_token": arch.flops_per_token(),
            "num_updates": self.num_updates,
            "corpus_fingerprint": self.task.fingerprint,
            "digest": checkpoint.digest(run, self.task.fingerprint),
            "notes": self.notes,
            **provenance.describe(self.device.type),
        }
        return Record(run.id, "start", 0, time.time(), info=info)

    def advance(self) -> list[Record]:
        """Trains to the next evaluation point and returns what there is to say; nothing left to
        train: no records.

        The first call also returns the start of every run and what its checkpoint remembers. A run
        whose training raises ends as failed; the others go on.
        """
        records, self._waiting = self._waiting, []
        for run_id in [r.run for r in records]:
            records = records + self._history[run_id]
        if not self.shards:
            return records
        target = min(self._next_point(shard) for shard in self.shards)
        stepping = [shard for shard in self.shards if self._next_point(shard) == target]
        begun = time.monotonic()
        trained = self._attempt_each(lambda shard: self._train(shard, target), stepping)
        seconds = time.monotonic() - begun
        notes = self._gather_notes(stepping)
        standings = self._attempt_each(
            self._evaluate, [shard for shard, error in trained if error is None]
        )
        for shard, error in trained:
            records += [] if error is None else self._fail(shard, error)
        for shard, standing in standings:
            if isinstance(standing, Exception):
                records += self._fail(shard, standing)
            else:
                records += self._report(shard, standing, seconds, notes) + self._finish(
                    shard, standing
                )
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save()
        return records

    def _gather_notes(self, shards: list[Shard]) -> list[str]:
        """Returns what is noted for the first time; starts not yet told share ``notes``, and tell
        it too.
        """
        found = dict.fromkeys(note for shard in shards for note in shard.notes)
        fresh = [note for note in found if note not in self.notes]
        self.notes += fresh
        return fresh

    def _train(self, shard: Shard, target: int) -> None:
        shard.advance(target)
        timing.synchronize(self.device)

    def _next_point(self, shard: Shard) -> int:
        """Returns the next point; the last one again for runs resumed when they had only to
        finish.
        """
        return next((point for point in self.points if point > shard.update), self.num_updates)

    def _evaluate(self, shard: Shard) -> Standing:
        progress = shard.progress()
        nats = shard.evaluate("validation") if "validation" in self.task.splits else None
        if (
            progress.update_seconds
        ):  # a run that had only to finish did nothing since its last point
            if self._objective_key == "train/loss":  # the last evaluation counts, not the lowest
                shard.best_nats.fill_(torch.inf)
                shard.keep_best(progress.train_nats)
            else:
                shard.keep_best(nats or [])
        standing = Standing(progress, nats)
        if shard.update == self.num_updates:
            if self.plan.read_test and "test" in self.task.splits:
                standing.test = shard.evaluate("test", shard.best)
        wanted = self.plan.samples
        if shard.update == self.num_updates:
            standing.samples = [
                shard.samples(index, wanted, shard.best) for index in range(len(shard.runs))
            ]
        elif wanted.every and (self.points.index(shard.update) + 1) % wanted.every == 0:
            standing.samples = [
                shard.samples(index, wanted, shard.parameters) for index in range(len(shard.runs))
            ]
        return standing

    def _report(
        self, shard: Shard, standing: Standing, seconds: float, notes: list[str]
    ) -> list[Record]:
        progress, nats = standing.progress, standing.nats
        if not progress.update_seconds:
            return []
        records = []
        done = len(progress.update_seconds)
        tokens = self.task.tokens_per_update
        for index, run in enumerate(shard.runs):
            if progress.bad_update[index] >= 0:
                continue
            found = self.task.metrics("train", progress.train_nats[index])
            if nats is not None:
                found |= self.task.metrics("validation", nats[index])
            found |= {
                "train/gradient_norm": progress.gradient_norm[index],
                "train/clipped_fraction": progress.clipped_fraction[index],
                **self._spent(shard, run),
                "tokens_per_second": done * tokens / seconds,
                "update_seconds_p50": timing.quantile(progress.update_seconds, 0.5),
                "update_seconds_p90": timing.quantile(progress.update_seconds, 0.9),
                "peak_memory_bytes": float(timing.peak_memory_bytes(self.device)),
            }
            info: dict[str, Any] = {"notes": notes} if notes else {}
            if standing.samples is not None and shard.update < self.num_updates:
                info["samples"] = [
                    {**sample, "update": shard.update} for sample in standing.samples[index]
                ]
            record = Record(run.id, "evaluation", shard.update, time.time(), found, info)
            self._history[run.id].append(record)
            records.append(record)
        return records

    def _finish(self, shard: Shard, standing: Standing) -> list[Record]:
        """Ends the runs that diverged, and all of them where the budget is spent."""
        ended = shard.update == self.num_updates
        records, leaving = [], set()
        for index, run in enumerate(shard.runs):
            if standing.progress.bad_update[index] >= 0 or (
                ended and self._hopeless(standing, index)
            ):
                records.append(self._diverged(shard, index))
                leaving.add(run.id)
            elif ended:
                records.append(self._finished(shard, standing, index))
                leaving.add(run.id)
        self._drop(shard, leaving)
        return records

    def _hopeless(self, standing: Standing, index: int) -> bool:
        return standing.nats is not None and not standing.nats[index] <= self.task.chance_nats

    def _finished(self, shard: Shard, standing: Standing, index: int) -> Record:
        run, best = shard.runs[index], float(shard.best_nats[index])
        found = {
            "objective": best,
            "best_update": float(shard.best_update[index]),
            **self._spent(shard, run),
        }
        if self._objective_key == "validation/loss":  # a table shows the value that selected
            found |= self.task.metrics("validation", best)
        if standing.test is not None:
            found |= self.task.metrics("test", standing.test[index])
        assert standing.samples is not None
        info = {"state": "finished", "samples": standing.samples[index]}
        kept = self._best_model(shard, index).to_bytes() if self.plan.keep_models else None
        return Record(run.id, "end", shard.update, time.time(), found, info, kept)

    def _best_model(self, shard: Shard, index: int) -> SavedModel:
        """Returns what one run knows at its best update."""
        return saved_model.of_run(
            shard.runs[index],
            {name: values[index] for name, values in shard.best.items()},
            vocabulary=self.task.vocabulary,
            hidden_size=self.model.arch.hidden_size,
            corpus_fingerprint=self.task.fingerprint,
            cell_files=self.plan.cell_files,
        )

    def _diverged(self, shard: Shard, index: int) -> Record:
        """A diverged run is worth what guessing is worth; its last finite loss is kept beside."""
        bad = int(shard.bad_update[index])
        reason = (
            "loss or gradient norm not finite"
            if bad >= 0
            else "final validation loss above that of guessing"
        )
        info = {
            "state": "diverged",
            "message": reason,
            "diverged_at": bad if bad >= 0 else shard.update,
            "last_loss": float(shard.last_loss[index]),
        }
        run = shard.runs[index]
        found = {"objective": self.task.chance_nats, **self._spent(shard, run)}
        return Record(run.id, "end", shard.update, time.time(), found, info)

    def _fail(self, shard: Shard, error: Exception) -> list[Record]:
        message = f"{type(error).__name__}: {error}"
        info = {"state": "failed", "message": message, "out_of_memory": out_of_memory(error)}
        records = [
            Record(run.id, "end", shard.update, time.time(), self._spent(shard, run), info)
            for run in shard.runs
        ]
        self._drop(shard, {run.id for run in shard.runs})
        return records

    def drop(self, run_ids: set[str]) -> list[Record]:
        """Prunes runs: they leave, the rest is repacked. Returns their ends."""
        records = []
        for shard in list(self.shards):
            leaving = {run.id for run in shard.runs} & run_ids
            for run in shard.runs:
                if run.id in leaving:
                    last = self._history[run.id][-1].metrics if self._history[run.id] else {}
                    found = {"objective": last[self._objective_key]} if last else {}
                    found |= self._spent(shard, run)
                    records.append(
                        Record(run.id, "end", shard.update, time.time(), found, {"state": "pruned"})
                    )
            self._drop(shard, leaving)
        return records

    def _drop(self, shard: Shard, leaving: set[str]) -> None:
        staying = [i for i, run in enumerate(shard.runs) if run.id not in leaving]
        if not staying:
            self.shards.remove(shard)
        elif leaving:
            shard.keep(staying)

    def save(self) -> None:
        """Writes a checkpoint of every run that still trains, where the plan names a folder."""
        self._saved = time.monotonic()
        folder = self.plan.checkpoint_folder
        if folder is None:
            return
        for shard in self.shards:
            for index, run in enumerate(shard.runs):
                found = shard.snapshot(index)
                found.values["seconds"] = self._seconds(run)
                found.values["records"] = [record.to_json() for record in self._history[run.id]]
                checkpoint.save(folder, run, self.task.fingerprint, found)

    def train_updates(self, count: int) -> None:
        """Trains every shard ``count`` updates, beginning again where a budget ends: for a clock
        outside.
        """

        def turn(shard: Shard) -> None:
            left = count
            while left:
                shard.update %= self.num_updates
                step = min(left, self.num_updates - shard.update)
                shard.advance(shard.update + step)
                left -= step

        self._each(turn, self.shards)
        timing.synchronize(self.device)
        self._gather_notes(self.shards)

    def forward_updates(self, count: int) -> None:
        """Runs every shard forward ``count`` times, without gradients: for a clock outside."""
        self._each(lambda shard: shard.forward(count), self.shards)
        timing.synchronize(self.device)

    def close(self) -> None:
        """Ends the threads; a shard that is training stops after its present update."""
        for shard in self.shards:
            shard.stopping = True
        self._pool.shutdown(wait=True, cancel_futures=True)


def train(plan: Plan) -> Iterator[list[Record]]:
    """Trains a pack to its end; yields the records of one evaluation point at a time."""
    pack = Pack(plan)
    try:
        while records := pack.advance():
            yield records
    finally:
        pack.close()


def out_of_memory(error: Exception) -> bool:
    """Returns whether memory was the cause; torch has a class for it on a GPU, and only words on a
    CPU.
    """
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(
        error
    )


def resolve_device(name: str) -> str:
    """Returns cpu or cuda.

    Raises:
        PlanError: CUDA is asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise PlanError(
            "device: must be on this machine, but got device='cuda' and torch sees none. Use auto or cpu."
        )
    return name


def resolve_engine(settings: Settings, device: str) -> tuple[engine.Engine, list[str]]:
    """Returns the engine and the notes on faster ones that were passed over.

    Raises:
        engine.EngineError: The engine that is named does not run the cell.
    """
    cell = varied_cell(settings)
    if settings.engine == "auto":
        name, notes = engine.resolve([cell], device, settings.precision)
        return engine.get(name), notes
    chosen = engine.get(settings.engine)
    refusal = chosen.refusal(cell, device, settings.precision)
    if refusal is not None:
        raise engine.EngineError(
            f"engine: must run the cell, but got engine={chosen.name!r}: {refusal}. Use auto."
        )
    return chosen, engine.notes(chosen)


def objective_key(plan: Plan, task: Task) -> str:
    """Returns the metric that selects and prunes, in nats.

    Raises:
        PlanError: The objective is unknown, or needs a split that the corpus does not have.
    """
    split, _, _ = plan.objective.partition("/")
    if (
        plan.objective not in ("train/perplexity", "validation/perplexity")
        or split not in task.splits
    ):
        raise PlanError(
            f"objective: must be train/perplexity, or validation/perplexity where there is a validation split, "
            f"but got objective={plan.objective!r}. Write objective: train/perplexity where split is none."
        )
    return f"{split}/loss"


def evaluation_points(settings: Settings, num_updates: int, updates_per_epoch: int) -> list[int]:
    """Returns the updates after which a run is evaluated, the last one always among them."""
    if settings.evaluations == "epoch":
        return sorted({*range(updates_per_epoch, num_updates, updates_per_epoch), num_updates})
    count = min(settings.evaluations, num_updates)
    return [round((k + 1) * num_updates / count) for k in range(count)]


def cpu_count() -> int:
    """Returns the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
