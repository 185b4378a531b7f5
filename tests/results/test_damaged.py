"""A database that is damaged, foreign or lost is one line in every command, with the way out."""

import random
import shutil
import sqlite3

import pytest
from stored import cli

from harness.store import soundness
from harness.store.address import StoreError
from harness.store.configuration import locate
from harness.store.locations import Locations


def randomized(path):
    path.write_bytes(random.Random(1).randbytes(50_000))


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    """Changes a hundred bytes of every page but the first: the header is right, no row is."""
    content, draw = bytearray(path.read_bytes()), random.Random(2)
    for start in range(4096, len(content), 4096):
        for _ in range(100):
            content[start + draw.randrange(200)] ^= 0xFF
    path.write_bytes(content)


def replaced_by_text(path):
    path.write_text("no database\n" * 100)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replaced_by_another_programs(path):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title)")
    connection.close()


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


READING = (
    ["status", "small"],
    ["report", "small.yaml"],
    ["export", "small", "out"],
    ["compare", "small:narrow", "small:wide"],
    ["sample", "small:wide:1000", "--prefix", "the "],
    ["clean", "small"],
)
CHANGING = (
    ["run", "small.yaml", "--force"],
    ["plan", "small.yaml", "plan.json", "--force"],
    ["ingest", "small.yaml", "records"],
)


@pytest.mark.parametrize("damage", [randomized, halved, flipped, replaced_by_text])
def test_a_damaged_database_is_one_line_in_every_command(
    store, tmp_path, monkeypatch, capsys, damage
):
    folder = shutil.copytree(store, tmp_path / "study")
    monkeypatch.chdir(folder)
    damage(folder / "mlflow.db")
    assert_told(monkeypatch, capsys, READING + CHANGING, "mlflow.db: must be ")


def test_a_folder_in_place_of_a_database_is_one_line_too(store, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(store, tmp_path / "study")
    monkeypatch.chdir(folder)
    replaced_by_a_folder(folder / "mlflow.db")
    assert_told(monkeypatch, capsys, READING + CHANGING, "but is a folder")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (removed, "is missing, while the folder shows that studies were run in it: artifacts of"),
        (emptied, "is empty, while the folder shows that studies were run in it: artifacts of"),
    ],
)
def test_nothing_begins_anew_where_a_database_was_lost(
    store, tmp_path, monkeypatch, capsys, loss, words
):
    folder = shutil.copytree(store, tmp_path / "study")
    monkeypatch.chdir(folder)
    loss(folder / "mlflow.db")
    texts = assert_told(monkeypatch, capsys, READING + CHANGING, words)
    assert not any("elete" in text or "emove" in text for text in texts)
    assert not (folder / "mlflow.db").exists() or not (folder / "mlflow.db").stat().st_size


def test_another_programs_database_stays_as_it_is(store, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(store, tmp_path / "study")
    monkeypatch.chdir(folder)
    for name in ("mlflow.db", "optuna.db"):
        replaced_by_another_programs(folder / name)
        assert_told(monkeypatch, capsys, CHANGING, f"{name}: must be ")
        assert soundness.tables_of(folder / name) == {"songs"}
        shutil.copy(store / name, folder / name)


def test_what_was_lost_is_begun_anew_only_where_a_person_says_so(store, tmp_path):
    folder = shutil.copytree(store, tmp_path / "study")
    (folder / "mlflow.db").unlink()
    with pytest.raises(StoreError, match="use --new"):
        soundness.check_stores(Locations(folder))
    soundness.check_stores(Locations(folder), new=True)
    soundness.check_stores(Locations(folder, "sqlite:///named.db"))
    soundness.check_stores(Locations(tmp_path / "new"))


def test_a_journal_that_a_kill_left_is_no_damage(store, tmp_path):
    path = tmp_path / "mlflow.db"
    shutil.copy(store / "mlflow.db", path)
    halved(path)
    (tmp_path / "mlflow.db-journal").touch()
    assert soundness.database_fault(path, whole=False) != "is cut off"
    assert soundness.database_fault(store / "mlflow.db", whole=True) is None


def assert_told(monkeypatch, capsys, commands, words):
    """Runs commands, each of which must end with one line, and returns these."""
    texts = []
    for command in commands:
        code, _, text = cli(monkeypatch, capsys, *command)
        assert (code, len(text.splitlines())) == (2, 1), (command, text)
        assert words in text, (command, text)
        texts.append(text)
    return texts


def test_a_lost_database_that_a_file_names_is_told_too(store, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(store, tmp_path / "study")
    monkeypatch.chdir(folder)
    (folder / "harness.toml").write_text('tracking = "sqlite:///mine.db"\n')
    soundness.check_not_lost(locate())  # the traces are of mlflow.db, and this one is new
    (folder / "mlflow.db").unlink()
    words = "mine.db: must be there, but is missing, while the folder shows that studies were run"
    assert_told(monkeypatch, capsys, (["status", "small"], CHANGING[0]), words)
    soundness.check_not_lost(locate(tracking="sqlite:///mine.db"))  # a person names it
