import contextlib
import hashlib
import io
import sqlite3

import optuna
import pytest
import small_study
from books import books_of, cli, runs_of
from rich.console import Console

from harness import tuning
from harness.report import Report
from harness.results import clean
from harness.runner import launch
from harness.store import tracker
from harness.store.locations import Places
from harness.training import checkpoint, messages


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
                found = connection.execute(f'SELECT * FROM "{table}"')
                columns = [column[0] for column in found.description]
                rows[database, table] = sorted(
                    repr(row)
                    for row in found
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
    tracker = books_of(folder, name)
    keys = {"experiment_id": {int(tracker.experiment_id)}, "run_uuid": set(tracker.files())}
    with contextlib.closing(sqlite3.connect(folder / "optuna.db")) as connection:
        query = "SELECT study_id FROM studies WHERE study_name LIKE ?"
        keys["study_id"] = {row[0] for row in connection.execute(query, (f"{name}/%",))}
    return keys


@pytest.fixture
def removable(books, make):
    """A study of two arms with something of every kind, beside others whose names are like its
    own.
    """
    files = {"model.npz": b"12345"}
    make("gone", states=["finished", "failed", "finished"], files=files)
    tracker = make("gone", arm="narrow", files=files)
    tracker.supersede("wide", "replicate", 2)
    tracker.set_note("timed", "then")
    make("gone-too", files=files)
    storage = tuning.open_storage(Places(books).storage_url)
    for study, birth in (("gone", tracker.birth), ("gone-too", tracker.birth), ("gone", "1")):
        for arm in ("wide", "narrow"):
            optuna.create_study(storage=storage, study_name=f"{study}/{arm}/{birth}")
    for study, run in (
        ("gone", "wide/replicate/1"),
        ("gone", "narrow/replicate/1"),
        ("gone-too", "wide/replicate/1"),
    ):
        folder = Places(books).checkpoints(study)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / checkpoint.name_of(run)).write_bytes(b"123")
    return tracker


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
    tracker = books_of(folder, "gone")
    found = tracker.runs()[["arm", "phase", "index"]].itertuples(index=False)
    files = [path for each in tracker.files().values() for path in each]
    checkpoints = Places(folder).checkpoints("gone")
    num_checkpoints = len(list(checkpoints.iterdir())) if checkpoints.exists() else 0
    num_searches = len(searches(folder, "gone"))
    return (
        {"/".join(map(str, row)) for row in found},
        files.count("model.npz"),
        num_checkpoints,
        num_searches,
        tracker.note("timed"),
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


def test_what_is_named_goes_and_nothing_else(books, removable, monkeypatch, capsys):
    keys = keys_of(books, "gone")
    before, whole = others(books, "gone", keys), others(books, "", {"run_uuid": ()})
    said = clean.clean("gone", Places(books))
    assert (
        said[-1] == "nothing was removed; --yes removes this"
        and others(books, "", {"run_uuid": ()}) == whole
    )
    assert "study gone" in said and "run wide replicate, seed 1001 (failed)" in said
    assert said[-2].startswith("7 runs, 2 files beside them, 2 searches: ")
    for arm, kinds, expected in STEPS:
        said = clean.clean("gone", Places(books), arm, kinds, yes=True)
        assert (state_of(books), said[-1]) == (expected, "removed")
        assert others(books, "gone", keys) == before
    assert (
        len(keys["run_uuid"] & {path.name for path in Places(books).artifacts.iterdir()}) == 2
    )  # narrow's

    code, out, _ = cli(monkeypatch, capsys, "clean", "gone", "--yes", "--folder", books)
    assert code == 0 and out.endswith("removed\n") and others(books, "gone", keys) == before
    assert "gone" not in tracker.experiments(Places(books).tracking_uri)
    assert searches(books, "gone") == [
        "gone/wide/1",
        "gone/narrow/1",
    ]  # of an earlier study of the name
    assert not keys["run_uuid"] & {path.name for path in Places(books).artifacts.iterdir()}
    fresh = books_of(books, "gone")
    assert fresh.experiment_id != removable.experiment_id and fresh.runs().empty  # the name is free


def test_cleaning_a_study_that_runs_or_is_not_there_is_refused(books, make, monkeypatch, capsys):
    make("held")
    with launch.locked("held", Places(books)):
        code, _, err = cli(monkeypatch, capsys, "clean", "held", "--yes", "--folder", books)
    assert (
        code == 2
        and "must be run by one process at a time" in err
        and len(runs_of(books, "held")) == 2
    )
    code, _, err = cli(monkeypatch, capsys, "clean", "held", "--arm", "wode", "--folder", books)
    assert code == 2 and "Did you mean wide?" in err
    code, _, err = cli(monkeypatch, capsys, "clean", "gone-away", "--yes", "--folder", books)
    assert code == 2 and "study: must be in" in err and not list(books.glob(".gone-away*"))
    code, out, _ = cli(monkeypatch, capsys, "clean", "held", "--failed", "--folder", books)
    assert (
        code == 0 and "held: there is nothing of that kind" in out and "nothing was removed" in out
    )


def test_an_arm_that_was_removed_is_planned_and_reported_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "files", lambda self, png: {"report.md": self.note()})
    path, places = small_study.write(tmp_path, trials=1, seeds=1, updates=4), Places(tmp_path)

    def run():
        launch.run(path, places=places, console=Console(file=io.StringIO()), force=True)
        tracker = books_of(tmp_path, "small")
        own = tracker._client.get_run(tracker.parents()["narrow"])
        return own.info.status, own.data.metrics, tracker.artifact(own.info.run_id, "report.md")

    before = run()
    assert before[0] == "FINISHED" and before[1] and before[2]
    assert "nothing is missing" in launch.write_plan(
        path, tmp_path / "plan.json", places=places, force=True
    )
    clean.clean("small", places, "narrow", yes=True)
    assert set(runs_of(tmp_path, "small")["arm"]) == {"wide"}
    launch.write_plan(path, tmp_path / "plan.json", places=places, force=True)
    (planned,) = messages.plans_from_json((tmp_path / "plan.json").read_text())
    assert [run.id for run in planned.runs] == ["narrow/trial/0"] and not planned.keep_models
    assert run() == before
