"""Searches over planted landscapes, judged by the code that the bench judges with.

Every study searches its arms over landscapes whose lowest points are known, with the shared design,
the brackets, the extension and the finalists of harness/tuning, replicates what was chosen, and
decides with the search's spread. A landscape whose arms have equally low points must seldom end in
better or worse, though the arms differ in where these points lie; a planted difference must be
found. Run as ``python tools/search_simulation.py`` it writes studies/results/search-simulation.csv
(minutes on one core); the draws are pure functions of the setting, so it writes the same file
again. See docs/decisions/search.md.
"""

import csv
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from landscapes import (
    APART,
    CLIFF,
    CLIFFS,
    EQUAL_ERRORS,
    FADING,
    FAR,
    FIRST,
    IRRELEVANT,
    LARGE,
    ONE_OUTSIDE,
    OUTSIDE,
    PERPLEXITIES,
    SAME,
    SMALL,
    STEEP,
    STEEPER,
    TWO_FIELDS,
    WORSE_ERRORS,
    Landscape,
    Measured,
)
from scipy import stats

from harness import randomness
from harness.statistics.decisions import SEARCH_FACTOR, Verdict, decide
from harness.study import Choices, Range
from harness.tuning import bracketing, design, extension, finalists
from harness.tuning.spread import search_spread
from harness.tuning.tried import TrialEnd, TriedSetting

ROOT = Path(__file__).resolve().parent.parent
CSV = ROOT / "studies" / "results" / "search-simulation.csv"
PAGE = ROOT / "docs" / "decisions" / "search.md"
NUM_STUDIES = 400
MOST_FALSE = 0.07
"""What the upper 95 % bound (Clopper and Pearson 1934) of false verdicts must not exceed."""
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
        return decide(
            [self.differences],
            margin_loss=self.measured.margin_loss,
            spreads=[spread],
            incomparable=[self.is_open],
        )[0].verdict

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
        return self._runs(arm, [chosen], SEEDS, "replicates")[0]


FOUR = Search(4, grid=True)
EIGHT = Search(8)
THREE_SEEDS = Search(8, seeds=3)
SIX_SEEDS = Search(4, seeds=6)
FINALISTS = Search(8, finalists=3, finalist_seeds=5)
SIXTEEN = Search(16, at_most=32)
SIXTEEN_FINALISTS = Search(16, finalists=4, finalist_seeds=8, at_most=32)
SIXTEEN_SEEDS = Search(16, seeds=3, at_most=32)
NOISES = (0.005, 0.02, 0.05)
EQUAL = (SAME, APART, FAR, STEEP, CLIFF, CLIFFS, FADING)


POWERS = {
    **{(SMALL.name, 0.005, search): 0.95 for search in (EIGHT, THREE_SEEDS, FINALISTS)},
    (SMALL.name, 0.02, THREE_SEEDS): 0.6,
    (SMALL.name, 0.02, FINALISTS): 0.7,
    **{(LARGE.name, 0.005, search): 0.95 for search in (EIGHT, THREE_SEEDS, FINALISTS)},
    (LARGE.name, 0.005, SIX_SEEDS): 0.9,
    **{(LARGE.name, 0.02, search): 0.95 for search in (THREE_SEEDS, FINALISTS)},
    **{(LARGE.name, 0.02, search): 0.85 for search in (EIGHT, SIX_SEEDS)},
    (LARGE.name, 0.05, FINALISTS): 0.45,
    ("mean squared error, 1.5 times the errors", 0.1, EIGHT): 0.5,
    ("mean squared error, 1.5 times the errors", 0.1, FINALISTS): 0.95,
    **{("mean squared error, 3 times the errors", 0.1, s): 0.95 for s in (EIGHT, FINALISTS)},
    ("mean squared error, 3 times the errors", 0.3, FINALISTS): 0.9,
    ("accuracy, 1.5 times the errors", 0.1, FINALISTS): 0.4,
    **{("accuracy, 3 times the errors", 0.1, s): 0.95 for s in (EIGHT, FINALISTS)},
    ("accuracy, 3 times the errors", 0.3, FINALISTS): 0.7,
}
"""Landscape, noise and search -> how often the planted effect is claimed to be found, at least."""


def _settings() -> Iterator[Setting]:
    for landscape in EQUAL:
        for noise in NOISES:
            yield Setting(landscape, noise, EIGHT)
            yield Setting(landscape, noise, FINALISTS)
        for search in (FOUR, SIX_SEEDS, THREE_SEEDS):
            yield Setting(landscape, 0.02, search)
    for landscape in (IRRELEVANT, TWO_FIELDS):
        for noise in NOISES:
            yield Setting(landscape, noise, SIXTEEN)
        for search in (SIXTEEN_SEEDS, SIXTEEN_FINALISTS, Search(16)):
            yield Setting(landscape, 0.02, search)
    for landscape in (OUTSIDE, ONE_OUTSIDE):
        for search in (EIGHT, Search(8, at_most=16)):
            yield Setting(landscape, 0.02, search)
    yield Setting(STEEPER, 0.005, FOUR, claims=False)
    for landscape in (SAME, APART):
        for noise in (0.005, 0.02):
            for search in (EIGHT, FINALISTS):
                yield Setting(landscape, noise, search, is_shared=False, claims=False)
    yield from _planted()
    yield from _judged_by_errors()


def _judged_by_errors() -> Iterator[Setting]:
    """Yields studies of a mean squared error and of an accuracy; noise is that of its logarithm."""
    for landscape in (*EQUAL_ERRORS, *WORSE_ERRORS):
        for noise in (0.1, 0.3):
            for search in (EIGHT, FINALISTS):
                power = POWERS.get((landscape.name, noise, search), 0.0)
                yield Setting(landscape, noise, search, power=power)


def _planted() -> Iterator[Setting]:
    for noise in (0.01, 0.02, 0.03):
        yield Setting(FIRST, noise, FOUR, power=0.9)
        yield Setting(FIRST, noise, Search(4, at_most=8), power=0.9)
    for landscape in (SMALL, LARGE):
        for noise in NOISES:
            for search in (EIGHT, SIX_SEEDS, THREE_SEEDS, FINALISTS):
                power = POWERS.get((landscape.name, noise, search), 0.0)
                yield Setting(landscape, noise, search, power=power)
        yield Setting(landscape, 0.02, FINALISTS, is_shared=False)


SETTINGS = tuple(_settings())
FACTORS = (1.0, 1.5, 2.0, 2.5, 3.0)
COLUMNS = (
    *("landscape", "objective", "effect", "fields", "noise"),
    *("trials", "seeds", "finalists", "finalist_seeds", "at_most", "grid", "cost", "shared"),
    *("studies", "told_apart", "by_seeds_alone", "wrong", "equivalent", "not_comparable"),
    *(f"told_apart_k_{factor:g}" for factor in FACTORS),
    *(f"told_apart_halves_k_{factor:g}" for factor in FACTORS),
    *("median_spread", "claim", "limit", "bound", "holds"),
)


def row(setting: Setting, num_studies: int = NUM_STUDIES) -> dict[str, object]:
    """Returns a row of the CSV: what the studies of a setting ended in, and what is claimed.

    ``told_apart`` counts the studies that end in better or worse (or in one of the two with
    equivalent), ``wrong`` those of them that err: all of equal arms, and those with the other sign
    of a planted effect. ``bound`` is the 95 % bound (Clopper and Pearson, one side) that the claim
    is about: from above for what is claimed to be rare, from below for power.
    """
    ends = [Simulated(setting, number).outcome() for number in range(num_studies)]
    known = [end for end in ends if end is not None]
    verdicts = [end.verdict() for end in known]
    effect = setting.landscape.effect
    told = sum(verdict in TOLD_APART for verdict in verdicts)
    is_right = ("worse", "equivalent and higher") if effect else ()
    wrong = told - sum(verdict in is_right for verdict in verdicts)
    spreads = [end.spread for end in known if end.spread is not None]
    return {
        "landscape": setting.landscape.name,
        "objective": setting.landscape.judged.objective.key,
        "effect": round(effect, 4),
        "fields": setting.landscape.num_fields,
        "noise": setting.noise,
        **dataclasses.asdict(setting.search),
        "cost": setting.search.cost,
        "shared": setting.is_shared,
        "studies": num_studies,
        "told_apart": told,
        "by_seeds_alone": sum(end.verdict_of_seeds_alone() in TOLD_APART for end in known),
        "wrong": wrong,
        "equivalent": sum(verdict.startswith("equivalent") for verdict in verdicts),
        "not_comparable": verdicts.count("not comparable"),
        **{
            f"told_apart{how}_k_{factor:g}": sum(
                end.is_told_apart(factor, by_halves=bool(how)) for end in known
            )
            for how in ("", "_halves")
            for factor in FACTORS
        },
        "median_spread": f"{statistics.median(spreads):.4f}",
        **claim(setting, told - wrong, wrong, num_studies),
    }


def claim(setting: Setting, right: int, wrong: int, num_studies: int) -> dict[str, object]:
    """Returns what is claimed of a setting's studies, and whether the counts bear it out."""
    if setting.power:
        low = float(stats.beta.ppf(0.05, right, num_studies - right + 1)) if right else 0.0
        is_held, limit = low >= setting.power, setting.power
        text, bound = "found", low
    elif setting.claims:
        is_all = wrong == num_studies
        high = 1.0 if is_all else float(stats.beta.ppf(0.95, wrong + 1, num_studies - wrong))
        is_held, limit = high <= MOST_FALSE, MOST_FALSE
        text, bound = "wrong", high
    else:
        return {"claim": "", "limit": "", "bound": "", "holds": ""}
    return {"claim": text, "limit": limit, "bound": f"{bound:.4f}", "holds": is_held}


FROM, TO = "<!-- table: written by tools/search_simulation.py -->\n", "<!-- end of table -->\n"
SEARCHES = {
    "4 rates of a grid": FOUR,
    "8 trials": EIGHT,
    "4 trials with 6 seeds each": SIX_SEEDS,
    "8 trials with 3 seeds each": THREE_SEEDS,
    "8 trials, 3 finalists with 5 seeds each": FINALISTS,
}


def markdown(table: Sequence[Mapping[str, str]]) -> str:
    """Returns the table of docs/decisions/search.md: searches of one field that arms share."""
    lines = [
        "| search | runs of an arm | equal arms told apart, by seeds alone | with S "
        "| 5 % worse found | 10 % worse found |",
        "|---|---|---|---|---|---|",
    ]
    for words, search in SEARCHES.items():
        rows = [row for row in table if _is_of(row, search)]
        equal = [row for row in rows if float(row["effect"]) == 0.0 and row["claim"]]
        most = [max(_percent(row, name) for row in equal) for name in ("by_seeds_alone", "wrong")]
        found = [
            " / ".join(
                f"{_percent(row, 'told_apart'):.0f} %"
                for row in rows
                if row["landscape"] == landscape.name
            )
            or "not simulated"
            for landscape in (SMALL, LARGE)
        ]
        cells = [words, search.cost, *(f"{each:.1f} %" for each in most), *found]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _is_of(row: Mapping[str, str], search: Search) -> bool:
    fields = dataclasses.asdict(search).items()
    is_of_text = row["objective"] == PERPLEXITIES.objective.key
    return (
        row["shared"] == "True"
        and is_of_text
        and all(row[name] == str(value) for name, value in fields)
    )


def _percent(row: Mapping[str, str], name: str) -> float:
    return 100.0 * int(row[name]) / int(row["studies"])


def main() -> None:
    """Writes the CSV, a row as soon as it is known, and the table of the page."""
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for setting in SETTINGS:
            writer.writerow(row(setting))
            file.flush()
    with CSV.open(encoding="utf-8", newline="") as file:
        table = markdown(list(csv.DictReader(file)))
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(FROM)[0], page.split(TO)[1]
    PAGE.write_text(f"{before}{FROM}{table}{TO}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
