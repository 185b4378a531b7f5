"""The judge of killed studies finds what is lost, doubled or other: a count of 0 can be another."""

import shutil
import sqlite3
from contextlib import closing

import kills
import pytest
from optuna.trial import create_trial

from harness.store.locations import Locations
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState
from harness.tuning import storage as storages

CURVE = "update,tokens,time_seconds,train/loss,validation/loss\n1,8,0.1,2.0,2.5\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study of two trials and a replicate."""
    folder = tmp_path_factory.mktemp("whole")
    where = Locations(folder)
    writer = StudyWriter(where.tracking_uri, kills.NAME, where.artifacts)
    places = [(Phase.TRIAL, 0), (Phase.TRIAL, 1), (Phase.REPLICATE, 0)]
    for phase, index in places:
        key = RunKey(Unit("lstm"), phase, index)
        run_id = writer.open_run(key, str(key), {}, {"seed": str(index)})
        numbers = {"objective": 1.0 + index, "validation/loss": 1.0}
        writer.end_run(run_id, RunState.FINISHED, {}, numbers, {"curve.csv": CURVE})
    writer.summarize_arm(Unit("lstm"), {}, {"report.csv": ""})
    writer.close()
    with storages.opened(where.storage_url) as storage:
        name = f"{kills.NAME}/lstm/{writer.reader.birth}"
        study = storages.optuna.create_study(storage=storage, study_name=name)
        for index in range(2):
            study.add_trial(create_trial(value=1.0 + index))
    return folder


LOSE = "UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'lstm/replicate/0'"
DOUBLE = "UPDATE tags SET value = '0' WHERE key = 'index'"
OTHER = "UPDATE latest_metrics SET value = value + 1e-15 WHERE key = 'validation/loss'"
OTHER_TRIAL = "UPDATE trial_values SET value = value + 1e-15"


@pytest.mark.parametrize(
    ("database", "statement", "counts"),
    [
        ("mlflow.db", "SELECT 1", (0, 0, 0, 0)),
        ("mlflow.db", LOSE, (1, 0, 1, 0)),  # and with it its curve
        ("mlflow.db", DOUBLE, (1, 1, 3, 3)),  # the trial 1 has become a second trial 0
        ("mlflow.db", OTHER, (0, 0, 3, 0)),
        ("optuna.db", OTHER_TRIAL, (0, 0, 1, 0)),
    ],
    ids=["sound", "lost", "doubled", "other loss", "other trial"],
)
def test_the_judge_counts_what_is_wrong(whole, tmp_path, database, statement, counts):
    folder = shutil.copytree(whole, tmp_path / "study")
    with closing(sqlite3.connect(folder / database)) as connection, connection:
        connection.execute(statement)
    ended = kills.Ended()
    kills.judge(ended, Locations(folder), kills.stored(Locations(whole)))
    assert (ended.lost, ended.doubled, ended.differing, len(ended.found)) == counts, ended
