"""A search's copy in memory, on which trials are sampled before the storage gets them whole.

To copy thousands of trials takes longer than to sample one, so the copy stays from round to round:
it gets what is new, and is told what has ended. What it then holds is what a new copy would hold.
"""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from harness.tuning.sampling import registered
from harness.tuning.storage import store_values

Distributions = Mapping[str, BaseDistribution]


class Aside:
    """The copy, empty until it is brought up to date."""

    def __init__(self) -> None:
        self._begin({})

    def _begin(self, distributions: Distributions) -> None:
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage)
        self._distributions = dict(distributions)
        self._running: list[int] = []
        self._count = 0

    def follow(self, known: Sequence[FrozenTrial], distributions: Distributions) -> None:
        """Brings the copy up to date.

        Args:
            known: All trials of the search, in number order.
            distributions: Of each field. A multivariate sampler drops a field whose trials have
                different ranges, so that all of them are registered with these, the widest.
        """
        if distributions != self._distributions or len(known) < self._count:
            self._begin(distributions)
        for number in self._running:
            self._tell(known[number])
        self._running = [n for n in self._running if not known[n].state.is_finished()]
        for trial in known[self._count :]:
            self.add(trial)

    def _tell(self, trial: FrozenTrial) -> None:
        """Tells the copy how one of its trials ended, where it has."""
        if trial.state.is_finished():
            name, points = self._study.study_name, trial.intermediate_values
            store_values(self._storage, name, trial.number, points)
            if trial.state == TrialState.COMPLETE:
                self._study.tell(trial.number, trial.value)
            else:
                self._study.tell(trial.number, state=trial.state)

    def add(self, trial: FrozenTrial) -> None:
        """Adds a trial as the next one."""
        self._study.add_trial(registered(trial, self._distributions))
        self._note(trial.state)

    def ask(self, sampler: optuna.samplers.BaseSampler) -> FrozenTrial:
        """Samples the next trial, which is added."""
        self._study.sampler = sampler
        asked = self._study.ask(self._distributions)
        self._note(TrialState.RUNNING)
        return self._study.get_trials(deepcopy=False)[asked.number]

    def _note(self, state: TrialState) -> None:
        if not state.is_finished():
            self._running.append(self._count)
        self._count += 1
