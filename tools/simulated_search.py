"""One simulated study: two arms searched over planted landscapes, replicated and judged.

The shared design, the brackets, the extension and the finalists are those of harness/tuning, and
the verdict is that of harness/statistics; the draws are pure functions of the setting.
"""

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from landscapes import Landscape, Measured

from harness import randomness
from harness.statistics.decisions import SEARCH_FACTOR, Decision, Verdict, decide
from harness.study import Choices, Range
from harness.tuning import bracketing, design, extension, finalists
from harness.tuning.spread import search_spread
from harness.tuning.tried import TrialEnd, TriedSetting

TOLD_APART = ("better", "worse", "equivalent and lower", "equivalent and higher")
SEEDS = 8
RATE = Range(0.003, 0.1, log=True, widen=(0.0003, 1.0))
ONE = {"learning_rate": RATE}
TWO = {"learning_rate": RATE, "forget_bias": Range(-2.0, 4.0, widen=(-8.0, 10.0))}
JITTER = 0.44
"""Studies differ by so much, at most, in where an arm's best rate lies (in its logarithm)."""


@dataclass(frozen=True)
class Search:
    """How much is spent on a search, as ``tune`` says it; ``grid``: of that many equal steps."""

    trials: int
    seeds: int = 1
    finalists: int = 1
    finalist_seeds: int = 0
    at_most: int = 0
    grid: bool = False

    @property
    def cost(self) -> int:
        """Runs of an arm that its search takes, before it is extended."""
        return (
            self.trials * self.seeds + (self.finalists > 1) * self.finalists * self.finalist_seeds
        )


@dataclass(frozen=True)
class Setting:
    """A kind of study: what is searched, how, with how much noise from seed to seed (nats).

    ``power``, of a planted effect, is how often it is claimed to be found at least. ``claims``:
    whether anything is claimed of equal arms.
    """

    landscape: Landscape
    noise: float
    search: Search
    is_shared: bool = True
    power: float = 0.0
    claims: bool = True

    @functools.cached_property
    def name(self) -> str:
        """What the setting's draws derive from."""
        numbers = "-".join(str(number) for number in dataclasses.astuple(self.search))
        shared = "shared" if self.is_shared else "own"
        return f"{self.landscape.name} {self.noise} {numbers} {shared}"


@dataclass(frozen=True)
class Outcome:
    """What a study ends in: paired differences, S, and whether a search is open.

    ``of_halves`` is what another estimator says of S, see :func:`spread_of_halves`.
    """

    measured: Measured
    differences: np.ndarray
    spread: float | None
    is_open: bool
    of_halves: float | None

    def verdict(self) -> Verdict:
        """Returns what the report says."""
        return self._verdict(self.spread)

    def is_told_apart(self, factor: float, *, by_halves: bool = False) -> bool:
        """Says whether the arms would be told apart if k were another ``factor``."""
        spread = self.of_halves if by_halves else self.spread
        if spread is not None:
            spread *= factor / SEARCH_FACTOR
        return self._verdict(spread) in TOLD_APART

    def _verdict(self, spread: float | None) -> Verdict:
        return self._decision(spread).verdict

    def _decision(self, spread: float | None) -> Decision:
        return decide(
            [self.differences],
            margin_loss=self.measured.margin_loss,
            spreads=[spread],
            incomparable=[self.is_open],
        )[0]

    def covers(self, truth: float) -> bool | None:
        """Says whether the interval with S holds the true difference; None: there is none."""
        wide = self._decision(self.spread).wide
        return None if wide is None else wide.low <= truth <= wide.high

    def verdict_of_seeds_alone(self) -> Verdict:
        """Returns what it would say of the replicates if it knew nothing of the searches."""
        return decide([self.differences], margin_loss=self.measured.margin_loss)[0].verdict


def spread_of_halves(arm: Sequence[TriedSetting], baseline: Sequence[TriedSetting]) -> float | None:
    """Returns S as random halves of the shared points say it, the same halves in both arms.

    It is the estimator that was refused; None: too few halves have a finished setting in each arm.
    """
    nats = [
        np.array([each.nats if each.end == "finished" else np.inf for each in tried])
        for tried in (arm, baseline)
    ]
    draws = randomness.uniform("search-simulation", "halves", shape=(500, len(arm)))
    halves = np.argsort(draws, axis=1)[:, : len(arm) // 2]
    bests = [each[halves].min(axis=1) for each in nats]
    both = np.isfinite(bests[0]) & np.isfinite(bests[1])
    return float(np.std(bests[0][both] - bests[1][both])) if both.sum() > 1 else None


class Simulated:
    """One study: arms 0, the baseline, and 1, each with draws of its own (salted)."""

    def __init__(self, setting: Setting, number: int):
        self.setting, self.search = setting, setting.search
        self.measured = setting.landscape.judged
        self._number = number
        self.valleys = (setting.landscape.baseline, setting.landscape.arm)
        self._jitter = (2.0 * self._uniform("jitter", shape=(1,))[0] - 1.0) * JITTER
        self.space: Mapping[str, Range | Choices] = (
            ONE if setting.landscape.num_fields == 1 else TWO
        )
        if self.search.grid:
            rates = np.geomspace(RATE.low, RATE.high, self.search.trials).tolist()
            self.space = {"learning_rate": Choices(tuple(rates))}
        points = [self._points(arm) for arm in (0, 1)] if not setting.is_shared else []
        points = points or [self._points(0)] * 2
        self.tried = {str(arm): self._trials(arm, points[arm], 0) for arm in (0, 1)}
        self._extend()

    def outcome(self) -> Outcome | None:
        """Returns how it ends; None where an arm has no setting to replicate."""
        losses = [self.replicates(arm) for arm in (0, 1)]
        if any(nats is None for nats in losses):
            return None
        baseline, arm = (np.array(nats) for nats in losses)
        with np.errstate(invalid="ignore"):  # inf - inf is nan, and meant
            differences = arm - baseline
        space, fields = self._searched(), list(self.space)
        spread = search_spread(
            self.tried["1"],
            self.tried["0"],
            space,
            fields,
            fields,
            replicates=(arm.tolist(), baseline.tolist()),
            finalists=self.search.finalists,
            finalist_seeds=self.search.finalist_seeds,
        )
        is_open = any(
            bracket.kind == "open"
            for tried in self.tried.values()
            for bracket in bracketing.brackets(
                tried, space, fields, self.measured.margin_loss
            ).values()
        )
        of_halves = spread_of_halves(self.tried["1"], self.tried["0"])
        return Outcome(self.measured, differences, spread, is_open, of_halves)

    def _uniform(self, *names: randomness.Name, shape: tuple[int, ...]) -> np.ndarray:
        return randomness.uniform(
            "search-simulation", self.setting.name, self._number, *names, shape=shape
        )

    def _names(self, arm: int) -> tuple[randomness.Name, ...]:
        own = () if self.setting.is_shared else (arm,)
        return ("search-simulation", self.setting.name, self._number, "design", *own)

    def _points(self, arm: int) -> list[dict[str, Any]]:
        if self.search.grid:
            return design.grid(self.space, self._names(arm))
        return design.points(self.space, self._names(arm), self.search.trials)

    def _searched(self) -> Mapping[str, Range | Choices]:
        tried = (each.values for trials in self.tried.values() for each in trials)
        return extension.searched_space(self.space, tried)

    def _extend(self) -> None:
        num_ended = self.search.trials
        while self.search.at_most:
            more = extension.next_points(
                self.tried,
                self.space,
                {arm: list(self.space) for arm in self.tried},
                trials=self.search.trials,
                batch=4,
                at_most=self.search.at_most,
                margin_loss=self.measured.margin_loss,
                names=self._names(0),
                num_ended=num_ended,
            )
            if not more:
                break
            for arm in self.tried:
                self.tried[arm] += self._trials(int(arm), more, num_ended)
            num_ended += len(more)

    def _runs(
        self, arm: int, settings: Sequence[Mapping[str, Any]], count: int, *names: randomness.Name
    ) -> np.ndarray:
        """Returns the losses of ``count`` seeds of each setting, infinite where one diverged."""
        truth = [self.valleys[arm].loss(values, self._jitter) for values in settings]
        nats, lost = (np.array(each)[:, None] for each in zip(*truth, strict=True))
        own = ("search-simulation", self.setting.name, self._number, arm, *names)
        shape = (len(settings), count)
        noise = randomness.normal(*own, "noise", shape=shape) * self.setting.noise
        luck = randomness.uniform(*own, "held out", shape=shape)
        is_lost = lost > 0.0
        if 0.0 < lost.max():
            is_lost = randomness.uniform(*own, "lost", shape=shape) < lost
        return np.where(is_lost, np.inf, self.setting.landscape.losses(nats, noise, luck))

    def _trials(
        self, arm: int, points: Sequence[Mapping[str, Any]], first: int
    ) -> list[TriedSetting]:
        settings = []
        nats = self._runs(arm, points, self.search.seeds, "trial", first)
        num_lost = (nats >= self.measured.guess).sum(axis=1).tolist()
        worth = np.minimum(nats, self.measured.guess).tolist()
        for i, values in enumerate(points):
            end: TrialEnd = "diverged" if num_lost[i] == len(worth[i]) else "finished"
            mean, seeds = statistics.fmean(worth[i]), tuple(worth[i])
            settings.append(TriedSetting(first + i, values, mean, seeds, end, num_lost=num_lost[i]))
        return settings

    def replicates(self, arm: int) -> np.ndarray | None:
        """Returns the losses of an arm's best setting; None where none finished."""
        tried = {each.number: each for each in self.tried[str(arm)]}
        leaders = finalists.leaders(list(tried.values()), self.search.finalists)
        if not leaders:
            return None
        seeds = {number: list(tried[number].seed_nats) for number in leaders}
        if self.search.finalists > 1:
            settings = [tried[number].values for number in leaders]
            nats = self._runs(arm, settings, self.search.finalist_seeds, "finalists")
            worth = np.minimum(nats, self.measured.guess).tolist()
            seeds = {n: seeds[n] + again for n, again in zip(leaders, worth, strict=True)}
        chosen = tried[finalists.choose(seeds)].values
        (losses,) = self._runs(arm, [chosen], SEEDS, "replicates")
        return np.asarray(losses)
