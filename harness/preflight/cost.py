"""How long a study will take: its packs, and their seconds by a measured pace."""

import math
from dataclasses import dataclass

from harness.settings import Settings
from harness.study import Study


@dataclass(frozen=True)
class Pace:
    """How fast a pack trains.

    Attributes:
        pack: Its number of runs.
        concurrent_runs: How many of them a CPU works on at a time. None: an accelerator, which
            takes them as one.
        update_seconds: Of the whole pack.
        evaluation_seconds: Of the whole pack at an evaluation point; 0 where its updates' seconds
            hold that. None: not known.
        source: Where it is from, in words.
    """

    pack: int
    concurrent_runs: int | None
    update_seconds: float
    evaluation_seconds: float | None
    source: str

    def seconds(self, pack: int, num_updates: int, num_evaluations: int) -> float:
        """Returns the seconds of a pack of that size, at most.

        A small pack wastes less than is assumed. On a CPU a pack takes turns, each of as many runs
        as are worked on at a time; on an accelerator a smaller pack takes no less time, and a
        larger one takes more in proportion.
        """
        seconds = (
            self.update_seconds * num_updates + (self.evaluation_seconds or 0.0) * num_evaluations
        )
        if self.concurrent_runs is None:
            return seconds * max(1.0, pack / self.pack)
        num_turns = math.ceil(pack / self.concurrent_runs)
        return seconds * num_turns / math.ceil(self.pack / self.concurrent_runs)


@dataclass(frozen=True)
class Packs:
    """The sizes of an arm's packs, of all repeats, in the order in which they train.

    Attributes:
        trials: Round by round, all seeds of each.
        finalists: The best settings with fresh seeds.
        replicates: Where the design is sequential, those of its first stage.
        more: Replicates that a sequential design may add.
        more_trials: Those that a search may add which is still open.
    """

    trials: tuple[int, ...]
    finalists: tuple[int, ...]
    replicates: tuple[int, ...]
    more: tuple[int, ...]
    more_trials: tuple[int, ...]


def packs_of(study: Study, settings: Settings) -> Packs:
    """Returns how the runs of an arm are cut into packs; ``study`` is that of the arm's condition.

    The repeats of a study train side by side, so that their runs share packs.
    """
    tune, plan, size = study.tune, study.replicate, settings.pack_size
    repeats = study.num_repeats
    searching = tune.seeds * repeats if tune else 0
    rounds = _cut(tune.num_trials, tune.batch) if tune else ()
    more = _cut(tune.at_most - tune.num_trials, tune.batch) if tune and tune.at_most else ()
    num_finalists = tune.finalists * tune.finalist_seeds if tune and tune.finalists > 1 else 0
    return Packs(
        trials=tuple(pack for asked in rounds for pack in _cut(asked * searching, size)),
        finalists=_cut(num_finalists * repeats, size),
        replicates=_cut(plan.seeds * repeats, size),
        more=_cut(plan.at_most - plan.seeds, size) if plan.at_most is not None else (),
        more_trials=tuple(pack for asked in more for pack in _cut(asked * searching, size)),
    )


def _cut(count: int, size: int) -> tuple[int, ...]:
    return (size,) * (count // size) + ((count % size,) if count % size else ())
