"""A skipped test must say why, and CI fails on a reason that is not listed here."""

import contextlib
import functools
import gc
import os
import shutil
import signal
import sys

import postgresql
import pytest

with contextlib.suppress(ImportError):  # a machine with a GPU has pytest alone
    import hypothesis

    # The same examples everywhere, and no limit of time for one: a machine may stand still.
    hypothesis.settings.load_profile("ci")

# Threads of an operation sleep until the next one. Awake, as they wait for milliseconds else, they
# take the cores of the tests beside: two thirds of a small bench on two threads was that.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded

LISTED_REASONS = (
    "the lyrics are not on this machine (HARNESS_DATA)",
    "the corpus is not on this machine (HARNESS_DATA)",
    "no CUDA device",
    "no second CUDA device",
    "Triton is for Linux alone",
    "subnormal numbers cost nothing here",
    "no Chromium",
    "no PostgreSQL",
    "no cross compiler and emulator of aarch64",
    "Ray is not installed",
    "torchrecurrent is not installed",
    "keras is not installed",
    "flashrnn is not installed",
    "xlstm is not installed",
    "ncps is not installed",
    "the packages of the extra export are not installed",
    "NVRTC is not installed",
    "this torch knows no such product of bfloat16 without numbers",
    "no ThreadSanitizer",
)

LONG = (
    "test_bench",
    "test_budget",
    "test_cli",
    "test_cpu",
    "test_equal_numbers",
    "test_launch",
    "test_many_in_a_shard",
    "test_mutants",
    "test_server",
    "test_shared_searches",
    "test_writer",
)
"""Files that take as long as those with slow tests, though none of theirs is slow."""

_unlisted: list[str] = []


def pytest_collection() -> None:
    """What is imported and collected stays: to look for garbage in it was a fifth of the time that
    each process takes for that.
    """
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor need the collector walk through it again and again, which is a twentieth of the tests'
    time.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    slow |= {item.path for item in items if item.path.stem in LONG}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def handlers():
    """What hears the signals of an end where the tests begin."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    return {number: signal.getsignal(number) for number in numbers}


@pytest.fixture(autouse=True)
def signals_are_heard_as_before(handlers):
    """A command has another one end its process, and here that goes on."""
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def a_command_ends_alone():
    """One ends its process at once where a thread works on, as one that compiles beside may.

    A test that calls one goes on. What was collected before holds the function itself.
    """
    if "harness.cli" not in sys.modules:  # no test that was collected calls any
        yield
        return
    from harness.engine import ending

    own, leave = os.getpid(), ending.leave
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "leave", lambda code: os.getpid() == own or leave(code))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_database_is_made(tmp_path_factory):
    """MLflow takes a second to make a database: it makes one, and where this process needs another,
    that is copied.
    """
    if "harness.store.connection" not in sys.modules:  # no test that was collected makes any
        yield
        return
    from harness.store import connection
    from harness.store.address import sqlite_path

    template = tmp_path_factory.mktemp("template") / "mlflow.db"

    def client(uri, client=connection.open_client):
        path = sqlite_path(uri)
        if path is None or path.exists():
            return client(uri)
        if template.exists():
            shutil.copyfile(template, path)
            return client(uri)
        made = client(uri)
        shutil.copyfile(path, template)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "open_client", client)
        yield


@pytest.fixture(scope="session", autouse=True)
def migrations_are_read_once():
    """Whenever a store is opened, MLflow and Optuna read all their migrations to know the last.

    ``env.py`` is what migrates, and runs whenever it is read.
    """
    if "harness.store.connection" not in sys.modules:
        yield
        return
    import alembic.util

    read = alembic.util.load_python_file
    known = functools.cache(read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            alembic.util,
            "load_python_file",
            lambda folder, name: (read if name == "env.py" else known)(folder, name),
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def no_commit_waits_for_the_disk():
    """:mod:`unsynced` says why."""
    if "harness.store.connection" not in sys.modules:
        yield
        return
    import unsynced

    unsynced.begin()
    yield
    unsynced.end()


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """The path of a text of 240 words, ten different ones."""
    words = "time traveller and the morlocks eloi weena sphinx of white".split()
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    chosen = (words[(i * i + i // 7) % len(words)] for i in range(240))
    path.write_text(" ".join(chosen), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of the tests' own."""
    programs = postgresql.binaries()
    if programs is None:
        pytest.skip(postgresql.NO_SERVER)
    server = postgresql.PostgreSQL(programs)
    yield server
    server.remove()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes skips whose reason is not listed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if reason not in LISTED_REASONS:
            _unlisted.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI an unlisted skip is a failure."""
    if _unlisted and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter) -> None:
    """Names the unlisted skips."""
    for line in _unlisted:
        terminalreporter.write_line(
            f"skipped for a reason that tests/conftest.py does not list: {line}", red=True
        )


@pytest.fixture
def without_report_files(monkeypatch):
    """Studies that are run write no page and no figure into the store: half of a small one's time.

    For tests that ask about something else.
    """
    from harness.report import Report

    monkeypatch.setattr(Report, "files", lambda report, png=True: {})
