"""What training asks of a task: its data, what is predicted, and how that is scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from harness import data, randomness
from harness.engine import Parameters
from harness.model.masks import Masks
from harness.model.network import Model
from harness.model.readout import Gradients, Readout
from harness.settings import SampleRequest
from harness.tasks.objective import Objective

Seed = tuple[randomness.Name, ...]


@dataclass(frozen=True)
class Batch:
    """One minibatch of every run.

    Attributes:
        inputs: Tokens, (T, N, B), int64; or vectors, (T, N, B, I).
        targets: Classes, (T, N, B), int64; or values, (T, N, B, O).
        weights: How often each target counts, (T, N, B); None where all count once. Those of a
            minibatch of training come to 1 for each run.
        begins: Whether the state begins anew here, in an evaluation.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    begins: bool = False


class Task(Protocol):
    """What training asks of a task.

    Attributes:
        num_inputs: The V of tokens, or the I of vectors.
        num_outputs: The width of the read-out: V, the number of classes, or of values.
        reads_tokens: Whether inputs are tokens; else they are vectors.
        updates_per_epoch: The same in every epoch.
        targets_per_update: The time steps of one run's minibatch, B times T; of lines that are
            sequences the targets, the mean of an epoch's minibatches.
        carried: Whether a stream's state is carried over the minibatches of an epoch.
        objectives: What its models may be judged by.
        trained_objectives: Those among them that training itself follows.
        chance_loss: The loss of a model that has learned nothing.
        learned_below: The loss that a model which has learned something is below: that of a guess,
            or lower where on so little data a guess may be better by luck.
        splits: The names of the splits.
        test_splits: Those among them that the best parameters of a finished run are evaluated on.
        fingerprint: Of the data: equal fingerprints mean equal data.
        vocabulary: What tokens stand for; None where nothing is written in them.
        meaning: What other numbers stand for, as ``SequenceDataset.meaning`` has it; empty where a
            vocabulary says it.
    """

    num_inputs: int
    num_outputs: int
    reads_tokens: bool
    updates_per_epoch: int
    targets_per_update: float
    carried: bool
    objectives: tuple[Objective, ...]
    trained_objectives: tuple[Objective, ...]
    chance_loss: float
    learned_below: float
    splits: tuple[str, ...]
    test_splits: tuple[str, ...]
    fingerprint: str
    vocabulary: data.Vocabulary | None
    meaning: Mapping[str, Any]

    def epoch(self, seeds: list[Seed], epoch: int) -> tuple[Tensor, ...]:
        """Returns what each update of that epoch is made of, (U, ...) each, on the device."""
        ...

    def batch(self, *parts: Tensor) -> Batch:
        """Returns the minibatch of an update, given its part of each of :meth:`epoch`'s."""
        ...

    def evaluation(self, split: str, num_runs: int) -> Iterator[Batch]:
        """Yields the minibatches of a split, in order.

        The state starts at zero, and is carried from one to the next but where it begins anew.
        Every target of the split is in one of them, with its weight.
        """
        ...

    def sums(self, readout: Readout, rows: Tensor, batch: Batch) -> Tensor:
        """Returns what an evaluation adds up of every run, (N, K), over the batch's targets.

        ``rows`` are the model's, (N, T*B, H).
        """
        ...

    def mean_losses(self, readout: Readout, rows: Tensor, batch: Batch) -> tuple[Tensor, Gradients]:
        """Returns every run's mean loss over a minibatch of training, (N,), and their gradients."""
        ...

    def num_targets(self, split: str) -> float:
        """Returns how many targets a split scores: the sum of their weights."""
        ...

    def criterion(self, means: Sequence[float]) -> float:
        """Returns what evaluations are ranked by, lower is better, of the means of their sums."""
        ...

    def loss(self, criterion: float) -> float:
        """Returns the loss, which is compared, of a criterion; it rises with it."""
        ...

    def guess(self, split: str) -> dict[str, float]:
        """Returns the metrics of a split of a model that has learned nothing: :meth:`metrics` too.

        They are those of an evaluation that are known of a guess.
        """
        ...

    def point(self, scores: Tensor) -> Tensor:
        """Returns what outputs (..., V or O) say of each value, where they say more than that."""
        ...

    def metrics(self, prefix: str, loss: float) -> dict[str, float]:
        """Returns the metrics that a loss alone tells, keys ``prefix/...``.

        Among them are ``prefix/loss`` and the objective's own.
        """
        ...

    def evaluation_metrics(self, prefix: str, means: Sequence[float]) -> dict[str, float]:
        """Returns all metrics of an evaluation, of the means of its sums: :meth:`metrics` too."""
        ...

    def training_metrics(self, mean: float) -> dict[str, float]:
        """Returns the metrics of the mean loss that training followed, keys ``train/...``."""
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
