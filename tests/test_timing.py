"""Clock, quantiles, memory; and provenance: what a run was."""

import math
import subprocess
import time
from importlib.metadata import version

import psutil
import pytest
import torch

from harness import provenance, timing

CPU = torch.device("cpu")


def test_a_clock_tells_the_time_between_its_marks():
    begun = time.perf_counter()
    clock = timing.Clock(CPU)
    for _ in range(3):
        time.sleep(0.01)
        clock.mark()
    durations = clock.durations()
    assert len(durations) == 3 and min(durations) >= 0.01
    assert sum(durations) <= time.perf_counter() - begun + 1e-6  # as they are rounded
    assert clock.durations() == []
    clock.mark()
    assert len(clock.durations()) == 1  # from the last mark on


def test_a_watch_tells_the_time_of_a_block(monkeypatch):
    now = 0.0
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    with timing.Watch() as watch:
        now = 2.5
    assert watch.seconds == 2.5


@pytest.mark.parametrize("others, busy", [(0.5, False), (0.6, True), (None, False)])
def test_a_watch_sees_the_work_of_others(monkeypatch, others, busy):
    """Two seconds: a quarter of a core and two ticks are free."""
    moments = {
        "time": iter((0.0, 2.0)),
        "others": iter((7.0, None if others is None else 7.0 + others)),
    }
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(moments["time"]))
    monkeypatch.setattr(timing, "_other_seconds", lambda: next(moments["others"]))
    with timing.Watch() as watch:
        pass
    assert watch.busy == busy


def test_synchronize_waits_for_nothing_on_a_processor():
    timing.synchronize(CPU)


@pytest.mark.parametrize("fraction, expected", [(0, 1.0), (0.5, 2.5), (0.9, 3.7), (1, 4.0)])
def test_quantiles_interpolate(fraction, expected):
    assert timing.quantile([4.0, 1.0, 3.0, 2.0], fraction) == pytest.approx(expected)


def test_the_quantile_of_nothing_is_none():
    assert math.isnan(timing.quantile([], 0.5))


def test_peak_memory_grows_with_what_is_held():
    before, now = timing.peak_memory_bytes(CPU), psutil.Process().memory_info().rss
    more = 2**26
    held = torch.ones((before - now + more) // 4)  # beside what is there now, more than ever was
    assert timing.peak_memory_bytes(CPU) >= before + more // 2 and held.nbytes >= more // 2


@pytest.fixture
def fresh():
    """Provenance asks once a process; a test asks again."""
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


@pytest.fixture
def repository(tmp_path, monkeypatch, fresh):
    """A repository with one commit, holding the code at its root."""
    for folder in ("cells", "harness"):
        (tmp_path / folder).mkdir()
    (tmp_path / "harness" / "provenance.py").write_text("")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "harness" / "provenance.py"))
    return tmp_path


def test_a_clean_commit(repository):
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True
    ).stdout.strip()
    (repository / "study.yaml").write_text("a new study is no change of the code")
    (repository / "harness" / "__pycache__").mkdir()
    (repository / "harness" / "__pycache__" / "a.pyc").write_text("")
    assert provenance.commit() == (head, False)


@pytest.mark.parametrize("name", ["harness/provenance.py", "cells/new.py"])
def test_a_changed_or_new_file_of_the_code_makes_it_dirty(repository, name):
    (repository / name).write_text("changed")
    assert provenance.commit()[1]


def test_code_below_another_projects_repository_has_no_commit(repository, monkeypatch):
    below = repository / ".venv" / "site-packages" / "harness"
    below.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(below / "provenance.py"))
    assert provenance.commit() == ("unknown", None)


def test_code_outside_git_has_no_commit(tmp_path, monkeypatch, fresh):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "harness").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "harness" / "provenance.py"))
    assert provenance.commit() == ("unknown", None)


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == ("unknown", None)
    # Then it must not read as if nothing had been changed.
    assert provenance.describe("cpu")["git_dirty"] == "unknown"


def test_versions_are_those_installed():
    found = provenance.versions()
    assert found["torch"] == version("torch") and found["numpy"] == version("numpy")
    assert "no-such-package" not in found


def test_a_description_is_flat_text():
    found = provenance.describe("cpu")
    assert {
        "git_commit",
        "git_dirty",
        "device_name",
        "version_python",
        "version_torch",
    } <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["git_dirty"] in ("true", "false", "unknown")
