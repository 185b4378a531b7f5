"""A study on a Ray cluster of two nodes: the numbers are those of this process alone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import small_study
from rich.console import Console

from cells import registry
from harness import data
from harness.runner import launch, ray_cluster, ray_executor
from harness.runner.executor import ExecutorError
from harness.runner.executors import open_executor
from harness.runner.recorder import RunRecorder
from harness.settings import Budget, Settings
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.training.messages import RunEnded, RunState
from harness.training.plan import Plan, Run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_report_files")]
SETTINGS = {
    "USAGE_STATS_ENABLED": "0",
    # A machine that stands still for a while, or whose memory others use, ends no node and no
    # worker.
    "health_check_failure_threshold": "100",
    "memory_monitor_refresh_ms": "0",
    "raylet_start_wait_time_s": "300",
    "worker_register_timeout_seconds": "600",
}


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(f"RAY_{name}", value)
        try:
            from ray.cluster_utils import Cluster
        except ImportError:
            pytest.skip("Ray is not installed")
        size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        made.add_node(**size)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The path of a study in which trials are pruned, and its numbers in this process."""
    path = small_study.write(tmp_path_factory.mktemp("inline"), trials=8, updates=60)
    return path, numbers_of(path, path.parent, "inline", "auto")


def numbers_of(path, folder, executor, address, *overrides):
    where = Locations(folder)
    report = launch.run(
        path,
        overrides=overrides,
        locations=where,
        console=Console(quiet=True),
        executor=executor,
        address=address,
    )
    assert not report.missing
    reader = StudyReader(where.tracking_uri, "small")
    curves = reader.curves()
    curves = curves.drop(columns=[name for name in curves if "seconds" in name or "time" in name])
    runs = reader.runs()
    keys = ["arm", "phase", "index", "draw", "state", "objective", "test_perplexity"]
    runs = runs[[name for name in keys if name in runs]]
    return [
        table.sort_values(list(table.columns)).astype(str).values.tolist()
        for table in (runs, curves)
    ]


def test_the_numbers_are_those_of_this_process(cluster, study, tmp_path):
    path, numbers = study
    assert any("pruned" in row for row in numbers[0])
    assert numbers_of(path, tmp_path, "ray", cluster.address) == numbers


def test_whatever_dies_changes_no_number(cluster, study, tmp_path, monkeypatch):
    """A driver is asked to end, the next one is killed, and the third loses a worker.

    The one that is killed has given a worker its next pack, and has not recorded the ends of the
    last one.
    """
    path, numbers = study
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunRecorder, "record", ended_at(4, signal.SIGTERM))
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            numbers_of(path, tmp_path, "ray", cluster.address)
        finally:
            signal.signal(signal.SIGTERM, before)
    assert ended_soon(), "workers of a driver that has ended"

    words = [sys.executable, "-c", DRIVER, str(path), str(tmp_path), cluster.address]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ended_soon(), "workers of a driver that was killed"
    assert 0 < len(ended_runs(tmp_path)) < len(numbers[0])

    killed, record = [], RunRecorder.record

    def kill_one(*args):
        for worker in workers()[: not killed]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
        return record(*args)

    monkeypatch.setattr(RunRecorder, "record", kill_one)
    assert numbers_of(path, tmp_path, "ray", cluster.address) == numbers
    assert killed and ended_soon(), "workers of a driver that has finished"


def ended_at(number, death):
    """Returns what records as ever, and sends this process a signal at one of its calls."""
    record, calls = RunRecorder.record, []

    def recorded(*args):
        calls.append(args)
        if len(calls) == number:
            os.kill(os.getpid(), death)
        return record(*args)

    return recorded


def killed_before_ends_are_recorded():
    """Has this process killed when a worker has its next pack, but not the ends of its last one.

    The store has earlier ends.
    """
    record, give_next, writers = RunRecorder.record, ray_executor.RayExecutor._give_next, []

    def recorded(self, messages):
        writers.extend(self._writer for each in messages if isinstance(each, RunEnded))
        return record(self, messages)

    def given(self, worker, waiting):
        has_ended, is_more = worker.plan is not None, bool(waiting)
        give_next(self, worker, waiting)
        if has_ended and is_more and writers:
            writers[0].drain()
            os.kill(os.getpid(), signal.SIGKILL)

    RunRecorder.record, ray_executor.RayExecutor._give_next = recorded, given


DRIVER = """
import sys
sys.path.append("tests")
sys.path.append("tests/runner")
import test_ray_executor as tests
tests.killed_before_ends_are_recorded()
tests.numbers_of(sys.argv[1], tests.Path(sys.argv[2]), "ray", sys.argv[3], "fix.pack_size=1")
"""


def ended_runs(folder):
    runs = StudyReader(Locations(folder).tracking_uri, "small").runs()
    return runs[runs["state"] != "running"]


def ended_soon():
    """Returns whether all workers end, which takes seconds."""
    until = time.monotonic() + 120
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    return not workers()


def workers():
    """Returns the numbers of the processes in which this test's cluster has our workers."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::Worker"):
                found.append(process.pid)
    return found


@pytest.fixture
def pack(tmp_path):
    """A pack of one run of one update."""
    (tmp_path / "text.txt").write_text("a text of a few words, " * 900)
    settings = Settings(
        cell="lstm",
        corpus="text",
        path=str(tmp_path / "text.txt"),
        hidden_size=4,
        budget=Budget(updates=1),
    )
    return Plan((Run("a/replicate/0", (0,), settings),))


def test_a_worker_that_starts_outlives_a_round_that_is_over_sooner(cluster, pack, tmp_path):
    """Two packs of a moment: the first worker trains both while the second one starts."""
    packs = [pack, replace(pack, runs=(replace(pack.runs[0], id="a/replicate/1"),))]
    with closing(open_executor("ray", cluster.address, tmp_path / "study", quiet)) as executor:
        until = time.monotonic() + 120
        while executor.num_idle < 2 and time.monotonic() < until:
            executor.execute(packs, lambda messages: set())
        assert executor.num_idle == len(workers()) == 2


def test_a_worker_has_its_next_pack_before_the_ends_of_this_one_are_recorded(
    cluster, pack, tmp_path, monkeypatch
):
    happened, begin = [], ray_executor.RayExecutor._begin

    def begun(self, worker, plan):
        happened.append(f"begins {plan.runs[0].id}")
        begin(self, worker, plan)

    def listen(messages):
        happened.extend(f"ends {each.run}" for each in messages if isinstance(each, RunEnded))
        return set()

    packs = [
        replace(pack, runs=(replace(pack.runs[0], id=f"a/replicate/{number}"),))
        for number in range(3)
    ]
    with closing(open_executor("ray", cluster.address, tmp_path / "study", quiet)) as executor:
        executor.execute([pack], lambda messages: set())
        monkeypatch.setattr(ray_executor, "MAX_STARTING", 0)  # one worker is up, and stays alone
        monkeypatch.setattr(ray_executor.RayExecutor, "_begin", begun)
        executor.execute(packs, listen)
    words = ["begins 0", "begins 1", "ends 0", "begins 2", "ends 1", "ends 2"]
    assert happened == [each.replace(" ", " a/replicate/") for each in words]


def test_a_worker_that_starts_after_a_cell_was_edited_has_the_text_of_the_launch(
    cluster, pack, tmp_path
):
    file, said = tmp_path / "own.py", []
    file.write_text(small_study.OWN_CELL)
    (run,) = pack.runs
    own = replace(run.settings, cell="own", engine="reference")
    plan = replace(pack, runs=(replace(run, settings=own),), cell_files=(str(file),))
    with (
        registry.held_files(),
        closing(open_executor("ray", cluster.address, tmp_path / "study", quiet)) as executor,
    ):
        registry.load_file(file)
        file.write_text("This is no cell any more.")
        executor.execute([plan], lambda messages: said.extend(messages) or set())
    (end,) = (each for each in said if isinstance(each, RunEnded))
    assert end.state == RunState.FINISHED, end


def test_ends_are_recorded_although_the_next_pack_cannot_be_given(
    cluster, pack, tmp_path, monkeypatch
):
    ended, begin, packs = [], ray_executor.RayExecutor._begin, [pack]
    packs.append(replace(pack, runs=(replace(pack.runs[0], id="a/replicate/1"),)))

    def begun(self, worker, plan):
        if plan is packs[1]:
            raise FileNotFoundError("its text is gone")
        begin(self, worker, plan)

    def listen(messages):
        ended.extend(each.run for each in messages if isinstance(each, RunEnded))
        return set()

    with closing(open_executor("ray", cluster.address, tmp_path / "study", quiet)) as executor:
        executor.execute([pack], lambda messages: set())
        monkeypatch.setattr(ray_executor, "MAX_STARTING", 0)
        monkeypatch.setattr(executor, "_demanded", lambda plan, _: (plan, executor._idle[0].demand))
        monkeypatch.setattr(ray_executor.RayExecutor, "_begin", begun)
        with pytest.raises(FileNotFoundError):
            executor.execute(packs, listen)
    assert ended == ["a/replicate/0"]


def test_a_cluster_that_others_use_is_told(cluster, pack, tmp_path, monkeypatch):
    import ray

    class Said(Exception):
        pass

    class Others:
        def begin(self):
            pass

    def say(line, style):
        raise Said(line)

    def until_in_use(count):
        """The cluster tells of what begins and ends within seconds."""
        end = time.monotonic() + 120
        while ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0) != count:
            assert time.monotonic() < end
            time.sleep(0.1)

    for name in ("IDLE_SECONDS", "NOTICE_SECONDS"):
        monkeypatch.setattr(ray_executor, name, 0.5)
    large = replace(pack.settings, threads=64)
    with closing(open_executor("ray", cluster.address, tmp_path / "study", say)) as executor:
        hold = ray.remote(num_cpus=1)(Others)
        others = [hold.remote() for _ in range(2)]
        ray.get([other.begin.remote() for other in others])
        until_in_use(2)
        with pytest.raises(RuntimeError, match="must be idle.* but 2 CPUs are in use"):
            executor.rest()  # before the runtime phase
        with pytest.raises(ExecutorError, match="what a pack takes, 64 CPUs, .* of 2 nodes none"):
            executor.execute(
                [replace(pack, runs=(Run("a/replicate/0", (0,), large),))], lambda messages: set()
            )
        with pytest.raises(Said, match="no worker has started since .* 1 CPUs, .* Ctrl-C ends"):
            executor.execute([pack], lambda messages: set())
        for other in others:
            ray.kill(other)
        monkeypatch.setattr(ray_executor, "IDLE_SECONDS", 120.0)
        executor.rest()
        executor.check_rest()
        late = hold.remote()  # another's job begins during the runtime phase
        ray.get(late.begin.remote())
        until_in_use(1)
        with pytest.raises(RuntimeError, match="must be idle.* but 1 CPUs are in use"):
            executor.check_rest()
        ray.kill(late)


def test_texts_are_shared_that_are_read_in_the_same_way(tmp_path, monkeypatch):
    """Two arms may read one text as characters and as words; both have its fingerprint."""
    path = tmp_path / "text.txt"
    path.write_text("the time traveller and the morlocks " * 40)
    settings = Settings("lstm", corpus="text", path=str(path), batch_size=2, bptt_length=4)
    characters, words = data.load(settings), data.load(replace(settings, token="word"))
    assert characters.fingerprint == words.fingerprint
    executor = ray_executor.RayExecutor.__new__(ray_executor.RayExecutor)
    put = lambda text: [text]  # noqa: E731
    monkeypatch.setattr(executor, "_ray", SimpleNamespace(put=put), raising=False)
    monkeypatch.setattr(executor, "_texts", {}, raising=False)
    for text in (characters, words, characters):
        assert executor._shared_text(text) == [text]
    assert len(executor._texts) == 2


def test_what_is_no_cluster_is_told_at_once(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    assert ray_cluster.CONNECT_SECONDS <= 5
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def talk():
            with other.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad")

        talking = threading.Thread(target=talk)
        talking.start()
        for place, seconds, why in (
            (1, 60.0, "refused"),
            (port, 60.0, "not Ray's: b'HTTP/1.1 '"),
            (port, 0.5, "timed out"),  # Ray itself would ask for 81 s
        ):
            monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", seconds)
            with pytest.raises(ExecutorError, match=f"answer at 127.0.0.1:{place}, but .*{why}"):
                open_executor("ray", f"127.0.0.1:{place}", tmp_path / "study", quiet)
        talking.join()


def test_without_the_package_it_is_told_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"Install it: pip install 'recurrent-bench\[ray\]'"):
        open_executor("ray", "auto", tmp_path / "study", quiet)


def quiet(line, style):
    pass
