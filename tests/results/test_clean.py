import contextlib
import hashlib
import io
import shutil
import sqlite3

import optuna
import pytest
import small_study
from rich.console import Console
from stored import cli, reader_of, runs_of, writer_of

from harness.report import Report
from harness.results import clean
from harness.runner import exchange, launch
from harness.store.connection import connect
from harness.store.known import ArchiveError
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.notes import StudyNotes
from harness.store.source import experiment_ids
from harness.store.spool import unused
from harness.study.units import Phase, RunKey, Unit
from harness.training.files import checkpoint_name
from harness.training.plan import plans_from_json
from harness.tuning import storage as storages


def others(folder, name, keys):
    """Returns everything in the store that is not of that study: rows of both databases, files with
    their hashes.
    """
    rows = {}
    for database in ("mlflow.db", "optuna.db"):
        with contextlib.closing(sqlite3.connect(folder / database)) as connection:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                cursor = connection.execute(f'SELECT * FROM "{table}"')
                columns = [column[0] for column in cursor.description]
                rows[database, table] = sorted(
                    repr(row)
                    for row in cursor
                    if not any(
                        value in keys.get(column, ())
                        for column, value in zip(columns, row, strict=True)
                    )
                )
    files = {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for start in ("artifacts", "checkpoints")
        for path in sorted((folder / start).rglob("*"))
        if path.is_file() and not {*path.parts} & {*keys["run_uuid"], name}
    }
    return rows, files


def keys_of(folder, name):
    """Returns what a row of the study holds, by the columns of both databases."""
    reader = reader_of(folder, name)
    keys = {"experiment_id": {int(reader.experiment_id)}, "run_uuid": set(reader.file_sizes())}
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        query = "SELECT study_id FROM studies WHERE study_name LIKE ?"
        keys["study_id"] = {row[0] for row in connection.execute(query, (f"{name}/%",))}
    return keys


@pytest.fixture
def removable(store, make):
    """A study of two arms with something of every kind, beside others whose names are like its
    own.
    """
    files = {"model.npz": b"12345"}
    make("gone", states=["finished", "failed", "finished"], files=files)
    writer = make("gone", arm="narrow", files=files)
    writer.mark_superseded(RunKey(Unit("wide"), Phase.REPLICATE, 2))
    writer.save_notes(StudyNotes(timed="then"))
    birth = writer.reader.birth
    make("gone-too", files=files)
    with storages.opened(Locations(store).storage_url) as storage:
        for study, time in (("gone", birth), ("gone-too", birth), ("gone", "1")):
            for arm in ("wide", "narrow"):
                optuna.create_study(storage=storage, study_name=f"{study}/{arm}/{time}")
    for study, run in (
        ("gone", "wide/replicate/1"),
        ("gone", "narrow/replicate/1"),
        ("gone-too", "wide/replicate/1"),
    ):
        folder = Locations(store).checkpoints(study)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / checkpoint_name(run)).write_bytes(b"123")
    return writer


def searches(folder, name):
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        rows = connection.execute(
            "SELECT study_name FROM studies WHERE study_name LIKE ?", (f"{name}/%",)
        )
        return [row[0] for row in rows]


def state_of(folder):
    """Returns what there is of the study: places of runs, number of models, of checkpoints, of
    searches; a note.
    """
    reader = reader_of(folder, "gone")
    rows = reader.runs()[["arm", "phase", "index"]].itertuples(index=False)
    files = [path for sizes in reader.file_sizes().values() for path in sizes]
    checkpoints = Locations(folder).checkpoints("gone")
    num_checkpoints = len(list(checkpoints.iterdir())) if checkpoints.exists() else 0
    num_searches = len(searches(folder, "gone"))
    return (
        {"/".join(map(str, row)) for row in rows},
        files.count("model.npz"),
        num_checkpoints,
        num_searches,
        reader.notes().timed,
    )


NARROW = {"narrow/replicate/0", "narrow/replicate/1"}
WIDE = {"wide/replicate/0", "wide/replicate/1", "wide/superseded/2"}
STEPS = (
    ("narrow", ["superseded", "failed"], (NARROW | WIDE, 5, 2, 4, "then")),
    (None, ["superseded"], (NARROW | WIDE - {"wide/superseded/2"}, 4, 2, 4, "then")),
    (None, ["failed"], (NARROW | {"wide/replicate/0"}, 3, 2, 4, "then")),
    ("narrow", ["models"], (NARROW | {"wide/replicate/0"}, 1, 2, 4, "then")),
    ("narrow", ["checkpoints"], (NARROW | {"wide/replicate/0"}, 1, 1, 4, "then")),
    ("wide", [], (NARROW, 0, 1, 3, "")),
    (None, ["checkpoints", "models"], (NARROW, 0, 0, 3, "")),
)


def test_what_is_named_goes_and_nothing_else(store, removable, monkeypatch, capsys):
    keys = keys_of(store, "gone")
    before, whole = others(store, "gone", keys), others(store, "", {"run_uuid": ()})
    lines = clean.clean("gone", Locations(store))
    assert (
        lines[-1] == "nothing was removed; --yes removes this"
        and others(store, "", {"run_uuid": ()}) == whole
    )
    assert "study gone" in lines and "run wide replicate, seed 1001 (failed)" in lines
    assert lines[-2].startswith("7 runs, 2 files beside them, 2 searches: ")
    for arm, kinds, expected in STEPS:
        lines = clean.clean("gone", Locations(store), arm, kinds, yes=True)
        assert (state_of(store), lines[-1]) == (expected, "removed")
        assert others(store, "gone", keys) == before
    assert (
        len(keys["run_uuid"] & {path.name for path in Locations(store).artifacts.iterdir()}) == 2
    )  # narrow's

    code, out, _ = cli(monkeypatch, capsys, "clean", "gone", "--yes", "--folder", store)
    assert code == 0 and out.endswith("removed\n") and others(store, "gone", keys) == before
    assert "gone" not in experiment_ids(Locations(store).tracking_uri)
    assert searches(store, "gone") == [
        "gone/wide/1",
        "gone/narrow/1",
    ]  # of an earlier study of the name
    assert not keys["run_uuid"] & {path.name for path in Locations(store).artifacts.iterdir()}
    fresh = writer_of(store, "gone")  # the name is free
    assert fresh.experiment_id != removable.experiment_id and fresh.reader.runs().empty


def test_cleaning_a_study_that_runs_or_is_not_there_is_refused(store, make, monkeypatch, capsys):
    make("held")
    with locked("held", Locations(store)):
        code, _, err = cli(monkeypatch, capsys, "clean", "held", "--yes", "--folder", store)
    assert (
        code == 2
        and "must be run by one process at a time" in err
        and len(runs_of(store, "held")) == 2
    )
    code, _, err = cli(monkeypatch, capsys, "clean", "held", "--arm", "wode", "--folder", store)
    assert code == 2 and "Did you mean wide?" in err
    code, _, err = cli(monkeypatch, capsys, "clean", "gone-away", "--yes", "--folder", store)
    assert code == 2 and "study: must be in" in err and not list(store.glob(".gone-away*"))
    code, out, _ = cli(monkeypatch, capsys, "clean", "held", "--failed", "--folder", store)
    assert (
        code == 0 and "held: there is nothing of that kind" in out and "nothing was removed" in out
    )


def test_an_arm_that_was_removed_is_planned_and_reported_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "files", lambda self, png: {"report.md": self.note()})
    path, locations = small_study.write(tmp_path, trials=1, seeds=1, updates=4), Locations(tmp_path)

    def run():
        launch.run(path, locations=locations, console=Console(file=io.StringIO()), force=True)
        reader = reader_of(tmp_path, "small")
        arm_run = connect(locations.tracking_uri).get_run(reader.arm_runs()["narrow"])
        info = arm_run.info
        return info.status, arm_run.data.metrics, reader.artifact(info.run_id, "report.md")

    before = run()
    assert before[0] == "FINISHED" and before[1] and before[2]
    assert "nothing is missing" in exchange.write_plan(
        path, tmp_path / "plan.json", locations=locations, force=True
    )
    clean.clean("small", locations, "narrow", yes=True)
    assert set(runs_of(tmp_path, "small")["arm"]) == {"wide"}
    exchange.write_plan(path, tmp_path / "plan.json", locations=locations, force=True)
    (planned,) = plans_from_json((tmp_path / "plan.json").read_text())
    assert [run.id for run in planned.runs] == ["narrow/trial/0"] and not planned.keep_models
    assert run() == before


@pytest.mark.parametrize("name", ["of somebody else", "git/../../../victim", ".."])
def test_what_the_bench_did_not_make_is_refused(store, tmp_path, monkeypatch, capsys, name):
    folder = shutil.copytree(store, tmp_path / "deep" / "er" / "study")
    client = connect(Locations(folder).tracking_uri)
    experiment = client.create_experiment(name)
    client.log_param(client.create_run(experiment).info.run_id, "theirs", 1)
    for place in (folder / "checkpoints" / name, folder.parent):
        place.mkdir(parents=True, exist_ok=True)
        (place / "own.checkpoint").write_text("theirs")
    code, _, text = cli(monkeypatch, capsys, "clean", name, "--yes", "--folder", folder)
    assert code == 2 and "must be one that this bench made" in text
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    assert client.get_experiment(experiment).name == name
    assert (folder / "checkpoints" / name / "own.checkpoint").exists()


def test_records_that_no_store_has_taken_go_with_the_study_alone(store, tmp_path):
    folder = shutil.copytree(store, tmp_path / "study")
    waiting = Locations(folder).waiting_records("small")
    assert clean.find("small", Locations(folder)).waiting == []
    waiting.parent.mkdir(parents=True, exist_ok=True)
    files = [waiting, unused(waiting)]
    for path in files:
        path.write_bytes(b"12345678")
    found, of_arm = (clean.find("small", Locations(folder), arm) for arm in (None, "narrow"))
    assert found.waiting == files and of_arm.waiting == []
    assert f"records that no store has taken {waiting}" in found.lines()
    clean.clean("small", Locations(folder), yes=True)
    assert not any(path.exists() for path in files)


def test_only_checkpoints_go_and_no_link_is_followed(store, tmp_path):
    folder = shutil.copytree(store, tmp_path / "study")
    kept = folder / "checkpoints" / "small"
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("a.checkpoint", "b.1.partial", "notes.txt"):
        (kept / name).write_text(name)
    (kept / "link.checkpoint").symlink_to(tmp_path / "victim")
    found = clean.find("small", Locations(folder), kinds=["checkpoints"])
    assert [path.name for path in found.checkpoints] == ["a.checkpoint", "b.1.partial"]


def test_no_file_outside_of_a_runs_own_folder_goes(store, tmp_path):
    folder = shutil.copytree(store, tmp_path / "study")
    locations = Locations(folder)
    connect(locations.tracking_uri)  # it records where the copy's files lie
    ids = [run_id for run_id in reader_of(folder, "small").file_sizes()]
    victims = [tmp_path / "victim", tmp_path / ids[1] / "artifacts", folder / "artifacts" / ids[3]]
    for path in victims:
        (path / "deep").mkdir(parents=True, exist_ok=True)
        (path / "model.npz").write_text("theirs")
    link = folder / "artifacts" / ids[2]
    shutil.rmtree(link)
    (link.parent / ids[2]).symlink_to(tmp_path / "linked")
    (tmp_path / "linked" / "artifacts").mkdir(parents=True)
    (tmp_path / "linked" / "artifacts" / "model.npz").write_text("theirs")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for run_id, path in zip(ids, victims[:2], strict=False):
            uri = path.as_uri(), run_id
            connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", uri)
        uri = f"{locations.artifacts.as_uri()}/{ids[4]}/../{ids[3]}", ids[4]
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", uri)
    models = {each.run_id for each in clean.find("small", locations, kinds=["models"]).models}
    assert models and not models & {*ids[:3], ids[4]}
    lines = clean.clean("small", locations)
    assert sum("which is no folder of that run" in line for line in lines) == 4
    clean.clean("small", locations, yes=True)
    assert (victims[0] / "model.npz").exists() and (victims[1] / "model.npz").exists()
    assert (tmp_path / "linked" / "artifacts" / "model.npz").exists()
    assert "small" not in experiment_ids(locations.tracking_uri)
    assert not (folder / "artifacts" / ids[5]).exists()


def test_a_study_with_somebody_elses_runs_goes_by_its_arms_alone(store, tmp_path):
    folder = shutil.copytree(store, tmp_path / "study")
    locations, client = Locations(folder), connect(Locations(folder).tracking_uri)
    experiment = experiment_ids(locations.tracking_uri)["small"]
    theirs = client.create_run(experiment).info.run_id
    with pytest.raises(ArchiveError, match=f"holds others: {theirs}. Remove the study's arms"):
        clean.clean("small", locations, yes=True)
    clean.clean("small", locations, "wide", yes=True)
    assert client.get_run(theirs).info.lifecycle_stage == "active"
    client.delete_run(theirs)
    tag, run_id = "index", reader_of(folder, "small").search()[-1].run_id
    client.set_tag(run_id, tag, "x")
    lines = clean.clean("small", locations, yes=True)
    assert f"run {run_id}, which says not where it belongs" in lines
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
