"""What a study will take on disk, from counts, shapes, and sizes that were measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness import data
from harness.data.sequences.sets import SequenceDataset
from harness.engine import dtype_of
from harness.preflight.cost import Packs
from harness.preflight.probe import Probe
from harness.study import Study
from harness.training import forecast_file
from harness.training.optimizer import moments

# Bytes, fitted to finished studies of 16 to 52 runs with 4 and with 20 evaluations a run: to within
# 3 % of all of them (MLflow 3.17 and Optuna 5.0 on SQLite; character tokens, so that a record has
# 14 metrics). Tables, indices and free pages count, and what files take of a file system with
# blocks of 4096 bytes.
EMPTY_DATABASES = 1_080_000
RUN_IN_DATABASES = 18_500
EVALUATION_IN_DATABASES = 4_050
RUN_IN_ARTIFACTS = (
    20_500  # five blocks: the run's two folders, its curve, its samples as JSON and as text
)
EVALUATION_IN_ARTIFACTS = 70  # a row of its curve
NUMBER_IN_TEXT = 19  # in a row of a forecast
PLACE_IN_TEXT = 14  # its time and the steps ahead
BLOCK = 4_096
HEADER = 3_000  # what a model's or a checkpoint's file holds beside its arrays
RECORD = 700  # an evaluation in a checkpoint


@dataclass(frozen=True)
class Disk:
    """Bytes that a study takes.

    Databases, artifacts and models are counted when it has ended, without its reports; checkpoints
    while it runs.
    """

    databases: int
    artifacts: int
    models: int
    checkpoints: int


def disk(study: Study, arms: Sequence[Probe]) -> Disk:
    """Returns the room that a study's arms take.

    All the seeds that a sequential design may add are counted.
    """
    databases, artifacts, models, checkpoints = EMPTY_DATABASES, 0, 0, 0
    for arm in arms:
        packs = arm.packs
        trials = sum((*packs.trials, *packs.finalists, *packs.more_trials))
        replicates = sum((*packs.replicates, *packs.more))
        databases += (trials + replicates) * (
            RUN_IN_DATABASES + arm.num_evaluations * EVALUATION_IN_DATABASES
        )
        artifacts += (trials + replicates) * (
            RUN_IN_ARTIFACTS + arm.num_evaluations * EVALUATION_IN_ARTIFACTS
        )
        artifacts += replicates * BLOCK if study.measure.states else 0
        artifacts += study.num_repeats * forecast_bytes(arm)  # of the first replicate alone
        models += replicates * model_bytes(arm) if study.measure.models == "replicates" else 0
        checkpoints = max(checkpoints, _largest(arm.packs) * checkpoint_bytes(arm))
    return Disk(databases, artifacts, models, checkpoints)


def model_bytes(arm: Probe) -> int:
    """Returns the size of a finished run's model."""
    return HEADER + arm.num_parameters * dtype_of(arm.settings.precision).itemsize


def forecast_bytes(arm: Probe) -> int:
    """Returns what the forecasts of a run take; 0 where it makes none."""
    dataset = data.load(arm.settings)
    if not isinstance(dataset, SequenceDataset) or dataset.windows is None:
        return 0
    columns = dataset.windows.series.columns
    num_numbers = len(forecast_file.header_of(dataset.head)) - 3  # time, column and steps ahead
    row = sum(PLACE_IN_TEXT + len(name) + NUMBER_IN_TEXT * num_numbers for name in columns)
    size = forecast_file.num_points(dataset.windows) * row
    return -(-size // BLOCK) * BLOCK


def checkpoint_bytes(arm: Probe) -> int:
    """Returns the size of a run's checkpoint.

    It holds the parameters, the best ones, the optimiser's moments, and the carried state.
    """
    settings = arm.settings
    kept = 2 + len(moments(settings.optimizer, settings.momentum > 0))
    values = arm.num_parameters * kept + arm.num_states * settings.batch_size
    num_bytes = values * dtype_of(settings.precision).itemsize
    return HEADER + num_bytes + arm.num_evaluations * RECORD


def _largest(packs: Packs) -> int:
    return max(packs.trials + packs.finalists + packs.replicates + packs.more + packs.more_trials)
