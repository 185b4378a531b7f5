"""The text of the kernels, and what they compute in Triton's interpreter; neither needs a GPU."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from agreement import case
from odd_cells import ODD_CELLS

from harness.engine.gpu import triton_source
from harness.engine.gpu.launches import Piece
from harness.engine.gpu.layout import layout
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS

SPREAD = (
    "lstm",
    "lstm-layer-norm",
    "gru-reset-before",
    "indrnn",
    "DependentReductions",
    "Compared",
    "MadeOfVectors",
    "variants",
)
"""Cells whose kernels are made of different things; ``make gpu-check`` interprets all cells."""

needs_triton = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux alone")


def text(cell, hidden=5, dtype=torch.float64):
    return triton_source.source(layout(case(cell, hidden=hidden).layer), dtype)


def test_every_operation_has_an_expression():
    assert set(triton_source.EXPRESSIONS) == set(OPERATIONS) | set(REDUCTIONS)


@pytest.mark.parametrize("dtype", triton_source.TYPES)
@pytest.mark.parametrize("cell", ["lstm", "lstm-layer-norm", *ODD_CELLS.values()])
def test_there_is_one_kernel_a_piece_and_the_text_is_python(cell, dtype):
    plan = layout(case(cell).layer)
    functions = [
        f.name for f in ast.parse(text(cell, 4, dtype)).body if isinstance(f, ast.FunctionDef)
    ]
    pieces = [step.name for step in (*plan.forward, *plan.backward) if isinstance(step, Piece)]
    assert functions == ["larger", "divided", "root", "rounded", *pieces]


def test_the_kernels_of_rnn_tanh_by_hand():
    forward, backward = text("rnn-tanh", 5).split("@triton.jit(")[1:]
    assert "unit = tl.arange(0, 8)\n    mask = unit < 5\n" in forward
    assert forward.endswith(
        "    x_0 = x + ((n * T + t) * B + b) * 5\n"
        "    product_3_0 = product_3 + ((n * 1 + t % 1) * B + b) * 5\n"
        "    state_0_1 = state_0 + ((n * (T + 1) + (t + 1)) * B + b) * 5\n"
        "    v0 = tl.load(x_0 + 0 + unit, mask=mask, other=0.0)\n"
        "    v4 = tl.load(product_3_0 + 0 + unit, mask=mask, other=0.0)\n"
        "    v5 = v0 + v4\n"
        "    v6 = libdevice.tanh(v5)\n"
        "    tl.store(state_0_1 + 0 + unit, v6, mask=mask)\n\n\n"
    )
    assert "carry_0 + ((n * 2 + (t + 1) % 2) * B + b) * 5" in backward


def test_the_text_depends_on_the_layer_and_the_dtype_alone():
    assert text("gru") == text("gru")
    assert len({text("gru"), text("gru", 6), text("gru", 5, torch.float32), text("lstm")}) == 4


def test_the_file_is_named_by_its_content_and_written_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr(triton_source, "source", lambda plan, dtype: "def forward_0(): return 7\n")
    triton_source.kernels.cache_clear()
    plan = layout(case("gru").layer)
    assert triton_source.kernels(plan, torch.float32).forward_0() == 7
    (path,) = (tmp_path / "engine").glob("pieces_*")
    path.write_text("def forward_0(): return 7 + 1\n")
    triton_source.kernels.cache_clear()
    assert triton_source.kernels(plan, torch.float32).forward_0() == 8
    triton_source.kernels.cache_clear()


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Returns the cache folder of the spread's kernels, and how their interpretation ended."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, interpreted(cache, *SPREAD)


@needs_triton
def test_the_kernels_compute_what_torch_does(spread):
    _, done = spread
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr[-3000:]


@needs_triton
def test_the_interpreter_sees_a_wrong_kernel(spread, tmp_path):
    """The kernels are in the cache by the names of their contents: all are spoilt in a copy."""
    cache = shutil.copytree(spread[0], tmp_path / "cache")
    for path in (cache / "engine").glob("pieces_*.py"):
        text = path.read_text()
        path.write_text(text.replace("libdevice.tanh(", "1.001 * libdevice.tanh("))
    done = interpreted(cache, "lstm")
    assert done.returncode == 1
    assert "trial: Triton computes another tanh and div and row_sum than torch" in done.stdout
    assert "lstm: float64, rows: outputs differs by" in done.stdout
    assert "lstm: bf16 differs by" in done.stdout
    assert "task labelled: r0.layer0.R differs after training" in done.stdout


def interpreted(cache, *names):
    """Returns the interpreter's end; it is a program of its own."""
    program = pathlib.Path(__file__).with_name("interpreted.py")
    paths = os.pathsep.join(str(program.parents[k]) for k in (3, 2))
    environment = os.environ | {"HARNESS_CACHE": str(cache), "PYTHONPATH": paths}
    command = [sys.executable, str(program), *names]
    return subprocess.run(command, env=environment, capture_output=True, text=True)
