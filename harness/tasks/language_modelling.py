"""Language modelling: the next token given the previous ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import data, randomness
from harness.engine import Parameters, dtype_of
from harness.engine.base import by_run
from harness.model.masks import Masks
from harness.model.network import Model
from harness.model.readout import Gradients, Readout
from harness.settings import SampleRequest, Settings
from harness.tasks.generation import Choice, Stream, continued
from harness.tasks.objective import LOSS, PERPLEXITY, Objective, units_metric
from harness.tasks.task import Batch, Seed


class LanguageModelling:
    """Next token given the previous ones; the loss is the cross-entropy in nats."""

    objectives: tuple[Objective, ...] = (PERPLEXITY,)
    trained_objectives = objectives
    reads_tokens = True

    def __init__(self, settings: Settings, device: torch.device):
        """Loads the corpus onto the device.

        Raises:
            data.DataError: The corpus cannot be had, or is too short.
        """
        self.dataset = data.load_text(settings)
        self.fingerprint = self.dataset.fingerprint
        self.vocabulary: data.Vocabulary | None = self.dataset.vocabulary
        self.meaning: Mapping[str, Any] = {}
        self.num_inputs = self.num_outputs = len(self.dataset.vocabulary)
        self.splits = tuple(self.dataset.splits)
        self.test_splits = tuple(split for split in self.splits if split == "test")
        self.chance_loss = self.learned_below = PERPLEXITY.chance(self.dataset)
        self._tokens = {
            name: torch.from_numpy(ids).to(device) for name, ids in self.dataset.splits.items()
        }
        self._windows = self.dataset.training_windows(settings)
        self._settings, self._device = settings, device
        self._dtype = dtype_of(settings.precision)
        self._steps = torch.arange(settings.bptt_length + 1, device=device).view(-1, 1, 1)
        self.updates_per_epoch = self._windows.updates_per_epoch
        self.targets_per_update = self._windows.targets_per_update
        self.carried = self._windows.carried

    def epoch(self, seeds: list[Seed], epoch: int) -> tuple[Tensor, ...]:
        """See :class:`~harness.tasks.task.Task`.

        The one part says where each update's windows start, (U, N, B). Where windows are lines, a
        second one says how many targets each has.
        """
        starts = np.stack([self._windows.starts(seed, epoch) for seed in seeds], axis=1)
        lengths = self._windows.lengths(starts)
        parts = [starts] if lengths is None else [starts, lengths]
        return tuple(torch.from_numpy(part).to(self._device) for part in parts)

    def batch(self, *parts: Tensor) -> Batch:
        """See :class:`~harness.tasks.task.Task`."""
        starts, *lengths = parts
        if lengths:
            return _with_shares(self._padded("train", starts, *lengths), self._dtype)
        tokens = self._tokens["train"].take(starts + self._steps).long()
        return Batch(tokens[:-1], tokens[1:])

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """See :class:`~harness.tasks.task.Task`."""
        windows = self.dataset.evaluation_windows(split, self._settings)
        starts, lengths = (torch.from_numpy(each).to(self._device) for each in windows)
        for start, length in zip(starts.unsqueeze(1), lengths.unsqueeze(1), strict=True):
            window = start.expand(num_runs, -1), length.expand(num_runs, -1)
            yield self._padded(split, *window)

    def _padded(self, split: str, starts: Tensor, lengths: Tensor) -> Batch:
        """Returns the minibatch of windows (N, B) that differ in length, each target at weight 1.

        What pads a window is the text that follows, at weight 0: it comes after all that counts.
        """
        tokens, steps, are_lines = self._tokens[split], self._steps, bool(self.dataset.line_ends)
        if are_lines and self._device.type == "cpu":
            steps = steps[: _num_steps(int(lengths.max()), len(steps) - 1) + 1]
        at = (starts + steps).clamp_(max=len(tokens) - 1)
        window = tokens.take(at).long()
        return Batch(window[:-1], window[1:], steps[:-1] < lengths, begins=are_lines)

    def sums(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """See :class:`~harness.tasks.task.Task`; the one sum is of :meth:`losses`."""
        return self.losses(readout, rows, batch).unsqueeze(1)

    def losses(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """Returns every run's summed cross-entropy in nats over a batch's targets, (N,)."""
        weights = None if batch.weights is None else by_run(batch.weights)
        return readout.losses(rows, by_run(batch.targets), weights)

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """See :class:`~harness.tasks.task.Task`."""
        shares = None if batch.weights is None else by_run(batch.weights)
        scale = 1.0 / self.targets_per_update if shares is None else 1.0
        return readout.losses_and_gradients(rows, by_run(batch.targets), shares, scale=scale)

    def num_targets(self, split: str) -> float:
        """See :class:`~harness.tasks.task.Task`."""
        return self.dataset.num_targets(split)

    def criterion(self, means: Sequence[float]) -> float:
        """See :class:`~harness.tasks.task.Task`; the mean cross-entropy."""
        return means[0]

    def loss(self, criterion: float) -> float:
        """See :class:`~harness.tasks.task.Task`; the criterion itself."""
        return criterion

    def guess(self, split: str) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`; the same loss on all."""
        return self.metrics(split, self.chance_loss)

    def point(self, scores: Tensor) -> Tensor:
        """See :class:`~harness.tasks.task.Task`; they are scores of classes, and no values."""
        return scores

    def evaluation_metrics(self, prefix: str, means: Sequence[float]) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`."""
        return self.metrics(prefix, means[0])

    def training_metrics(self, mean: float) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`."""
        return self.metrics("train", mean)

    def metrics(self, prefix: str, loss: float) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`."""
        units = self.dataset.units
        per_token = units[prefix].per_token if units else {}
        values = {f"{prefix}/{LOSS}": loss}
        values |= {units_metric(prefix, unit): number for unit, number in per_token.items()}
        for each in self.objectives:
            values[f"{prefix}/{each.key}"] = each.level(loss)
            values |= {
                f"{prefix}/{reading.key}": reading.read(loss, per_token.get(reading.per, 1.0))
                for reading in each.readings
                if reading.applies(self._settings)
            }
        return values

    def check(self, wanted: SampleRequest) -> None:
        """See :class:`~harness.tasks.task.Task`.

        Raises:
            data.DataError: A prefix is empty, or holds a character that the corpus does not.
        """
        check_prefixes(wanted.prefixes, self.dataset.vocabulary)

    def samples(
        self,
        model: Model,
        parameters: Parameters,
        wanted: SampleRequest,
        seed: Seed,
        masks: Masks | None = None,
    ) -> list[dict[str, Any]]:
        """See :class:`~harness.tasks.task.Task`."""
        return continuations(model, parameters, wanted, self.dataset.vocabulary, seed, masks)


def _num_steps(longest: int, most: int) -> int:
    """Returns the time steps of a minibatch whose longest line has ``longest`` targets.

    They are eighths of the most, since buffers are kept for every number of them.
    """
    eighth = -(-most // 8)
    return min(-(-longest // eighth) * eighth, most)


def _with_shares(batch: Batch, dtype: torch.dtype) -> Batch:
    """Returns a minibatch whose weights are each run's shares, which come to 1."""
    assert batch.weights is not None
    counted = batch.weights.to(dtype)
    return replace(batch, weights=counted / counted.sum((0, 2), keepdim=True))


def check_prefixes(prefixes: Sequence[str], vocabulary: data.Vocabulary) -> None:
    """Checks that every prefix can be read.

    Raises:
        data.DataError: A prefix is empty, or holds a character that the vocabulary does not.
    """
    problems = []
    for prefix in prefixes:
        try:
            if len(vocabulary.encode(prefix)) == 0:
                problems.append(
                    f"samples: a prefix must have one {vocabulary.token} at least, "
                    f"but got {prefix=}."
                )
        except data.UnknownCharacter as error:
            problems.append(f"samples: {prefix!r}: {error}")
    if problems:
        raise data.DataError(*problems)


def continuations(
    model: Model,
    parameters: Parameters,
    wanted: SampleRequest,
    vocabulary: data.Vocabulary,
    seed: Seed,
    masks: Masks | None = None,
) -> list[dict[str, Any]]:
    """Returns {prefix, text} of every prefix, at every temperature; drawn ones name theirs."""
    texts = []
    for prefix in wanted.prefixes:
        for temperature in wanted.ways:
            stream, choice = Stream(model, parameters, masks), Choice(temperature)
            text = continuation(stream, prefix, wanted.length, choice, vocabulary, seed)
            drawn = {} if temperature is None else {"temperature": temperature}
            texts.append({"prefix": prefix, "text": text, **drawn})
    return texts


def continuation(
    stream: Stream,
    prefix: str,
    length: int,
    choice: Choice,
    vocabulary: data.Vocabulary,
    seed: Seed,
) -> str:
    """Returns ``prefix`` and the ``length`` tokens that a fresh stream continues it by.

    Draws are a function of (seed, prefix), so that the texts of one prefix differ by how their
    tokens are chosen alone.
    """
    ids = [int(i) for i in vocabulary.encode(prefix)]
    draws = randomness.uniform(*seed, "sample", prefix, shape=(length,))
    return vocabulary.decode(ids + continued(stream, ids, choice, draws.tolist()))
