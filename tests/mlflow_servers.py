"""MLflow's own servers, each in a process and on a port of its own, and gone with its test."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

LONGEST = 600
"""Seconds until a server must answer; on a quiet machine it takes three or four."""
LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Without eight processes beside each server, which wait for MLflow's own jobs."""
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy leads to this machine."""


@contextmanager
def reserved_port():
    """Yields a port that nobody else is given meanwhile; a server may listen there nevertheless."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if sys.platform != "linux":  # elsewhere the server would be refused
            taken.close()
        yield port


@contextmanager
def serving(*words, folder, **environment):
    """Runs ``mlflow WORDS --host ... --port ...`` in a folder; yields its port while it answers."""
    # It starts others by their names.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    command = [sys.executable, "-m", "mlflow", *map(str, words), "--host", "127.0.0.1", "--port"]
    with (
        reserved_port() as port,
        subprocess.Popen(
            [*command, str(port)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **LEAN, "PATH": path, **environment},
            start_new_session=True,
        ) as process,
    ):
        try:
            _await_answer(f"http://127.0.0.1:{port}/health", process)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def posted(port, page, content):
    """Returns what the server answers to JSON, as text."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{page}", content.encode(), {"Content-Type": "application/json"}
    )
    with OPENER.open(request, timeout=300) as answer:
        return answer.read().decode()


def _await_answer(address, process):
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with OPENER.open(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{address} does not answer")
