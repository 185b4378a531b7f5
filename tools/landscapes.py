"""Planted landscapes of searches: what a setting comes to, and what is measured of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from harness.tasks.objective import ACCURACY, MSE, PERPLEXITY, Objective

MIDDLE = math.log(0.0173)
"""Of the rates that are searched."""
LOWEST = 1.5
"""Of a valley, in nats."""
NUM_HELD_OUT = 1000
"""Targets that an accuracy is counted on."""
STEEPNESS = 8.0
"""The logarithm of an error rises so many times as fast as the nats of a valley."""


@dataclass(frozen=True)
class Measured:
    """What is measured of a run, and how.

    Attributes:
        objective: What the bench makes of it.
        margin: What counts as equal, as a study says it.
        guess: What a run is worth that is lost or learned nothing, as a loss.
        best: The error where a valley is lowest; 0: its nats are the loss.
    """

    objective: Objective
    margin: float
    guess: float
    best: float = 0.0

    @property
    def margin_loss(self) -> float:
        """The margin as a loss."""
        return self.objective.within(self.margin)

    def losses(self, above: np.ndarray, noise: np.ndarray, luck: np.ndarray) -> np.ndarray:
        """Returns losses of runs whose valleys lie ``above`` their lowest point, in nats.

        Errors are skewed from seed to seed, and those that a guess has are the worst. A rate of
        errors is counted on a held-out set.
        """
        if not self.best:
            return np.asarray(LOWEST + above + noise)
        errors = self.best * np.exp(STEEPNESS * above + noise)
        if self.objective is MSE:
            losses = np.log(errors)
        else:
            losses = stats.binom.ppf(luck, NUM_HELD_OUT, np.minimum(errors, 1.0)) / NUM_HELD_OUT
        return np.asarray(np.minimum(losses, self.guess))


PERPLEXITIES = Measured(PERPLEXITY, margin=0.01, guess=3.4)  # a guess among 30 characters
ERRORS = Measured(MSE, margin=0.1, guess=MSE.loss(1 / 6), best=0.005)  # of adding
ACCURACIES = Measured(ACCURACY, margin=0.01, guess=ACCURACY.loss(0.1), best=0.03)  # of ten classes


@dataclass(frozen=True)
class Valley:
    """The loss of one arm by its settings, in nats: near its lowest point a parabola.

    Attributes:
        at: Where the best rate lies, in its logarithm, from the middle of the range.
        slopes: Nats by which the loss rises for a rate e times smaller or larger, far away. Those
            of the studies that are kept here lie between 0.2 and 0.6.
        cliff: A run with a rate above this is lost (from the middle of the range, too).
        fade: Width of the cliff, where it is one in probability; 0: a step.
        bias: How much a forget bias of 1 away from its best, 1, costs; 0: it does nothing.
        tilt: How far a forget bias of 1 away shifts the best rate.
        higher: Nats by which the whole of it lies higher.
    """

    at: float = 0.0
    slopes: tuple[float, float] = (0.25, 0.5)
    cliff: float = math.inf
    fade: float = 0.0
    bias: float = 0.0
    tilt: float = 0.0
    higher: float = 0.0

    def loss(self, values: Mapping[str, Any], jitter: float) -> tuple[float, float]:
        """Returns what a setting comes to without noise, and with which probability it is lost."""
        rate = math.log(values["learning_rate"]) - MIDDLE - jitter
        off = values.get("forget_bias", 1.0) - 1.0
        x = rate - self.at + self.tilt * off
        nats = self.slopes[int(x > 0.0)] * (math.hypot(1.0, x) - 1.0) + self.bias * off**2
        if self.fade:
            lost = float(stats.logistic.cdf((rate - self.cliff) / self.fade))
        else:
            lost = float(rate > self.cliff)
        return LOWEST + self.higher + nats, lost


@dataclass(frozen=True)
class Landscape:
    """A baseline and an arm; the arm's lowest point lies ``effect`` above the baseline's, a loss.

    Attributes:
        name: What it is called.
        baseline: The loss of the one.
        arm: That of the other.
        effect: By how much the arm is worse.
        num_fields: Fields that are searched.
        judged: What is measured where a valley says how high it is.
    """

    name: str
    baseline: Valley
    arm: Valley
    effect: float = 0.0
    num_fields: int = 1
    judged: Measured = PERPLEXITIES

    def losses(self, heights: np.ndarray, noise: np.ndarray, luck: np.ndarray) -> np.ndarray:
        """Returns the losses of runs, of the shape of ``noise``, as the bench would store them.

        Args:
            heights: The valley's, a row a setting.
            noise: From seed to seed, normal.
            luck: Uniform draws of a held-out set.
        """
        return self.judged.losses(heights - LOWEST, noise, luck)


def _steep(times: float) -> Valley:
    return Valley(slopes=(0.25 * times, 0.5 * times))


SAME = Landscape("same", Valley(), Valley())
APART = Landscape("best rates 1.35 times apart", Valley(), Valley(at=0.3))
FAR = Landscape("best rates 2.7 times apart", Valley(at=0.5), Valley(at=-0.5))
STEEP = Landscape("twice as steep", Valley(), _steep(2.0))
STEEPER = Landscape("four times as steep", Valley(), _steep(4.0))
CLIFF = Landscape("cliff", Valley(at=1.0, cliff=0.6), Valley(at=1.0, cliff=0.6))
CLIFFS = Landscape("cliffs apart", Valley(at=1.0, cliff=0.6), Valley(at=0.8, cliff=0.4))
FADING = Landscape(
    "fading cliff",
    Valley(at=1.0, cliff=0.6, fade=0.15),
    Valley(at=1.0, cliff=0.6, fade=0.15),
)
WORSE_BEFORE_CLIFF = tuple(
    Landscape(
        f"{percent} % worse before a cliff",
        Valley(at=1.0, cliff=0.6),
        Valley(at=1.0, cliff=0.6, higher=math.log1p(percent / 100)),
        math.log1p(percent / 100),
    )
    for percent in (10, 28)
)
IRRELEVANT = Landscape("irrelevant field", Valley(), Valley(at=0.3), num_fields=2)
TWO_FIELDS = Landscape(
    "two fields", Valley(bias=0.02), Valley(at=0.3, bias=0.03, tilt=0.2), num_fields=2
)
OUTSIDE = Landscape("best rates outside", Valley(at=2.2), Valley(at=2.2))
ONE_OUTSIDE = Landscape("one best rate outside", Valley(), Valley(at=2.2))
SMALL = Landscape("5 % worse", Valley(), Valley(at=0.3, higher=math.log(1.05)), math.log(1.05))
LARGE = Landscape("10 % worse", Valley(), Valley(at=0.3, higher=math.log(1.1)), math.log(1.1))
FIRST = Landscape(
    "first study, 28 % worse",
    Valley(at=0.2),
    Valley(at=-0.4, slopes=(0.2, 0.5), higher=math.log(1.28)),
    math.log(1.28),
)


def _errors(name: str, measured: Measured, arm: Valley, times: float = 1.0) -> Landscape:
    """Returns a landscape whose arm has so many times the baseline's errors at its best."""
    worse = replace(arm, higher=math.log(times) / STEEPNESS)
    effect = math.log(times) if measured is ERRORS else measured.best * (times - 1.0)
    valley = Valley(at=arm.at, cliff=arm.cliff) if arm.cliff < math.inf else Valley()
    full = f"{measured.objective.name}, {name}"
    return Landscape(full, valley, worse, effect, judged=measured)


_ARMS = {
    "same": Valley(),
    "best rates 1.35 times apart": Valley(at=0.3),
    "twice as steep": _steep(2.0),
}
_ARMS["cliff"] = CLIFF.arm
EQUAL_ERRORS = tuple(
    _errors(name, measured, arm) for measured in (ERRORS, ACCURACIES) for name, arm in _ARMS.items()
)
WORSE_ERRORS = tuple(
    _errors(f"{times:g} times the errors", measured, Valley(at=0.3), times)
    for measured in (ERRORS, ACCURACIES)
    for times in (1.5, 3.0)
)
