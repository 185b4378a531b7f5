"""A process that runs one study after another holds on to no connection of the earlier ones.

Nor does it to the statements that were compiled for them.

Stores alone are opened here, since a launch takes seconds. Memory, which wavers by more than eight
of them hold, and whole launches are watched by ``make soak``.
"""

import gc
import shutil

import psutil
import pytest

from harness.store.background import BackgroundWriter
from harness.store.writer import StudyWriter
from harness.study.units import RunKey
from harness.training.messages import RunState
from harness.tuning import storage as storages

OBJECTS = 1_000
"""An engine, which MLflow keeps for each address, and what Optuna's classes keep."""
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


def test_descriptors_threads_and_compiled_statements_stay_as_many(made, tmp_path):
    process, counts, objects = psutil.Process(), [], []
    for index in range(8):
        folder = tmp_path / str(index)
        shutil.copytree(made, folder)
        study(folder)
        counts.append((process.num_fds(), process.num_threads()))
        gc.collect()
        objects.append(len(gc.get_objects()))
    # One more thread may be about to end; one of each study would be five.
    assert all(last - third < 3 for last, third in zip(counts[-1], counts[2], strict=True)), counts
    assert objects[-1] - objects[2] < 5 * OBJECTS, objects
