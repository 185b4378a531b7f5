"""The definition itself: by hand, for tokens and rows, in every shape."""

import math
import re

import pytest
import torch
from tolerances import assert_close

import cells
from cells.base import Cell
from harness import engine
from harness.engine import Layer, reference

T, N, B, I, H = 4, 3, 2, 5, 3
CELLS = ["rnn-tanh", "lstm", "lstm-peephole", "gru", "gru-reset-before"]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def arguments(cell, *, steps=T, runs=N, batch=B, hidden=H, biases=2, dtype=torch.float64):
    parameters = {
        spec.name: random(runs, *spec.shape(hidden), seed=k, dtype=dtype)
        for k, spec in enumerate(cell.parameters(I, hidden, biases))
    }
    state = tuple(
        random(runs, batch, hidden, seed=90 + k, dtype=dtype) for k in range(len(cell.state))
    )
    tokens = torch.randint(I, (steps, runs, batch), generator=torch.Generator().manual_seed(99))
    return parameters, tokens, state


def run(name, parameters, inputs, state, biases=2, precision="float64"):
    layer = Layer(cells.find(name), state[0].shape[-1], biases, precision)
    return reference.Reference().run(layer, parameters, inputs, state)


def test_two_steps_by_hand():
    """h' = tanh(w x + r h + b) with w = 0.5, r = -1, b = 0.25 on x = 1, 2 from h = 0.1."""
    one = {"W": 0.5, "R": -1.0, "b": 0.25}
    shapes = {"W": (1, 1, 1), "R": (1, 1, 1), "b": (1, 1)}
    parameters = {
        name: torch.full(shapes[name], value, dtype=torch.float64) for name, value in one.items()
    }
    inputs = torch.tensor([1.0, 2.0], dtype=torch.float64).view(2, 1, 1, 1)
    start = (torch.full((1, 1, 1), 0.1, dtype=torch.float64),)
    outputs, final = run("rnn-tanh", parameters, inputs, start, biases=1)
    first = math.tanh(0.5 * 1 - 0.1 + 0.25)
    second = math.tanh(0.5 * 2 - first + 0.25)
    assert outputs.flatten().tolist() == pytest.approx([first, second], abs=1e-15)
    assert final[0].item() == outputs[-1].item()


@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_a_token_is_its_one_hot_row(name, biases):
    parameters, tokens, state = arguments(cells.find(name), biases=biases)
    one_hot = torch.nn.functional.one_hot(tokens, I).double()
    by_lookup, by_product = (
        run(name, parameters, tokens, state, biases),
        run(name, parameters, one_hot, state, biases),
    )
    for ours, theirs in zip(
        (by_lookup[0], *by_lookup[1]), (by_product[0], *by_product[1]), strict=True
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("steps", "runs", "batch", "hidden"), [(1, 1, 1, 1), (1, 5, 1, 7), (3, 1, 4, 5)]
)
@pytest.mark.parametrize("name", CELLS)
def test_shapes(name, steps, runs, batch, hidden):
    cell = cells.find(name)
    parameters, tokens, state = arguments(cell, steps=steps, runs=runs, batch=batch, hidden=hidden)
    outputs, final = run(name, parameters, tokens, state)
    assert outputs.shape == (steps, runs, batch, hidden)
    assert [s.shape for s in final] == [(runs, batch, hidden)] * len(cell.state)
    assert torch.equal(outputs[-1], final[0])


@pytest.mark.parametrize("name", CELLS)
def test_a_run_of_a_pack_is_that_run_alone_and_its_neighbours_do_not_matter(name):
    parameters, tokens, state = arguments(cells.find(name))
    outputs, _ = run(name, parameters, tokens, state)
    for n in range(N):
        of_run = {key: value[n : n + 1] for key, value in parameters.items()}
        alone, _ = run(name, of_run, tokens[:, n : n + 1], tuple(s[n : n + 1] for s in state))
        assert_close(alone, outputs[:, n : n + 1])
    spoilt = {key: value.clone() for key, value in parameters.items()}
    for value in spoilt.values():
        value[1] = torch.nan
    beside, _ = run(name, spoilt, tokens, state)
    assert beside[:, 1].isnan().all()
    assert torch.equal(beside[:, [0, 2]], outputs[:, [0, 2]])


def test_lookup_takes_each_runs_own_rows():
    table = torch.arange(12.0).view(2, 3, 2)
    tokens = torch.tensor([[[2], [0]], [[1], [1]]])
    assert reference.lookup(table, tokens)[:, :, 0].tolist() == [[[4, 5], [6, 7]], [[2, 3], [8, 9]]]


def test_spread_fills_gates_without_a_value_with_zeros():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert reference.spread(values, ("o", "i"), ("i", "f", "o")).tolist() == [[3, 4, 0, 0, 1, 2]]
    assert reference.spread(values, ("i", "o"), ("i", "o")) is values


def test_an_unbiased_gate_gets_none():
    class Half(Cell):
        gates = ("a", "b")
        unbiased = ("a",)

    layer = Layer(Half, 1, 1, "float64")
    parameters = {"W": torch.tensor([[[2.0, 3.0]]]), "b": torch.tensor([[10.0]])}
    product = reference.input_product(layer, parameters, torch.ones(1, 1, 1, 1))
    assert product.flatten().tolist() == [2, 13]
    assert reference.input_product(
        layer, parameters, torch.zeros(1, 1, 1, dtype=torch.int64)
    ).flatten().tolist() == [
        2,
        13,
    ]


def test_the_initial_state_is_what_the_cell_declares():
    class Started(Cell):
        state = ("h", "m")
        start = {"m": -3.0}

    h, m = engine.initial_state(Started, 2, 3, 4, torch.empty(0, dtype=torch.float64))
    assert (h.shape, h.dtype, h.unique().tolist()) == ((2, 3, 4), torch.float64, [0.0])
    assert (m.shape, m.dtype, m.unique().tolist()) == ((2, 3, 4), torch.float64, [-3.0])


def test_float32_follows_float64():
    cell = cells.find("lstm")
    parameters, tokens, state = arguments(cell, steps=20)
    small = {name: value.float() for name, value in parameters.items()}
    outputs, _ = run("lstm", small, tokens, tuple(s.float() for s in state), precision="float32")
    expected, _ = run("lstm", parameters, tokens, state)
    assert outputs.dtype == torch.float32
    assert_close(outputs, expected.float())


def test_an_engine_is_found_by_name():
    assert [engine.get(e.name) for e in engine.ENGINES] == list(engine.ENGINES)
    with pytest.raises(
        engine.EngineError,
        match=re.escape(
            "engine: must be one of cpu, scan, gpu, native, reference, scan-log, "
            "persistent, but got engine='cu'."
        ),
    ):
        engine.get("cu")


def test_the_reference_refuses_nothing():
    for name in cells.names():
        for precision in ("float32", "float64", "tf32", "bf16"):
            assert reference.Reference().refusal(cells.find(name), "cuda", precision) is None


@pytest.mark.parametrize(
    ("device", "precision", "names", "expected"),
    [
        ("cpu", "float32", ["lstm", "lstm-peephole", "min-gru"], ("cpu", [])),
        ("cuda", "float32", ["min-gru"], ("scan", [])),
        ("cuda", "float32", ["lstm", "min-gru"], ("gpu", [])),
        ("mps", "float32", ["lstm", "gru"], ("native", [])),
        ("mps", "float32", ["lstm", "min-gru"], ("reference", [])),
        (
            "cpu",
            "bf16",
            ["lstm", "lstm-mogrifier"],
            ("cpu", []),
        ),
    ],
)
def test_the_fastest_engine_that_runs_all_cells_is_taken(
    monkeypatch, device, precision, names, expected
):
    """A line is said of a generated engine that was made for the device."""
    for name in ("cpu", "gpu"):  # what they say depends on the processor
        monkeypatch.setattr(engine.get(name), "note", lambda precision: None)
    assert engine.resolve([cells.find(name) for name in names], device, precision) == expected


def test_what_makes_an_engine_slow_is_said_of_the_one_that_is_taken(monkeypatch):
    monkeypatch.setattr(engine.get("gpu"), "note", lambda precision: "engine gpu: slow")
    assert engine.resolve([cells.find("lstm")], "cuda", "float32") == ("gpu", ["engine gpu: slow"])
    assert engine.notes(engine.get("cpu"), "float32") == []


def test_each_reason_is_said_once(monkeypatch):
    monkeypatch.setattr(engine.get("cpu"), "refusal", lambda cell, *_: f"no {cell.name}")
    resolved = engine.resolve(
        [cells.find(name) for name in ("lstm", "gru", "lstm")], "cpu", "float32"
    )
    assert resolved == ("native", ["engine cpu: not used, no lstm; no gru"])


@pytest.mark.parametrize(
    ("device", "names", "refused", "expected"),
    [
        ("cpu", ["lstm", "min-gru"], [], ["cpu", "cpu"]),
        ("cpu", ["lstm", "mgu", "gru"], ["mgu"], ["cpu", "reference", "cpu"]),
        ("cpu", ["lstm", "gru"], ["gru"], ["native", "native"]),
        ("cpu", ["lstm", "mgu"], ["lstm", "mgu"], ["reference", "reference"]),
        ("cuda", ["min-gru", "mgu"], ["mgu"], ["scan", "reference"]),
        ("mps", ["lstm", "mgu"], [], ["reference", "reference"]),
    ],
)
def test_an_arm_that_cannot_be_generated_slows_no_other(
    monkeypatch, device, names, refused, expected
):
    for name, of in (("cpu", "cpu"), ("gpu", "cuda")):
        monkeypatch.setattr(
            engine.get(name),
            "refusal",
            lambda cell, device, *_, of=of: (
                f"no {cell.name}" if device != of or cell.name in refused else None
            ),
        )
        monkeypatch.setattr(engine.get(name), "note", lambda precision: None)
    found, notes = engine.resolve_each([cells.find(name) for name in names], device, "float32")
    assert found == expected
    if len(set(expected)) > 1:
        own = {"cpu": "cpu", "cuda": "gpu"}[device]
        assert notes == [
            f"engine {own}: not used, no mgu; its arms run on reference and the others on "
            f"{found[0]}, and runtimes compare within an engine alone"
        ]


def test_that_no_engine_runs_a_cell_is_a_mistake_of_ours(monkeypatch):
    monkeypatch.setattr(engine, "ENGINES", [e for e in engine.ENGINES if e.name == "native"])
    with pytest.raises(AssertionError, match="the reference engine refuses nothing"):
        engine.resolve([cells.find("lstm-peephole")], "cpu", "float32")


@pytest.mark.parametrize("num_tokens", [4, 500])
def test_the_bias_is_added_where_there_are_fewer_rows_and_the_results_are_the_same(num_tokens):
    """By hand: the products of one-hot rows, and the bias, of three time steps of two streams."""
    layer = Layer(cells.find("gru"), 5, 1, "float64")
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, num_tokens, 15, dtype=torch.float64, generator=generator)
    bias = torch.randn(1, 15, dtype=torch.float64, generator=generator)
    tokens = torch.randint(num_tokens, (3, 1, 2), generator=generator)
    found = reference.input_product(layer, {"W": weight, "b": bias}, tokens)
    one_hot = torch.nn.functional.one_hot(tokens, num_tokens).double()
    assert torch.equal(found, one_hot @ weight[0] + bias[0])
