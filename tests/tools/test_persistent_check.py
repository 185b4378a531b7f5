"""What `make persistent-check` reports, and what ends it with 1."""

import json
from pathlib import Path

import persistent_check
import pytest
from persistent_check import Kernel, compiled, cost_table, problems, summary, table

import cells
from harness.engine import Layer
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import Tiling

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


def test_a_row_of_costs_has_all_numbers():
    row = {"cell": "lstm", "hidden_size": 256, "shared memory, cycles": 2816}
    assert cost_table([row]) == ["| lstm | 256 | 2,816 |"]


@pytest.fixture(scope="module")
def kept():
    return json.loads((FIGURES / "persistent-nvrtc-13.0.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def committed(kept):
    return [Kernel(**row) for row in kept["kernels"]]


def test_what_a_time_step_costs_is_told_as_it_was_counted(kept):
    text = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert kept["costs"] and all(row in text for row in cost_table(kept["costs"]))


def test_the_figures_of_the_documentation_are_those_of_the_committed_file(committed):
    text = (FIGURES / "README.md").read_text(encoding="utf-8")
    for row in table(committed):
        assert row in text
    by_name = {(k.cell, k.precision, k.name): k for k in committed if k.architecture == 90}
    of_float32 = []
    for cell in ("lstm", "gru", "rnn-tanh", "rnn-relu"):
        both = [by_name[cell, "float32", name] for name in ("forward", "backward")]
        others = []
        for precision in ("tf32", "bf16"):
            one, two = (by_name[cell, precision, name] for name in ("forward", "backward"))
            others.append(f"{one.registers}, {two.registers} | {one.shared_bytes:,} bytes")
        of_float32 += [kernel.registers for kernel in both]
        cut = f"{both[0].registers}, {both[1].registers} | {both[0].shared_bytes:,} bytes"
        assert f"| {cell} | {both[0].num_blocks} | {cut} | {' | '.join(others)} |" in text
    decision = DECISION.read_text(encoding="utf-8")
    assert f"{min(of_float32)} to {max(of_float32)} registers in float32" in decision
    lstm = [by_name["lstm", "tf32", name].registers for name in ("forward", "backward")]
    assert f"{lstm[0]} and {lstm[1]} in tf32" in decision


@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_the_shared_memory_of_the_documentation_is_that_of_the_kernels(cell, biases):
    def taken(size, precision):
        plan = plan_of(Layer(cells.find(cell), size, biases, precision))
        tiles = Tiling(size, 16, num_held=0), Tiling(size, 16)
        return ", ".join(f"{source(plan, precision, tile).shared_bytes:,}" for tile in tiles)

    sizes = (256, 384, 512, 768, 1024)
    rows = [
        " | ".join(taken(size, precision) for size in sizes)
        for precision in ("float32", "tf32", "bf16")
    ]
    lines = [line for line in DECISION.read_text("utf-8").splitlines() if f"| {cell}, " in line]
    assert [line.partition(" | ")[2] for line in lines] == [f"{row} |" for row in rows]


def test_a_cell_that_is_not_there_and_no_nvrtc_are_told(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        persistent_check.parse(["--cells", "nosuch"])
    assert "cells must be in the registry, but got nosuch" in capsys.readouterr().err
    monkeypatch.setattr(persistent_check.nvrtc, "find", lambda: None)
    with pytest.raises(SystemExit):
        persistent_check.parse([])
    assert "NVRTC must be installed: make nvrtc" in capsys.readouterr().err
