"""What `make persistent-check` reports, and what ends it with 1."""

import json
from pathlib import Path

import persistent_check
import pytest
from persistent_check import Kernel, compiled, problems, summary, table

import cells
from harness.engine import Layer
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import HELD_NUMBERS, Tiling

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "studies" / "bench" / "gpu"
DECISION = ROOT / "docs" / "decisions" / "one_kernel.md"

LSTM = ("lstm", 90, 256, "float32")
MADE = [
    Kernel(*LSTM, "backward", num_blocks=8, shared_bytes=190_720, registers=123),
    Kernel(*LSTM, "forward", num_blocks=8, shared_bytes=190_720, registers=121),
]


def test_what_is_refused_is_no_problem():
    (row,) = compiled("lstm", 80, 256, "float32")
    assert "at most 166,912 bytes of shared memory on sm_80" in row.refusal
    assert problems([row, *MADE]) == []


def test_what_does_not_compile_is():
    failed = Kernel(*LSTM, problem="NVRTC must compile for sm_90, but returned 6.")
    assert problems([*MADE, failed]) == [
        "sm_90 lstm H=256 float32: NVRTC must compile for sm_90, but returned 6."
    ]


def test_a_line_sums_up():
    refused = Kernel("scrn", *LSTM[1:], refusal="it does not fit")
    spilled = Kernel("nas", *LSTM[1:], "forward", registers=255, spill_bytes=12)
    assert summary([*MADE, refused, spilled]) == (
        "sm_90 H=256 float32: 2 cells compiled, 1 refused, 0 failures, 1 with spills; most "
        "registers 255 (nas, forward), most shared memory 190,720 bytes; refused: scrn; "
        "spilled: nas forward"
    )


def test_a_row_of_the_table_sums_up():
    refused = Kernel("scrn", *LSTM[1:], refusal="it does not fit")
    assert table([*MADE, refused]) == [
        "| sm_90 | 256 | float32 | 1 | scrn | 0 | none | 123 (lstm, backward) | 190,720 bytes |"
    ]


@pytest.fixture(scope="module")
def committed():
    text = (FIGURES / "persistent-nvrtc-13.0.json").read_text(encoding="utf-8")
    return [Kernel(**row) for row in json.loads(text)["kernels"]]


def test_the_figures_of_the_documentation_are_those_of_the_committed_file(committed):
    text = (FIGURES / "README.md").read_text(encoding="utf-8")
    for row in table(committed):
        assert row in text
    by_name = {(k.cell, k.precision, k.name): k for k in committed if k.architecture == 90}
    of_float32 = []
    for cell in ("lstm", "gru", "rnn-tanh", "rnn-relu"):
        both = [by_name[cell, "float32", name] for name in ("forward", "backward")]
        held = [by_name[cell, "tf32", name] for name in ("forward", "backward")]
        of_float32 += [kernel.registers for kernel in both]
        cut = f"{both[0].registers}, {both[1].registers} | {both[0].shared_bytes:,} bytes"
        kept = f"{held[0].registers}, {held[1].registers} | {held[0].shared_bytes:,} bytes"
        assert f"| {cell} | {both[0].num_blocks} | {cut} | {kept} |" in text
    decision = DECISION.read_text(encoding="utf-8")
    assert f"({min(of_float32)} to {max(of_float32)} of 255" in decision
    lstm = [by_name["lstm", "tf32", name].registers for name in ("forward", "backward")]
    assert f"{lstm[0]} and {lstm[1]} registers, forward and backward" in decision


@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_the_shared_memory_of_the_documentation_is_that_of_the_kernels(cell, biases):
    def taken(size, precision, *held):
        plan = plan_of(Layer(cells.find(cell), size, biases, precision))
        codes = (source(plan, precision, Tiling(size, 16, num_held=number)) for number in held)
        return ", ".join(f"{code.shared_bytes:,}" for code in codes)

    sizes = (256, 384, 512, 768, 1024)
    plain = " | ".join(taken(size, "float32", HELD_NUMBERS) for size in sizes)
    held = " | ".join(taken(size, "tf32", 0, HELD_NUMBERS) for size in sizes)
    lines = [line for line in DECISION.read_text("utf-8").splitlines() if f"| {cell}, " in line]
    assert [line.partition(" | ")[2] for line in lines] == [f"{plain} |", f"{held} |"]


def test_a_cell_that_is_not_there_and_no_nvrtc_are_told(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        persistent_check.parse(["--cells", "nosuch"])
    assert "cells must be in the registry, but got nosuch" in capsys.readouterr().err
    monkeypatch.setattr(persistent_check.nvrtc, "find", lambda: None)
    with pytest.raises(SystemExit):
        persistent_check.parse([])
    assert "NVRTC must be installed: pip install nvidia-cuda-nvrtc-cu12" in capsys.readouterr().err
