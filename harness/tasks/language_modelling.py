"""What is predicted, and how it is scored.

Training knows only :class:`Task`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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

Seed = tuple[randomness.Name, ...]


@dataclass(frozen=True)
class Batch:
    """One minibatch of every run.

    Attributes:
        inputs: (T, N, B), int64.
        targets: Likewise.
        weights: How often each target counts, (T, N, B); None where all count once.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None


class Task(Protocol):
    """What training asks of a task.

    Attributes:
        num_inputs: The V of the inputs.
        num_outputs: The V of the outputs.
        updates_per_epoch: The same in every epoch.
        targets_per_update: Those of one run's minibatch, B times T.
        carried: Whether a stream's state is carried over the minibatches of an epoch.
        objectives: What its models may be judged by.
        chance_loss: The mean loss of a model that has learned nothing.
        splits: The names of the splits.
        fingerprint: Of the data: equal fingerprints mean equal data.
        vocabulary: What tokens stand for.
    """

    num_inputs: int
    num_outputs: int
    updates_per_epoch: int
    targets_per_update: int
    carried: bool
    objectives: tuple[Objective, ...]
    chance_loss: float
    splits: tuple[str, ...]
    fingerprint: str
    vocabulary: data.Vocabulary

    def epoch(self, seeds: list[Seed], epoch: int) -> Tensor:
        """Returns where each update's windows of that epoch start, (U, N, B), on the device."""
        ...

    def batch(self, starts: Tensor) -> Batch:
        """Returns the minibatch whose windows start at ``starts`` (N, B)."""
        ...

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """Yields the minibatches of a split, in order.

        The state is carried from zero; every target has weight 1 exactly once.
        """
        ...

    def losses(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """Returns every run's summed loss over the batch's targets, (N,).

        ``rows`` are the model's, (N, T*B, H).
        """
        ...

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """Returns every run's mean loss over a minibatch of training, (N,), and their gradients."""
        ...

    def num_targets(self, split: str) -> int:
        """Returns how many targets a split scores."""
        ...

    def metrics(self, prefix: str, loss: float) -> dict[str, float]:
        """Returns the metrics of a mean loss, keys ``prefix/...``.

        Among them are ``prefix/loss``, which is compared, and each objective's own.
        """
        ...

    def check(self, wanted: SampleRequest) -> None:
        """Raises a DataError where a prefix cannot be read: before training, not at its end."""
        ...

    def samples(
        self,
        model: Model,
        parameters: Parameters,
        wanted: SampleRequest,
        seed: Seed,
        masks: Masks | None = None,
    ) -> list[dict[str, Any]]:
        """Returns what one run predicts: ``prefix`` is what it was given, ``text`` what came of it.

        That is told of every prefix, at every temperature.
        """
        ...


class LanguageModelling:
    """Next token given the previous ones; the loss is the cross-entropy in nats."""

    objectives: tuple[Objective, ...] = (PERPLEXITY,)

    def __init__(self, settings: Settings, device: torch.device):
        """Loads the corpus onto the device.

        Raises:
            data.DataError: The corpus cannot be had, or is too short.
        """
        self.dataset = data.load(settings)
        self.fingerprint, self.vocabulary = self.dataset.fingerprint, self.dataset.vocabulary
        self.num_inputs = self.num_outputs = len(self.vocabulary)
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

    def epoch(self, seeds: list[Seed], epoch: int) -> Tensor:
        """See :class:`Task`."""
        starts = np.stack([self._windows.starts(seed, epoch) for seed in seeds], axis=1)
        return torch.from_numpy(starts).to(self._device)

    def batch(self, starts: Tensor) -> Batch:
        """See :class:`Task`."""
        tokens = self._tokens["train"].take(starts + self._steps).long()
        return Batch(tokens[:-1], tokens[1:])

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """See :class:`Task`."""
        tokens, settings = self._tokens[split], self._settings
        windows = data.evaluation_windows(len(tokens), settings.batch_size, settings.bptt_length)
        starts, lengths = (torch.from_numpy(each).to(self._device) for each in windows)
        for start, length in zip(starts.unsqueeze(1), lengths.unsqueeze(1), strict=True):
            at = start.expand(num_runs, -1) + self._steps
            window = tokens.take(at.clamp_(max=len(tokens) - 1)).long()
            yield Batch(window[:-1], window[1:], self._steps[:-1] < length.expand(num_runs, -1))

    def losses(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """See :class:`Task`."""
        weights = None if batch.weights is None else by_run(batch.weights)
        return readout.losses(rows, by_run(batch.targets), weights)

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """See :class:`Task`."""
        return readout.losses_and_gradients(
            rows, by_run(batch.targets), scale=1.0 / self.targets_per_update
        )

    def num_targets(self, split: str) -> int:
        """See :class:`Task`."""
        return len(self._tokens[split]) - 1

    def metrics(self, prefix: str, loss: float) -> dict[str, float]:
        """See :class:`Task`."""
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
        """See :class:`Task`.

        Raises:
            data.DataError: A prefix is empty, or holds a character that the corpus does not.
        """
        check_prefixes(wanted.prefixes, self.vocabulary)

    def samples(
        self,
        model: Model,
        parameters: Parameters,
        wanted: SampleRequest,
        seed: Seed,
        masks: Masks | None = None,
    ) -> list[dict[str, Any]]:
        """See :class:`Task`."""
        return continuations(model, parameters, wanted, self.vocabulary, seed, masks)


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
