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
ASIDE = "UPDATE tags SET value = 'superseded' WHERE value = 'replicate'"
OTHER = "UPDATE latest_metrics SET value = value + 1e-15 WHERE key = 'validation/loss'"
BOOKED_AGAIN = (
    "INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics "
    "WHERE key = 'objective'"
)
OTHER_TRIAL = "UPDATE trial_values SET value = value + 1e-15"


@pytest.mark.parametrize(
    ("database", "statement", "counts"),
    [
        ("mlflow.db", "SELECT 1", (0, 0, 0, 0)),
        ("mlflow.db", LOSE, (1, 0, 0, 0)),
        ("mlflow.db", DOUBLE, (1, 1, 3, 2)),  # trial 1 is a second trial 0: the first one counts
        ("mlflow.db", ASIDE, (1, 1, 0, 0)),
        ("mlflow.db", OTHER, (0, 0, 3, 0)),
        ("mlflow.db", BOOKED_AGAIN, (0, 0, 3, 0)),
        ("optuna.db", OTHER_TRIAL, (0, 0, 2, 0)),
    ],
    ids=["sound", "lost", "doubled", "put aside", "other loss", "point again", "other trial"],
)
def test_the_judge_counts_what_is_wrong(whole, tmp_path, database, statement, counts):
    folder = shutil.copytree(whole, tmp_path / "study")
    with closing(sqlite3.connect(folder / database)) as connection, connection:
        connection.execute(statement)
    ended = kills.Ended()
    kills.judge(ended, Locations(folder), kills.stored(Locations(whole)))
    found = tuple(map(len, (ended.lost, ended.doubled, ended.differing, ended.found)))
    assert found == counts, ended


@pytest.mark.parametrize(
    ("struck", "code", "said", "count"),
    [
        (None, 0, "a warning", 0),
        (None, 1, "a run is missing", 1),
        (None, -9, "", 1),  # whoever killed it, it was not this tool
        ("driver", -9, "", 0),
        ("driver", 2, "the store is wrong", 1),
        ("worker", 1, "a run is missing", 1),
        ("server", 1, "the database must answer", 0),
        ("server", 1, "Traceback (most recent call last)", 1),
    ],
)
def test_a_launch_that_ends_otherwise_than_it_may_is_told(tmp_path, struck, code, said, count):
    errors, ended = tmp_path / "stderr", kills.Ended()
    errors.write_text(said)
    kills._note_end(ended, struck, code, errors)
    assert len(ended.bad_ends) == count
    assert all(said in told for told in ended.bad_ends)


def test_kills_of_several_sittings_add_up(tmp_path, capsys):
    path = tmp_path / "kills.jsonl"
    for number, killed in enumerate((["driver"], ["driver", "server"]), start=1):
        rows = kills.Rows(path)
        rows.add({"date": "2026-11-27"})
        ended = kills.Ended(killed=killed, lost=["lstm/trial/0/0"] if number == 2 else [])
        rows.add({"study": number, **vars(ended)})
        rows.add(dict(rows.sums()))
        with open(path, "a") as file:  # the tool is killed while it writes
            file.write('{"study": 3, "kil')
    sums = kills.Rows(path).sums()
    assert (sums["studies"], sums["kills"], sums["lost"], sums["doubled"]) == (2, 3, 1, 0)
    assert (sums["driver_kills"], sums["server_kills"]) == (2, 1)
    assert path.read_text().count("\n") == len(path.read_text().splitlines()) == 6
