"""When the runs of a pack are saved, and where their checkpoints leave them."""

import time
from collections.abc import Iterable, Mapping

import torch

from harness.training import checkpoint
from harness.training.checkpoint import Checkpoint
from harness.training.messages import Evaluation, message_from_json
from harness.training.plan import Run
from harness.training.records import Records
from harness.training.resolved import ResolvedPlan
from harness.training.shard import Shard

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints of a run, which are written at evaluation points; a short run
writes none.
"""


class Checkpointing:
    """The checkpoints of a pack's runs; without a folder in the plan there are none."""

    def __init__(self, resolved: ResolvedPlan, records: Records):
        """Takes where the checkpoints lie, and what they remember beside the arrays."""
        self._folder = resolved.plan.checkpoint_folder
        self._fingerprint, self._num_updates = resolved.task.fingerprint, resolved.num_updates
        self._records = records
        self._saved: dict[str, float] = {}

    def load(self, run: Run) -> tuple[Checkpoint | None, str | None]:
        """Returns a run's checkpoint, and why one that exists is not used; None: nothing."""
        if self._folder is None:
            return None, None
        return checkpoint.load(self._folder, run, self._fingerprint)

    def restore(self, shard: Shard, index: int, stored: Checkpoint) -> bool:
        """Takes a run up where its checkpoint left it; returns whether that could be done."""
        run, values = shard.runs[index], stored.values
        fresh = shard.snapshot(index).arrays
        if stored.update > self._num_updates or _forms(fresh) != _forms(stored.arrays):
            return False
        try:
            history = [_evaluation(line) for line in values["records"]]
            seconds = float(values["seconds"])
            shard.restore(index, stored)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        if any(each.run != run.id or each.update > stored.update for each in history):
            return False
        self._records.remember(run, history, seconds)
        return True

    def save(self, shards: Iterable[Shard]) -> None:
        """Writes a checkpoint of every run of some shards, all of which rest."""
        for shard in shards:
            for index in range(len(shard.runs)):
                self._save(shard, index)

    def save_if_due(self, shard: Shard) -> None:
        """Writes a checkpoint of those of a shard's runs that have none that is recent."""
        for index, run in enumerate(shard.runs):
            last = self._saved.get(run.id, self._records.begun)
            if time.monotonic() - last > CHECKPOINT_SECONDS:
                self._save(shard, index)

    def _save(self, shard: Shard, index: int) -> None:
        run = shard.runs[index]
        self._saved[run.id] = time.monotonic()
        if self._folder is None:
            return
        snapshot = shard.snapshot(index)
        snapshot.values["seconds"] = self._records.seconds(run)
        snapshot.values["records"] = [e.to_json() for e in self._records.evaluations[run.id]]
        checkpoint.save(self._folder, run, self._fingerprint, snapshot)


def _forms(arrays: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Returns the shape and the precision of every array: a checkpoint has those of its run."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _evaluation(line: str) -> Evaluation:
    """Returns what a checkpoint remembers of an evaluation point."""
    message = message_from_json(line)
    assert isinstance(message, Evaluation)
    return message
