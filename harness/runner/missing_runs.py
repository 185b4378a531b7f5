"""The runs that a unit of a study lacks: with which seeds, and at which settings."""

from collections.abc import Container, Mapping
from dataclasses import replace

from harness.randomness import Name
from harness.runner.searches import Searches
from harness.settings import Settings
from harness.study import Study
from harness.study.units import Phase, RunKey, Unit
from harness.training.plan import Run


class MissingRuns:
    """Knows which runs are to be trained, of a search or once it is over."""

    def __init__(
        self,
        study: Study,
        settings: Mapping[Unit, Settings],
        searches: Searches,
        ended: Container[RunKey],
    ):
        """Takes what is asked for, and what there is of it.

        Args:
            study: What is run.
            settings: Every unit's before its search.
            searches: Of the units that have one.
            ended: The runs that are not trained again, while the study runs.
        """
        self._study, self._settings = study, settings
        self._searches, self._ended = searches, ended

    def trials(self, unit: Unit) -> list[Run]:
        """Returns the trials that were asked for and have not ended."""
        return [
            Run(
                str(key),
                self._salted(unit, seed),
                replace(self._settings[unit], **trial.values),
                self._searches.judged_with(key),
            )
            for key, seed, trial in self._searches.trials(unit)
        ]

    def finalists(self, unit: Unit) -> list[Run]:
        """Returns the runs of the best settings with fresh seeds that have not ended."""
        return [
            Run(
                str(key),
                self._salted(unit, self._searches.seed(key)),
                replace(self._settings[unit], **self._searches.values(key)),
            )
            for key in self._searches.finalists(unit)
            if key not in self._ended
        ]

    def replicates(self, unit: Unit, num_seeds: int) -> list[Run]:
        """Returns the replicates that have not ended, none where there is no setting to be had."""
        settings = self.chosen(unit)
        if settings is None:
            return []
        keys = [RunKey(unit, Phase.REPLICATE, index) for index in range(num_seeds)]
        missing = [key for key in keys if key not in self._ended]
        return [
            Run(str(key), self._salted(unit, self.seed(unit, key.index)), settings)
            for key in missing
        ]

    def chosen(self, unit: Unit) -> Settings | None:
        """Returns the settings of the unit's replicates, None while there are none to be had."""
        if unit not in self._searches.by_unit:
            return self._settings[unit]
        best = self._searches.chosen(unit)
        return None if best is None else replace(self._settings[unit], **best.values)

    def seed(self, unit: Unit, index: int) -> tuple[Name, ...]:
        """Returns the names that replicate ``index`` draws from.

        They are the same for all arms, and fresh in every repeat.
        """
        seed = self._study.replicate.first_seed + index
        return (seed, "repeat", unit.repeat) if unit.repeat else (seed,)

    def _salted(self, unit: Unit, seed: tuple[Name, ...]) -> tuple[Name, ...]:
        """Returns the names that a run draws from.

        They are the same for all arms, unless the study asks for draws of every arm's own.
        """
        return (*seed, "arm", unit.arm) if self._study.is_salted else seed
