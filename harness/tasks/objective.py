"""What a task is judged by, and how that is told. It is known without torch.

Training, search and statistics know one number, the *loss* that ``SPLIT/loss`` stores: lower is
better, differences count, and it is infinite where a run diverged. What a reader is shown is made
of it here, and nowhere else: see docs/decisions/task.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness import metrics
from harness.settings import Settings

TINY = 1e-300
"""The least mean of errors whose logarithm is taken: none at all would be infinitely good."""
LOSS = "loss"
"""The metric of a split that is compared; that which is shown has its objective's key."""
Side = Literal["lower", "higher"]


@dataclass(frozen=True)
class Reading:
    """A loss in another unit, told beside the objective.

    Attributes:
        key: The name of the metric, after its split.
        title: What it is called over a column.
        unit: That of a difference; empty where none is told.
        of: Returns a loss, or a difference of losses, in this unit.
        applies: Whether it is told of an arm with these settings.
        per: What it is a number for, in the plural. Where a token stands for another number of
            these, in the mean, the metric ``SPLIT/{per}_per_token`` says for how many.
    """

    key: str
    title: str
    unit: str
    of: Callable[[float], float]
    applies: Callable[[Settings], bool]
    per: str

    def read(self, loss: float, per_token: float = 1.0) -> float:
        """Returns a loss per token, or a difference of such, in this unit."""
        return self.of(loss / per_token)


@dataclass(frozen=True)
class Objective:
    """A number by which arms are compared, as a function of the loss.

    Attributes:
        key: The name of the metric, after its split.
        name: What sentences call it.
        plural: What they call several.
        scale: ``ratio``: the number is exp of the loss, and two arms are compared by their ratio.
            ``difference``: the number is the loss itself, and they are compared by the difference.
        chance: Returns the loss of a model that has learned nothing of some data.
        better: The side on which the number is better. Where it is ``higher`` the number falls as
            the loss grows, which is lower for what is better whatever is shown.
        origin: The number at a loss of 0, on the scale of differences: 1 of an accuracy, whose
            loss is the rate of errors.
        unit: That of the number; empty where it has none.
        loss_unit: That of the loss; likewise.
        near: How far from the best a trial is near it: a fraction on the scale of ratios, else in
            the number's own unit.
        readings: The loss in other units.
        data: What it is measured on, as a sentence names it.
        predictions: The title of the table of what trained models predict.
    """

    key: str
    name: str
    plural: str
    scale: Literal["ratio", "difference"]
    chance: Callable[[Any], float]
    better: Side = "lower"
    origin: float = 0.0
    unit: str = ""
    loss_unit: str = ""
    near: float = 0.05
    readings: tuple[Reading, ...] = ()
    data: str = "these sequences"
    predictions: str = "What the first replicate of each arm predicts"

    @property
    def is_ratio(self) -> bool:
        """Whether arms are compared by a ratio, and the number is drawn by its logarithm."""
        return self.scale == "ratio"

    @property
    def title(self) -> str:
        """The name as the first word of a title."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def axis(self) -> str:
        """The name with its unit, where it has one."""
        return f"{self.name} in {self.unit}" if self.unit else self.name

    @property
    def _sign(self) -> int:
        return 1 if self.better == "lower" else -1

    # Numbers

    def level(self, loss: float) -> float:
        """Returns the number that a loss is shown as; infinite where that overflows."""
        if self.is_ratio:
            return metrics.perplexity(self._sign * loss)
        return self.origin + self._sign * loss

    def levels(self, losses: np.ndarray) -> np.ndarray:
        """Returns :meth:`level` of every loss."""
        values = self._sign * losses
        shown: np.ndarray = np.exp(values) if self.is_ratio else self.origin + values
        return shown

    def loss(self, level: float) -> float:
        """Returns the loss that is shown as ``level``."""
        return self._sign * (math.log(level) if self.is_ratio else level - self.origin)

    def level_ends(self, low: float, high: float) -> tuple[float, float]:
        """Returns the ends of an interval of losses, the lower number first."""
        first, second = self.level(low), self.level(high)
        return (first, second) if self.better == "lower" else (second, first)

    def difference(self, losses: float) -> float:
        """Returns a difference of losses as the ratio or the difference of the two numbers."""
        value = self._sign * losses
        return metrics.perplexity(value) if self.is_ratio else value

    def differences(self, losses: np.ndarray) -> np.ndarray:
        """Returns :meth:`difference` of every one."""
        values = self._sign * losses
        shown: np.ndarray = np.exp(values) if self.is_ratio else values
        return shown

    def difference_ends(self, low: float, high: float) -> tuple[float, float]:
        """Returns the ends of an interval of differences, the lower one first."""
        first, second = self.difference(low), self.difference(high)
        return (first, second) if self.better == "lower" else (second, first)

    @property
    def no_difference(self) -> float:
        """The ratio or the difference of two equal numbers."""
        return 1.0 if self.is_ratio else 0.0

    def within(self, margin: float) -> float:
        """Returns a margin as a difference of losses.

        A margin is a fraction of the number on the scale of ratios, else in the number's unit.
        """
        return math.log1p(margin) if self.is_ratio else margin

    def margin_ends(self, margin: float) -> tuple[float, float]:
        """Returns the least and the greatest ratio or difference within a margin."""
        return (1.0 / (1.0 + margin), 1.0 + margin) if self.is_ratio else (-margin, margin)

    def raised(self, level: float, margin: float) -> float:
        """Returns the number that is worse than ``level`` by a margin."""
        if not self.is_ratio:
            return level + self._sign * margin
        return level * (1.0 + margin) if self.better == "lower" else level / (1.0 + margin)

    # Words

    @property
    def sign(self) -> Literal["", "+"]:
        """How the sign of a difference is written; a ratio has none."""
        return "" if self.is_ratio else "+"

    def amount(self, losses: float) -> str:
        """Returns the size of a difference of losses, in percent or in the number's unit."""
        if self.is_ratio:
            return f"{_two_digits(100 * math.expm1(losses))} %"
        return self._with_unit(_two_digits(losses))

    def margin_text(self, margin: float) -> str:
        """Returns a margin in percent or in the number's unit."""
        return f"{100 * margin:g} %" if self.is_ratio else self._with_unit(f"{margin:g}")

    def _with_unit(self, text: str) -> str:
        return f"{text} {self.unit}" if self.unit else text

    def compared(self, measured: str, difference: str, baseline: str) -> str:
        """Returns a clause on how an arm's number compares with the baseline's.

        Args:
            measured: What the number is called, with its split.
            difference: :meth:`difference` as a text.
            baseline: The name of the baseline.
        """
        if self.is_ratio:
            return f"its {measured} is {difference} times that of {baseline}"
        by = self._with_unit(difference)
        return f"its {measured} differs from that of {baseline} by {by}"

    def side(self, of_loss: Side) -> Side:
        """Returns on which side the number is where the loss is on this one."""
        if self.better == "lower":
            return of_loss
        return "higher" if of_loss == "lower" else "lower"


PERPLEXITY = Objective(
    key="perplexity",
    name="perplexity",
    plural="perplexities",
    scale="ratio",
    chance=lambda text: math.log(len(text.vocabulary)),
    loss_unit="nats",
    readings=(
        Reading(
            key="bits_per_character",
            title="Bits per character",
            unit="bits",
            of=metrics.bits,
            applies=lambda settings: settings.token in ("char", "subword"),
            per="characters",
        ),
        Reading(
            key="bits_per_byte",
            title="Bits per byte",
            unit="bits per byte",
            of=metrics.bits,
            applies=lambda settings: settings.token in ("byte", "subword"),
            per="bytes",
        ),
        Reading(
            key="word_perplexity",
            title="Word perplexity",
            unit="",
            of=metrics.perplexity,
            applies=lambda settings: settings.token == "subword",
            per="words",
        ),
    ),
    data="this text",
    predictions="What the first replicate of each arm writes",
)
ACCURACY = Objective(
    key="accuracy",
    name="accuracy",
    plural="accuracies",
    scale="difference",
    chance=lambda data: 1.0 - data.chance["accuracy"],
    better="higher",
    origin=1.0,
    near=0.01,
)
"""The share of targets whose class is the likeliest one; its loss is the rate of errors."""
CROSS_ENTROPY = Objective(
    key="cross_entropy",
    name="cross-entropy",
    plural="cross-entropies",
    scale="difference",
    chance=lambda data: data.chance["cross_entropy"],
    unit="nats",
    loss_unit="nats",
    near=0.02,
)
"""Of a class among several, per target."""


def _error(key: str, name: str, plural: str) -> Objective:
    """Returns the objective of a mean error, whose loss is the logarithm of the mean."""
    return Objective(
        key=key,
        name=name,
        plural=plural,
        scale="ratio",
        chance=lambda data: log_error(data.chance[key]),
    )


MSE = _error("mse", "mean squared error", "mean squared errors")
MAE = _error("mae", "mean absolute error", "mean absolute errors")
CRPS = _error("crps", "CRPS", "CRPS")
"""The continuous ranked probability score of a forecast that is a distribution."""
LIKELIHOOD = Objective(
    key="nll",
    name="negative log-likelihood",
    plural="negative log-likelihoods",
    scale="difference",
    chance=lambda data: data.chance["nll"],
    unit="nats",
    loss_unit="nats",
    near=0.02,
)
"""Of a forecast that is a density, per value."""
OF_CLASSES = (ACCURACY, CROSS_ENTROPY)
OF_VALUES = (MSE, MAE)
OF_QUANTILES = (CRPS, *OF_VALUES)
OF_DENSITIES = (CRPS, LIKELIHOOD, *OF_VALUES)
OBJECTIVES = {each.key: each for each in (PERPLEXITY, *OF_CLASSES, *OF_VALUES, CRPS, LIKELIHOOD)}
"""The objectives of all tasks, by their keys."""


def objective_of(metric: str) -> Objective:
    """Returns the objective of a metric such as ``validation/perplexity``.

    Raises:
        ValueError: No task has it.
    """
    key = metric.rpartition("/")[2]
    if key not in OBJECTIVES:
        raise ValueError(
            f"objective: must be one of {', '.join(OBJECTIVES)}, after a split, but got {metric!r}."
        )
    return OBJECTIVES[key]


def log_error(mean: float) -> float:
    """Returns the loss of a mean of errors that is compared by a ratio."""
    return math.log(max(mean, TINY)) if mean < math.inf else mean


def units_metric(split: str, unit: str) -> str:
    """Returns the metric that says how many units, in the plural, a token of a split stands for."""
    return f"{split}/{unit}_per_token"


def split_of(metric: str) -> str:
    """Returns the split of a metric such as ``validation/perplexity``."""
    return metric.partition("/")[0]


def loss_of(metric: str) -> str:
    """Returns the metric that is compared where this one is shown, such as ``validation/loss``."""
    return f"{split_of(metric)}/{LOSS}"


def _two_digits(number: float) -> str:
    """Returns a number to two digits that count, up to a million without an exponent."""
    return f"{float(f'{number:.2g}'):g}"
