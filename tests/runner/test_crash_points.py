"""A study that dies at any write to its store, and is run again, ends as one that never died."""

import io

import optuna
import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness.results.doctor import examine
from harness.runner import launch
from harness.runner.recorder import RunRecorder, key_of
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.sqlite_client import SqliteClient
from harness.study.units import Phase

pytestmark = pytest.mark.usefixtures("without_report_files")

MLFLOW_WRITES = (
    "create_run",
    "log_batch",
    "log_inputs",
    "log_artifacts",
    "set_terminated",
    "update_run",
    "set_experiment_tag",
)
OPTUNA_WRITES = ("create_new_trial", "set_trial_state_values", "set_trial_intermediate_value")
DEATHS = (2, 5, 14)
"""After how many writes of a pack a launch dies. At the second write its first run has been made
and has no parameters yet.
"""


class Died(BaseException):
    """What nothing in the code catches: as a kill, but at a known moment."""


class Death:
    """Ends a launch at the n-th write after it began to record a phase, and all later ones: a
    process that is dead writes nothing.
    """

    def __init__(self):
        self.at(None, 0)

    def at(self, phase, num_writes):
        self.phase, self.num_writes, self.has_come = phase, num_writes, False
        self.is_near = False

    def records(self, messages):
        self.is_near |= self.phase in [key_of(message.run).phase for message in messages]

    def writes(self):
        self.num_writes -= self.is_near
        self.has_come |= self.is_near and self.num_writes <= 0
        if self.has_come:
            raise Died


def dying(write, death):
    """Returns ``write``, before which a launch may die."""

    def writes(*args, **kwargs):
        death.writes()
        return write(*args, **kwargs)

    return writes


@pytest.fixture
def death(monkeypatch):
    death = Death()
    of_class = {SqliteClient: MLFLOW_WRITES, optuna.storages.RDBStorage: OPTUNA_WRITES}
    for owner, names in of_class.items():
        for name in names:
            monkeypatch.setattr(owner, name, dying(getattr(owner, name), death))

    def record(self, messages, record=RunRecorder.record):
        death.records(messages)
        return record(self, messages)

    monkeypatch.setattr(RunRecorder, "record", record)
    return death


def run(folder):
    launch.run(
        folder / "small.yaml",
        locations=Locations(folder),
        force=True,
        console=Console(file=io.StringIO()),
    )


def runs(folder):
    rows = StudyReader(Locations(folder).tracking_uri, "small").runs()
    rows = rows[["arm", "phase", "index", "seed", "state", "objective", "test/loss"]]
    return rows.sort_values(["arm", "phase", "index"], ignore_index=True)


@pytest.mark.slow
def test_a_study_that_dies_at_any_write_loses_and_doubles_nothing(tmp_path, death):
    whole, mortal = tmp_path / "whole", tmp_path / "mortal"
    for folder in (whole, mortal):
        small_study.write(folder, trials=2, seeds=4, updates=8)
    run(whole)
    for phase in (Phase.TRIAL, Phase.REPLICATE):
        for num_writes in DEATHS:
            death.at(phase, num_writes)
            with pytest.raises(Died):
                run(mortal)
    death.at(None, 0)
    run(mortal)
    pd.testing.assert_frame_equal(runs(mortal), runs(whole))
    assert examine("small", Locations(mortal), whole=True).findings == []
