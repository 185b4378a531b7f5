"""Planted answers: simulated studies of known truth, decided by the code that the report uses.

Run as ``python tools/null_studies.py``, it simulates 20,000 studies of every kind and setting
(minutes on one core) and writes studies/results/null-studies.csv; the draws are pure functions of
the setting, so it writes the same file again. Bounds are those that a binomial of the rate expected
leaves with a probability of 1e-4.
"""

import csv
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy import special, stats

from harness import randomness
from harness.statistics import power
from harness.statistics.decisions import Decision, decide

CSV = Path(__file__).resolve().parent.parent / "studies" / "results" / "null-studies.csv"
NUM_STUDIES = 20_000
LEVEL = 1e-4
SPREAD_NATS = 0.02  # of paired differences: what small language models show from seed to seed
TOLD_APART = ("better", "worse", "equivalent and lower", "equivalent and higher")


@dataclass(frozen=True)
class Claim:
    """How often ``quantity`` comes up: a rate of studies that is met, or is a bound."""

    quantity: str
    rate: float
    relation: str = "equals"

    def bounds(self, num_studies: int) -> tuple[int, int]:
        """Returns the least and the largest count that the claim leaves room for."""
        low, high = stats.binom.ppf([LEVEL / 2, 1 - LEVEL / 2], num_studies, self.rate)
        return (
            0 if self.relation == "at most" else int(low),
            num_studies if self.relation == "at least" else int(high),
        )


def differences(
    name: str, shape: tuple[int, int, int], spread_nats: float = SPREAD_NATS
) -> np.ndarray:
    """Returns paired differences of equal arms, (studies, arms - 1, seeds).

    They share their baseline's noise. Every loss also has its seed's part, which pairing takes out.
    """
    noise = randomness.normal("null-study", name, "own", shape=shape) * spread_nats / math.sqrt(2.0)
    of_seed = randomness.normal("null-study", name, "seed", shape=(shape[0], 1, shape[2]))
    losses = 1.4 + 0.05 * of_seed + noise
    return losses[:, 1:] - losses[:, :1]


def errs(decided: Sequence[Decision]) -> bool:
    """Says whether any arm is told apart from the baseline."""
    return any(decision.verdict in TOLD_APART for decision in decided)


def covers(decision: Decision, truth: float = 0.0) -> bool:
    """Says whether the interval that the report shows holds the truth."""
    return (
        decision.interval is not None and decision.interval.low <= truth <= decision.interval.high
    )


def seen_of(family: np.ndarray, truth: float = 0.0) -> tuple[bool, bool]:
    """Decides a study, and says whether it errs and whether its last arm's interval covers."""
    decided = decide(list(family), margin_loss=0.0)
    return errs(decided), covers(decided[-1], truth)


def how_often(seen: Iterable[tuple[bool, bool]]) -> list[int]:
    """Returns in how many studies each quantity came up."""
    counts: list[int] = np.sum(list(seen), axis=0).tolist()
    return counts


@dataclass(frozen=True)
class Equal:
    """Equal arms, each with its own noise."""

    kind: ClassVar[str] = "equal arms"
    num_arms: int
    num_seeds: int

    def claims(self) -> list[Claim]:
        """With a baseline in common Holm is conservative; alone it changes nothing."""
        family = Claim("told apart", 0.05, "equals" if self.num_arms == 2 else "at most")
        return [family, Claim("95 % interval covers", 0.95)]

    def counts(self, num_studies: int) -> list[int]:
        """Returns how often each claim's quantity came up."""
        shape = (num_studies, self.num_arms, self.num_seeds)
        return how_often(seen_of(family) for family in differences(repr(self), shape))


@dataclass(frozen=True)
class Planted:
    """Two arms that differ by ``effect`` spreads of their paired differences."""

    kind: ClassVar[str] = "planted effect"
    num_seeds: int
    effect: float

    def claims(self) -> list[Claim]:
        """A wrong sign is as rare as the power's other tail."""
        chance = power.power_of(self.effect, 1.0, self.num_seeds)
        return [Claim("told apart", chance), Claim("95 % interval covers", 0.95)]

    def counts(self, num_studies: int) -> list[int]:
        """Returns how often each claim's quantity came up."""
        truth = self.effect * SPREAD_NATS
        families = truth + differences(repr(self), (num_studies, 2, self.num_seeds))
        return how_often(seen_of(family, truth) for family in families)


@dataclass(frozen=True)
class Tuned:
    """Two equal cells, each tuned ``repeats`` times.

    What a search misses varies by ``tuning`` spreads of a seed.
    """

    kind: ClassVar[str] = "planted tuning variance"
    num_seeds: ClassVar[int] = 10
    tuning: float
    repeats: int

    def claims(self) -> list[Claim]:
        """Seeds of one search say nothing of another.

        The statistic is Student's, stretched by sqrt(1 + n tuning^2).
        """
        if self.repeats > 1:
            return [Claim("told apart", 0.05)]
        degrees, stretch = self.num_seeds - 1, math.sqrt(1.0 + self.num_seeds * self.tuning**2)
        critical = stats.t.ppf(0.975, degrees) / stretch
        return [Claim("told apart", float(2.0 * stats.t.sf(critical, degrees)))]

    def counts(self, num_studies: int) -> list[int]:
        """Returns how often each claim's quantity came up.

        With repeats a pair is a repeat's mean over its seeds.
        """
        seeds = differences(repr(self), (num_studies * self.repeats, 2, self.num_seeds))[:, 0]
        searches = randomness.normal("null-study", repr(self), "search", shape=(len(seeds), 1))
        pairs = seeds + self.tuning * SPREAD_NATS * searches
        if self.repeats > 1:
            pairs = pairs.mean(axis=1).reshape(num_studies, self.repeats)
        return [sum(errs(decide([each], margin_loss=0.0)) for each in pairs)]


@dataclass(frozen=True)
class Sequential:
    """Equal arms under Stein's rule.

    There are 10 seeds, then as many as +-0.5 % of perplexity takes, but 40 at most.
    """

    kind: ClassVar[str] = "sequential seeds"
    first: ClassVar[int] = 10
    at_most: ClassVar[int] = 40
    half_width_nats: ClassVar[float] = math.log1p(0.005)
    num_arms: int
    spread_nats: float

    def claims(self) -> list[Claim]:
        """How often one comparison reaches the limit is known.

        The first stage's variance is chi-squared.
        """
        family = Claim("told apart", 0.05, "equals" if self.num_arms == 2 else "at most")
        claims = [
            family,
            Claim("95 % interval covers", 0.95),
            Claim("wider than asked below the limit", 0.0),
        ]
        if self.num_arms == 2:
            one = (
                float(special.stdtrit(self.first - 1, 0.975))
                * self.spread_nats
                / self.half_width_nats
            )
            reached = stats.chi2.sf((self.first - 1) * (self.at_most - 1) / one**2, self.first - 1)
            claims.append(Claim("reaches the limit", float(reached)))
        return claims

    def counts(self, num_studies: int) -> list[int]:
        """Returns how often each claim's quantity came up."""
        shape, counts = (num_studies, self.num_arms, self.at_most), [0, 0, 0, 0]
        for family in differences(repr(self), shape, self.spread_nats):
            first_stage = list(family[:, : self.first])
            n = power.stein_seeds(
                first_stage, half_width_nats=self.half_width_nats, at_most=self.at_most
            )
            decided = decide(list(family[:, :n]), margin_loss=0.0, first=self.first)
            counts[0] += errs(decided)
            counts[1] += covers(decided[-1])
            counts[2] += n < self.at_most and any(self._is_wide(decision) for decision in decided)
            counts[3] += n == self.at_most
        return counts[: len(self.claims())]

    def _is_wide(self, decision: Decision) -> bool:
        assert decision.interval is not None
        return decision.interval.high - decision.interval.low > 2.0 * self.half_width_nats * (
            1.0 + 1e-12
        )


HEAVY, ALIKE, ONE_SIDED, FAILING = (
    "heavy tails",
    "all skewed alike",
    "skewed but for the baseline",
    "1 in 10 seeds of one arm fails",
)
FAILURE = 25.0
"""By how many spreads of a seed a run that fails is worse: 0.5 nats."""


@dataclass(frozen=True)
class Shaped:
    """Arms of equal means whose losses are not normal from seed to seed.

    Student's test is exact for normal differences. Tails and skews that both arms share make it
    more careful. A skew that one arm alone has makes it err, the more arms, the more often. Where
    an arm's mean hangs on rare failures, seeds among which there is none show another mean.
    """

    kind: ClassVar[str] = "equal means, not normal"
    shape: str
    num_arms: int
    num_seeds: int

    def claims(self) -> list[Claim]:
        """Returns bounds; no seed fails with a probability of 0.9^n."""
        if self.shape == FAILING:
            return [Claim("told apart", 0.9**self.num_seeds + 0.05, "at most")]
        most = 0.05 if self.shape != ONE_SIDED else 0.1 if self.num_arms == 2 else 0.17
        least = 0.95 if self.shape != ONE_SIDED else 0.9
        return [
            Claim("told apart", most, "at most"),
            Claim("95 % interval covers", least, "at least"),
        ]

    def counts(self, num_studies: int) -> list[int]:
        """Returns how often each claim's quantity came up."""
        shape = (num_studies, self.num_arms, self.num_seeds)
        normal = randomness.normal("null-study", repr(self), "own", shape=shape)
        noise = self._shaped(normal) * SPREAD_NATS
        families = noise[:, 1:] - noise[:, :1]
        return how_often(seen_of(family) for family in families)[: len(self.claims())]

    def _shaped(self, normal: np.ndarray) -> np.ndarray:
        """Returns draws of mean 0, of the shape of ``normal``; arm 0 is the baseline."""
        if self.shape == HEAVY:
            return np.asarray(stats.t.ppf(special.ndtr(normal), 3))
        if self.shape == FAILING:
            draws = randomness.uniform("null-study", repr(self), "fails", shape=normal.shape)
            of_one_arm = np.where(np.arange(self.num_arms) == 1, 1.0, 0.0)[:, None]
            return np.asarray(normal + of_one_arm * (FAILURE * ((draws < 0.1) - 0.1)))
        skewed: np.ndarray = np.exp(normal) - math.exp(0.5)
        if self.shape == ONE_SIDED:
            skewed[:, 0] = normal[:, 0]
        return skewed


Setting = Equal | Planted | Tuned | Sequential | Shaped
SETTINGS: tuple[Setting, ...] = (
    *(Equal(num_arms, num_seeds) for num_seeds in (5, 10, 20) for num_arms in (2, 3, 4, 6, 8)),
    *(Planted(num_seeds, effect) for num_seeds in (5, 10, 20) for effect in (0.5, 1.0, 1.5)),
    *(Tuned(tuning, repeats) for repeats in (1, 5, 10) for tuning in (0.0, 0.25, 0.5, 1.0)),
    *(Sequential(num_arms, spread) for num_arms in (2, 5) for spread in (0.005, 0.01, 0.02, 0.04)),
    *(
        Shaped(shape, num_arms, num_seeds)
        for shape, num_arms in (
            (HEAVY, 2),
            (ALIKE, 2),
            (ONE_SIDED, 2),
            (ONE_SIDED, 8),
            (FAILING, 2),
        )
        for num_seeds in (5, 10, 20)
    ),
)
PLANTED = ("num_arms", "num_seeds", "effect", "tuning", "repeats", "spread_nats", "shape")
COLUMNS = (
    "study",
    *PLANTED,
    "quantity",
    "relation",
    "expected",
    "studies",
    "count",
    "rate",
    "low",
    "high",
    "holds",
)


def rows(setting: Setting, num_studies: int = NUM_STUDIES) -> Iterator[dict[str, object]]:
    """Yields the rows of the CSV: a setting's claims, the counts, and the claims' bounds."""
    planted = {"study": setting.kind, **dataclasses.asdict(setting)}
    for claim, count in zip(setting.claims(), setting.counts(num_studies), strict=True):
        low, high = claim.bounds(num_studies)
        claimed = {
            "quantity": claim.quantity,
            "relation": claim.relation,
            "expected": f"{claim.rate:.6f}",
        }
        seen = {
            "studies": num_studies,
            "count": count,
            "rate": f"{count / num_studies:.6f}",
            "low": low,
            "high": high,
        }
        yield planted | claimed | seen | {"holds": low <= count <= high}


def main() -> None:
    """Writes the CSV, a row as soon as it is known."""
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for setting in SETTINGS:
            writer.writerows(rows(setting))
            file.flush()


if __name__ == "__main__":
    main()
