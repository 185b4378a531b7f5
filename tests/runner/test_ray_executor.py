"""A study on a Ray cluster of two nodes: the numbers are those of this process alone."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import small_study
from rich.console import Console

from harness.runner import launch
from harness.runner.executor import ExecutorError
from harness.runner.executors import open_executor
from harness.store.locations import Locations
from harness.store.reader import StudyReader

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_report_files")]


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
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


def numbers_of(path, folder, executor, address):
    where = Locations(folder)
    report = launch.run(
        path, locations=where, console=Console(quiet=True), executor=executor, address=address
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


def test_a_worker_that_is_killed_changes_no_number(cluster, study, tmp_path):
    path, numbers = study
    killed = []

    def kill_one():
        while not killed:
            time.sleep(0.05)
            killed.extend(workers()[:1])
        time.sleep(1.0)  # it has begun by then, or not yet: both are no result
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert numbers_of(path, tmp_path, "ray", cluster.address) == numbers
    killer.join()
    assert not workers()


def workers():
    """Returns the numbers of the processes in which Ray has our workers."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().startswith(b"ray::Worker"):
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def test_what_is_no_cluster_is_told_at_once(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    begun = time.monotonic()
    with pytest.raises(ExecutorError, match="must answer at 127.0.0.1:1, but"):
        open_executor("ray", "127.0.0.1:1", tmp_path / "study")
    assert time.monotonic() - begun < 10


def test_another_kind_is_refused(tmp_path):
    with pytest.raises(ExecutorError, match="one of inline, ray, but got executor='dask'"):
        open_executor("dask", "auto", tmp_path)
