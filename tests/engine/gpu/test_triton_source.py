"""The text of the kernels, and, where Triton is installed, what they compute; neither needs a
GPU.
"""

import ast
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from agreement import case
from odd_cells import ODD_CELLS

from harness.engine.gpu import triton_source
from harness.engine.gpu.layout import Piece, layout
from harness.engine.tracing.program import OPERATIONS, REDUCTIONS

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


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
    assert functions == ["larger", "divided", "root", *pieces]


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


@needs_triton
@pytest.mark.parametrize("interpreter", ["1", "0"])
def test_the_kernels_compute_what_torch_does_and_compile(tmp_path, interpreter):
    """In Triton's interpreter for every cell, and, without running it, as machine code of a GPU."""
    program = pathlib.Path(__file__).with_name("interpreted.py")
    paths = os.pathsep.join(str(program.parents[k]) for k in range(3))
    added = {
        "TRITON_INTERPRET": interpreter,
        "HARNESS_CACHE": str(tmp_path),
        "TRITON_CACHE_DIR": str(tmp_path / "t"),
    }
    environment = os.environ | added | {"PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-3000:]
