"""A process that runs one study after another holds on to no connection of the earlier ones.

Stores alone are opened here, since a launch takes seconds. Memory, which wavers by more than eight
of them hold, and whole launches are watched by ``make soak``.
"""

import shutil

import psutil
import pytest

from harness.store.background import BackgroundWriter
from harness.store.writer import StudyWriter
from harness.study.units import RunKey
from harness.training.messages import RunState
from harness.tuning import storage as storages

KEY = RunKey.parse("lstm/trial/0")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with both databases: to make them takes seconds."""
    folder = tmp_path_factory.mktemp("made")
    StudyWriter(f"sqlite:///{folder}/mlflow.db", "s", folder / "artifacts").close()
    storages.close(storages.open_storage(f"sqlite:///{folder}/optuna.db"))
    return folder


def study(folder):
    inner = StudyWriter(f"sqlite:///{folder}/mlflow.db", "t", folder / "artifacts")
    writer = BackgroundWriter(inner, folder / "spool.records", say=lambda *_: None)
    writer.open_run(KEY, "run", {"cell": "lstm"}, {})
    writer.end_run(KEY, RunState.FINISHED, {}, {"objective": 1.0}, {"curve.csv": "update\n"})
    writer.drain()
    storage = storages.open_storage(f"sqlite:///{folder}/optuna.db")
    storages.stored(storage)
    storages.close(storage)
    writer.close()


def test_descriptors_and_threads_stay_as_many(made, tmp_path):
    process, counts = psutil.Process(), []
    for index in range(8):
        folder = tmp_path / str(index)
        shutil.copytree(made, folder)
        study(folder)
        counts.append((process.num_fds(), process.num_threads()))
    # One more thread may be about to end; one of each study would be five.
    assert all(last - third < 3 for last, third in zip(counts[-1], counts[2], strict=True)), counts
