"""A study that is killed again and again ends as one that was not."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
import small_study
from forking import Forking

from harness.results.doctor import examine
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.store.source import holds_study
from harness.training import saved_model
from harness.training.files import MODEL_FILE
from harness.tuning import storage as storages

KILLS = 4
SIZE = {"trials": 4, "seeds": 6, "updates": 300}
LOSSES = ["validation/loss", "test/loss", "train/loss", "objective"]


def start(path, folder):
    """Starts `harness run`; what it says on standard error goes to a file."""
    command = [sys.executable, "-m", "harness.cli", "run", str(path), "--folder", str(folder)]
    with open(folder / "stderr", "w") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=listen_to_ctrl_c
        )


def listen_to_ctrl_c():
    """A child of a background job is born deaf to SIGINT; a person's terminal is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def said(folder):
    return (folder / "stderr").read_text()


def store_of(folder):
    return StudyReader(Locations(folder).tracking_uri, "small")


def results(folder):
    runs = store_of(folder).runs()
    runs = runs[["arm", "phase", "index", "seed", "state", *LOSSES]]
    return runs.sort_values(["arm", "phase", "index"], ignore_index=True)


@pytest.fixture(scope="module")
def harness():
    with Forking() as server:
        yield server


@pytest.mark.slow  # as the fixture is
def test_a_forked_command_finds_no_module_of_the_tests(tmp_path, harness):
    (tmp_path / "own.py").write_text("import small_study\n")
    done = harness.run("cells", "show", "own", "--file", "own.py", cwd=tmp_path)
    assert done.returncode == 2 and "No module named 'small_study'" in done.stderr


@pytest.mark.slow
def test_killed_again_and_again_a_study_ends_as_an_undisturbed_one(tmp_path, harness):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    path = small_study.write(whole, **SIZE)
    small_study.write(killed, **SIZE)
    harness.start(["run", path, "--folder", whole], whole / "stderr")
    assert harness.wait() == 0, said(whole)

    again = ["run", killed / path.name, "--folder", killed], killed / "stderr"
    draw = random.Random(11)
    ended: dict[tuple, tuple] = {}
    num_kills = 0
    while num_kills < KILLS:
        harness.start(*again)
        # Never on the clock alone: it would strike before the first run or after the last one.
        wait_for_ends(killed, num_ended(killed) + draw.randint(1, 3))
        time.sleep(draw.uniform(0, 0.1))
        harness.kill()
        code = harness.wait()
        if code == 0:  # this process stood still until the study had ended: all anew
            num_kills, ended = 0, {}
            shutil.rmtree(killed)
            small_study.write(killed, **SIZE)
            continue
        assert code == -signal.SIGKILL, said(killed)
        num_kills += 1
        if holds_study(Locations(killed).tracking_uri, "small"):
            ended = assert_nothing_lost(ended, killed)
    harness.start(*again)
    assert harness.wait() == 0, said(killed)

    pd.testing.assert_frame_equal(results(killed), results(whole))
    assert_nothing_lost(ended, killed)
    assert trials(killed) == trials(whole) and models(killed) == models(whole)
    curves = [store_of(folder).curves().drop(columns="time_seconds") for folder in (killed, whole)]
    keys = ["arm", "phase", "index", "update"]
    pd.testing.assert_frame_equal(*(c.sort_values(keys, ignore_index=True) for c in curves))
    for folder in (killed, whole):
        assert examine("small", Locations(folder), whole=True).findings == []


def num_ended(folder):
    """Returns how many runs of a study that another process runs have ended by now."""
    counted = "SELECT count(*) FROM tags WHERE key = 'state' AND value = 'finished'"
    try:
        with closing(sqlite3.connect(f"file:{folder}/mlflow.db?mode=ro", uri=True)) as database:
            return database.execute(counted).fetchone()[0]
    except sqlite3.OperationalError:  # not made yet, or being written
        return 0


def wait_for_ends(folder, count):
    deadline = time.monotonic() + 300
    while num_ended(folder) < count and time.monotonic() < deadline:
        time.sleep(0.02)


def models(folder):
    """Returns what every replicate learned, bit by bit."""
    reader = store_of(folder)
    files = {
        (run.arm, run.seed): reader.artifact(run.run_id, MODEL_FILE)
        for run in reader.runs().query("phase == 'replicate'").itertuples()
    }
    found = {
        place: saved_model.SavedModel.from_bytes(content).parameters
        for place, content in files.items()
    }
    return {
        place: {name: array.tobytes() for name, array in own.items()}
        for place, own in found.items()
    }


def assert_nothing_lost(before, folder):
    """Returns what has ended by now; all that had ended before must still be there, and be the
    same.
    """
    runs = results(folder)
    now = {
        (r.arm, r.phase, r.index): (r.state, r.objective)
        for r in runs.itertuples()
        if r.state not in ("running", "killed")
    }
    assert {key: now.get(key) for key in before} == before
    return now


def trials(folder: Path):
    """Returns every arm's trials as Optuna has them."""
    found = {}
    with storages.opened(Locations(folder).storage_url) as storage:
        for summary in storage.get_all_studies():
            arm = summary.study_name.split("/")[1]
            stored = storage.get_all_trials(storage.get_study_id_from_name(summary.study_name))
            found[arm] = [(t.number, t.state, t.params, t.value) for t in stored]
    return found


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_next_run_goes_on(tmp_path, harness):
    folder, code, updates = tmp_path, 0, 300
    while code == 0:  # it is over before this process is on: a longer one
        folder, updates = folder / "longer", 2 * updates
        path = small_study.write(folder, trials=2, updates=updates)
        process = start(path, folder)
        while not holds_a_run(folder) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=300)
    assert code == 130, said(folder)
    assert "the same command, without --new, goes on from here" in said(
        folder
    ) and "Traceback" not in said(folder)
    assert not os.path.exists(folder / ".small.holder.lock")
    harness.start(["run", path, "--folder", folder], folder / "stderr")
    assert harness.wait() == 0, said(folder)
    assert "running" not in set(results(folder)["state"])


def holds_a_run(folder):
    """Returns whether the study is in the store, and a run of it."""
    uri = Locations(folder).tracking_uri
    return holds_study(uri, "small") and not store_of(folder).runs().empty
