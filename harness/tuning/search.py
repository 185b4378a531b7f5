"""One Optuna study an arm, asked in rounds, told in number order.

Nothing about a search lives in this process: a search that was killed goes on as if it had not
been, since a trial's values are a function of (search_seed, arm, number) and of the trials before
it. See docs/decisions/tuning.md.
"""

import copy
import math
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from harness import randomness
from harness.settings import Settings
from harness.study import Choices, Range, Tune
from harness.study.units import FAILURES_IN_A_ROW
from harness.training.messages import RunState

optuna.logging.set_verbosity(optuna.logging.WARNING)

EDGE = 0.05
"""Share of a range's width, in the scale that it is searched in, that counts as its edge."""


class SearchError(ValueError):
    """The search's storage cannot be used."""


@dataclass(frozen=True)
class Trial:
    """A sampled setting: its number in the arm's search, and the values of the tuned fields."""

    number: int
    values: dict[str, Any]


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Returns Optuna's storage at ``url``, made where a SQLite file is not there yet.

    Raises:
        SearchError: It cannot be reached.
    """
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        raise SearchError(
            f"storage: must be a database that Optuna reaches, but got storage={url!r}: {error}. "
            "Write sqlite:///FILE or postgresql://USER@HOST/NAME."
        ) from error


def stored(storage: optuna.storages.BaseStorage) -> list[str]:
    """Returns the names of all searches."""
    return optuna.get_all_study_names(storage)


def remove(storage: optuna.storages.BaseStorage, name: str) -> None:
    """Removes a search with all its trials."""
    optuna.delete_study(study_name=name, storage=storage)


class ArmSearch:
    """The search of one arm. ``seconds`` counts what Optuna took."""

    def __init__(
        self, storage: optuna.storages.BaseStorage, name: str, arm: str, tune: Tune, num_points: int
    ):
        begun = time.perf_counter()
        self.arm, self.tune, self._storage, self._name = arm, tune, storage, name
        self._distributions = {
            field: distribution(field, values) for field, values in tune.space.items()
        }
        # The pruner looks at trials of earlier rounds only: those of this round are all still
        # running.
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if tune.pruner == "median":
            pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=num_points // 4)
        self._study = optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, pruner=pruner
        )
        self.seconds = time.perf_counter() - begun

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials so far, in number order."""
        begun = time.perf_counter()
        trials = self._study.get_trials(deepcopy=False)
        self.seconds += time.perf_counter() - begun
        return trials

    def running(self) -> list[Trial]:
        """Returns the trials that were asked and not told, in number order.

        After a crash these are to be adopted.
        """
        return [Trial(t.number, t.params) for t in self.trials() if t.state == TrialState.RUNNING]

    @property
    def stopped(self) -> bool:
        """Whether the last trials failed, so many in a row that the arm is given up."""
        told = [t.state for t in self.trials() if t.state.is_finished()]
        return len(told) >= FAILURES_IN_A_ROW and set(told[-FAILURES_IN_A_ROW:]) == {
            TrialState.FAIL
        }

    @property
    def done(self) -> bool:
        """Whether there is nothing left to ask or to tell."""
        told = sum(t.state.is_finished() for t in self.trials())
        return told >= self.tune.num_trials or (self.stopped and not self.running())

    def ask(self) -> list[Trial]:
        """Asks until the present round is full and returns its running trials.

        There are none where the search is over.
        """
        begun = time.perf_counter()
        known = self.trials()
        num_told = sum(t.state.is_finished() for t in known)
        full = min(self.tune.num_trials, (num_told // self.tune.batch + 1) * self.tune.batch)
        if not self.stopped:
            for number in range(len(known), full):
                self._study.add_trial(self._sample(number))
        self.seconds += time.perf_counter() - begun
        return self.running()

    def _sample(self, number: int) -> FrozenTrial:
        """Returns a running trial with values, sampled on a copy.

        So the storage gets it whole, or not at all.
        """
        aside = optuna.create_study(sampler=self._sampler(number))
        aside.add_trials(self._study.get_trials(deepcopy=False))
        aside.ask(self._distributions)
        asked = aside.get_trials(deepcopy=False)[-1]
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        names = (self.tune.search_seed, "sampler", self.arm)
        if self.tune.sampler == "grid":
            # Its seed shuffles the grid, through which the trials' numbers walk.
            return optuna.samplers.GridSampler(
                _grid(self.tune), seed=randomness.key(*names) % 2**32
            )
        seed = randomness.key(*names, number) % 2**32
        makers = {
            "tpe": optuna.samplers.TPESampler,
            "random": optuna.samplers.RandomSampler,
            "gp": optuna.samplers.GPSampler,
        }
        sampler: optuna.samplers.BaseSampler = makers[self.tune.sampler](seed=seed)
        return sampler

    def report(self, number: int, step: int, nats: float) -> bool:
        """Stores an intermediate value and returns whether the trial should be pruned there.

        Values of later steps that an earlier process stored do not count: a resumed trial is judged
        as it was.
        """
        if self.tune.pruner == "none":
            return False
        begun = time.perf_counter()
        study_id = self._storage.get_study_id_from_name(self._name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        if step not in self._storage.get_trial(trial_id).intermediate_values:
            optuna.trial.Trial(self._study, trial_id).report(nats, step)
        trial = copy.copy(self._storage.get_trial(trial_id))
        trial.intermediate_values = {
            at: v for at, v in trial.intermediate_values.items() if at <= step
        }
        prune = self._study.pruner.prune(self._study, trial)
        self.seconds += time.perf_counter() - begun
        return prune

    def tell(self, number: int, state: RunState, nats: float | None) -> None:
        """Ends a trial.

        Finished and diverged ones are COMPLETE with their nats, pruned ones PRUNED, failed ones
        FAIL.
        """
        begun = time.perf_counter()
        if state.has_objective:
            self._study.tell(number, nats)
        else:
            self._study.tell(
                number, state=TrialState.PRUNED if state is RunState.PRUNED else TrialState.FAIL
            )
        self.seconds += time.perf_counter() - begun

    def best(self) -> Trial | None:
        """Returns the complete trial with the lowest nats, the earliest of equals, or None."""
        complete = [
            t for t in self.trials() if t.state == TrialState.COMPLETE and t.value is not None
        ]
        if not complete:
            return None
        chosen = min(complete, key=lambda t: (t.value, t.number))
        return Trial(chosen.number, chosen.params)


def warnings(searches: Sequence[ArmSearch]) -> list[str]:
    """Returns what the searches of one arm, one a repeat, have to say beside a verdict.

    A line for an arm without a setting, for one that was stopped, and for every tuned field whose
    best value lies at the edge of its range.
    """
    lines = []
    for repeat, search in enumerate(searches):
        key = f"{search.arm}@{repeat}" if repeat else search.arm
        if search.best() is None:
            lines.append(f"{key}: no trial finished; the arm has no setting to replicate.")
        elif search.stopped:
            lines.append(f"{key}: stopped after {FAILURES_IN_A_ROW} failed trials in a row.")
    bests = [(search, trial) for search in searches if (trial := search.best()) is not None]
    at_edge: dict[tuple[str, str], list[float]] = {}
    for search, trial in bests:
        for field, values in search.tune.space.items():
            if (edge := edge_of(values, trial.values[field])) is not None:
                at_edge.setdefault((field, edge), []).append(trial.values[field])
    lines += [
        f"{bests[0][0].arm}: {_edge_text(field, edge, values, len(searches))}; "
        "a wider range might favour this arm, so the comparison may not be fair."
        for (field, edge), values in at_edge.items()
    ]
    return lines


def _edge_text(field: str, edge: str, values: list[float], num_searches: int) -> str:
    where = f"lies at the {edge} edge of the range searched"
    if num_searches == 1:
        return f"its best {field} = {values[0]:.4g} {where}"
    return f"its best {field} {where} in {len(values)} of {num_searches} repeats"


def edge_of(values: Range | Choices, best: Any) -> str | None:
    """Returns "lower" or "upper" where ``best`` lies at that edge, else None.

    Only numbers have edges.
    """
    if isinstance(values, Choices):
        numbers = [
            v for v in values.choices if isinstance(v, (int, float)) and not isinstance(v, bool)
        ]
        if len(numbers) != len(values.choices) or len(numbers) < 3:
            return None
        return "lower" if best == min(numbers) else "upper" if best == max(numbers) else None
    low, high, at = values.low, values.high, float(best)
    if values.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    place = (at - low) / (high - low)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else None


def distribution(field: str, values: Range | Choices) -> BaseDistribution:
    """Returns what Optuna draws a field's values from."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if int in _types(field):
        return IntDistribution(
            int(values.low), int(values.high), log=values.log, step=int(values.step or 1)
        )
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _types(field: str) -> tuple[Any, ...]:
    hint = typing.get_type_hints(Settings)[field]
    return typing.get_args(hint) or (hint,)


def _grid(tune: Tune) -> dict[str, list[Any]]:
    """Returns every value of every field: choices as they stand, ranges from low by their step."""
    grid: dict[str, list[Any]] = {}
    for field, values in tune.space.items():
        if isinstance(values, Choices):
            grid[field] = list(values.choices)
        else:
            kind, step = int if int in _types(field) else float, values.step or 1
            grid[field] = [kind(values.low + k * step) for k in range(values.num_steps)]
    return grid
