"""Triton is tried before it is used; the causes of failures are brought about without a GPU."""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import pytest
import torch
from agreement import case
from wire import info_of, kind_of

from harness import engine
from harness.engine.gpu import gpu, trial, triton_source
from harness.engine.gpu.launches import by_torch
from harness.engine.gpu.layout import layout
from harness.settings import Budget, Settings
from harness.training.pack import Pack
from harness.training.plan import Plan, Run

needs_triton = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux alone")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

TRIED = """
import sys, torch
from harness.engine.gpu import trial
print(trial.failure("cpu"))
if "--twice" in sys.argv:
    torch.cuda.is_available = lambda: True
    trial.failure.cache_clear()
    print(trial.failure("cpu"))
"""


@pytest.fixture
def tried_anew():
    trial.failure.cache_clear()
    yield
    trial.failure.cache_clear()


def told(tmp_path, program, *words, **changes):
    """Returns what a program of its own prints, a line each."""
    tests = pathlib.Path(__file__).resolve().parents[2]
    folders = [*changes.pop("first", ()), tests.parent, tests, pathlib.Path(__file__).parent]
    added = {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "HARNESS_CACHE": str(tmp_path / "harness"),
        "TRITON_CACHE_DIR": str(tmp_path / "triton"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment = {k: v for k, v in os.environ.items() if k != "CC"} | added | changes
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_package_that_is_not_there(monkeypatch, tried_anew):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert trial.failure() == "Triton is not installed"


def test_a_package_that_cannot_be_imported(tmp_path):
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text(
        'raise ImportError("libfoo.so.1:\\n cannot open shared object file")'
    )
    assert told(tmp_path, TRIED, first=[tmp_path]) == [
        "Triton does not work here: ImportError: libfoo.so.1: cannot open shared object file"
    ]


@needs_triton
def test_a_driver_and_a_compiler_that_are_not_there(tmp_path):
    """Triton builds its link to the driver in C; it asks first where the driver's library lies."""
    (tmp_path / "libcuda.so.1").touch()
    libraries = {"TRITON_LIBCUDA_PATH": str(tmp_path)}
    no_driver, no_compiler = told(tmp_path, TRIED, "--twice", PATH="", **libraries)
    assert no_driver.startswith("Triton does not work here: RuntimeError: 0 active drivers")
    assert no_compiler.startswith(
        "Triton does not work here: RuntimeError: Failed to find C compiler."
    )


def test_where_there_is_no_cuda_triton_is_not_even_imported(monkeypatch, tried_anew):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(triton_source, "loaded", None)
    assert trial.failure() == "there is no CUDA device"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_memory_that_is_short_says_nothing_of_triton(monkeypatch, tried_anew, error):
    """What is tried again with less memory tries Triton again; no note is made meanwhile."""

    def full(device):
        raise error

    monkeypatch.setattr(trial, "_wrong", full)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        trial.failure("cpu")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        assert gpu.Gpu().note("float32") is None
    monkeypatch.setattr(trial, "_wrong", lambda device: [])
    assert trial.failure("cpu") is None


@pytest.mark.parametrize("failure, expected", [(None, triton_source.bind), ("a cause", by_torch)])
def test_a_failure_leaves_torchs_operations(monkeypatch, failure, expected):
    monkeypatch.setattr(trial, "failure", lambda: failure)
    monkeypatch.setattr(triton_source, "kernels", lambda plan, dtype: None)
    like = types.SimpleNamespace(
        is_cuda=True, dtype=torch.float64, shape=(1, 1, 1), new_full=torch.full
    )
    plan = layout(case("lstm").layer)
    made = gpu.pieces_for(plan, {}, like)
    assert isinstance(made, functools.partial) and made.func is expected


def test_the_cause_is_in_the_note(monkeypatch):
    monkeypatch.setattr(trial, "failure", lambda: None)
    assert gpu.Gpu().note("float32") is None
    monkeypatch.setattr(trial, "failure", lambda: "a cause")
    assert gpu.Gpu().note("float32") == (
        "engine gpu: pointwise pieces run as separate torch operations, since a cause"
    )


def test_the_start_of_a_run_tells_the_cause(monkeypatch, text):
    """A worker elsewhere has nothing but its records to tell it by."""
    monkeypatch.setattr(trial, "failure", lambda: "a cause")
    monkeypatch.setattr(engine, "ENGINES", (gpu.Gpu(("cpu",)), *engine.ENGINES))
    settings = Settings(
        cell="lstm",
        corpus="text",
        path=text,
        engine="gpu",
        device="cpu",
        hidden_size=4,
        batch_size=2,
        bptt_length=4,
        learning_rate=0.1,
        budget=Budget(updates=2),
    )
    pack = Pack(Plan((Run("r", (0,), settings),)))
    start = pack.advance()[0]
    pack.close()
    assert kind_of(start) == "start"
    assert info_of(start)["notes"] == [gpu.Gpu().note("float32")]


@pytest.mark.gpu
@needs_cuda
def test_triton_works_on_cuda(tried_anew):
    """Else all the other tests on CUDA would see torch's operations alone."""
    assert trial.failure() is None
