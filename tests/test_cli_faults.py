"""Whatever is raised below the command line becomes one message, with its traceback in a file."""

import errno
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc
import torch
from mlflow.exceptions import MlflowException

from harness.cli import faults, looking, main
from harness.store import patience
from harness.store.patience import lacking
from harness.training.logs import MAX_LOGS

STEP = """
from cells import Cell


class Broken(Cell):
    r'''A cell that divides by zero.

        h' = W x + R h

    Source: none.
    Reference: none.
    Differs from none.
    '''

    name = "{name}-cell"
    gates = ("h",)
    state = ("h",)

    def step(self, p, x, h):
        {statement}
"""


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Runs `harness status X` where reading the study raises; returns the code, text and log."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(error, *words):
        def read(*_):
            raise error

        monkeypatch.setattr(looking, "read", read)
        monkeypatch.setattr(sys, "argv", ["harness", "status", "x", *words])
        with pytest.raises(SystemExit) as end:
            main()
        logs = sorted((tmp_path / "cache" / "logs").glob("*.log"))
        return end.value.code, capsys.readouterr().err, logs

    return run


@pytest.mark.parametrize(
    ("error", "start", "code"),
    [
        (MlflowException("boom"), "tracking: MLflow's store must answer", 1),
        (optuna.exceptions.StorageInternalError("boom"), "storage: Optuna's storage must", 1),
        (sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("boom")), "database: must", 1),
        (sqlite3.DatabaseError("boom"), "database: must be a whole SQLite file", 1),
        (torch.OutOfMemoryError("boom"), "memory: must suffice", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory: must suffice", 1),
        (MemoryError(), "memory: must suffice", 1),
        (KeyError("boom"), "harness: a fault of the bench itself, KeyError: 'boom'", 1),
        (OverflowError("int too large"), "harness: a fault of the bench itself", 1),
        (RecursionError("boom"), "harness: a fault of the bench itself", 1),
    ],
)
def test_an_error_of_others_is_one_message_and_its_traceback_is_in_a_file(told, error, start, code):
    got, text, logs = told(error)
    message, where = text.splitlines()
    assert got == code and message.startswith(start) and "Traceback" not in text
    (log,) = logs
    assert str(log) in where and "--debug prints it" in where
    assert "Traceback (most recent call last)" in log.read_text()
    assert type(error).__name__ in log.read_text() and log.stat().st_mode & 0o077 == 0


def test_the_way_out_says_where_the_results_live(told, tmp_path):
    places = ["--folder", f"{tmp_path}/my out", "--storage=sqlite:///o.db"]
    _, text, _ = told(MlflowException("boom"), *places)
    command = text.partition("`")[2].partition("`")[0]
    assert shlex.split(command) == [
        *("harness", "doctor", "--folder", f"{tmp_path}/my out"),
        *("--storage", "sqlite:///o.db"),
    ]


def test_a_store_that_does_not_answer_is_a_fault_and_its_address_a_mistake(told):
    error = patience.never("tracking: MLflow's store http://h:1", ConnectionResetError("reset"))
    assert told(error) == (1, f"{error}\n", [])
    error = patience.refused("storage: Optuna's storage", Exception("no such user"))
    assert told(error) == (2, f"{error}\n", [])


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (errno.ENOSPC, "the disk is full. Make room", 1),
        (errno.EROFS, "a disk that can only be read", 2),
        (errno.EACCES, "Change its permissions", 2),
        (errno.ENOENT, "must exist, but does not", 2),
        (errno.EISDIR, "but is a folder", 2),
        (errno.EFBIG, "ulimit -f", 2),
        (errno.ESTALE, "was moved or removed. Put it back", 2),
        (errno.ELOOP, "Remove the link", 2),
    ],
)
def test_a_file_that_the_system_refuses_is_named_with_the_remedy(told, number, words, code):
    got, text, logs = told(OSError(number, os.strerror(number), "a/file.csv"))
    assert got == code and len(text.splitlines()) == 1 and logs == []
    assert text.startswith("a/file.csv: must ") and words in text


def test_of_a_full_disk_it_is_said_how_much_must_find_room(told, tmp_path):
    full = OSError(errno.ENOSPC, "full", str(tmp_path / "absent" / "mlflow.db"))
    _, text, _ = told(lacking(full, "the store", 1_234_567))
    assert "At least 1,234,567 bytes must find room, and " in text and "are free now." in text


def test_debug_prints_the_traceback_wherever_it_stands(told, monkeypatch):
    _, text, _ = told(KeyError("boom"), "--Debug")
    assert text.startswith("Traceback (most recent call last)") and "a fault of the bench" in text
    assert faults.arguments_and_debug(["sample", "x", "--", "--debug"]) == (
        ["sample", "x", "--", "--debug"],
        False,
    )


def test_no_password_reaches_a_message_or_a_log(told):
    url = "postgresql+psycopg2://me:s3cr:et@host/db"
    _, text, (log,) = told(MlflowException(f"cannot reach {url}"), "--debug")
    assert "s3cr" not in text + log.read_text() and "me:***@host/db" in text


def test_old_logs_go_and_a_link_is_not_followed(told, tmp_path, monkeypatch):
    logs = tmp_path / "cache" / "logs"
    logs.mkdir(parents=True)
    for number in range(MAX_LOGS):
        (logs / f"20200101-0000{number:02}-1.log").touch()
    victim = tmp_path / "victim"
    monkeypatch.setattr("harness.training.logs.datetime", Frozen)
    (logs / f"20260101-000000-{os.getpid()}.log").symlink_to(victim)
    _, text, _ = told(KeyError("boom"))
    assert not victim.exists() and "harness-20260101-000000" in text
    Path(text.split("is in ")[1].split(";")[0]).unlink()
    (logs / f"20260101-000000-{os.getpid()}.log").unlink()
    _, _, kept = told(KeyError("boom"))
    assert len(kept) == MAX_LOGS and kept[-1].name.startswith("20260101")


class Frozen:
    """A clock that stands still."""

    @staticmethod
    def now():
        import datetime

        return datetime.datetime(2026, 1, 1)


@pytest.mark.parametrize(
    ("name", "statement", "raised"),
    [
        ("divides", "return 1 / 0", "ZeroDivisionError: division by zero"),
        ("leaves", "raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_users_cell_is_named_with_its_line_and_the_rule(
    tmp_path, monkeypatch, capsys, name, statement, raised
):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(STEP.format(name=name, statement=statement))
    words = ["harness", "cells", "show", f"{name}-cell", "--file", "own.py"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    text = capsys.readouterr().err
    assert end.value.code == 2 and "Traceback (" not in text, text
    assert text.startswith(f"own.py:20: a cell must run, but step raised {raised}. "), text
    assert "`harness cells test own.py` says more" in text


def test_a_file_of_cells_that_ends_the_program_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    file = tmp_path / "own.py"
    file.write_text("import sys\nsys.exit(0)\n")
    monkeypatch.setattr(sys, "argv", ["harness", "cells", "test", str(file)])
    with pytest.raises(SystemExit) as end:
        main()
    text = capsys.readouterr().err
    assert end.value.code == 2 and "own.py:2 raised SystemExit" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_standard_output_that_takes_no_more_is_named_in_one_line():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "harness.cli", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("standard output: must take what is printed")


DRAWING = """
import sys
from harness import cli
def draw(*_, **__):
    import matplotlib.font_manager
cli.app = draw
sys.argv = ["harness", "report", "small"]
cli.main()
"""


def test_where_no_folder_of_the_user_can_be_written_figures_say_nothing_of_it(tmp_path):
    (tmp_path / "home").touch()  # no folder can be made in it
    env = {**os.environ, "HOME": str(tmp_path / "home")}
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        env.pop(name, None)
    ended = subprocess.run([sys.executable, "-c", DRAWING], capture_output=True, text=True, env=env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


INTERRUPTED = """
import sys
from harness import cli
cli.app = lambda *_, **__: print("a bar") or sys.exit(130)
sys.argv = ["harness", "run", "small.yaml"]
cli.main()
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_interruption_is_told_although_its_terminal_takes_no_more():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", INTERRUPTED],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # else the bar would be refused at once
        )
    assert ended.returncode == 130
    assert ended.stderr == "interrupted; the same command, without --new, goes on from here\n"


GONE = """
import os, sys, threading
from harness import cli
from harness.training.threads import Threads
from harness.training import threads
threads.END_SECONDS = 0.0
never = threading.Event()
def loops(*_, **__):
    if sys.argv.pop() == "looping":
        pool = Threads(1, lambda: None)
        pool.submit(never.wait)
        pool.end()
    os.write(1, b"begun")
    sys.stdin.read()  # until the terminal is closed
    sys.stdout.write("a bar")
    sys.exit(130)
cli.app = loops
sys.argv = ["harness", "run", "small.yaml", sys.argv[1]]
cli.main()
"""


@pytest.mark.parametrize("cell", ["looping", "ending"])
def test_a_closed_terminal_ends_an_interrupted_launch_and_its_threads(cell):
    terminal, end = os.openpty()
    command = [sys.executable, "-c", GONE, cell]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # else the bar would be refused at once
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=end, stderr=end, env=env
    ) as process:
        os.close(end)
        try:
            assert os.read(terminal, 5) == b"begun"
            os.close(terminal)
            process.stdin.close()
            assert process.wait(timeout=300) == 130
        finally:
            process.kill()
