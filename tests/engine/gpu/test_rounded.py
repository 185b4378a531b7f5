"""What products read in bfloat16 is rounded where it is written, not once a product."""

import pytest
import torch
from agreement import ALL_CELLS, case, errors, results
from corner_cells import CORNERS

from harness import engine
from harness.engine.gpu import gpu
from harness.engine.gpu.launches import Piece, Product
from harness.engine.gpu.layout import layout
from harness.engine.gpu.rounded import with_rounded_operands

SPREAD = ("lstm", "gru", "gru-reset-before", "scrn", "wmclstm", "lstm-mogrifier", "indrnn")
ERROR = 2e-5  # sums in another order, amplified over the time steps


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(engine, "ENGINES", (gpu.Gpu(("cpu",)), *engine.ENGINES))
    monkeypatch.setattr(gpu, "_empty", lambda shape, like: like.new_full(shape, torch.nan))


def directions(plan):
    return plan.forward, plan.backward


@pytest.mark.parametrize("name", ALL_CELLS)
def test_every_product_of_a_time_step_reads_a_rounded_copy_that_a_piece_has_written(name):
    plan = layout(case(name).layer)
    for before, after in zip(
        directions(plan), directions(with_rounded_operands(plan)), strict=True
    ):
        assert [step.result for step in after if isinstance(step, Product)] == [
            step.result for step in before if isinstance(step, Product)
        ]
        written = {
            (place.buffer.name, unit)
            for step in after
            if isinstance(step, Piece)
            for place, _ in step.stores
            for unit in range(place.first, place.first + place.width)
        }
        for operand in (step.operand for step in after if isinstance(step, Product)):
            assert operand.buffer.is_rounded
            units = range(operand.first, operand.first + operand.width)
            assert {(operand.buffer.name, unit) for unit in units} <= written


@pytest.mark.parametrize("cell", [*SPREAD, *CORNERS.values()])
def test_the_results_are_those_of_products_that_round(cell):
    given = case(cell, steps=4, runs=2, biases=2, inputs="tokens", scale=0.5).to("bf16")
    assert max(errors(results("gpu", given), results("reference", given)).values()) < ERROR


def test_a_carried_state_is_rounded_where_it_enters():
    given = case("lstm", steps=2, runs=2, scale=0.5).to("bf16")
    assert all(state.abs().max() > 0 for state in given.state)
    assert max(errors(results("gpu", given), results("reference", given)).values()) < ERROR
