"""A database is made by one process, whole, however many open it at once."""

import sqlite3
import subprocess
import sys

import optuna
import pytest

from harness.store.making import make_whole
from harness.tuning.storage import open_storage

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
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert [code for _, code in ends] == [0] * NUM_PROCESSES, ends
    assert optuna.get_all_study_names(url) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".optuna.new.lock", "optuna.db"]


def test_what_a_killed_making_left_is_made_anew(tmp_path):
    (tmp_path / ".optuna.new").mkdir()
    (tmp_path / ".optuna.new" / "optuna.db").write_text("half of it")
    open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        assert connection.execute("select count(*) from studies").fetchone() == (0,)
    assert not (tmp_path / ".optuna.new").exists()


def test_nothing_is_there_where_the_making_fails(tmp_path):
    def fail(path):
        path.write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        make_whole(tmp_path / "new" / "a.db", fail)
    assert not (tmp_path / "new" / "a.db").exists()
