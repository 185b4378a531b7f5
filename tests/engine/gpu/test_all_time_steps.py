"""A cell without products between its units takes one launch a direction, not one a time step."""

import pytest
import torch
from agreement import ALL_CELLS, case, results

import cells
from harness import engine
from harness.engine.gpu import gpu, triton_source
from harness.engine.gpu.launches import Piece, by_torch
from harness.engine.gpu.layout import layout

WITHOUT_PRODUCTS = [
    name
    for name in ALL_CELLS
    if name in cells.names() and not cells.find(name).recurrent_products()
]


@pytest.fixture
def calls(monkeypatch):
    """The time steps of every call of a piece."""
    made = []

    def pieces_for(plan, buffers, like):
        def bind(piece):
            call = by_torch(buffers, plan.numbers(like), piece)
            return lambda times: made.append(times) or call(times)

        return bind

    monkeypatch.setattr(gpu, "pieces_for", pieces_for)
    monkeypatch.setattr(engine, "ENGINES", (gpu.Gpu(("cpu",)), *engine.ENGINES))
    return made


def test_there_are_such_cells():
    assert {"indrnn", "min-gru", "qrnn", "sru", "rg-lru"} <= set(WITHOUT_PRODUCTS)


@pytest.mark.parametrize("name", WITHOUT_PRODUCTS)
def test_all_time_steps_are_one_call_a_direction(name, calls):
    results("gpu", case(name, steps=5))
    assert calls == [range(5), range(4, -1, -1)]


def test_a_cell_with_products_takes_a_call_a_time_step(calls):
    results("gpu", case("gru", steps=3))
    assert calls == [range(t, t + 1) for t in (0, 1, 2, 2, 1, 0)]


def test_only_a_piece_that_is_alone_has_a_loop():
    for name, is_alone in (("indrnn", True), ("gru", False), ("scrn", False)):
        plan = layout(case(name).layer)
        pieces = [step for step in (*plan.forward, *plan.backward) if isinstance(step, Piece)]
        assert {piece.is_alone for piece in pieces} == {is_alone}
        text = triton_source.source(plan, torch.float32)
        assert ("for k in range(count)" in text) == ("tl.debug_barrier()" in text) == is_alone


def test_the_loop_of_indrnn_by_hand():
    forward, _ = triton_source.source(layout(case("indrnn", hidden=5).layer), torch.float64).split(
        "@triton.jit("
    )[-2:]
    assert forward.startswith(
        'do_not_specialize=["first", "count", "stride", "T", "B"])\n'
        "def forward_0(x, state_0, vectors, first, count, stride, T, B):\n"
    )
    head, body = forward.split("    for k in range(count):\n        t = first + k * stride\n")
    assert "tl.load" not in head
    assert body.rstrip().endswith("tl.debug_barrier()  # what the next time step reads is written")
    lines = body.rstrip().split("\n")
    assert all(line.startswith("        ") for line in lines)
