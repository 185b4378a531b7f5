"""The searches of all units: what they try next, when a trial has ended, what they choose."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from harness.randomness import Name
from harness.runner.recorder import End, Point
from harness.settings import Settings
from harness.store.kept import search_affixes
from harness.store.patience import once
from harness.study import Study, Tune
from harness.study.units import Phase, RunKey, Unit
from harness.tasks.objective import objective_of
from harness.training.messages import RunState
from harness.tuning import design, edges, extension, finalists
from harness.tuning.sampling import SharedDesign
from harness.tuning.search import ArmSearch, Trial
from harness.tuning.storage import close, open_storage
from harness.tuning.tried import TriedSetting


class Searches:
    """The search of every unit; there is none where nothing is tuned.

    Attributes:
        by_unit: Every unit's search.
    """

    def __init__(
        self,
        study: Study,
        settings: Mapping[Unit, Settings],
        storage_url: str,
        birth: str,
        ends: Mapping[RunKey, End],
        patience: Callable[..., Any] = once,
    ):
        """Opens the searches.

        Args:
            study: All its conditions.
            settings: Every unit's settings before its search.
            storage_url: Optuna's.
            birth: The experiment's: it is in the searches' names, so that a new experiment
                searches anew.
            ends: How every run ended that is not trained again; kept up to date by the recorder.
            patience: Calls the storage until it answers.

        Raises:
            SearchError: The storage cannot be used.
        """
        self._study, self._ends = study, ends
        self._nats: dict[RunKey, dict[int, float]] = {}
        self._means: dict[tuple[Unit, int], list[float]] = {}
        self.by_unit: dict[Unit, ArmSearch] = {}
        self._storage = None
        if study.tune is None:
            return
        storage = self._storage = patience(open_storage, storage_url)
        start, end = search_affixes(study.name, birth)
        for unit, own_settings in settings.items():
            tune = self._tune_of(unit)
            evaluations = own_settings.evaluations
            self.by_unit[unit] = ArmSearch(
                storage,
                f"{start}{unit}{end}",
                str(unit.first_repeat),
                tune,
                evaluations if isinstance(evaluations, int) else 20,
                self._design(unit.condition, tune) if study.version > 1 else None,
                patience,
            )

    def close(self) -> None:
        """Closes the storage."""
        if self._storage is not None:
            close(self._storage)

    def _tune_of(self, unit: Unit) -> Tune:
        tune = self._study.under(unit.condition).tune
        assert tune is not None
        return replace(tune, search_seed=tune.search_seed + unit.repeat)

    @staticmethod
    def _design(condition: str, tune: Tune) -> SharedDesign:
        names: tuple[Name, ...] = (tune.search_seed, "design", condition)
        if tune.sampler == "grid":
            points = design.grid(tune.space, names)[: tune.num_trials]
        else:
            count = design.num_start_up(tune)
            points = design.points(tune.space, names, count)
        return SharedDesign(points, (tune.search_seed, condition))

    @property
    def seconds(self) -> float:
        """Seconds that Optuna took so far."""
        return sum(search.seconds for search in self.by_unit.values())

    # Trials

    def keys(self, unit: Unit, number: int) -> list[RunKey]:
        """Returns the keys of a trial's runs, one a seed."""
        num_seeds = self.by_unit[unit].tune.seeds
        return [RunKey(unit, Phase.TRIAL, number, draw) for draw in range(num_seeds)]

    def tell_finished(self) -> None:
        """Tells Optuna of a round's trials, in number order, once all of them have ended.

        Trials that ended before a crash are told too.
        """
        for unit in self.by_unit:
            self.tell_finished_of(unit)

    def tell_finished_of(self, unit: Unit) -> None:
        """Does what :meth:`tell_finished` does for one unit."""
        search = self.by_unit[unit]
        numbers = [trial.number for trial in search.running()]
        runs = [self.keys(unit, number) for number in numbers]
        if all(key in self._ends for keys in runs for key in keys):
            for number, keys in zip(numbers, runs, strict=True):
                means = self._means.pop((unit, number), [])
                means += self._next_means(keys, len(means))
                search.tell(number, *_end_of_trial([self._ends[key] for key in keys]), means)
                for key in keys:
                    self._nats.pop(key, None)

    def ask(self) -> None:
        """Asks for the next round of every search, or for more where an arm is still open."""
        groups: dict[tuple[str, int], list[Unit]] = {}
        for unit in self.by_unit:
            groups.setdefault((unit.condition, unit.repeat), []).append(unit)
        for units in groups.values():
            known: dict[int, dict[str, Any]] = {}
            for unit in units:
                for trial in self.by_unit[unit].trials():
                    known.setdefault(trial.number, trial.params)
            for unit in units:
                self.by_unit[unit].share(known)
                self.by_unit[unit].ask()
            self._extend(units)

    def _extend(self, units: list[Unit]) -> None:
        """Gives all arms of a condition and repeat one more batch while one of them is open.

        What is decided depends on whole rounds alone, which all arms have ended: so an arm that got
        its batch before a crash, and one that did not, come out alike.
        """
        tune = self.by_unit[units[0]].tune
        if self._study.version == 1 or tune.at_most is None:
            return
        tried = {unit: self.tried(unit) for unit in units}
        num_told = min(self.by_unit[unit].num_told for unit in units)
        if num_told < tune.num_trials:
            return
        num_told -= (num_told - tune.num_trials) % tune.batch
        arms, measure = {arm.key: arm.searched for arm in self._study.arms}, self._study.measure
        points = extension.next_points(
            {str(unit): settings for unit, settings in tried.items()},
            tune.space,
            {str(unit): arms[str(unit.first_repeat)] for unit in units},
            trials=tune.num_trials,
            batch=tune.batch,
            at_most=tune.at_most,
            margin_loss=objective_of(measure.objective).within(measure.margin),
            names=(tune.search_seed, units[0].condition),
            num_ended=num_told,
        )
        for unit in units if points else []:
            self.by_unit[unit].extend(num_told, points)

    def trials(self, unit: Unit) -> list[tuple[RunKey, tuple[Name, ...], Trial]]:
        """Returns the runs of a unit's present round that have no result yet, with their seeds."""
        search = self.by_unit[unit]
        return [
            (key, self.seed(key), trial)
            for trial in search.running()
            for key in self.keys(unit, trial.number)
            if key not in self._ends
        ]

    def judged_with(self, key: RunKey) -> str | None:
        """Returns what the seeds of a trial share that are pruned together; None of others."""
        search = self.by_unit[key.unit]
        is_alone = search.tune.seeds == 1 or not search.prunes
        return None if is_alone else str(replace(key, draw=0))

    def seed(self, key: RunKey) -> tuple[Name, ...]:
        """Returns the names that a trial's or a finalist's run draws from, equal for all arms."""
        search_seed = self.by_unit[key.unit].tune.search_seed
        if key.phase is Phase.FINALIST:
            return (search_seed, "finalist", key.draw)
        draw = (key.draw,) if key.draw else ()
        return (search_seed, "trial", key.index, *draw)

    def values(self, key: RunKey) -> dict[str, Any]:
        """Returns the tuned values of a trial's or a finalist's run."""
        return self.by_unit[key.unit].trials()[key.index].params

    def recall(self, points: Mapping[RunKey, Sequence[float]]) -> None:
        """Takes what runs that ended in an earlier process were worth at their points."""
        for key, nats in points.items():
            self._nats[key] = dict(enumerate(nats, start=1))

    def to_prune(self, points: Iterable[Point], ended: Iterable[RunKey]) -> set[str]:
        """Returns the ids of the runs to prune.

        A trial of several seeds is judged by their mean, once all of them have come to a point; a
        seed that was lost before counts as it ended. Points of other runs are not kept.

        Args:
            points: What runs have just come to.
            ended: The runs that have just ended.
        """
        of_trials = [point for point in points if point.key.phase is Phase.TRIAL]
        for point in of_trials:
            self._nats.setdefault(point.key, {})[point.number] = point.nats
        keys = [key for key in ended if key.phase is Phase.TRIAL]
        keys += [point.key for point in of_trials]
        trials = [(key.unit, key.index) for key in keys]
        return {run for trial in dict.fromkeys(trials) for run in self._judge(*trial)}

    def _judge(self, unit: Unit, number: int) -> set[str]:
        """Returns the runs of a trial to prune: all that have not ended, or none."""
        search, keys = self.by_unit[unit], self.keys(unit, number)
        if not search.prunes:
            return set()
        means = self._means.setdefault((unit, number), [])
        for mean in self._next_means(keys, len(means)):
            means.append(mean)
            if search.should_prune(number, means) or self._was_pruned_at(len(means), keys):
                return {str(key) for key in keys if key not in self._ends}
        return set()

    def _was_pruned_at(self, point: int, keys: Sequence[RunKey]) -> bool:
        """Returns whether a run was pruned there before a crash: its neighbours are, too."""
        ends = [(self._ends[key].state, self._nats.get(key)) for key in keys if key in self._ends]
        return any(state is RunState.PRUNED and nats and point == max(nats) for state, nats in ends)

    def _next_means(self, keys: Sequence[RunKey], num_known: int) -> Iterator[float]:
        """Yields a trial's means at its points after the first ones, as far as all runs have come.

        A run that was lost counts as it ended, as long as any other goes on.
        """
        for point in count(num_known + 1):
            nats = [self._nats_at(key, point) for key in keys]
            known = [value for value in nats if value is not None]
            if len(known) < len(keys) or all(point not in self._nats.get(k, {}) for k in keys):
                return
            yield sum(known) / len(known)

    def _nats_at(self, key: RunKey, point: int) -> float | None:
        """Returns what a run is worth at a point; None where it has not come there."""
        nats, end = self._nats.get(key, {}).get(point), self._ends.get(key)
        return end.nats if nats is None and end is not None and end.is_lost else nats

    def tried(self, unit: Unit) -> list[TriedSetting]:
        """Returns what is known of a unit's trials that have been told, in number order."""
        return self.by_unit[unit].tried(
            lambda number: tuple(self._ends[key].nats for key in self.keys(unit, number)),
            lambda number: sum(
                key in self._ends and self._ends[key].is_lost for key in self.keys(unit, number)
            ),
        )

    # What is chosen

    def finalists(self, unit: Unit) -> list[RunKey]:
        """Returns the runs of a unit's best settings with fresh seeds; none before its search ends.

        A search without finalists has none.
        """
        search = self.by_unit[unit]
        if search.tune.finalists == 1 or not search.done:
            return []
        return [
            RunKey(unit, Phase.FINALIST, number, draw)
            for number in finalists.leaders(self.tried(unit), search.tune.finalists)
            for draw in range(search.tune.finalist_seeds)
        ]

    def chosen(self, unit: Unit) -> Trial | None:
        """Returns the setting of a unit's replicates; None while there is none to be had."""
        search, runs = self.by_unit[unit], self.finalists(unit)
        if search.tune.finalists > 1 and search.best() is not None and not search.done:
            return None
        if not runs:
            return search.best()
        if any(key not in self._ends for key in runs):
            return None
        nats = {key.index: [self._ends[k].nats for k in self.keys(unit, key.index)] for key in runs}
        for key in runs:
            nats[key.index].append(self._ends[key].nats)
        refused = {key.index for key in runs if self._ends[key].state is RunState.FAILED}
        nats = {number: values for number, values in nats.items() if number not in refused}
        if not nats:
            return None
        number = finalists.choose(nats)
        return Trial(number, self.values(RunKey(unit, Phase.FINALIST, number)))

    def warnings(self) -> list[str]:
        """Returns what searches that are done have to say beside the verdict."""
        done: dict[Unit, list[ArmSearch]] = {}
        for unit, search in self.by_unit.items():
            done.setdefault(unit.first_repeat, []).extend([search] if search.done else [])
        lines = [line for searches in done.values() for line in edges.warnings(searches)]
        for unit, search in self.by_unit.items():
            best = self.chosen(unit) if search.done else None
            keys = [] if best is None else self.keys(unit, best.number)
            ends = [self._ends[key].state for key in keys if key in self._ends]
            if ends and set(ends) == {RunState.DIVERGED}:
                lines.append(
                    f"{unit}: all of its trials diverged; its replicates train as the first of "
                    "them did."
                )
        return lines


def _end_of_trial(ends: list[End]) -> tuple[RunState, float]:
    """Returns how a trial ended, by the ends of its seeds, and its mean objective in nats."""
    states = {end.state for end in ends}
    if RunState.FAILED in states:
        return RunState.FAILED, math.nan
    if RunState.PRUNED in states:
        return RunState.PRUNED, math.nan
    mean = sum(end.nats for end in ends) / len(ends)
    return (RunState.DIVERGED if states == {RunState.DIVERGED} else RunState.FINISHED), mean
