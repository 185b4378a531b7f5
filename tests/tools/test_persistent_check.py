"""What `make persistent-check` reports, and what ends it with 1."""

import json
from pathlib import Path

import persistent_check
import pytest
from persistent_check import Kernel, compiled, problems, summary, table, text_of

ROOT = Path(__file__).resolve().parents[2]

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


def test_the_figures_of_the_documentation_are_those_of_the_committed_files():
    folder = ROOT / "studies" / "bench" / "gpu"
    of_cells = {}
    for path in sorted(folder.glob("persistent-*.json")):  # a later one has what was made anew
        rows = [Kernel(**row) for row in json.loads(path.read_text())["kernels"]]
        names = dict.fromkeys(row.cell for row in rows)
        of_cells |= {name: [row for row in rows if row.cell == name] for name in names}
    kernels = [row for name in sorted(of_cells) for row in of_cells[name]]
    text = (folder / "README.md").read_text()
    for row in table(sorted(kernels, key=lambda kernel: -kernel.architecture)):
        assert row in text


def test_the_file_holds_all_rows():
    found = json.loads(text_of({"nvrtc": "12.9"}, ["wrong"], MADE))
    assert found["facts"] == {"nvrtc": "12.9"} and found["problems"] == ["wrong"]
    assert [Kernel(**row) for row in found["kernels"]] == MADE


def test_a_cell_that_is_not_there_and_no_nvrtc_are_told(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        persistent_check.parse(["--cells", "nosuch"])
    assert "cells must be in the registry, but got nosuch" in capsys.readouterr().err
    monkeypatch.setattr(persistent_check.nvrtc, "find", lambda: None)
    with pytest.raises(SystemExit):
        persistent_check.parse([])
    assert "NVRTC must be installed: pip install nvidia-cuda-nvrtc-cu12" in capsys.readouterr().err
