"""Where the loops of a stage end, on which no number depends."""

import pytest
import torch
from agreement import assert_same, case, results
from variant_steps import elman

import cells
from harness.engine import Layer
from harness.engine.cpu import call, compiled
from harness.engine.cpu.stages import Stages
from harness.engine.cpu.values import Values
from harness.engine.tracing.schedule import Stage, schedule
from harness.engine.tracing.trace import trace, vector_names


def loops(cell):
    """The loops over units in each forward stage."""
    layer = Layer(cell, 32, 1, "float32")
    plan = schedule(trace(layer))
    matrices = {name: len(gates) for name, gates in cell.recurrent_products().items()}
    values = Values(
        plan, matrices, vector_names(layer), cell.gates, cell.state, cell.gates, cell.noise
    )
    stages = [step for step in plan.forward if isinstance(step, Stage)]
    lines = ["\n".join(Stages(values).write(stage)) for stage in stages]
    return [text.count("for (long j") for text in lines]


def summed_twice(a):
    product = a * a
    return torch.tanh(torch.sigmoid(product + 1.0) + product)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (cells.find("rnn-tanh"), [1]),
        (cells.find("fastgrnn"), [1]),  # a sigmoid and a tanh, neither of the other
        (cells.find("star"), [2]),  # the tanh of what is made of a sigmoid
        (elman(lambda a: torch.tanh(torch.sigmoid(torch.tanh(a)))), [3]),
        (elman(summed_twice), [1]),  # in another loop, a sum would round its product first
    ],
    ids=["rnn-tanh", "fastgrnn", "star", "three in turn", "a product that is added twice"],
)
def test_what_takes_long_waits_for_nothing_that_takes_long_in_one_loop(cell, expected):
    assert loops(cell) == expected


@pytest.fixture
def one_loop(monkeypatch):
    def forget():
        compiled._code.cache_clear()
        call.plan.cache_clear()

    def enter():
        monkeypatch.setattr(
            Stages, "_by_depth", lambda _, stage: dict.fromkeys((*stage.loaded, *stage.computed), 0)
        )
        forget()

    yield enter
    forget()


def test_no_number_depends_on_where_loops_end(one_loop):
    given = [
        case(name, steps=5, batch=3, hidden=33, inputs="rows", scale=0.5).to("float32")
        for name in ("star", "gru", "nas")
    ]
    expected = [results("cpu", one) for one in given]
    one_loop()
    for one, before in zip(given, expected, strict=True):
        assert_same(results("cpu", one), before)
