"""What a running trial is measured by: the medians of the complete trials of earlier rounds."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

NUM_START_UP = 4
"""So many trials must be complete before any is pruned."""


class Medians:
    """Optuna's median pruner, which needs not look through all trials at every point.

    It compares the best value of a trial with the median of all others at the point that the trial
    has come to. Medians change where trials are told and nowhere else, so one trial that has them
    as its values stands for all: what is decided is the same to the last bit.
    """

    def __init__(self, num_points: int):
        """Takes how many evaluations a trial has: nobody is pruned in the first quarter."""
        self._pruner = optuna.pruners.MedianPruner(0, n_warmup_steps=num_points // 4)
        self._complete: set[int] = set()
        self._nats: dict[int, list[float]] = {}
        self._of_all: optuna.Study | None = None

    def take(self, trials: Iterable[FrozenTrial]) -> None:
        """Takes the complete ones among trials; those that it has are passed over."""
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.number not in self._complete:
                self._complete.add(trial.number)
                for point, nats in trial.intermediate_values.items():
                    if not math.isnan(nats):
                        self._nats.setdefault(point, []).append(nats)
                self._of_all = None

    def is_worse(self, nats: Sequence[float]) -> bool:
        """Returns whether a trial should be pruned where it stands, by its values so far."""
        if len(self._complete) < NUM_START_UP:
            return False
        values = dict(enumerate(nats, start=1))
        trial = create_trial(state=TrialState.RUNNING, intermediate_values=values)
        if self._of_all is None:
            self._of_all = self._one_for_all()
        return self._pruner.prune(self._of_all, trial)

    def _one_for_all(self) -> optuna.Study:
        """Returns a search of one trial, whose values are the medians of all.

        One that is infinite is left out: nothing exceeds it.
        """
        with np.errstate(invalid="ignore"):
            medians = {p: float(np.percentile(nats, 50.0)) for p, nats in self._nats.items()}
        study = optuna.create_study()
        finite = {point: median for point, median in medians.items() if math.isfinite(median)}
        study.add_trial(create_trial(value=0.0, intermediate_values=finite))
        return study
