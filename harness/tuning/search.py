"""One Optuna study an arm, asked in rounds, told in number order.

Nothing about a search lives in this process: a search that was killed goes on as if it had not
been, since a trial's values are a function of (search_seed, arm, number) and of the trials before
it. See docs/decisions/tuning.md.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.store.patience import once
from harness.study import Tune
from harness.study.units import FAILURES_IN_A_ROW
from harness.training.messages import RunState
from harness.tuning.aside import Aside
from harness.tuning.extension import searched_space
from harness.tuning.pruning import Medians
from harness.tuning.sampling import SharedDesign, distribution, sampler
from harness.tuning.storage import store_values
from harness.tuning.tried import TrialEnd, TriedSetting


@dataclass(frozen=True)
class Trial:
    """A sampled setting: its number in the arm's search, and the values of the tuned fields."""

    number: int
    values: dict[str, Any]


class ArmSearch:
    """The search of one arm. ``seconds`` counts what Optuna took.

    Attributes:
        arm: The arm's key.
        tune: How it is searched, with the search seed of its repeat.
        design: The first points and their names where all arms share them (version 2 of the
            format); None where every arm draws its own.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        name: str,
        arm: str,
        tune: Tune,
        num_points: int,
        design: "SharedDesign | None" = None,
        patience: Callable[..., Any] = once,
    ):
        """Opens the search, or makes it.

        Args:
            storage: Optuna's.
            name: The search's in the storage.
            arm: The arm's key.
            tune: How it is searched.
            num_points: Evaluations of a trial.
            design: The first points where all arms share them.
            patience: Calls the storage until it answers.
        """
        begun = time.perf_counter()
        self._patiently = patience
        self.arm, self.tune, self.design = arm, tune, design
        self._storage, self._name = storage, name
        self._known: list[FrozenTrial] | None = None
        self._aside = Aside()
        # Trials of earlier rounds only: those of this round are all still running.
        self._medians = Medians(num_points)
        self._study = patience(
            optuna.create_study, storage=storage, study_name=name, load_if_exists=True
        )
        self.seconds = time.perf_counter() - begun

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials so far, in number order.

        They are read once after a change: nobody else writes a search that this process holds, and
        reading thousands of them takes longer than asking for one.
        """
        if self._known is None:
            begun = time.perf_counter()
            self._known = self._patiently(self._study.get_trials, deepcopy=False)
            self._medians.take(self._known)
            self.seconds += time.perf_counter() - begun
        return self._known

    def _write(
        self, is_written: Callable[[list[FrozenTrial]], bool], write: Callable[[], Any]
    ) -> None:
        """Changes the search, after which it is read again.

        A storage that was lost in the middle may have stored what it did not confirm: a second try
        first looks whether it ``is_written`` among the trials.
        """
        is_again = False

        def attempt() -> None:
            nonlocal is_again
            if not (is_again and is_written(self._study.get_trials(deepcopy=False))):
                is_again = True
                write()

        self._known = None
        self._patiently(attempt)

    def _add(self, number: int, trial: FrozenTrial) -> None:
        """Adds the trial that gets a number."""
        self._write(lambda stored: len(stored) > number, lambda: self._study.add_trial(trial))

    def running(self) -> list[Trial]:
        """Returns the trials that were asked and not told, in number order.

        After a crash these are to be adopted.
        """
        return [Trial(t.number, t.params) for t in self.trials() if t.state == TrialState.RUNNING]

    @property
    def prunes(self) -> bool:
        """Whether trials are judged by the pruner: a grid's points, which are shared, never are.

        Other shared points are not pruned either, but later trials are measured against them.
        """
        is_shared_grid = self.design is not None and self.tune.sampler == "grid"
        return self.tune.pruner != "none" and not is_shared_grid

    @property
    def num_told(self) -> int:
        """Number of trials that were told, also of those whose settings cannot be trained."""
        return sum(trial.state.is_finished() for trial in self.trials())

    @property
    def stopped(self) -> bool:
        """Whether the last trials were told as failed, so many that the arm is given up."""
        told = [t.state for t in self.trials() if t.state.is_finished()]
        return len(told) >= FAILURES_IN_A_ROW and set(told[-FAILURES_IN_A_ROW:]) == {
            TrialState.FAIL
        }

    @property
    def done(self) -> bool:
        """Whether there is nothing left to ask or to tell of the budget that every arm has."""
        told, asked = self.num_told, len(self.trials())
        return told == asked and (self.stopped or told >= self.tune.num_trials)

    def ask(self) -> list[Trial]:
        """Asks until the present round is full and returns its running trials.

        There are none where the search is over.
        """
        begun = time.perf_counter()
        known = self.trials()
        num_told = sum(t.state.is_finished() for t in known)
        full = min(self.tune.num_trials, (num_told // self.tune.batch + 1) * self.tune.batch)
        if not self.stopped and len(known) < full:
            # What is sampled lies in the space; what other arms have tried may lie outside.
            points = () if self.design is None else self.design.points[len(known) : full]
            tried = [*(trial.params for trial in known), *points]
            space = searched_space(self.tune.space, tried)
            distributions = {field: distribution(field, domain) for field, domain in space.items()}
            # A random sampler looks at no earlier trials, and gets none.
            seen = () if self.tune.sampler == "random" else known
            self._aside.follow(seen, distributions)
            for number in range(len(known), full):
                self._add(number, self._sample(number))
        self.seconds += time.perf_counter() - begun
        return self.running()

    def share(self, known: Mapping[int, Mapping[str, Any]]) -> None:
        """Takes the points that other arms have tried, by number, for those that it shares.

        They differ from the design where a search went on before its budget was raised.
        """
        if self.design is not None:
            points = [known.get(k, point) for k, point in enumerate(self.design.points)]
            self.design = SharedDesign(points, self.design.names)

    def extend(self, first: int, points: Sequence[Mapping[str, Any]]) -> None:
        """Adds the trials ``first``, ``first`` + 1 and so on, unless they are there already."""
        begun = time.perf_counter()
        for number in range(len(self.trials()), first + len(points)):
            self._add(number, self._running(points[number - first]))
        self.seconds += time.perf_counter() - begun

    def restore(self, values: Mapping[str, Any]) -> None:
        """Adds a running trial of values that were tried."""
        begun = time.perf_counter()
        self._add(len(self.trials()), self._running(values))
        self.seconds += time.perf_counter() - begun

    def _running(self, values: Mapping[str, Any]) -> FrozenTrial:
        """Returns a running trial of given values; a range holds them even where it is narrower."""
        space = searched_space(self.tune.space, [values])
        distributions = {field: distribution(field, domain) for field, domain in space.items()}
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(values),
            distributions=distributions,
        )

    def _sample(self, number: int) -> FrozenTrial:
        """Returns a running trial of the space, sampled on the copy, so that the storage gets it
        whole or not at all.
        """
        if self.design is not None and number < len(self.design.points):
            trial = self._running(self.design.points[number])
            self._aside.add(trial)
            return trial
        # The trial's number on the copy is that in the search, except for a random sampler.
        frozen = self._aside.ask(sampler(self.tune, self.design, self.arm, number))
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=frozen.params,
            distributions=frozen.distributions,
            system_attrs=frozen.system_attrs,
        )

    def tried(
        self, seed_nats: Callable[[int], tuple[float, ...]], num_lost: Callable[[int], int]
    ) -> list[TriedSetting]:
        """Returns what is known of the trials that were told, in number order.

        Args:
            seed_nats: The objectives of a trial's seeds, by its number.
            num_lost: How many of them diverged or did not learn.
        """
        told = [t for t in self.trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        complete = [t for t in told if t.state == TrialState.COMPLETE and t.value is not None]
        best = min(complete, key=lambda t: (t.value, t.number), default=None)
        settings = []
        for trial in told:
            lost = num_lost(trial.number)
            if trial.state == TrialState.COMPLETE:
                assert trial.value is not None
                end: TrialEnd = "diverged" if lost == self.tune.seeds else "finished"
                nats, seeds = trial.value, seed_nats(trial.number)
                settings.append(
                    TriedSetting(trial.number, trial.params, nats, seeds, end, None, lost)
                )
                continue
            step = max(trial.intermediate_values, default=None)
            nats = math.nan if step is None else trial.intermediate_values[step]
            there = None if best is None or step is None else best.intermediate_values.get(step)
            lead = None if there is None else nats - there
            settings.append(
                TriedSetting(trial.number, trial.params, nats, (), "pruned", lead, lost)
            )
        return settings

    def should_prune(self, number: int, nats: Sequence[float]) -> bool:
        """Returns whether a trial should be pruned where it stands. Nothing is stored.

        A point that all arms share is never pruned.

        Args:
            number: The trial's.
            nats: Its objective at every evaluation point so far.
        """
        is_shared = self.design is not None and number < len(self.design.points)
        if not self.prunes or is_shared:
            return False
        self.trials()  # the medians are of what is told so far
        begun = time.perf_counter()
        is_worse = self._medians.is_worse(nats)
        self.seconds += time.perf_counter() - begun
        return is_worse

    def tell(
        self, number: int, state: RunState, nats: float | None, points: Sequence[float] = ()
    ) -> None:
        """Ends a trial.

        Finished and diverged ones are COMPLETE with their nats, pruned ones PRUNED; one whose
        settings cannot be trained is FAIL. What failed otherwise is not told, but trained again.

        Args:
            number: The trial's.
            state: How it ended.
            nats: Its objective.
            points: Its objective at every evaluation point, by which later trials are judged.
        """
        begun = time.perf_counter()
        if self.prunes and points:
            values = dict(enumerate(points, start=1))
            self._patiently(store_values, self._storage, self._name, number, values)
        if state.has_objective:
            tell = partial(self._study.tell, number, nats)
        else:
            end = TrialState.PRUNED if state is RunState.PRUNED else TrialState.FAIL
            tell = partial(self._study.tell, number, state=end)
        self._write(lambda stored: stored[number].state.is_finished(), tell)
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
