"""The doctor finds every fault that is put into a sound study, and mends what loses nothing."""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import sqlite3

import pytest
from mlflow.exceptions import MlflowException
from rich.console import Console
from stored import reader_of

from harness.results.doctor import doctor, examine
from harness.results.examination import Examination, _booked_twice
from harness.store.address import StoreError
from harness.store.locations import Locations
from harness.store.lock import locked
from harness.store.rows import MetricPoint
from harness.store.spool import unused
from harness.training.files import FORECAST_FILE, MODEL_FILE, checkpoint_name


@pytest.fixture
def folder(store, tmp_path, monkeypatch):
    """A copy of the study, whose arms have ended, beside an empty cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    copy = shutil.copytree(store, tmp_path / "study")
    change(copy, "mlflow.db", "UPDATE runs SET status = 'FINISHED'")
    change(
        copy,
        "mlflow.db",
        "INSERT OR IGNORE INTO tags SELECT 'state', 'finished', run_uuid FROM runs",
    )
    return copy


def change(folder, database, statement, *values):
    with contextlib.closing(sqlite3.connect(folder / database)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def found(folder, *, whole=True):
    return [
        (each.place, each.text)
        for each in examine("small", Locations(folder), whole=whole).findings
    ]


def run_of(folder, key):
    runs = reader_of(folder, "small").runs()
    arm, phase, index = key.split("/")
    rows = runs.query(f"arm == {arm!r} and phase == {phase!r} and index == {index}")
    return rows["run_id"].iloc[0]


def repaired(folder):
    """Whether all is sound after a repair, and what it said."""
    said = io.StringIO()
    is_sound = doctor(
        "small", Locations(folder), Console(file=said, width=200), verify=True, repair=True
    )
    return is_sound, said.getvalue()


def test_a_sound_study_is_told_as_such(folder):
    assert found(folder) == []
    looked_at = examine("small", Locations(folder), whole=True).looked_at
    assert (looked_at["runs"], looked_at["searches"], looked_at["artifacts"]) == (14, 2, 12)


def test_a_run_without_a_driver_is_told_and_ended(folder):
    change(
        folder,
        "mlflow.db",
        "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?",
        run_of(folder, "wide/replicate/1"),
    )
    ((place, text),) = found(folder)
    assert place == "runs" and "no process runs the study: wide/replicate/1" in text
    with locked("small", Locations(folder)):
        assert found(folder) == []  # a study that is being run has runs that are not over
        assert f"process {os.getpid()}" in examine("small", Locations(folder)).running["small"]
        is_sound, said = repaired(folder)
    is_sound, said = repaired(folder)
    assert is_sound and "mended: small: RUNNING" in said
    assert found(folder) == []
    row = reader_of(folder, "small").runs().query("arm == 'wide' and phase == 'replicate'")
    assert "killed" in set(row["state"])


def test_an_arm_without_a_driver_was_killed_though_its_runs_so_far_are_over(folder):
    """The plan may ask for more of them."""
    arms = reader_of(folder, "small").arm_runs()
    for run_id in (*arms.values(), run_of(folder, "wide/replicate/1")):
        change(folder, "mlflow.db", "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", run_id)
    assert repaired(folder)[0]
    rows = {row.run_id: row for row in reader_of(folder, "small").search()}
    left = {arm: (rows[own].status, rows[own].tags["state"]) for arm, own in arms.items()}
    assert left == dict.fromkeys(("narrow", "wide"), ("KILLED", "killed"))


def same_place(folder, first, second):
    """Has a run stand where another does."""
    for key in ("phase", "index"):
        change(
            folder,
            "mlflow.db",
            "UPDATE tags SET value = (SELECT value FROM tags WHERE key = ? AND run_uuid = ?) "
            "WHERE key = ? AND run_uuid = ?",
            *(key, first, key, second),
        )


def test_runs_of_one_place_that_differ_are_told_and_kept(folder):
    first, second = (run_of(folder, f"wide/replicate/{index}") for index in (1, 2))
    same_place(folder, first, second)
    ((place, text),) = found(folder)
    assert place == "runs" and text.startswith("wide/replicate/1: stored 2 times (")
    assert (
        first in text
        and second in text
        and "with other values of final/loss, objective, seed," in text
    )
    assert repaired(folder)[0] is False and len(found(folder)) == 1


@pytest.mark.parametrize("is_equal", [True, False])
def test_of_runs_of_one_place_that_do_not_differ_one_is_put_aside(folder, is_equal):
    """One that a server made without saying so has no result, or is a copy of the other."""
    first, second = (run_of(folder, f"wide/replicate/{index}") for index in (1, 2))
    other = run_of(folder, "wide/replicate/3")
    before = reader_of(folder, "small").runs().set_index("run_id")
    if is_equal:
        for table in ("latest_metrics", "tags", "params"):
            change(folder, "mlflow.db", f"DELETE FROM {table} WHERE run_uuid = ?", second)
            columns = [row[1] for row in change(folder, "mlflow.db", f"PRAGMA table_info({table})")]
            picked = ", ".join("?" if name == "run_uuid" else name for name in columns)
            change(
                folder,
                "mlflow.db",
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {picked} FROM {table} "
                "WHERE run_uuid = ?",
                *(second, first),
            )
    else:
        same_place(folder, first, second)
        change(folder, "mlflow.db", "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", second)
    texts = [text for place, text in found(folder) if "stored 2 times" in text]
    assert len(texts) == 1
    reader, key = reader_of(folder, "small"), ["arm", "phase", "index", "draw"]
    assert not reader.runs().duplicated(key).any()
    assert not reader.curves().duplicated([*key, "update"]).any()
    is_sound, said = repaired(folder)
    assert is_sound and "mended: wide/replicate/1: stored 2 times" in said
    assert found(folder) == []
    after = reader_of(folder, "small").runs().set_index("run_id")
    aside = after.index[after["phase"] == "superseded"]
    assert len(aside) == 1 and aside[0] in (first, second) and (is_equal or aside[0] == second)
    assert len(after) == len(before) and after.loc[other].equals(before.loc[other])


def test_of_an_arms_own_runs_the_one_is_kept_that_has_the_others(folder):
    twin = run_of(folder, "wide/replicate/1")
    arm = reader_of(folder, "small").arm_runs()["wide"]
    same_place(folder, arm, twin)
    ((place, text),) = found(folder, whole=False)
    assert place == "runs" and text.startswith("wide/arm: stored 2 times (") and twin in text
    assert reader_of(folder, "small").arm_runs()["wide"] == arm
    assert repaired(folder)[0]
    assert reader_of(folder, "small").arm_runs()["wide"] == arm
    # The other may have held the arm's timings, and so none of the study's are held for whole.
    assert reader_of(folder, "small").notes().timed == ""


def test_a_point_that_was_booked_again_is_told(folder):
    run_id = run_of(folder, "wide/replicate/1")
    change(
        folder,
        "mlflow.db",
        "INSERT INTO metrics SELECT key, value, 1, run_uuid, step, is_nan FROM metrics "
        "WHERE run_uuid = ? AND key = 'tokens_per_second' AND step = 10",
        run_id,
    )
    ((place, text),) = found(folder)
    assert place == "runs" and text == (
        "wide/replicate/1: stored more than once: tokens_per_second at update 10"
    )


def test_an_arms_numbers_may_have_been_written_by_several_launches(folder):
    run_id = reader_of(folder, "small").arm_runs()["wide"]
    for time_ms in (1, 2, 3):
        change(
            folder,
            "mlflow.db",
            "INSERT INTO metrics SELECT key, value + 1, ?, run_uuid, step, is_nan FROM "
            "latest_metrics WHERE run_uuid = ?",
            time_ms,
            run_id,
        )
    assert found(folder) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE trial_values SET value = value + 1e-9", "wide trial 0: worth "),
        ("UPDATE trials SET state = 'PRUNED'", "wide trial 0: pruned in Optuna, but finished in"),
        ("UPDATE trials SET state = 'FAIL'", "wide trial 0: failed in Optuna, but finished in"),
        ("UPDATE trials SET state = 'RUNNING'", "but Optuna was not told"),
        ("DELETE FROM trials", "wide: Optuna lacks trials 0, whose runs MLflow holds"),
    ],
)
def test_a_search_that_does_not_agree_with_its_runs_is_told(folder, statement, words):
    change(folder, "optuna.db", statement)
    texts = [text for place, text in found(folder) if place == "searches"]
    assert len(texts) == 2 and any(words in text for text in texts), texts


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied", "optuna.db"), "optuna.db: Permission denied"),
        (StoreError("storage: must answer,\nbut has not."), "storage: must answer, but has not"),
    ],
)
def test_a_storage_that_cannot_be_read_is_one_line(folder, monkeypatch, error, words):
    def refuse(*_):
        raise error

    monkeypatch.setattr("harness.tuning.storage.opened", refuse)
    ((place, text),) = found(folder)
    assert place == "searches" and text.rstrip(".") == words
    is_sound, said = repaired(folder)
    assert not is_sound and said.count(words) == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error", "mlflow.db"), StoreError("mlflow.db: held")]
)
def test_a_store_that_is_lost_before_the_repair_is_one_line(folder, monkeypatch, error):
    change(folder, "mlflow.db", "UPDATE runs SET status = 'RUNNING'")
    opened = []

    class Lost(Examination):
        def __init__(self, *args, **options):
            opened.append(args)
            if len(opened) == 2:
                raise error
            super().__init__(*args, **options)

    monkeypatch.setattr("harness.results.doctor.Examination", Lost)
    is_sound, said = repaired(folder)
    assert not is_sound and said.splitlines()[-2].startswith("mlflow.db: ")
    assert "left to put right" in said.splitlines()[-1]


def test_a_lost_storage_is_told_and_not_made(folder):
    (folder / "optuna.db").unlink()
    assert [place for place, _ in found(folder)] == ["searches"]
    assert not (folder / "optuna.db").exists()


@pytest.mark.parametrize("name", ["curve.csv", "samples.json", FORECAST_FILE, MODEL_FILE])
def test_a_damaged_file_of_a_run_is_told_where_all_is_read(folder, name):
    run_id = run_of(folder, "wide/replicate/1")
    file = folder / "artifacts" / run_id / "artifacts" / name
    file.write_bytes(file.read_bytes()[:-20] + b"\x00" * 9 if name == MODEL_FILE else b'"')
    assert found(folder, whole=False) == []
    assert found(folder) == [("artifacts", f"wide/replicate/1: {name} is damaged")]


def test_checkpoints_that_are_of_no_use_are_told_and_removed(folder):
    kept = folder / "checkpoints" / "small"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / checkpoint_name("wide/replicate/1")).write_bytes(b"of a run that has ended")
    (kept / checkpoint_name("wide/replicate/77")).write_bytes(b"x" * 100)
    (kept / checkpoint_name("wide/replicate/78")).write_bytes(hashlib.sha256(b"y").digest() + b"y")
    (kept / "half.1.partial").write_bytes(b"")
    texts = " ".join(text for _, text in found(folder))
    for words in ("which has ended", "damaged", "does not write", "half written"):
        assert words in texts
    assert repaired(folder)[0] and not list(kept.iterdir())


def test_a_compiled_cell_that_was_changed_is_told_and_removed(folder, tmp_path):
    cache = tmp_path / "cache" / "engine"
    cache.mkdir(parents=True)
    for name, content in (("sound.so", b"code"), ("changed.so", b"cod"), ("k.cubin", b"cod")):
        library = cache / name
        library.write_bytes(content)
        library.chmod(0o700)
        library.with_suffix(".sha256").write_text(hashlib.sha256(b"code").hexdigest())
    ((place, text),) = found(folder)
    assert place == "engine" and "changed.so, k.cubin" in text and "sound.so" not in text
    assert repaired(folder)[0]
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".sha256") == ["sound.so"]


def test_a_damaged_database_is_told_and_nothing_is_concluded_from_it(folder):
    (folder / "optuna.db").write_text("none")
    ((place, text),) = found(folder)
    assert place == "databases" and "optuna.db: holds something else" in text
    assert repaired(folder)[0] is False


def test_a_search_whose_runs_are_all_gone_is_told(folder):
    change(folder, "mlflow.db", "DELETE FROM tags WHERE key = 'phase' AND value = 'trial'")
    texts = [text for place, text in found(folder) if place == "searches"]
    assert texts == [
        f"{arm} trial 0: complete in Optuna, but no run in MLflow" for arm in ("narrow", "wide")
    ]


def test_records_that_wait_or_that_no_launch_uses_are_told(folder):
    waiting = Locations(folder).waiting_records("small")
    waiting.parent.mkdir(parents=True, exist_ok=True)
    for path in (waiting, unused(waiting)):
        path.write_bytes(b"1234")
    (place, wait), (_, aside) = found(folder)
    assert place == "checkpoints" and "4 bytes of records wait for the store" in wait
    assert "records that no launch uses" in aside


def test_a_journal_is_looked_at_too(folder, tmp_path):
    locations = Locations(folder, storage=f"journal:///{tmp_path}/journal")

    def texts():
        return [each.text for each in examine("small", locations, whole=True).findings]

    assert "journal is missing, and with it the searches of 2 runs" in texts()[0]
    assert not (tmp_path / "journal").exists()
    (tmp_path / "journal").write_text('{"op_code": 0\nx')
    assert texts() == [f"{tmp_path}/journal: line 1 is damaged"]


def test_points_of_a_server_are_looked_over_likewise():
    points = [MetricPoint(0, update, "loss", 1.0) for update in (1, 2, 2, 3, 3, 3)]
    assert list(_booked_twice(points)) == [("loss", 2), ("loss", 3)]
    assert list(_booked_twice(points[:1] + points[3:5])) == []


def test_a_store_that_refuses_a_repair_does_not_end_the_others(folder, monkeypatch):
    def refuse(*_):
        raise MlflowException("no") from ConnectionError("the server is away")

    monkeypatch.setattr("harness.store.remover.StudyRemover.end_killed", refuse)
    change(folder, "mlflow.db", "UPDATE runs SET status = 'RUNNING'")
    kept = folder / "checkpoints" / "small"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "half.1.partial").write_bytes(b"")
    is_sound, said = repaired(folder)
    assert not is_sound and "(the server is away)" in said and not list(kept.iterdir())


def test_that_every_file_is_read_is_shown_on_a_terminal(folder):
    said = io.StringIO()
    console = Console(file=said, width=80, force_terminal=True)
    assert doctor("small", Locations(folder), console, verify=True, repair=False)
    assert "reading every file" in said.getvalue()
