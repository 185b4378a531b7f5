"""The kernels as a device gets them, run by a machine for PTX: values, barriers, addresses."""

import re

import emulated
import pytest
import torch
from agreement import assert_same, case, results, share_of_bounds
from held_columns import share_held
from ptx.memory import Fault

import cells
from harness import engine
from harness.engine import Layer
from harness.engine.persistent import loop, nvrtc, persistent
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import Tiling

pytestmark = pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not installed")

CASES = {
    "a cluster of the size that a device has": ("lstm", Tiling(256, 8), "tf32"),
    "half of the columns in registers": ("lstm", Tiling(64, 2, num_held=16), "float32"),
    "numbers of 8 bytes": ("gru", Tiling(20, 4), "float64"),
    "two dependent products": ("gru-reset-before", Tiling(20, 4), "tf32"),
    "two numbers in a word": ("lstm", Tiling(64, 2), "bf16"),
    "half of these words in registers": ("lstm", Tiling(64, 2, num_held=8), "bf16"),
    "sums of a row and up to each unit": ("lstm-on", Tiling(20, 4), "bf16"),
    "one block": ("rnn-tanh", Tiling(7, 1), "float32"),
    "no product, in a cluster": ("min-gru", Tiling(20, 4), "float32"),
    "no product": ("min-gru", Tiling(40, 3, exchanges=False), "float32"),
    "as many blocks as a cluster may have": ("lem", Tiling(20, 16), "float32"),
}


@pytest.mark.parametrize("what", [what for what in CASES if what.startswith("half")])
def test_half_is_in_registers(what):
    assert share_held(*CASES[what]) == 0.5


@pytest.fixture(autouse=True)
def spoilt_memory(monkeypatch):
    """New tensors hold NaN, so that what is read before it is written shows."""
    monkeypatch.setattr(loop, "_empty", lambda shape, like: like.new_full(shape, torch.nan))


def found(name, tile, precision, edited=lambda text: text, steps=3, batch=9):
    """What a cell computes: its difference as a share of what may be, and the numbers."""
    with pytest.MonkeyPatch.context() as patched:
        ours = persistent.Persistent(("cpu",), lambda hidden_size: tile)
        patched.setattr(engine, "ENGINES", (ours, *engine.ENGINES))
        scale = 0.3 / (tile.hidden_size / 7) ** 0.5
        given = case(
            name,
            steps=steps,
            runs=2,
            batch=batch,
            hidden=tile.hidden_size,
            biases=2,
            inputs="tokens",
            scale=scale,
        ).to(precision)
        with emulated.in_place_of_the_hosts(edited=edited):
            made = results("persistent", given)
        return share_of_bounds(made, results("reference", given), precision), made


@pytest.mark.parametrize("what", CASES)
def test_a_cell_is_the_definitions(what):
    name, tile, precision = CASES[what]
    assert found(name, tile, precision)[0] < 1


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_tensor_core_sums_as_ordinary_instructions_do(precision):
    """Ends of time and of the batch too: one step, one row."""
    for steps, batch in ((1, 1), (2, 8)):
        assert found("rnn-tanh", Tiling(64, 2), precision, steps=steps, batch=batch)[0] < 1


def test_the_same_numbers_come_again():
    tile = Tiling(20, 4)
    assert_same(found("lstm", tile, "float32")[1], found("lstm", tile, "float32")[1])


BARRIER = re.compile(r" *block\.(?:cluster_)?sync\(\);\n")
WAIT, ARRIVAL = "    block.cluster_wait();\n", "    block.cluster_arrive();\n"
NOT_NEEDED = 1
"""The barrier behind memory that is zero, where nothing is written there before the next one."""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_barrier_that_is_missing_is_seen(precision):
    """Each of a block in turn; that of a cluster only a block's, and behind too little."""
    tile = Tiling(20, 4)
    plan = plan_of(Layer(cells.find("lstm"), 20, 2, precision))
    text = source(plan, precision, tile).on("device")
    spans = [match.span() for match in BARRIER.finditer(text)]
    changed = [text[:start] + text[end:] for start, end in spans]
    in_step = text.index("  for (int t = 0;")
    wait, arrival = text.index(WAIT, in_step), text.index(ARRIVAL, in_step)
    of_block = text[:wait] + "    block.sync();\n" + text[wait + len(WAIT) :]
    changed.append(of_block.replace(ARRIVAL, ""))
    before_sending = text[:arrival] + text[arrival + len(ARRIVAL) :]
    at = before_sending.index("    UNROLL", before_sending.index("    block.sync();", in_step))
    changed.append(before_sending[:at] + ARRIVAL + before_sending[at:])
    assert len(changed) == 8

    def is_seen(one):
        try:
            found("lstm", tile, precision, lambda given: one)
        except Fault:
            return True
        return False

    assert sum(not is_seen(one) for one in changed) == NOT_NEEDED
