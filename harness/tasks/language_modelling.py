"""Language modelling: the next token given the previous ones."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import data, randomness
from harness.engine import Parameters
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
        self.num_inputs = self.num_outputs = len(self.dataset.vocabulary)
        self.splits = tuple(self.dataset.splits)
        self.chance_loss = PERPLEXITY.chance(self.dataset)
        self._tokens = {
            name: torch.from_numpy(ids).to(device) for name, ids in self.dataset.splits.items()
        }
        self._windows = data.training_windows(settings, len(self.dataset.splits["train"]))
        self._settings, self._device = settings, device
        self._steps = torch.arange(settings.bptt_length + 1, device=device).view(-1, 1, 1)
        self.updates_per_epoch = self._windows.updates_per_epoch
        self.targets_per_update = settings.batch_size * settings.bptt_length
        self.carried = self._windows.carried

    def epoch(self, seeds: list[Seed], epoch: int) -> tuple[Tensor, ...]:
        """See :class:`~harness.tasks.task.Task`.

        The one part says where each update's windows start, (U, N, B).
        """
        starts = np.stack([self._windows.starts(seed, epoch) for seed in seeds], axis=1)
        return (torch.from_numpy(starts).to(self._device),)

    def batch(self, *parts: Tensor) -> Batch:
        """See :class:`~harness.tasks.task.Task`."""
        (starts,) = parts
        tokens = self._tokens["train"].take(starts + self._steps).long()
        return Batch(tokens[:-1], tokens[1:])

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """See :class:`~harness.tasks.task.Task`."""
        tokens, settings = self._tokens[split], self._settings
        windows = data.evaluation_windows(len(tokens), settings.batch_size, settings.bptt_length)
        starts, lengths = (torch.from_numpy(each).to(self._device) for each in windows)
        for start, length in zip(starts.unsqueeze(1), lengths.unsqueeze(1), strict=True):
            at = start.expand(num_runs, -1) + self._steps
            window = tokens.take(at.clamp_(max=len(tokens) - 1)).long()
            yield Batch(window[:-1], window[1:], self._steps[:-1] < length.expand(num_runs, -1))

    def sums(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """See :class:`~harness.tasks.task.Task`; the one sum is of :meth:`losses`."""
        return self.losses(readout, rows, batch).unsqueeze(1)

    def losses(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """Returns every run's summed cross-entropy in nats over a batch's targets, (N,)."""
        weights = None if batch.weights is None else by_run(batch.weights)
        return readout.losses(rows, by_run(batch.targets), weights)

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """See :class:`~harness.tasks.task.Task`."""
        return readout.losses_and_gradients(
            rows, by_run(batch.targets), scale=1.0 / self.targets_per_update
        )

    def num_targets(self, split: str) -> float:
        """See :class:`~harness.tasks.task.Task`."""
        return len(self._tokens[split]) - 1

    def criterion(self, means: Sequence[float]) -> float:
        """See :class:`~harness.tasks.task.Task`; the mean cross-entropy."""
        return means[0]

    def loss(self, criterion: float) -> float:
        """See :class:`~harness.tasks.task.Task`; the criterion itself."""
        return criterion

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
