"""Studies of several folders become one: whole or not at all, each run once."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from stored import cli, reader_of, writer_of

from harness.results import merge
from harness.results.doctor import examine
from harness.results.merge import MergeError
from harness.runner.finished import finished_report
from harness.store.copying import StudyCopy
from harness.store.locations import Locations
from harness.store.lock import LockedError, locked
from harness.store.notes import StudyNotes
from harness.study import load
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState
from harness.tuning import storage as storages


def bring(folders, into, *names):
    """Merges and returns what was said."""
    said = []
    merge.merge(folders, names, Locations(into), said.append)
    return said


def stored(folder, name):
    """Returns all that is stored of a study, without what is a store's own: ids and addresses."""
    reader = reader_of(folder, name)
    rows, names = reader.search(), {}
    for row in rows:
        names[row.run_id] = row.tags["mlflow.runName"]
    found = {}
    for row in rows:
        tags = {**row.tags, "mlflow.parentRunId": names.get(row.tags.get("mlflow.parentRunId"))}
        files = {
            path: reader.artifact(row.run_id, path)
            for path in reader.file_sizes().get(row.run_id, {})
        }
        times = (row.start_time, row.end_time)
        facts = (row.status, tags, dict(row.params), times, files, reader.datasets(row))
        found[names[row.run_id]] = (facts, repr(reader.points(row)))
    return found, searches(folder, name, reader.birth)


def searches(folder, name, birth):
    with storages.opened(Locations(folder).storage_url) as storage:
        return {
            each.study_name.removesuffix(f"/{birth}"): [
                (t.number, t.state, t.params, t.values, t.intermediate_values, t.datetime_start)
                for t in storage.get_all_trials(each._study_id)
            ]
            for each in storage.get_all_studies()
            if each.study_name.startswith(f"{name}/") and each.study_name.endswith(birth)
        }


IDENTITY = {"version": 1, "first_seed": 1000, "baseline": "lstm", "shared": {"tune": None}}


def plant(folder, arm, *, name="wide", size=16, seed="0/trial/0", states=("finished",) * 2):
    """Stores a study of one arm with trials, and a replicate that was not trained to its end."""
    folder.mkdir(exist_ok=True)
    writer = writer_of(folder, name)
    writer.set_identity({**IDENTITY, "arms": {arm: {"hidden_size": size}}, "tunes": {}})
    pins = {arm: {"engine": "cpu", "text": "t"}}
    writer.save_notes(StudyNotes(pinned=pins, timed="yes", complete="yes", looks=(size,)))
    for index, state in enumerate(states):
        key = RunKey(Unit(arm), Phase.TRIAL, index)
        run_id = writer.open_run(key, str(key), {"rate": 0.1 + index}, {"seed": seed})
        writer.log_dataset(run_id, "text", "f" * 64, "text.txt")
        for update in (1, 2):
            writer.log(run_id, update, {"train/loss": 1.0 / update}, 1.7e9 + update)
        writer.end_run(run_id, RunState(state), {}, {"objective": 0.5}, {"curve.csv": "update\n1"})
    writer.open_run(RunKey(Unit(arm), Phase.REPLICATE, 0), f"{arm} replicate", {}, {})
    writer.close()
    search(folder, f"{name}/{arm}/{writer.reader.birth}")
    return folder


def search(folder, name):
    rates = FloatDistribution(0.05, 2.0)
    with storages.opened(Locations(folder).storage_url) as storage:
        study = storages.optuna.create_study(storage=storage, study_name=name)
        for number, state in enumerate((TrialState.COMPLETE, TrialState.RUNNING)):
            study.add_trial(
                create_trial(
                    state=state,
                    value=0.5 if state is TrialState.COMPLETE else None,
                    params={"rate": 0.1 + number},
                    distributions={"rate": rates},
                    intermediate_values={1: 0.75},
                )
            )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Two folders, each with an arm of one study; no test changes them."""
    root = tmp_path_factory.mktemp("planted")
    return plant(root / "here", "lstm"), plant(root / "there", "gru")


def test_a_study_that_has_ended_is_the_same_in_another_store(store, tmp_path):
    here = shutil.copytree(store, tmp_path / "here")
    with closing(sqlite3.connect(here / "mlflow.db")) as connection, connection:
        # The arms were never summarized.
        connection.execute(
            "UPDATE runs SET status = 'FINISHED', end_time = coalesce(end_time, start_time)"
        )
        connection.execute(
            "INSERT OR IGNORE INTO tags SELECT 'state', 'finished', run_uuid FROM runs"
        )
    (line,) = bring([here], tmp_path / "goal", "small")
    assert line == f"small: 12 runs of 2 arms from {here}"
    assert stored(tmp_path / "goal", "small") == stored(here, "small")
    (tmp_path / "goal" / "small.yaml").write_bytes((here / "small.yaml").read_bytes())
    (tmp_path / "goal" / "text.txt").write_bytes((here / "text.txt").read_bytes())
    goal = Locations(tmp_path / "goal")
    assert examine("small", goal, whole=True).findings == []
    timed = reader_of(tmp_path / "goal", "small").timings()
    assert timed.equals(reader_of(here, "small").timings()) and len(timed)
    finished_report(load(tmp_path / "goal" / "small.yaml"), goal)  # it is this study


def test_arms_of_two_machines_become_one_study(planted, tmp_path):
    (line,) = bring(planted, tmp_path / "goal")
    here, there = planted
    assert line == (
        f"wide: 4 runs of 2 arms from {here}, {there}; 2 runs without a result not taken; "
        f"go on with a study file that has all of its arms (that of {here} was not kept whole)"
    )
    found, trials = stored(tmp_path / "goal", "wide")
    for folder in planted:
        runs, own_trials = stored(folder, "wide")
        arm = next(iter(own_trials)).partition("/")[2]
        assert {key: found[key] for key in runs if "trial" in key} == {
            key: runs[key] for key in runs if "trial" in key
        }
        assert found[arm][0][:1] == ("KILLED",)  # its driver is elsewhere
        assert trials[f"wide/{arm}"] == own_trials[f"wide/{arm}"] and len(trials) == 2
    reader = reader_of(tmp_path / "goal", "wide")
    assert reader.identity()["arms"] == {"lstm": {"hidden_size": 16}, "gru": {"hidden_size": 16}}
    notes = reader.notes()
    assert set(notes.pinned) == {"lstm", "gru"} and (notes.timed, notes.complete) == ("", "")
    with pytest.raises(MergeError, match="wide: must be new in sqlite:///.* but is there"):
        bring(planted, tmp_path / "goal")


def test_all_that_is_in_the_way_is_told_and_nothing_is_made(planted, tmp_path):
    here, _ = planted
    twin = plant(tmp_path / "twin", "lstm", size=32, seed="1/trial/0")
    Locations(twin).waiting_records("wide").parent.mkdir()
    other = plant(tmp_path / "other", "lstm", name="else")
    Locations(other).checkpoints("else").parent.mkdir()
    Locations(other).waiting_records("else").write_text("a line")
    folders = [here, here, twin, other, tmp_path / "absent"]
    with pytest.raises(MergeError) as told:
        bring(folders, tmp_path / "goal", "wide", "else", "missing")
    problems = str(told.value).splitlines()
    assert [
        any(words in line for line in problems)
        for words in (
            f"folders: must be named once, but got {here} twice",
            f"wide: must be one study in {here} and {twin}, but arms.lstm.hidden_size is 16 and 32",
            "(2 runs twice: trial/0, trial/1; they differ in seed). Remove it from one: "
            f"harness clean wide --arm lstm --folder {twin} --yes",
            f"else: no records must wait for a store, but some do in {other}",
            "but got 'missing'",
            f"the database must exist, but got '{tmp_path}/absent/mlflow.db'",
        )
    ] == [True] * 6, problems
    assert not (tmp_path / "goal").exists() and not (tmp_path / "absent").exists()


@pytest.mark.parametrize("is_first", [False, True])
def test_an_arm_of_two_folders_is_removed_where_fewer_of_its_runs_have_ended(
    planted, tmp_path, is_first
):
    part = plant(tmp_path / "part", "lstm", states=("finished",))
    folders = [part, planted[0]] if is_first else [planted[0], part]
    with pytest.raises(
        MergeError, match=f"Remove it from {part}, which has 1 of its runs, and"
    ) as told:
        bring(folders, tmp_path / "goal")
    assert str(told.value).endswith(
        f"the other 2: harness clean wide --arm lstm --folder {part} --yes"
    )


def test_a_study_that_is_run_is_left_alone(planted, tmp_path):
    with locked("wide", Locations(planted[1])), pytest.raises(LockedError, match="'wide' is held"):
        bring(planted, tmp_path / "goal")


@pytest.mark.parametrize("death", [KeyboardInterrupt, SystemExit], ids=["told", "killed"])
def test_a_merge_that_dies_leaves_nothing_that_counts(planted, tmp_path, monkeypatch, death):
    """A process that is killed cannot remove what it has made; the next merge does."""
    add, added = StudyCopy.add, []

    def dies(copy, reader, run):
        added.append(run)
        if len(added) == 4:
            raise death
        add(copy, reader, run)

    with monkeypatch.context() as patch, pytest.raises(death):
        patch.setattr(StudyCopy, "add", dies)
        if death is SystemExit:
            patch.setattr(merge, "_remove", lambda *_: None)
        bring(planted, tmp_path / "goal")
    bring(planted, tmp_path / "goal")
    assert set(stored(tmp_path / "goal", "wide")[0]) == {"lstm", "gru"} | {
        f"{arm}/trial/{index}" for arm in ("lstm", "gru") for index in range(2)
    }
    folders = [path for path in (tmp_path / "goal" / "artifacts").iterdir() if path.is_dir()]
    assert len(folders) == 4  # those of the trials alone


def test_the_command_names_its_studies(planted, tmp_path, monkeypatch, capsys):
    goal = tmp_path / "goal"
    code, out, _ = cli(monkeypatch, capsys, "merge", *planted, "--study", "wide", "--folder", goal)
    assert code == 0 and out.startswith("wide: 4 runs of 2 arms from ")
    code, out, errors = cli(monkeypatch, capsys, "merge", tmp_path, "--folder", goal)
    assert code == 2 and "the database must exist" in errors and not out
