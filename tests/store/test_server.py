import http.server
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.store import patience, server, views
from harness.store.address import StoreError
from harness.store.notes import EXPERIMENT_TAG_LENGTH
from harness.store.reader import StudyReader
from harness.store.source import experiment_ids
from harness.store.views import View
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit

SERVE = """
    import sys
    from pathlib import Path
    from types import SimpleNamespace
    from harness.store import server

    def refuse(*_, **__):
        raise ConnectionError

    uri, root, study, *is_deaf = sys.argv[1:]
    if is_deaf:  # the server starts, and no answer is heard
        server.urllib.request.build_opener = lambda *_: SimpleNamespace(open=refuse)
    server.IDLE_SECONDS = 600.0
    server.serve(uri, Path(root), study, None, lambda line: print(line, flush=True))
    print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui")
    writer = StudyWriter(uri(folder), "output-tanh", folder / "artifacts")
    for index, arm in enumerate(("lstm", "lstm-no-output-tanh")):
        run_id = writer.open_run(
            RunKey(Unit(arm), Phase.REPLICATE, 1000),
            f"{arm} replicate 1000",
            {"learning_rate": 0.1},
            {"cell": arm},
        )
        writer.log(run_id, 10, {"validation/loss": 2.0 + index}, time=1000.0)
        samples = [{"prefix": "traveller", "text": "traveller"}]
        writer.end_run(
            run_id, "finished", metrics={"validation/perplexity": 7.0 + index}, samples=samples
        )
    writer.close()
    return folder


def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def refuse(line: str) -> None:
    pytest.fail(f"nothing is served, but it said {line}")


def get(address: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=120) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and the address it said; killed with its children should a test have
    failed.
    """
    with start(folder) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()
        for child in family(process)[::-1] if process.poll() is None else []:
            child.kill()


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(SERVE),
        uri(folder),
        str(folder / "artifacts"),
        "output-tanh",
        *options,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def words_of(processes: list[psutil.Process]) -> set[str]:
    """Returns the words of their commands; of one that has just ended there are none."""
    words: set[str] = set()
    for process in processes:
        with suppress(psutil.Error):
            words.update(process.cmdline())
    return words


def assert_gone(processes: list[psutil.Process]) -> None:
    """Waits for the ends of processes; one that nobody has asked how it ended has ended."""
    end = time.monotonic() + 120
    while alive := [each for each in processes if is_alive(each)]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_no_database_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(
        StoreError,
        match=r"database must exist, but got uri='sqlite:.*mlflow.db'. Run a study first",
    ):
        server.serve(uri(tmp_path), tmp_path, None, None, refuse)
    assert list(tmp_path.iterdir()) == []


class Starting:
    """A server that runs and does not answer yet."""

    def poll(self):
        return None


def test_who_waits_is_told_that_the_server_still_starts(monkeypatch):
    """A server that works is waited for, however long it takes."""
    for name in ("TOLD_EVERY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(server, name, -1.0)
    told: list[str] = []
    ended: list[int] = []
    port, work = server._free_port(None), itertools.count()
    monkeypatch.setattr(server.time, "sleep", lambda _: len(told) < 3 or ended.append(1))
    assert not server._answers(Starting(), port, ended, told.append, lambda: next(work))
    assert len(told) == 3 and ended
    assert re.fullmatch(
        rf"MLflow's server still starts, \d+ s so far; no answer at 127\.0\.0\.1:{port} yet\.",
        told[0],
    )


def test_a_server_that_does_nothing_any_more_is_given_up(monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", -1.0)
    port = server._free_port(None)
    assert not server._answers(Starting(), port, [], refuse, lambda: "as before")


def test_a_server_that_answers_with_errors_is_given_up_although_each_answer_is_work(monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.5)

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(500)

        def log_message(self, format, *args):
            pass

    work = itertools.count()
    with http.server.HTTPServer((server.HOST, 0), Refuses) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        port = refusing.server_port
        assert not server._answers(Starting(), port, [], lambda _: None, lambda: next(work))
        refusing.shutdown()


def test_work_and_words_are_signs_of_life():
    code = "input(); print('word', flush=True); input(); sum(range(3 * 10**6)); input()"
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=output
        )
        try:
            for part in (1, 0):  # what it says, and then what it does
                seen, until = server._signs_of_life(running, output), time.monotonic() + 120
                running.stdin.write(b"\n")
                running.stdin.flush()
                while server._signs_of_life(running, output)[part] == seen[part]:
                    assert time.monotonic() < until
                    time.sleep(0.01)
        finally:
            running.kill()
            running.communicate()


def test_an_unknown_study_is_met_by_the_closest_ones(folder):
    with pytest.raises(StoreError, match=r"got study='output-tan'. Did you mean output-tanh\?"):
        server.serve(uri(folder), folder / "artifacts", "output-tan", None, refuse)
    with pytest.raises(StoreError, match=r"got study='xyz'. Known: (?!Default).*output-tanh"):
        server.serve(uri(folder), folder / "artifacts", "xyz", None, refuse)


def test_a_taken_port_is_an_error(folder):
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=rf"port must be free, but got port={port}: .*in use"):
            server.serve(uri(folder), folder / "artifacts", None, port, refuse)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_number_that_is_no_port_is_an_error(folder, port):
    with pytest.raises(StoreError, match=f"port must be from 1 to 65535, but got port={port}"):
        server.serve(uri(folder), folder / "artifacts", None, port, refuse)


def test_a_study_is_opened_under_its_view_where_it_has_one(folder):
    writer = StudyWriter(uri(folder), "viewed", folder / "artifacts")
    page = f"/#/experiments/{writer.experiment_id}/runs?"
    too_long = View(views.ANSWER, "x" * EXPERIMENT_TAG_LENGTH, {})
    writer.set_view(too_long)
    assert server._page(uri(folder), writer.experiment_id) == page + server.BEST_FIRST
    writer.set_view(View(views.ANSWER, "The answer", {"orderByAsc": True}))
    assert server._page(uri(folder), writer.experiment_id) == page + views.address(views.ANSWER)


def test_a_tracking_server_shows_its_own_pages():
    said: list[str] = []
    server.serve("http://tracking.example:5000/", Path("unused"), None, None, said.append)
    assert said == ["MLflow: http://tracking.example:5000" + server.STUDIES]


def test_the_address_of_its_pages_shows_no_password():
    said: list[str] = []
    server.serve("http://me:secret@tracking.example", Path("unused"), None, None, said.append)
    assert said == ["MLflow: http://me:***@tracking.example" + server.STUDIES]


def test_a_server_that_ends_is_an_error_with_what_it_said(folder, monkeypatch):
    monkeypatch.setattr(server.sys, "executable", "false")
    handlers = [signal.getsignal(signum) for signum in server.ENDING_SIGNALS]
    told: list[str] = []
    with pytest.raises(server.UIError, match="server must answer, but got exit_code=1"):
        server.serve(uri(folder), folder / "artifacts", None, None, refuse, told.append)
    assert told == ["MLflow's server starts, which takes a while; its address follows."]
    assert [signal.getsignal(signum) for signum in server.ENDING_SIGNALS] == handlers


@pytest.mark.slow
def test_the_page_and_the_runs_are_served(folder, served):
    process, line = served
    experiment = experiment_ids(uri(folder))["output-tanh"]
    address, _, page = line.split()[1].partition("/#")
    assert page == f"/experiments/{experiment}/runs?{server.BEST_FIRST}" and address.startswith(
        "http://127.0.0.1:"
    )
    assert b"<title>MLflow</title>" in get(address)
    api = f"{address}/api/2.0/mlflow"
    assert (
        json.loads(get(f"{api}/experiments/get?experiment_id={experiment}"))["experiment"]["name"]
        == "output-tanh"
    )
    best = search(api, experiment, order_by="metrics.`validation/perplexity` ASC")[0]
    assert {tag["key"]: tag["value"] for tag in best["data"]["tags"]}["arm"] == "lstm"
    artifact = f"{address}/get-artifact?run_id={best['info']['run_id']}&path=samples.txt"
    assert get(artifact) == b"[traveller] traveller\n"


def search(api: str, experiment: str, order_by: str) -> list[dict[str, Any]]:
    body = json.dumps({"experiment_ids": [experiment], "order_by": [order_by]}).encode()
    request = urllib.request.Request(
        f"{api}/runs/search", body, {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return json.loads(answer.read())["runs"]


@pytest.mark.slow
def test_a_study_is_tracked_over_http_as_in_a_file(served, folder, monkeypatch):
    monkeypatch.setattr(patience, "START_SECONDS", 600.0)  # a busy machine may take as long
    address = served[1].split()[1].partition("/#")[0]
    writer = StudyWriter(address, "remote", folder / "unused")
    run_id = writer.open_run(
        RunKey(Unit("lstm"), Phase.TRIAL, 0),
        "lstm trial 0",
        {"learning_rate": 0.1},
        {"cell": "lstm"},
    )
    writer.log(run_id, 10, {"validation/loss": float("nan"), "train/loss": 2.0}, time=1000.0)
    curve = "update,tokens,time_seconds,train/loss,validation/loss\n10,320,0.5,2.0,\n"
    samples = [{"prefix": "time", "text": "time – traveller"}]
    writer.end_run(
        run_id,
        "finished",
        metrics={"objective": 1.5},
        artifacts={"curve.csv": curve},
        samples=samples,
    )
    writer.set_identity({"study": "remote"})
    again = StudyReader(address, "remote")
    run = again.runs().loc[0]
    assert (run["state"], run["objective"], run["samples"]) == ("finished", 1.5, samples)
    assert (
        run["params"] == {"learning_rate": 0.1} and run["validation/loss"] != run["validation/loss"]
    )
    assert again.curves()["train/loss"].tolist() == [2.0]
    assert again.identity() == {"study": "remote"} and again.timings().empty
    assert not (folder / "unused").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(served):
    process, _ = served
    processes = family(process)
    assert len(processes) >= 2
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == 0
    assert process.stdout.read() == "ended\n"
    assert_gone(processes)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_page_answers_leaves_no_process(folder, signum):
    with start(folder, "deaf") as process:
        deadline = time.monotonic() + 300
        # Imports may start processes for a moment; the server has its watcher beside it.
        while not {"mlflow", "-I"} <= words_of(processes := family(process)):
            assert time.monotonic() < deadline, processes
            time.sleep(0.05)
        os.kill(process.pid, signum)
        assert process.communicate(timeout=120) == ("ended\n", None)
        assert_gone(processes)


def test_a_signal_while_the_server_is_being_started_leaves_no_process(folder, monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(psutil.Process(self.pid))
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    server.serve(uri(folder), folder / "artifacts", "output-tanh", None, refuse)
    assert len(started) == 2 and not any(each.is_running() for each in started)


@pytest.mark.slow
def test_a_server_whose_starter_is_killed_ends_too(folder):
    with start(folder) as process:
        assert "http" in process.stdout.readline()
        processes = family(process)
        process.kill()
    assert len(processes) >= 3
    assert_gone(processes)


def test_a_damaged_database_is_an_error_before_a_server_starts(tmp_path):
    (tmp_path / "mlflow.db").write_text("none")
    with pytest.raises(StoreError, match="must be a whole SQLite database"):
        server.serve(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, None, None, refuse)
