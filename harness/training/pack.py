"""A pack in, a stream of records out. Plain arguments: knows no YAML, no Optuna, no MLflow.

The parts of a pack, in the order in which it needs them: what its plan comes to on this machine
(``resolved``), the runs in training (``shard``), what is measured of them at an evaluation point
(``standing``), what is said of them (``records``), and where they go on after a kill
(``checkpointing``). What trains packs beside each other is in ``steps`` and ``crew``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from harness import timing
from harness.training import checkpoint
from harness.training.checkpoint import Checkpoint
from harness.training.checkpointing import Checkpointing
from harness.training.messages import Message
from harness.training.plan import Plan, Run
from harness.training.records import Records
from harness.training.resolved import resolve
from harness.training.shard import Shard
from harness.training.standing import Standing, evaluate
from harness.training.threads import Threads

Result = TypeVar("Result")
Member = tuple[Run, Checkpoint | None]
"""A run, and where its checkpoint left it."""


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
            pool: Threads that packs on a CPU share, as :func:`shard_threads` makes them; None: the
                pack has its own, as one on an accelerator has in any case.

        Raises:
            ValueError: The plan cannot be trained; one of INPUT_ERRORS.
        """
        resolved = resolve(plan)
        self.plan, self.notes, self._resolved = plan, resolved.notes, resolved
        self.device, self.engine = resolved.device, resolved.engine
        self.task, self.model = resolved.task, resolved.model
        self.num_updates, self.points = resolved.num_updates, resolved.points
        self.threads = resolved.threads
        if self.device.type == "cpu":
            timing.keep_freed_memory()
        # A GPU works for one shard at a time anyhow, and while one is recorded no other may touch
        # it. What libraries keep by thread must be there by then, so it is the same one each time.
        self.most_threads = self.threads if self.device.type == "cpu" else 1
        shared = pool if self.device.type == "cpu" else None
        self._pool, self._is_own = shared or shard_threads(self.most_threads), shared is None
        self._records = Records(resolved)
        self._checkpointing = Checkpointing(resolved, self._records)
        self.shards: list[Shard] = []
        try:
            self.shards = self._make_shards(list(plan.runs))
        except BaseException:
            self.close()
            raise
        self._records.begin()

    @property
    def running(self) -> list[str]:
        """The ids of the runs that still train."""
        return [run.id for shard in self.shards for run in shard.runs]

    def _make_shards(self, runs: list[Run]) -> list[Shard]:
        """Returns shards whose runs stand at the same update; on a CPU each run has its own."""
        groups: dict[object, list[Member]] = {}
        for position, run in enumerate(runs):
            stored, note = self._checkpointing.load(run)
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
            if stored is not None and not self._checkpointing.restore(shard, index, stored)
        ]
        if not unfit:
            return [shard], []
        fit: list[Member] = [member for member in members if member[0] not in unfit]
        anew: list[Member] = [(run, None) for run in unfit]
        shards = [shard for part in (fit, anew) if part for shard in self._make_shards_of(part)[0]]
        return shards, [checkpoint.unfit(run) for run in unfit]

    def submit(self, function: Callable[..., object], *arguments: object) -> None:
        """Gives work to one of the threads that train the pack's shards."""
        self._pool.submit(function, *arguments)

    def _each(self, function: Callable[..., Result], *columns: list[Any]) -> list[Result]:
        return self._pool.each(function, *columns)

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

    def _next_point(self, shard: Shard) -> int:
        """Returns the next point; the last one again for runs that had only to finish."""
        return next((point for point in self.points if point > shard.update), self.num_updates)

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
            standing = Stopped() if shard.stopping else evaluate(self._resolved, shard)
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
        if not self._records.remembers(group):
            return []
        return self._records.beginnings(group, time.time(), self.notes)

    def take(self, group: Sequence[Shard], turns: Mapping[Shard, Turn]) -> list[Message]:
        """Returns what there is to say after the turns of some shards of a group.

        That is first how each of the group's runs begins, which tells what its first turn noted. A
        run whose training raised ends as failed.
        """
        notes = self._gather_notes(list(turns))
        began = min(turn.began for turn in turns.values())
        messages = self._records.beginnings(group, began, self.notes)
        for shard, turn in turns.items():
            if isinstance(turn.standing, Exception):
                messages += self._fail(shard, turn.standing)
            else:
                messages += self._records.evaluated(shard, turn.standing, turn.trained, notes)
                messages += self._finish(shard, turn.standing)
                if shard in self.shards:  # what has ended would train on from a checkpoint
                    self._checkpointing.save_if_due(shard)
        return messages

    def _gather_notes(self, shards: list[Shard]) -> tuple[str, ...]:
        """Returns what is noted for the first time."""
        noted = dict.fromkeys(note for shard in shards for note in shard.notes)
        fresh = tuple(note for note in noted if note not in self.notes)
        self.notes += fresh
        return fresh

    def _finish(self, shard: Shard, standing: Standing) -> list[Message]:
        """Ends the runs that diverged, and those whose budget or patience is spent."""
        of_each = [self._records.end_of(shard, standing, i) for i in range(len(shard.runs))]
        ends: list[Message] = [end for end in of_each if end is not None]
        self._drop(shard, {end.run for end in ends})
        return ends

    def _fail(self, shard: Shard, error: Exception) -> list[Message]:
        """Ends the runs of a shard whose training raised."""
        ends: list[Message] = [*self._records.failed(shard, error)]
        self._drop(shard, {end.run for end in ends})
        return ends

    def drop(self, run_ids: set[str]) -> list[Message]:
        """Prunes runs: they leave, the rest is repacked. Returns their ends."""
        ends: list[Message] = []
        for shard in list(self.shards):
            leaving = [run for run in shard.runs if run.id in run_ids]
            ends += [self._records.pruned(shard, run) for run in leaving]
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
        self._checkpointing.save(self.shards)

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
        if self._is_own:
            self._pool.end()


class Stopped(RuntimeError):
    """A shard was stopped on its way, since its pack is being closed."""


def shard_threads(count: int) -> Threads:
    """Returns threads that train shards: torch's own operations use no other thread there."""
    return Threads(count, torch.set_num_threads, 1)
