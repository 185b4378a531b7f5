"""MLflow's user interface as a child process.

It ends when the person ends it, and leaves nothing behind.
"""

import difflib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from harness.store import pages, views
from harness.store.address import StoreError, absolute_uri, sqlite_path, without_passwords
from harness.store.moved import mend
from harness.store.soundness import check_database
from harness.store.source import experiment_ids

HOST = "127.0.0.1"
LAST_PORT = 65_535
IDLE_SECONDS = 90.0
"""A server that has not answered yet may do nothing for so long: it starts, however slowly, while
it works or says something. 57 s were seen on a machine with twenty other processes."""
STOP_SECONDS = 5.0
POLL_SECONDS = 0.1
TOLD_EVERY_SECONDS = 10.0
"""So often a person who waits is told that the server still starts."""
STUDIES = "/#/experiments?workflowType=machine_learning"
# MLflow 3.17 opens an experiment on its page for language-model traces; this opens the table of
# runs instead, the best first, for a study that has no view yet: one that is still tuning, or was
# run before there were views.
BEST_FIRST = (
    "workflowType=machine_learning&orderByKey=metrics.%60validation%2Floss%60&orderByAsc=true"
)
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


WATCH = """
import os, signal, sys, time
os.read(0, 1)  # returns when whoever holds the other end is gone
for number in (signal.SIGTERM, signal.SIGKILL):
    try:
        os.killpg(int(sys.argv[1]), number)
    except ProcessLookupError:
        break
    time.sleep(float(sys.argv[2]))
"""
"""Ends a group of processes once the one that began it was killed, which can end nothing itself."""


class UIError(RuntimeError):
    """The user interface did not start, or ended by itself."""


def serve(
    uri: str,
    artifact_root: Path,
    study_name: str | None,
    port: int | None,
    say: Callable[[str], None],
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves MLflow's pages on this machine alone until Ctrl-C, SIGTERM or SIGHUP.

    It must be called in the main thread.

    A tracking server (``http://...``) serves its own pages: then only the address is said.

    Args:
        uri: The store, as :class:`harness.store.writer.StudyWriter` takes it.
        artifact_root: Folder of the artifacts.
        study_name: The study whose page is said; None for the list of all.
        port: None for a free one.
        say: Told the address once the page answers.
        progress: Told what is waited for until then.

    Raises:
        StoreError: There is no database, no such study, or the port is taken.
        UIError: The server ended, or did nothing for 90 s before it answered.
    """
    uri = absolute_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise StoreError(
            f"ui: the database must exist, but got uri={uri!r}. "
            "Run a study first, or name the folder of one."
        )
    if path is not None:
        check_database(path)
        mend(path)
    experiment_id = None if study_name is None else _experiment_id(uri, study_name)
    if uri.startswith("http"):
        say(f"MLflow: {without_passwords(uri).rstrip('/')}{_page(uri, experiment_id)}")
        return
    port = _free_port(port)
    progress("MLflow's server starts, which takes a while; its address follows.")
    page = _page(uri, experiment_id)
    with (
        _ending_signals() as ended,
        tempfile.TemporaryFile() as output,
        _server(uri, artifact_root, port, output) as server,
    ):
        if _answers(server, port, ended, progress, lambda: _signs_of_life(server, output)):
            say(f"MLflow: http://{HOST}:{port}{page} (Ctrl-C ends it)")
            while not ended and server.poll() is None:
                time.sleep(POLL_SECONDS)
            if not ended:
                raise _failure("keep running", server, output)
        elif not ended and server.poll() is None:
            raise _failure(
                f"answer that it is well, but did not within {IDLE_SECONDS:.0f} s of its last work",
                server,
                output,
            )
        elif not ended:
            raise _failure("answer", server, output)


def _experiment_id(uri: str, study_name: str) -> str:
    ids = experiment_ids(uri)
    if study_name not in ids:
        known = ids.keys() - {"Default"}  # MLflow's own
        close = difflib.get_close_matches(study_name, known)
        raise StoreError(
            f"ui: the study must be one that has run, but got study={study_name!r}. "
            + (
                f"Did you mean {' or '.join(close)}?"
                if close
                else f"Known: {', '.join(sorted(known)) or 'none'}."
            )
        )
    return ids[study_name]


def _page(uri: str, experiment_id: str | None) -> str:
    """Returns the page of an experiment's runs, under its answering view where it has one.

    None stands for the page of all studies.
    """
    if experiment_id is None:
        return STUDIES
    from harness.store.connection import connect  # late: it loads MLflow, for seconds

    has_view = f"{views.TAG}{views.ANSWER}" in connect(uri).get_experiment(experiment_id).tags
    query = views.address(views.ANSWER) if has_view else BEST_FIRST
    return f"/#/experiments/{experiment_id}/runs?{query}"


def _free_port(port: int | None) -> int:
    if port is not None and not 0 <= port <= LAST_PORT:
        raise StoreError(
            f"ui: the port must be from 1 to {LAST_PORT}, but got port={port}. "
            "Choose another, or none for any."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise StoreError(
                f"ui: the port must be free, but got port={port}: {error.strerror}. "
                "Choose another, or none for any."
            ) from error
        return int(probe.getsockname()[1])


@contextmanager
def _ending_signals() -> Iterator[list[int]]:
    """The ending signals that came.

    They raise nothing: an exception inside Popen would lose the process it began.
    """
    came: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)

    before = {signum: signal.signal(signum, note) for signum in ENDING_SIGNALS}
    try:
        yield came
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _server(
    uri: str, artifact_root: Path, port: int, output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own; one worker, and none of MLflow's job runners."""
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
        *pages.options(),
    ]
    command += [
        "--backend-store-uri",
        uri,
        "--artifacts-destination",
        artifact_root.resolve().as_uri(),
    ]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        with _watched(server):
            yield server
    finally:
        _end_group(server)


@contextmanager
def _watched(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """Has a server end where this process is killed in the block."""
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WATCH, str(server.pid), str(STOP_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()


def _end_group(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # what outlived its parent, or the patience
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _answers(
    server: subprocess.Popen[bytes],
    port: int,
    ended: list[int],
    progress: Callable[[str], None],
    signs_of_life: Callable[[], object],
) -> bool:
    """Waits until a server answers; returns whether it does.

    It may take as long as it works. Once it has answered with an error, which is work too, no sign
    of life counts any more.

    Args:
        server: Its process.
        port: Where it is to listen.
        ended: The signals by which the person ended the wait.
        progress: Told what is awaited.
        signs_of_life: Returns another value than before where the server has done anything.
    """
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # never through a proxy: it is this machine
    begun = told = alive = time.monotonic()
    last, refuses = signs_of_life(), False
    while server.poll() is None and not ended:
        now = time.monotonic()
        if not refuses and (signs := signs_of_life()) != last:
            last, alive = signs, now
        elif now - alive > IDLE_SECONDS:
            return False
        if now - told > TOLD_EVERY_SECONDS:
            told = now
            progress(
                f"MLflow's server still starts, {now - begun:.0f} s so far; "
                f"no answer at {HOST}:{port} yet."
            )
        try:
            with opener.open(f"http://{HOST}:{port}/health", timeout=5):
                return True
        except urllib.error.HTTPError:
            refuses = True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(POLL_SECONDS)
    return False


def _signs_of_life(server: subprocess.Popen[bytes], output: IO[bytes]) -> tuple[float, int]:
    """Returns the processor's seconds that a server and its children took, and what it said."""
    import psutil

    seconds = 0.0
    with suppress(psutil.Error):  # it has just ended
        process = psutil.Process(server.pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                seconds += sum(each.cpu_times())
    return seconds, os.fstat(output.fileno()).st_size


def _failure(rule: str, server: subprocess.Popen[bytes], output: IO[bytes]) -> UIError:
    output.seek(0)
    tail = "\n".join(output.read().decode(errors="replace").splitlines()[-20:])
    return UIError(
        f"ui: MLflow's server must {rule}, but got exit_code={server.poll()}. It said:\n{tail}"
    )
