"""A database is made by one process, whole, however many open it at once."""

import errno
import gc
import resource
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest

from harness.store.connection import _make_store, connect
from harness.store.making import copied, keep, kept_copy, make_whole
from harness.tuning.storage import _make_storage, close, open_storage, opened, stored

NUM_PROCESSES = 4
OPEN = """
import sys
from harness.tuning.storage import open_storage
print("ready", flush=True)
sys.stdin.readline()
open_storage(sys.argv[1])
"""


@pytest.mark.slow
def test_several_processes_that_open_a_new_search_storage_at_once_all_have_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], **pipes, text=True)
        for _ in range(NUM_PROCESSES)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [(process.communicate(timeout=600)[1], process.returncode) for process in processes]
    assert [code for _, code in ends] == [0] * NUM_PROCESSES, ends
    with opened(url) as storage:
        assert stored(storage) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".optuna.new.lock", "optuna.db"]


def test_what_a_killed_making_left_is_made_anew(tmp_path):
    (tmp_path / ".optuna.new").mkdir()
    (tmp_path / ".optuna.new" / "optuna.db").write_text("half of it")
    close(open_storage(f"sqlite:///{tmp_path / 'optuna.db'}"))
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as connection:
        assert connection.execute("select count(*) from studies").fetchone() == (0,)
    assert not (tmp_path / ".optuna.new").exists()


@pytest.mark.parametrize("put", ["a file", "a link"])
def test_what_somebody_put_in_the_way_of_a_making_goes_and_no_link_is_followed(tmp_path, put):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.db").write_text("precious")
    in_the_way = tmp_path / ".a.new"
    if put == "a link":
        in_the_way.symlink_to(kept)
    else:
        in_the_way.write_text("")
    make_whole(tmp_path / "a.db", lambda path: path.write_text("new"))
    assert (tmp_path / "a.db").read_text() == "new" and not in_the_way.exists()
    assert (kept / "a.db").read_text() == "precious"


def test_nothing_is_there_where_the_making_fails(tmp_path):
    def fail(path):
        path.write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        make_whole(tmp_path / "new" / "a.db", fail)
    assert not (tmp_path / "new" / "a.db").exists()


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # an Optuna that fails
def test_a_limit_of_file_size_ends_the_making_in_an_error_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))  # where no copy is kept
    url = f"sqlite:///{tmp_path / 'a.db'}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError) as raised:
            open_storage(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (raised.value.errno, raised.value.filename) == (errno.EIO, str(tmp_path / "a.db"))
    assert [path.name for path in tmp_path.iterdir()] == [".a.new.lock"]
    close(open_storage(url))
    del raised
    gc.collect()


def held(path):
    """Returns a database's tables and rows, without the numbers that are times."""
    with closing(sqlite3.connect(path)) as file:
        tables = dict(file.execute("SELECT name, sql FROM sqlite_master"))
        rows = {
            name: [
                [value for value in row if not isinstance(value, int) or value < 10**9]
                for row in file.execute(f'SELECT * FROM "{name}"')
            ]
            for name, sql in tables.items()
            if (sql or "").startswith("CREATE TABLE")
        }
    return tables, rows


def test_a_copied_store_equals_one_that_is_made_and_knows_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    found = []
    for name in ("made", "copied"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        begun = time.time()
        connect(f"sqlite:///{folder}/mlflow.db")
        close(open_storage(f"sqlite:///{folder}/optuna.db"))
        tables, rows = held(folder / "mlflow.db")
        assert str(folder / "mlruns" / "0") in rows.pop("experiments")[0]
        with closing(sqlite3.connect(folder / "mlflow.db")) as file:
            ((since,),) = file.execute("SELECT creation_time FROM experiments")
        assert since >= 1000 * begun - 1
        assert len(list((tmp_path / "cache" / "databases").iterdir())) == 2  # from the first on
        found.append((tables, rows, held(folder / "optuna.db")))
    assert found[0] == found[1]


def test_who_makes_a_store_leaves_none_of_its_files_open(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))  # where no copy is kept
    for name, make in (("mlflow", _make_store), ("optuna", _make_storage)):
        make(tmp_path / f"{name}.db")
        assert (tmp_path / f"{name}.db").stat().st_size > 10_000
    opened = [file.path for file in psutil.Process().open_files()]
    assert not [path for path in opened if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0" + b"x" * 5000, None])
def test_a_copy_that_is_damaged_or_cannot_be_kept_is_made_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    copy = kept_copy("optuna", "sqlalchemy", "alembic")
    if damage is None:
        (tmp_path / "cache").touch()
    else:
        copy.parent.mkdir(parents=True)
        copy.write_bytes(damage)
    url = f"sqlite:///{tmp_path}/optuna.db"
    with opened(url) as storage:
        assert stored(storage) == []
    assert damage is None or held(copy) == held(tmp_path / "optuna.db")


def test_a_copy_that_others_may_have_written_is_not_taken_and_kept_anew(tmp_path):
    made, copy, path = tmp_path / "made.db", tmp_path / "open" / "copy.db", tmp_path / "new.db"
    with closing(sqlite3.connect(made)) as database:
        database.execute("CREATE TABLE t (a)")
    copy.parent.mkdir()
    copy.parent.chmod(0o777)
    copy.write_bytes(made.read_bytes())
    copy.chmod(0o666)
    assert not copied(copy, path) and not path.exists()
    keep(made, copy)
    assert copied(copy, path) and path.read_bytes() == made.read_bytes()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (copy.parent, copy)] == [0o700, 0o600]
