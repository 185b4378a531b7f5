"""What of a GPU's memory is counted without one, and that preflight expects no less."""

from pathlib import Path

import gpu_memory
import pytest
import torch
from gpu_launches import STAND_IN
from gpu_memory import BLOCK, ROWS, Alive, Kept, kept

from harness.bench.record import Shape
from harness.preflight.memory import TIMES_ON_GPU

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_alive_at_once_is_counted_and_no_view_of_it():
    with Alive() as alive:
        first = torch.empty(1000, device=STAND_IN)  # 4,000 bytes: 8 blocks
        assert alive.now == 8 * BLOCK
        second = first.view(10, 100) + first[:100]
        assert alive.now == 16 * BLOCK
        del first
        second = second.sum()
        assert alive.most == 16 * BLOCK
        torch.empty(0, device=STAND_IN)
        assert alive.now == BLOCK and second.numel() == 1


@pytest.mark.parametrize(("cell", "which"), [("lstm", "gpu"), ("min-gru", "scan")])
def test_a_run_keeps_no_more_than_is_expected(cell, which):
    found = kept(cell, which, Shape("tiny", 8, 5, 32, 11))
    # At least parameters, gradients, the best ones and two moments; and the states of an update.
    assert found.own > 5 * 4 * 32 * 32 and found.update > 5 * 8 * 32 * 4
    assert found.evaluation > 4 * 32 * 32  # a copy of the parameters is among it
    assert found.times == (found.own + found.update + found.evaluation) / found.counted


def test_the_table_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(gpu_memory, "kept", lambda *given: Kept(2**20, 2**20, 2**21, 2**20))
    assert gpu_memory.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert lines[2].endswith("| 1.0 | 1.0 | 2.0 | 1.0 | 4.0 |")


def test_preflight_expects_what_was_counted_at_most():
    """By the committed table."""
    text = (ROOT / "docs/decisions/executors.md").read_text(encoding="utf-8")
    table = text.partition("| evaluation | times |\n")[2].partition("\n\n")[0]
    times = [float(line.split("|")[-2]) for line in table.splitlines()[1:]]
    assert len(times) == len(ROWS) and max(times) <= TIMES_ON_GPU
