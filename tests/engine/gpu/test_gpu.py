"""The batched engine against the definition: its launches on a CPU here, and the same on CUDA where
there is one.
"""

import contextlib
import functools
import re

import pytest
import torch
from agreement import ALL_CELLS, assert_agrees, assert_same, case, errors, results
from corner_cells import CORNERS
from odd_cells import ODD_CELLS
from recording import Tape

import cells
from cells import Cell
from harness import engine
from harness.engine.gpu import gpu, trial
from harness.engine.gpu.launches import Piece, Product
from harness.engine.gpu.layout import layout
from harness.engine.tracing.program import OPERATIONS
from harness.engine.tracing.trace import Untraceable

CASES = {
    "a pack of rows": dict(steps=4, runs=5, batch=3, hidden=7, biases=2, inputs="rows"),
    "a batch of tokens": dict(steps=3, runs=1, batch=33, hidden=7, biases=1, inputs="tokens"),
    "one of all": dict(steps=1, runs=1, batch=1, hidden=1, biases=1, inputs="tokens"),
}
ROUNDING = {"tf32": 2**-11, "bf16": 2**-8}
FLOAT32_ERROR = 2e-5  # sums in another order and another exp, amplified over the time steps
# Torch's gradient of a lookup takes one way up to 3072 tokens and another one above.
FEW_AND_MANY_TOKENS = [dict(steps=35, batch=32), dict(steps=70, batch=64)]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class OnCuda:
    """The engine on a GPU, its arguments and results on the CPU."""

    name = "gpu"

    def run(self, layer, parameters, inputs, state):
        engine.allow_tf32(layer.precision)
        parameters = {name: value.cuda() for name, value in parameters.items()}
        outputs, final = gpu.Gpu().run(
            layer, parameters, inputs.cuda(), tuple(s.cuda() for s in state)
        )
        return outputs.cpu(), tuple(s.cpu() for s in final)


@pytest.fixture(autouse=True)
def spoilt_memory(monkeypatch):
    """New buffers hold NaN, so that what is read before it is written shows."""
    monkeypatch.setattr(gpu, "_empty", lambda shape, like: like.new_full(shape, torch.nan))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(engine, "ENGINES", (gpu.Gpu(("cpu", "cuda")), *engine.ENGINES))


@pytest.fixture
def on_cuda(monkeypatch):
    monkeypatch.setattr(engine, "ENGINES", (OnCuda(), *engine.ENGINES))
    yield
    engine.allow_tf32("float32")


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_cell_is_the_definitions(name, kind):
    assert_agrees("gpu", case(name, **CASES[kind]))


@pytest.mark.parametrize("cell", [*CORNERS.values(), *ODD_CELLS.values()])
def test_a_corner_is_the_definitions(cell):
    assert_agrees("gpu", case(cell, runs=2, hidden=5, biases=2))


@pytest.mark.parametrize("name", ["Compared", "MadeOfVectors"])
def test_one_unit_is_enough(name):
    assert_agrees("gpu", case(ODD_CELLS[name], hidden=1))


@pytest.mark.parametrize("of", ["outputs", "final state", "both"])
def test_what_a_loss_does_not_use_has_no_part_in_the_gradients(of):
    """Sums besides: their gradient is one number expanded."""
    given = case("lstm", runs=2)

    def gradients(name):
        leaves = {key: value.clone().requires_grad_() for key, value in given.leaves().items()}
        state = tuple(leaves[f"initial state {k}"] for k in range(len(given.state)))
        parameters = {key: leaves[key] for key in given.parameters}
        outputs, final = engine.get(name).run(given.layer, parameters, leaves["input"], state)
        parts = {
            "outputs": outputs.sum(),
            "final state": final[1].sum(),
            "both": outputs[1].sum() + final[0].sum(),
        }
        return dict(zip(leaves, torch.autograd.grad(parts[of], list(leaves.values())), strict=True))

    ours, theirs = gradients("gpu"), gradients("reference")
    assert max(errors(ours, theirs).values()) < 1e-10


@pytest.mark.parametrize("inputs", ["tokens", "rows"])
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before", "my-full-gate-recurrence"])
def test_operands_are_rounded_as_the_definition_rounds_them(name, precision, inputs):
    given = case(name, runs=2, biases=2, inputs=inputs, scale=0.3).to(precision)
    ours, theirs, exact = (
        results("gpu", given),
        results("reference", given),
        results("reference", given.to("float32")),
    )
    assert max(errors(ours, theirs).values()) < FLOAT32_ERROR
    assert (
        max(errors(exact, theirs).values()) > ROUNDING[precision] / 8
    )  # else the bound would not see the rounding


def test_a_carried_state_carries_on_and_no_gradient_is_needed():
    given = case("lstm", steps=5, runs=2, inputs="tokens")
    run = functools.partial(engine.get("gpu").run, given.layer, given.parameters)
    outputs, final = run(given.inputs, given.state)
    first, carried = run(given.inputs[:2], given.state)
    second, end = run(given.inputs[2:], carried)
    for whole, parts in zip((outputs, *final), (torch.cat([first, second]), *end), strict=True):
        assert whole.grad_fn is None
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_without_gradients_the_results_are_the_same_and_few_time_steps_exist_at_once(monkeypatch):
    given = case("lstm", steps=2 * gpu.STEPS_AT_ONCE + 3, runs=2, inputs="tokens")
    lengths, empty = [], gpu._empty
    monkeypatch.setattr(
        gpu, "_empty", lambda shape, like: lengths.append(shape[1]) or empty(shape, like)
    )
    found, longest = {}, {}
    for wanted in (True, False):
        lengths.clear()
        with torch.set_grad_enabled(wanted):
            outputs, final = engine.get("gpu").run(
                given.layer, given.parameters, given.inputs, given.state
            )
        found[wanted], longest[wanted] = (outputs, *final), max(lengths)
    assert all(torch.equal(*both) for both in zip(found[True], found[False], strict=True))
    assert longest == {True: 2 * gpu.STEPS_AT_ONCE + 4, False: gpu.STEPS_AT_ONCE + 1}


def test_a_run_that_has_become_nan_stays_alone():
    given = case("gru", runs=3, inputs="tokens")
    before = results("gpu", given)
    given.parameters["R"][1] = torch.nan
    after = results("gpu", given)
    for name, value in after.items():
        runs = (
            (value, before[name])
            if value.shape[0] == 3
            else (value.transpose(0, 1), before[name].transpose(0, 1))
        )
        assert runs[0][1].isnan().any(), name
        assert torch.equal(runs[0][[0, 2]], runs[1][[0, 2]]), name


def test_kernels_are_launched_on_the_device_of_their_tensors(monkeypatch):
    """Triton takes the present device and its stream, whatever device its arguments are on."""
    entered, seen = [], []

    @contextlib.contextmanager
    def device_of(tensor):
        entered.append(tensor.device)
        yield
        entered.pop()

    def pieces_for(plan, buffers, like, pieces_for=gpu.pieces_for):
        def bind(piece):
            call = pieces_for(plan, buffers, like)(piece)
            return lambda times: seen.append([*entered]) or call(times)

        return bind

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(gpu, "pieces_for", pieces_for)
    assert_agrees("gpu", case("lstm"))
    assert len(seen) > 5 and {len(devices) for devices in seen} == {1}


def test_a_turn_of_the_units_waits_for_no_device():
    """Python knows by how many, so no value is asked of the device, also without Triton."""
    roll, units = OPERATIONS["roll"].meaning, torch.arange(24.0).view(2, 2, 6)
    for turn in (1.0, 5.0, -2.0, 7.0, 0.0):
        with Tape() as tape:
            tape.result = roll(units, units.new_full((), turn))
        assert torch.equal(roll(units, torch.tensor(turn)), units.roll(int(turn), -1))


def test_what_is_refused():
    lstm = cells.find("lstm")
    assert gpu.Gpu().refusal(lstm, "cpu", "float32") == "it runs on cuda, not on cpu"
    for precision in ("float32", "float64", "tf32", "bf16"):
        assert gpu.Gpu().refusal(lstm, "cuda", precision) is None


class Sorted(Cell):
    name, gates = "sorted", ("h",)

    def step(self, p, x, h):
        return (torch.sort(x.h + p.R(h).h).values,)


class ProductOfOnes(Cell):
    name, gates = "product-of-ones", ("h",)

    def step(self, p, x, h):
        return (torch.tanh(x.h + p.R(torch.ones_like(h)).h * h),)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Sorted, "operation sort"),
        (ProductOfOnes, "a product of what is equal in all units or rows"),
    ],
)
def test_a_step_that_cannot_be_generated_is_refused_in_words(cell, reason):
    assert gpu.Gpu().refusal(cell, "cuda", "float32") == f"{cell.name}: {reason}"
    given = case(cell, hidden=3)
    with pytest.raises(Untraceable, match=re.escape(reason)):
        given.run("gpu")


def test_the_launches_of_a_time_step():
    """By hand, for lstm: a product and a piece forward, a piece and a product backward; nothing is
    copied between.
    """
    plan = layout(case("lstm").layer)
    assert [type(step) for step in plan.forward] == [Product, Piece]
    assert [type(step) for step in plan.backward] == [Piece, Product]
    assert [len(terms) for terms in plan.outers.values()] == [1]
    forward, backward = plan.buffers
    kept = [b for b in forward.values() if b.name in backward and b.outlives]
    assert sorted(b.name for b in kept if not b.name.startswith("kept")) == ["state.0", "state.1"]
    assert len(kept) == 2 + 5  # design: lstm keeps 5 values a unit and step besides its states
    assert set(backward) - set(forward) == {"gradient", "carry.0", "carry.1", "stack.0"}


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_cell_on_cuda_is_the_definitions(name, kind, on_cuda):
    assert_agrees("gpu", case(name, **CASES[kind]))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_cell_on_cuda_in_float32_is_the_definitions(name, on_cuda):
    given = case(name, scale=0.5, **CASES["a pack of rows"]).to("float32")
    assert (
        max(errors(results("gpu", given), results("reference", given)).values())
        < 10 * FLOAT32_ERROR
    )


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("cell", [*CORNERS.values(), *ODD_CELLS.values()])
def test_a_corner_on_cuda_is_the_definitions(cell, on_cuda):
    assert_agrees("gpu", case(cell, runs=2, hidden=5, biases=2))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
def test_a_layer_on_a_second_device_is_the_definitions(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor.to("cuda:1"))
    monkeypatch.setattr(engine, "ENGINES", (OnCuda(), *engine.ENGINES))
    assert_agrees("gpu", case("lstm", runs=2))


@pytest.mark.gpu
@needs_cuda
def test_cuda_without_triton_is_right_too(on_cuda, monkeypatch):
    monkeypatch.setattr(trial, "failure", lambda: "it is not wanted")
    assert_agrees("gpu", case(ODD_CELLS["MadeOfVectors"], runs=2))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ROUNDING)
def test_cuda_rounds_operands_as_the_definition_on_a_cpu_does(precision, on_cuda):
    given = case("gru", runs=2, biases=2, hidden=32, batch=16, scale=0.3).to(precision)
    found = errors(results("gpu", given), results("reference", given))
    assert (
        max(found.values()) < 8 * ROUNDING[precision]
    )  # CUDA's own conversion to tf32 breaks ties otherwise


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("shape", FEW_AND_MANY_TOKENS)
def test_cuda_gives_the_same_bits_twice(shape, on_cuda):
    given = case("lstm", runs=2, hidden=64, biases=2, inputs="tokens", **shape).to("float32")
    assert_same(results("gpu", given), results("gpu", given))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("shape", FEW_AND_MANY_TOKENS)
def test_a_captured_update_replays_on_new_numbers(shape):
    given = case("lstm", runs=2, hidden=64, biases=2, inputs="tokens", scale=0.2, **shape).to(
        "float32"
    )
    leaves = {name: value.cuda().requires_grad_() for name, value in given.parameters.items()}
    tokens, state = given.inputs.cuda(), tuple(s.cuda() for s in given.state)

    def update():
        outputs, final = gpu.Gpu().run(given.layer, leaves, tokens, state)
        gradients = torch.autograd.grad(
            (outputs * outputs).sum() + final[1].sum(), list(leaves.values())
        )
        return {"outputs": outputs.detach(), **dict(zip(leaves, gradients, strict=True))}

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        before = update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = update()
    with torch.no_grad():
        leaves["R"].mul_(0.5)
        tokens.copy_(tokens.flip(0))
    graph.replay()
    assert max(errors(captured, update()).values()) < FLOAT32_ERROR
    assert max(errors(captured, before).values()) > 100 * FLOAT32_ERROR
