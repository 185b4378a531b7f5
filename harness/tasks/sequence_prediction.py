"""A class or values at the steps of a sequence that count: memory, forecasts, labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import data, randomness
from harness.data.sequences import Sequences
from harness.data.sequences.dataset import load as load_sequences
from harness.data.sequences.levels import guess_by_value
from harness.data.sequences.sets import FRESH_UPDATES, SequenceDataset
from harness.engine import Parameters, dtype_of
from harness.engine.base import by_run
from harness.model.masks import Masks
from harness.model.network import Model
from harness.model.readout import Gradients, Readout
from harness.settings import SampleRequest, Settings
from harness.tasks.forecast_metrics import column_metrics, error_scale
from harness.tasks.forecast_scoring import GaussianScoring, QuantileScoring
from harness.tasks.objective import LOSS, Objective, log_error, objective_of
from harness.tasks.scoring import ClassScoring, Scoring, ValueScoring
from harness.tasks.task import Batch, Seed

_HEADS = {"value": ValueScoring, "gaussian": GaussianScoring, "quantiles": QuantileScoring}


class SequencePrediction:
    """Sequences that are read from the start, each alone; what counts is said by their weights."""

    carried = False
    vocabulary: data.Vocabulary | None = None

    def __init__(self, settings: Settings, device: torch.device, objective: str | None = None):
        """Loads the sequences onto the device.

        Args:
            settings: Of a pack.
            device: Where the sequences are kept.
            objective: The metric that models are judged by, such as ``validation/accuracy``; None:
                what training follows.

        Raises:
            data.DataError: The sequences cannot be had, or are too few.
        """
        self.dataset = load_sequences(settings)
        self.fingerprint = self.dataset.fingerprint
        self.num_inputs, self.num_outputs = self.dataset.num_inputs, self.dataset.num_outputs
        self.reads_tokens = self.dataset.reads_tokens
        self.meaning = self.dataset.meaning
        self.scoring = _scoring_of(self.dataset)
        windows = self.dataset.windows
        self._error_scale = None if windows is None else error_scale(windows)
        self.objectives = self.scoring.objectives
        self.trained_objectives: tuple[Objective, ...] = (self.scoring.trained,)
        self.objective = self.scoring.trained if objective is None else objective_of(objective)
        if self.objective not in self.objectives:  # the pack says so
            self.objective = self.scoring.trained
        self.chance_loss = self._loss_of(self.dataset.chance)
        self.learned_below = self._loss_of(self.dataset.learned_from or self.dataset.chance)
        self.test_splits = self.dataset.test_splits
        self.splits: tuple[str, ...] = ("train", "validation", *self.test_splits)
        self.updates_per_epoch = self.dataset.updates_per_epoch(settings)
        self.targets_per_update = self.dataset.targets_per_update(settings)
        self._settings, self._device = settings, device
        self._dtype = dtype_of(settings.precision)
        self._splits = {name: self._on_device(part) for name, part in self.dataset.splits.items()}
        weights = self.dataset.class_weights
        self._class_weights = (
            None if weights is None else torch.from_numpy(weights).to(device, self._dtype)
        )

    def _on_device(self, part: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """Returns inputs, targets and weights, (S, T, ...) each."""
        arrays = (part.inputs, part.targets, part.weights)
        made = (torch.from_numpy(np.ascontiguousarray(each)).to(self._device) for each in arrays)
        inputs, targets, weights = (
            each.to(self._dtype) if each.is_floating_point() else each for each in made
        )
        return inputs, targets, weights

    def epoch(self, seeds: list[Seed], epoch: int) -> tuple[Tensor, ...]:
        """See :class:`~harness.tasks.task.Task`.

        Of a set the one part says which sequences are read, (U, N, B). Of fresh sequences the three
        are their inputs, targets and weights, (U, T, N, B, ...) each.
        """
        updates, size = self.updates_per_epoch, self._settings.batch_size
        generator = self.dataset.generator
        if generator is None:
            count = len(self.dataset.splits["train"])
            orders = [
                randomness.permutation(*seed, "order", epoch, "sequences", count=count)
                for seed in seeds
            ]
            chosen = [order[: updates * size].reshape(updates, size) for order in orders]
            return (torch.from_numpy(np.stack(chosen, axis=1)).to(self._device),)
        drawn = [
            self._on_device(
                generator.draw(
                    (*seed, "order", epoch, "sequences"),
                    FRESH_UPDATES * size,
                    self._settings.bptt_length,
                )
            )
            for seed in seeds
        ]
        # (U, B, T, ...) of each run -> (U, T, N, B, ...)
        return tuple(
            torch.stack([each.unflatten(0, (updates, size)) for each in column], 2)
            .transpose(1, 3)
            .contiguous()
            for column in zip(*drawn, strict=True)
        )

    def batch(self, *parts: Tensor) -> Batch:
        """See :class:`~harness.tasks.task.Task`; weights come to 1 for each run."""
        if self.dataset.generator is None:
            (chosen,) = parts
            parts = tuple(each[chosen].movedim(2, 0) for each in self._splits["train"])
        inputs, targets, weights = parts
        if self._class_weights is not None:
            weights = weights * self._class_weights[targets]
        total = weights.sum((0, 2), keepdim=True)
        # A minibatch in which nothing counts has no gradient.
        return Batch(inputs, targets, weights / total.where(total > 0, 1.0))

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """See :class:`~harness.tasks.task.Task`; the last minibatch is filled up, at weight 0."""
        size = self._settings.batch_size
        values = self._splits[split]
        count = len(values[0])
        for first in range(0, count, size):
            at = torch.arange(first, first + size, device=self._device)
            inputs, targets, weights = (
                each[at.clamp(max=count - 1)].transpose(0, 1).unsqueeze(1) for each in values
            )
            weights = weights * (at < count)
            inputs, targets, weights = (
                each.expand(-1, num_runs, *each.shape[2:]) for each in (inputs, targets, weights)
            )
            yield Batch(inputs, targets, weights, begins=True)

    def sums(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """See :class:`~harness.tasks.task.Task`; they are the scoring's."""
        return self.scoring.sums(readout, rows, *self._by_run(batch))

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """See :class:`~harness.tasks.task.Task`."""
        return self.scoring.mean_losses(readout, rows, *self._by_run(batch))

    def _by_run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.weights is not None
        return by_run(batch.targets), by_run(batch.weights)

    def num_targets(self, split: str) -> float:
        """See :class:`~harness.tasks.task.Task`."""
        return float(self.dataset.splits[split].weights.sum())

    def criterion(self, means: Sequence[float]) -> float:
        """See :class:`~harness.tasks.task.Task`: the mean error, or the rate of errors."""
        return self._criterion_of(self.scoring.metrics(means))

    def _criterion_of(self, metrics: Mapping[str, float]) -> float:
        value = metrics[self.objective.key]
        return 1.0 - value if self.objective.better == "higher" else value

    def loss(self, criterion: float) -> float:
        """See :class:`~harness.tasks.task.Task`: the logarithm of what is compared by a ratio."""
        return log_error(criterion) if self.objective.is_ratio else criterion

    def _loss_of(self, metrics: Mapping[str, float]) -> float:
        return self.loss(self._criterion_of(metrics))

    def guess(self, split: str) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`; of measured data it is that of the split's own."""
        dataset = self.dataset
        return self._told(
            split,
            dataset.guesses[split],
            lambda: guess_by_value(dataset.splits[split], dataset.head),
        )

    def point(self, scores: Tensor) -> Tensor:
        """See :class:`~harness.tasks.task.Task`; the scoring knows."""
        return self.scoring.point(scores)

    def metrics(self, prefix: str, loss: float) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`."""
        return {
            f"{prefix}/{LOSS}": loss,
            f"{prefix}/{self.objective.key}": self.objective.level(loss),
        }

    def evaluation_metrics(self, prefix: str, means: Sequence[float]) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`.

        Of a series the test split tells errors by column, too, in the column's own unit. Those of
        the evaluations before would be a chart for each column.
        """
        scoring = self.scoring

        def by_value() -> Mapping[str, np.ndarray]:
            assert isinstance(scoring, ValueScoring), "a series has no classes"
            return scoring.by_value(means)

        return self._told(prefix, scoring.metrics(means), by_value)

    def _told(
        self,
        split: str,
        values: Mapping[str, float],
        by_value: Callable[[], Mapping[str, np.ndarray]],
    ) -> dict[str, float]:
        """Returns the metrics of a split, given those of the scoring.

        ``by_value`` returns the means of each value; it is asked where a column has any alone.
        """
        told = dict(values)
        if split in self.dataset.floors:
            told["excess"] = values["cross_entropy"] - self.dataset.floors[split].loss
        windows = self.dataset.windows
        if split == "test" and windows is not None:
            assert self._error_scale is not None
            told |= column_metrics(windows, self._error_scale, by_value())
        named = {f"{split}/{name}": value for name, value in told.items()}
        return named | self.metrics(split, self._loss_of(values))

    def training_metrics(self, mean: float) -> dict[str, float]:
        """See :class:`~harness.tasks.task.Task`; the loss where training follows the objective."""
        if self.objective is self.scoring.trained:
            return self.metrics("train", self.loss(mean))
        return {f"train/{self.scoring.trained.key}": mean}

    def check(self, wanted: SampleRequest) -> None:
        """See :class:`~harness.tasks.task.Task`.

        Raises:
            data.DataError: A text is to be continued.
        """
        if wanted.prefixes:
            raise data.DataError(
                f"samples: must be left out with task {self._settings.task}, which has no texts to "
                f"continue, but got prefixes={list(wanted.prefixes)}."
            )

    def samples(
        self,
        model: Model,
        parameters: Parameters,
        wanted: SampleRequest,
        seed: Seed,
        masks: Masks | None = None,
    ) -> list[dict[str, Any]]:
        """See :class:`~harness.tasks.task.Task`; there are none."""
        return []


def _scoring_of(dataset: SequenceDataset) -> Scoring:
    if dataset.predicts_classes:
        return ClassScoring(dataset.num_outputs)
    return _HEADS[dataset.head](dataset.num_values)
