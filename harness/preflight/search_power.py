"""How often a search of some size finds a difference, by simulation; docs/decisions/search.md.

The counts are those of studies/results/search-simulation.csv; a test holds them equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.preflight.power_table import Row
from harness.study import Study, Tune
from harness.tasks.objective import Objective, objective_of

NOISES = (0.005, 0.02, 0.05)
"""Standard deviations from seed to seed, in nats, that were simulated."""
NUM_STUDIES = 400


@dataclass(frozen=True)
class Size:
    """The size of a search, in one tuned field."""

    trials: int
    seeds: int = 1
    finalists: int = 1
    finalist_seeds: int = 0

    @property
    def cost(self) -> int:
        """Runs of an arm."""
        return (
            self.trials * self.seeds + (self.finalists > 1) * self.finalists * self.finalist_seeds
        )

    def __str__(self) -> str:
        seeds = f" of {self.seeds} seeds" if self.seeds > 1 else ""
        finals = f", {self.finalists} finalists of {self.finalist_seeds} seeds"
        return f"{self.trials} trials{seeds}" + (finals if self.finalists > 1 else "")


FOUND: dict[Size, dict[int, tuple[int, int, int]]] = {
    Size(8): {5: (400, 78, 5), 10: (400, 371, 49)},
    Size(4, 6): {5: (249, 185, 32), 10: (373, 365, 181)},
    Size(8, 3): {5: (400, 262, 23), 10: (400, 400, 139)},
    Size(8, 1, 3, 5): {5: (400, 303, 40), 10: (400, 400, 211)},
}
"""Size -> by how many per cent an arm is worse -> in how many studies that was found, by noise."""
BEST = Size(8, 1, 3, 5)
ERROR_NOISES = (0.1, 0.3)
"""Standard deviations of errors from seed to seed, as fractions, that were simulated."""
ERRORS_FOUND: dict[str, dict[Size, dict[float, tuple[int, int]]]] = {
    "mse": {Size(8): {1.5: (293, 12), 3: (400, 273)}, BEST: {1.5: (399, 88), 3: (400, 395)}},
    "accuracy": {Size(8): {1.5: (33, 3), 3: (397, 97)}, BEST: {1.5: (224, 38), 3: (400, 339)}},
}
"""Objective -> size -> how many times the errors an arm has -> in how many studies that was found.

Errors are the squared ones, or those that a mean of 1,000 targets counts.
"""
LEAST_OF_4_TRIALS = 394
"""In so many studies at least four trials of a grid found an arm that is 28 % worse."""


def rows(part: Study) -> Iterator[Row]:
    """Yields what is known of a study's search; nothing where its repeats hold the search already.

    Nothing is said of version 1 of the study format, whose verdicts owe nothing to the search.
    """
    tune = part.tune
    if tune is None or part.version == 1 or part.is_repeated:
        return
    yield Row(
        "search",
        "An arm's trials may miss its best setting. Verdicts allow for that, so a small search can "
        "show large differences alone.",
    )
    objective = objective_of(part.measure.objective)
    if objective.key == "perplexity":
        yield from _of_perplexity(tune)
    else:
        yield from _of_errors(tune, objective)


def _of_errors(tune: Tune, objective: Objective) -> Iterator[Row]:
    """Yields how often more errors were found; where none was simulated, that this is so."""
    if objective.key not in ERRORS_FOUND:
        yield Row("", f"How large they must be was not simulated for the {objective.name}.")
        return
    if _size(tune) not in ERRORS_FOUND[objective.key]:
        yield Row("", f"{_size(tune)} were not simulated.")
    yield Row("", f"How many of {NUM_STUDIES} simulated studies found an arm with more errors:")
    texts = tuple(f"{100 * noise:g} %" for noise in ERROR_NOISES)
    yield Row("", "where seeds alone make errors differ by", texts)
    for size, by_times in ERRORS_FOUND[objective.key].items():
        for times, counts in by_times.items():
            yield Row("", f"  {times:g} times: {size}", tuple(map(_percent, counts)))


def _of_perplexity(tune: Tune) -> Iterator[Row]:
    size = nearest(tune)
    if size is None:
        own = "" if _size(tune) == Size(4) else f"{_size(tune)} were not simulated. "
        yield Row(
            "",
            f"{own}4 trials of one field found an arm that is 28 % worse in at least "
            f"{_percent(LEAST_OF_4_TRIALS)} of {NUM_STUDIES} simulated studies. A larger search "
            "finds smaller differences:",
        )
    elif size != _size(tune):
        yield Row("", f"{_size(tune)} were not simulated; the nearest below are {size}.")
    yield Row("", f"How many of {NUM_STUDIES} simulated studies found that an arm is worse:")
    yield Row("", "where seeds alone make runs differ by", tuple(f"{100 * n:g} %" for n in NOISES))
    if size is not None:
        yield from _found(size, (5, 10))
    if size != BEST:
        yield from _found(BEST, (5,))


def _found(size: Size, percents: tuple[int, ...]) -> Iterator[Row]:
    """Yields how often an arm that is worse by so much was told to be, by the noise of seeds."""
    for percent in percents:
        found = tuple(_percent(count) for count in FOUND[size][percent])
        yield Row("", f"  by {percent} %: {size}", found)


def _percent(count: int) -> str:
    return f"{100 * count / NUM_STUDIES:.0f} %"


def _size(tune: Tune) -> Size:
    seeds = tune.finalist_seeds if tune.finalists > 1 else 0
    return Size(tune.num_trials, tune.seeds, tune.finalists, seeds)


def nearest(tune: Tune) -> Size | None:
    """Returns the largest simulated search that a study's holds; None: it is smaller than all."""
    own = _size(tune)
    per_field = own.trials // max(1, len(tune.space))
    held = [
        size
        for size in FOUND
        if size.trials <= per_field
        and size.seeds <= own.seeds
        and size.finalists <= own.finalists
        and size.finalist_seeds <= own.finalist_seeds
    ]
    return max(held, key=lambda size: size.cost, default=None)
