"""Scans against the definition: outputs, final state and all gradients, of every cell that is
linear in its state.
"""

import pathlib

import pytest
import torch
from linear_cells import LINEAR, POSITIVE, made
from tolerances import assert_close

import cells
from harness.engine.base import Layer, initial_state
from harness.engine.reference import Reference
from harness.engine.scan.affine import NotLinear
from harness.engine.scan.scan import Scan, ScanLog, scan

cells.load_file(pathlib.Path(__file__).parents[2] / "user_cells.py")
REGISTERED = ("min-gru", "min-lstm", "t-rnn", "rg-lru")
CELLS = [*(cells.find(name) for name in REGISTERED), *LINEAR.values()]
POSITIVE_CELLS = [cells.find("min-gru"), cells.find("min-lstm"), *POSITIVE.values()]
SHAPES = [(1, 1, 2, 1), (2, 5, 1, 7), (35, 1, 3, 7), (36, 5, 2, 1), (1000, 5, 1, 7)]  # T, N, B, H
I = 4

of_each = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
of_each_positive = pytest.mark.parametrize("cell", POSITIVE_CELLS, ids=lambda cell: cell.name)


@pytest.fixture(params=["steps", "tree"])
def form(request, monkeypatch):
    """Which of the two ways through time is taken, whatever the sizes."""
    monkeypatch.setattr(
        "harness.engine.scan.scan.STEPS_FROM", 0 if request.param == "steps" else 10**9
    )
    return request.param


def random(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def arguments(cell, steps, runs, batch, hidden, dtype=torch.float64):
    """Parameters, inputs by kind, a state and the start.

    Both kinds are rows for a cell that reads its input.
    """
    width = hidden if cell.reads_input else I
    specs = cell.parameters(width, hidden, 1)
    parameters = {
        spec.name: 0.7 * random((runs, *spec.shape(hidden)), k, dtype)
        for k, spec in enumerate(specs)
    }
    rows = random((steps, runs, batch, width), 70, dtype)
    tokens = torch.randint(I, (steps, runs, batch), generator=torch.Generator().manual_seed(60))
    state = tuple(random((runs, batch, hidden), 50 + k, dtype) for k in range(len(cell.state)))
    start = initial_state(cell, runs, batch, hidden, parameters["W"])
    return parameters, {"tokens": rows if cell.reads_input else tokens, "rows": rows}, state, start


def results(engine, cell, parameters, inputs, state, precision="float64"):
    """Outputs, final state and all gradients of a fixed weighting of them, by name."""
    leaves = {**parameters, **{f"initial state {k}": s for k, s in enumerate(state)}}
    leaves |= {"input": inputs} if inputs.is_floating_point() else {}
    leaves = {key: value.detach().requires_grad_() for key, value in leaves.items()}
    outputs, final = engine.run(
        Layer(cell, state[0].shape[-1], 1, precision),
        {key: leaves[key] for key in parameters},
        leaves.get("input", inputs),
        tuple(leaves[f"initial state {k}"] for k in range(len(state))),
    )
    found = {"outputs": outputs, **{f"final state {k}": s for k, s in enumerate(final)}}
    total = sum((random(v.shape, 80 + k, v.dtype) * v).sum() for k, v in enumerate(found.values()))
    gradients = torch.autograd.grad(
        total, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return found | {
        f"gradient of {key}": value for key, value in zip(leaves, gradients, strict=True)
    }


def assert_equal(engine, cell, parameters, inputs, state, precision="float64"):
    ours, theirs = (
        results(e, cell, parameters, inputs, state, precision) for e in (engine, Reference())
    )
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert value.isfinite().all(), key
        assert_close(ours[key], value, key)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@of_each
def test_scan_is_the_step_form_from_a_carried_state_and_from_the_start(cell, shape, form):
    parameters, inputs, state, start = arguments(cell, *shape)
    assert_equal(Scan(), cell, parameters, inputs["rows"], state)
    assert_equal(Scan(), cell, parameters, inputs["tokens"], start)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@of_each_positive
def test_logarithms_are_the_step_form_from_a_positive_state_and_from_0(cell, shape, form):
    parameters, inputs, state, start = arguments(cell, *shape)
    assert not any(s.any() for s in start)
    assert_equal(ScanLog(), cell, parameters, inputs["rows"], tuple(s.abs() for s in state))
    assert_equal(ScanLog(), cell, parameters, inputs["tokens"], start)


@pytest.mark.parametrize("engine", [Scan(), ScanLog()], ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", ["min-gru", "min-lstm"])
def test_min_cells_by_scan_are_those_by_steps_in_two_parts_too(name, engine):
    """A carried state enters as it is, and not through the candidate's activation again."""
    cell = cells.find(name)
    parameters, inputs, _, start = arguments(cell, 35, 2, 3, 7)
    layer = Layer(cell, 7, 1, "float64")
    outputs, final = Reference().run(layer, parameters, inputs["rows"], start)
    first, carried = engine.run(layer, parameters, inputs["rows"][:20], start)
    second, end = engine.run(layer, parameters, inputs["rows"][20:], carried)
    for whole, parts in zip((outputs, *final), (torch.cat([first, second]), *end), strict=True):
        assert_close(parts, whole)


@of_each
def test_scan_is_the_step_form_in_float32(cell, form):
    parameters, inputs, state, _ = arguments(cell, 20, 2, 3, 7, torch.float32)
    assert_equal(Scan(), cell, parameters, inputs["rows"], state, "float32")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@of_each
def test_the_input_product_is_rounded_as_in_the_definition(cell, precision):
    """Forward: the gradient is rounded too, where a difference of one bit may become one of the
    coarser step.
    """
    parameters, inputs, state, _ = arguments(cell, 20, 2, 3, 7, torch.float32)
    layer = Layer(cell, 7, 1, precision)
    ours, theirs = (
        engine.run(layer, parameters, inputs["rows"], state) for engine in (Scan(), Reference())
    )
    for one, other in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("size", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 64])
def test_a_coefficient_of_any_size_and_sign(size, steps, form):
    b, start = random((steps, 2, 3, 4), 1), random((2, 3, 4), 2)
    a = torch.full_like(b, size)
    for reverse in (False, True):
        found, expected = scan(a, b, start, reverse=reverse), []
        for b_t in b.unbind(0)[:: -1 if reverse else 1]:
            expected.append(size * (expected[-1] if expected else start) + b_t)
        assert_close(found, torch.stack(expected[:: -1 if reverse else 1]))


def test_no_time_step_at_all(form):
    assert scan(torch.ones(0, 1, 1, 2), torch.ones(0, 1, 1, 2), torch.ones(1, 1, 2)).shape == (
        0,
        1,
        1,
        2,
    )


def test_the_arguments_stay_as_they_were(form):
    a, b, start = random((9, 1, 2, 3), 0), random((9, 1, 2, 3), 1), random((1, 2, 3), 2)
    kept = [value.clone() for value in (a, b, start)]
    scan(a, b, start)
    scan(a, b, start, reverse=True)
    assert all(torch.equal(value, was) for value, was in zip((a, b, start), kept, strict=True))


def test_a_run_of_a_pack_is_that_run_alone_and_its_neighbours_do_not_matter(form):
    cell = cells.find("min-lstm")
    parameters, inputs, state, _ = arguments(cell, 12, 3, 2, 7)
    layer = Layer(cell, 7, 1, "float64")
    spoilt = {key: value.clone() for key, value in parameters.items()}
    for value in spoilt.values():
        value[1] = torch.nan
    outputs, _ = Scan().run(layer, parameters, inputs["tokens"], state)
    beside, _ = Scan().run(layer, spoilt, inputs["tokens"], state)
    assert beside[:, 1].isnan().all()
    assert torch.equal(beside[:, [0, 2]], outputs[:, [0, 2]])
    own = {key: value[2:] for key, value in parameters.items()}
    alone, _ = Scan().run(layer, own, inputs["tokens"][:, 2:], tuple(s[2:] for s in state))
    assert_close(alone, outputs[:, 2:])


def saturated(name, **codes):
    """A min cell of one unit whose gates have the given codes at all of 1000 time steps, from h =
    2.
    """
    cell = cells.find(name)
    weight = torch.tensor([[[codes[gate] for gate in cell.gates]]], dtype=torch.float64)
    parameters = {"W": weight, "b": torch.zeros(1, len(cell.gates), dtype=torch.float64)}
    tokens = torch.zeros(1000, 1, 1, dtype=torch.int64)
    return cell, parameters, tokens, (torch.full((1, 1, 1), 2.0, dtype=torch.float64),)


@pytest.mark.parametrize("engine", [Scan(), ScanLog()], ids=lambda engine: engine.name)
@pytest.mark.parametrize("z", [-1000.0, -40.0, 0.0, 40.0, 1000.0])
def test_a_product_of_many_coefficients_may_underflow(z, engine, form):
    """1 - z is 1, nearly 1, 1/2, nearly 0 and 0; its product over 1000 steps is 1 or 0, and nothing
    is NaN.
    """
    assert_equal(engine, *saturated("min-gru", z=z, n=1.0))


def test_logarithms_need_no_sum_of_gates_that_underflow():
    """f = i = 0 to the last bit, and yet each weighs a half: h' = h / 2 + n / 2."""
    given = saturated("min-lstm", f=-1000.0, i=-1000.0, n=0.5)
    found = results(ScanLog(), *given)
    assert all(value.isfinite().all() for value in found.values())
    assert found["outputs"].flatten()[:3].tolist() == pytest.approx([1.5, 1.25, 1.125])
    assert results(Reference(), *given)["outputs"].isnan().all()


def test_a_state_below_0_has_no_logarithm():
    cell, parameters, tokens, (start,) = saturated("min-gru", z=0.0, n=1.0)
    assert (
        ScanLog().run(Layer(cell, 1, 1, "float64"), parameters, tokens, (-start,))[0].isnan().all()
    )


def test_the_cells_of_the_registry_that_scan_runs_are_those_that_are_linear():
    runs = [
        name for name in cells.names() if Scan().refusal(cells.find(name), "cpu", "float32") is None
    ]
    assert set(runs) == {*REGISTERED, "my-t-rnn"}
    positive = [
        name
        for name in cells.names()
        if ScanLog().refusal(cells.find(name), "cpu", "float32") is None
    ]
    assert positive == ["min-gru", "min-lstm"]


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bf16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_device_and_precision_will_do(device, precision):
    assert Scan().refusal(cells.find("min-gru"), device, precision) is None
    assert ScanLog().refusal(cells.find("min-gru"), device, precision) is None


@pytest.mark.parametrize(
    ("engine", "cell", "refusal"),
    [
        (
            Scan(),
            cells.find("lstm"),
            "lstm is not linear in its state: it has a recurrent product, R",
        ),
        (Scan(), cells.find("sru"), "sru is not linear in its state: sigmoid of c"),
        (
            Scan(),
            made(lambda p, x, h: (h.tanh() * x.a,)),
            "made is not linear in its state: tanh of h",
        ),
        (
            ScanLog(),
            cells.find("lstm"),
            "lstm has no form in logarithms: it has a recurrent product, R",
        ),
        (
            ScanLog(),
            cells.find("t-rnn"),
            "t-rnn has no form in logarithms: the offset of h is not known to be positive",
        ),
        (
            ScanLog(),
            type("Below", (cells.find("min-gru"),), {"start": {"h": -1.0}}),
            "min-gru has no form in logarithms: h starts below 0",
        ),
    ],
)
def test_what_is_refused(engine, cell, refusal):
    assert engine.refusal(cell, "cpu", "float64") == refusal


@pytest.mark.parametrize("engine", [Scan(), ScanLog()], ids=lambda engine: engine.name)
def test_what_is_refused_does_not_run(engine):
    parameters, inputs, state, _ = arguments(cells.find("indrnn"), 3, 1, 2, 3)
    with pytest.raises(NotLinear, match="of h$"):
        engine.run(Layer(cells.find("indrnn"), 3, 1, "float64"), parameters, inputs["rows"], state)
