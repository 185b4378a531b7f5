"""How many updates a study still lacks, for its progress bar: what is sure to run, not the most."""

from collections import Counter
from collections.abc import Callable, Iterable

from harness.data import DataError, Dataset
from harness.data.sequences.sets import SequenceDataset
from harness.settings import Settings
from harness.study import Study
from harness.study.units import Phase, RunKey, Unit


def remaining_updates(
    study: Study,
    units: Iterable[Unit],
    ended: Iterable[RunKey],
    planned: Iterable[RunKey],
    updates_of: Callable[[Unit], int],
) -> int:
    """Returns the updates of all runs that are still to come.

    Args:
        study: All its conditions.
        units: The units that still run.
        ended: The runs that are not trained again.
        planned: The runs of the stage that begins; an extended search has more than the study says.
        updates_of: The updates of one of a unit's runs.
    """
    num_ended = Counter((key.unit, key.phase) for key in ended)
    num_planned = Counter((key.unit, key.phase) for key in planned)
    wanted = _wanted(study)
    return sum(
        updates_of(unit) * max(num_planned[unit, phase], wanted[phase] - num_ended[unit, phase], 0)
        for unit in units
        for phase in Phase
    )


def _wanted(study: Study) -> dict[Phase, int]:
    """Returns how many runs of every phase a unit has at least."""
    tune = study.tune
    has_finalists = tune is not None and tune.finalists > 1
    return {
        Phase.TRIAL: tune.num_trials * tune.seeds if tune else 0,
        Phase.FINALIST: tune.finalists * tune.finalist_seeds if tune and has_finalists else 0,
        Phase.REPLICATE: study.replicate.seeds,
    }


def updates_of_run(dataset: Dataset | SequenceDataset, settings: Settings) -> int:
    """Returns the updates of a run on a data set; none where it cannot begin."""
    try:
        updates_per_epoch = dataset.updates_per_epoch(settings)
        tokens_per_update = dataset.targets_per_update(settings)
    except DataError:
        return 0
    return settings.budget.num_updates(
        updates_per_epoch=updates_per_epoch, tokens_per_update=tokens_per_update
    )
