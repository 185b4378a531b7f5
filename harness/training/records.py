"""What is said of runs in training: how they begin, where they stand, and how they end."""

import time
from collections.abc import Sequence

from harness import provenance, timing
from harness.tasks.objective import objective_of, split_of
from harness.training import checkpoint, saved_model
from harness.training.fields import Sample
from harness.training.messages import (
    Evaluation,
    Message,
    RunEnded,
    RunStarted,
    RunState,
    error_text,
)
from harness.training.plan import Run
from harness.training.resolved import ResolvedPlan
from harness.training.saved_model import Interface, SavedModel
from harness.training.shard import Shard
from harness.training.standing import Standing


class Records:
    """What is said of the runs of a pack, and what was said of them before.

    Attributes:
        evaluations: By a run's id, of this process and of those before it.
        begun: When the clocks were started, by the monotonic clock.
    """

    def __init__(self, resolved: ResolvedPlan):
        """Takes what the runs train on; nothing has been said of them."""
        self._resolved, self._plan, self._task = resolved, resolved.plan, resolved.task
        self.evaluations: dict[str, list[Evaluation]] = {run.id: [] for run in self._plan.runs}
        self._seconds_before = {run.id: 0.0 for run in self._plan.runs}
        self.begin()

    def remember(self, run: Run, evaluations: list[Evaluation], seconds: float) -> None:
        """Takes in what was said of a run in earlier processes, and how long these trained it."""
        self.evaluations[run.id], self._seconds_before[run.id] = evaluations, seconds

    def begin(self) -> None:
        """Starts the clocks; what is remembered so far is told once more."""
        self._untold = {run_id: list(told) for run_id, told in self.evaluations.items()}
        self.begun = time.monotonic()
        self._last = dict.fromkeys(self._untold, self.begun)  # when a run came to its last point

    def seconds(self, run: Run) -> float:
        """Returns the seconds since the run's pack began, and those of earlier processes."""
        return self._seconds_before[run.id] + time.monotonic() - self.begun

    def _spent(self, shard: Shard, run: Run) -> dict[str, float]:
        """Returns what a run has cost so far: part of every record but the first."""
        return {
            "tokens": float(shard.update * self._task.targets_per_update),
            "seconds": self.seconds(run),
        }

    def remembers(self, shards: Sequence[Shard]) -> bool:
        """Returns whether anything is remembered of some shards' runs that is not told yet."""
        return any(self._untold.get(run.id) for shard in shards for run in shard.runs)

    def beginnings(
        self, group: Sequence[Shard], began: float, notes: tuple[str, ...]
    ) -> list[Message]:
        """Returns what was not told yet of how the runs of a group begin.

        Args:
            group: Some shards.
            began: When, in Unix seconds.
            notes: What is to be known of their training, such as what it does without.
        """
        runs = [run for shard in group for run in shard.runs if run.id in self._untold]
        starts: list[Message] = [self._start(run, began, notes) for run in runs]
        return [*starts, *(message for run in runs for message in self._untold.pop(run.id))]

    def _start(self, run: Run, time: float, notes: tuple[str, ...]) -> RunStarted:
        arch, settings = self._resolved.model.arch, run.settings
        device = self._resolved.device.type
        return RunStarted(
            run=run.id,
            time=time,
            cell=settings.cell,
            engine=self._resolved.engine.name,
            device=device,
            precision=settings.precision,
            threads=self._resolved.threads,
            pack_size=len(self._plan.runs),
            hidden_size=arch.hidden_size,
            num_parameters=arch.num_parameters(),
            num_states=arch.num_states(),
            flops_per_token=arch.flops_per_token(),
            num_updates=self._resolved.num_updates,
            corpus_fingerprint=self._task.fingerprint,
            digest=checkpoint.digest(run, self._task.fingerprint),
            notes=notes,
            provenance=provenance.describe(device),
        )

    def evaluated(
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
            metrics = self._task.training_metrics(progress.train_nats[index])
            if standing.validation is not None:
                metrics |= self._task.evaluation_metrics("validation", standing.validation[index])
            metrics |= {
                "train/gradient_norm": progress.gradient_norm[index],
                "train/clipped_fraction": progress.clipped_fraction[index],
                **self._spent(shard, run),
                "tokens_per_second": num_updates * self._task.targets_per_update / seconds,
                "update_seconds_p50": timing.quantile(progress.update_seconds, 0.5),
                "update_seconds_p90": timing.quantile(progress.update_seconds, 0.9),
                "peak_memory_bytes": float(timing.peak_memory_bytes(self._resolved.device)),
            }
            samples: tuple[Sample, ...] = ()
            if not standing.ending[index]:
                samples = tuple({**s, "update": shard.update} for s in standing.samples[index])
            evaluation = Evaluation(run.id, shard.update, time.time(), metrics, notes, samples)
            self.evaluations[run.id].append(evaluation)
            messages.append(evaluation)
        return messages

    def end_of(self, shard: Shard, standing: Standing, index: int) -> RunEnded | None:
        """Returns how a run ends that diverged, or whose budget or patience is spent.

        None: it goes on.
        """
        is_broken = standing.progress.bad_update[index] >= 0
        is_end = standing.ending[index]
        if is_broken or (is_end and self._is_given_up(standing, index)):
            return self._diverged(shard, index)
        return self._finished(shard, standing, index) if is_end else None

    def _is_given_up(self, standing: Standing, index: int) -> bool:
        """Returns whether version 1 calls a run diverged that ends worse than guessing.

        It keeps doing so, since a study under way must not mix two rules.
        """
        if self._plan.version != 1 or standing.validation is None:
            return False
        loss = self._task.loss(self._task.criterion(standing.validation[index]))
        return not loss <= self._task.chance_loss

    def _finished(self, shard: Shard, standing: Standing, index: int) -> RunEnded:
        """A run is worth its best evaluation; from version 2 on no less than a guess."""
        run, chance = shard.runs[index], self._task.chance_loss
        worth = self._task.loss(float(shard.best_nats[index]))
        # Also where no evaluation was a number: training stayed finite, so nothing diverged.
        not_learned = None if self._plan.version == 1 else not worth < self._task.learned_below
        worth = chance if not_learned else worth
        metrics = {
            "objective": worth,
            "best_update": float(shard.best_update[index]),
            **self._spent(shard, run),
        }
        for last in self.evaluations[run.id][-1:]:
            metrics["final/loss"] = last.metrics[self._resolved.objective_key]
        is_validated = self._resolved.objective_key == "validation/loss"
        if not_learned:
            # Anybody can guess, on data that nobody has seen too; of the model nothing is told.
            for split in (*(["validation"] if is_validated else []), *standing.tests):
                metrics |= self._task.guess(split)
        else:
            if is_validated:  # a table shows the value that selected
                metrics |= self._validation_at(run, int(shard.best_update[index]))
                metrics |= self._task.metrics("validation", worth)
            for split, means in standing.tests.items():
                metrics |= self._task.evaluation_metrics(split, means[index])
        return RunEnded(
            run.id,
            shard.update,
            time.time(),
            RunState.FINISHED,
            metrics,
            message=self._not_learned_message() if not_learned else None,
            not_learned=not_learned,
            samples=tuple(standing.samples[index]),
            model=self._best_model(shard, index).to_bytes() if self._plan.keep_models else None,
            states=None if standing.states is None else standing.states[index],
            forecast=None if standing.forecasts is None else standing.forecasts[index],
        )

    def _validation_at(self, run: Run, update: int) -> dict[str, float]:
        """Returns what the evaluation after an update said of the validation split."""
        said = [each.metrics for each in self.evaluations[run.id] if each.update == update]
        return {
            name: value
            for metrics in said
            for name, value in metrics.items()
            if split_of(name) == "validation"
        }

    def _not_learned_message(self) -> str:
        chance, needed = (
            f"{loss:.3f} {objective_of(self._plan.objective).loss_unit}".rstrip()
            for loss in (self._task.chance_loss, self._task.learned_below)
        )
        guess = f"below that of guessing, {chance}"
        if self._task.learned_below < self._task.chance_loss:
            guess = f"below {needed}: guessing has {chance}, and by luck some less"
        if self._resolved.objective_key == "train/loss":  # of which the last counts, not the lowest
            return f"not learned: the last training loss was not {guess}"
        return f"not learned: no evaluation had a validation loss {guess}"

    def _best_model(self, shard: Shard, index: int) -> SavedModel:
        """Returns what one run knows at its best update."""
        return saved_model.of_run(
            shard.runs[index],
            {name: values[index] for name, values in shard.best.items()},
            vocabulary=self._task.vocabulary,
            interface=Interface(
                self._task.num_inputs,
                self._task.num_outputs,
                self._task.reads_tokens,
                dict(self._task.meaning),
            ),
            hidden_size=self._resolved.model.arch.hidden_size,
            corpus_fingerprint=self._task.fingerprint,
            cell_files=self._plan.cell_files,
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
            {"objective": self._task.chance_loss, **self._spent(shard, run)},
            message=reason,
            diverged_at=diverged_at,
            last_loss=float(shard.last_loss[index]),
        )

    def failed(self, shard: Shard, error: Exception) -> list[RunEnded]:
        """Returns how the runs of a shard end whose training raised."""
        return [
            RunEnded(
                run.id,
                shard.update,
                time.time(),
                RunState.FAILED,
                self._spent(shard, run),
                message=error_text(error),
                out_of_memory=timing.out_of_memory(error),
                refused=False,
            )
            for run in shard.runs
        ]

    def pruned(self, shard: Shard, run: Run) -> RunEnded:
        """Returns how a run ends that is pruned: with its last loss, if there is one."""
        last = self.evaluations[run.id][-1].metrics if self.evaluations[run.id] else {}
        metrics = {"objective": last[self._resolved.objective_key]} if last else {}
        metrics |= self._spent(shard, run)
        return RunEnded(run.id, shard.update, time.time(), RunState.PRUNED, metrics)
