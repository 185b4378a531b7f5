"""The generated C++ against the definition, for every cell; and what a run's numbers must not
depend on.
"""

import platform
from dataclasses import replace

import pytest
import torch
from agreement import (
    ALL_CELLS,
    TWO_BIASES,
    I,
    assert_agrees,
    assert_same,
    case,
    errors,
    random,
    results,
    with_leaves,
)
from corner_cells import CORNERS

import cells
from harness import engine
from harness.engine import Layer
from harness.engine.cpu import compiler, cpu
from harness.engine.cpu.products import cross_entropy

FEW = [
    "lstm",
    "gru-reset-before",
    "lstm-peephole",
    "lstm-layer-norm",
]  # what a schedule may hold, once each
SHAPES = [(1, 1, 1, 1), (4, 5, 3, 7), (3, 1, 33, 33)]  # T, N, B, H

BOUNDS = {
    # A step rounds some ten times, by 6e-8, and the state forgets: 5e-7 was the largest seen.
    "outputs": 2e-6,
    "final state": 2e-6,  # likewise; 3e-7
    "gradient of input": 2e-6,  # one step's cotangents through one product; 4e-7
    "gradient of initial state": 3e-6,  # what is left after all steps; 6e-7
    "gradient of": 3e-6,  # a sum over all steps and rows, of both signs; 6e-7
}
"""float32 beside the definition in float64: quantity -> largest difference over the tensor's
largest value.
"""


EXPONENTIALS = ("exprnn", "lru")
"""Cells that multiply with exponentials of their parameters, which float32 rounds before the first
step: the definition in float32 is as far from that in float64.
"""


def bound_of(name):
    return next(bound for start, bound in BOUNDS.items() if name.startswith(start))


@pytest.mark.parametrize("kind", ["rows", "tokens"])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_float64_is_the_definition(name, kind):
    for biases in (1, 2) if name in TWO_BIASES else (1,):
        for steps, runs, batch, hidden in SHAPES:
            sizes = dict(steps=steps, runs=runs, batch=batch, hidden=hidden)
            assert_agrees("cpu", case(name, biases=biases, inputs=kind, **sizes))


@pytest.mark.parametrize("name", FEW[:3])
def test_float64_is_the_definition_at_an_ordinary_size(name):
    assert_agrees(
        "cpu", case(name, steps=3, runs=1, batch=33, hidden=256, scale=0.06, inputs="tokens")
    )


def test_float32_follows_the_definition_in_float64():
    """Every cell within its bound; and the bounds are near what is seen, or they could not fail."""
    largest = dict.fromkeys(BOUNDS, 0.0)
    for name in ALL_CELLS:
        for kind in ("tokens", "rows"):
            given = case(name, steps=20, batch=4, hidden=33, scale=0.2, inputs=kind).to("float32")
            exact = results("reference", given.to("float64"))
            found = errors(results("cpu", given), exact)
            if name in EXPONENTIALS:
                rounded = errors(results("reference", given), exact)
                for quantity, error in found.items():
                    assert error < max(1.5 * rounded[quantity], bound_of(quantity)), (
                        f"{name}, {kind}: {quantity} differs by {error:.1e}"
                    )
                continue
            for quantity, error in found.items():
                assert error < bound_of(quantity), (
                    f"{name}, {kind}: {quantity} differs by {error:.1e}"
                )
                start = next(start for start in BOUNDS if quantity.startswith(start))
                largest[start] = max(largest[start], error)
    assert all(largest[start] > bound / 30 for start, bound in BOUNDS.items()), largest


def test_results_have_the_dtype_of_the_parameters():
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        found = results("cpu", case("gru").to(precision))
        assert {value.dtype for value in found.values()} == {dtype}


@pytest.fixture
def nan_everywhere(monkeypatch):
    """All memory is NaN before its use: what calls borrow, and what torch gives them."""
    take = cpu.memory.take

    def spoilt(num_bytes):
        block = take(num_bytes)
        block.fill_(0xFF)  # a NaN in float32 and in float64
        return block

    def enter():
        monkeypatch.setattr(cpu.memory, "take", spoilt)
        torch.use_deterministic_algorithms(True)  # fills what is not initialised

    yield enter
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["tokens", "rows"])
def test_no_result_depends_on_what_the_memory_held(nan_everywhere, precision, kind):
    given = [case(name, runs=2, hidden=7, inputs=kind).to(precision) for name in ALL_CELLS]
    expected = [results("cpu", one) for one in given]
    nan_everywhere()
    for one, before in zip(given, expected, strict=True):
        assert_same(results("cpu", one), before)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", FEW)
def test_a_run_of_a_pack_is_bit_for_bit_that_run_alone(name, kind, precision):
    given = case(name, runs=5, batch=3, hidden=33, inputs=kind, scale=0.3).to(precision)
    outputs, final = given.run("cpu")
    for n in range(5):
        own_outputs, own_final = given.alone(n).run("cpu")
        assert torch.equal(own_outputs, outputs[:, n : n + 1])
        assert all(torch.equal(a, b[n : n + 1]) for a, b in zip(own_final, final, strict=True))
    assert not torch.equal(outputs[:, 0], outputs[:, 1])


@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", FEW)
def test_gradients_of_a_run_of_a_pack_are_bit_for_bit_those_of_that_run_alone(name, kind):
    """By weights that are equal for all runs: one run's are then those that `results` gives it
    alone.
    """
    given = case(name, runs=5, batch=3, hidden=33, inputs=kind, scale=0.3).to("float32")
    together = gradients(given)
    for n in range(5):
        alone = gradients(given.alone(n))
        assert_same(
            alone, {key: v.narrow(1 if key == "input" else 0, n, 1) for key, v in together.items()}
        )


def gradients(
    given,
    engine="cpu",
    weigh=lambda outputs, final: outputs.sum() + sum((s * s).sum() for s in final),
):
    """The gradient of everything that has one, by name."""
    leaves = {name: value.detach().requires_grad_() for name, value in given.leaves().items()}
    own = with_leaves(given, leaves)
    found = torch.autograd.grad(
        weigh(*own.run(engine)), list(leaves.values()), materialize_grads=True, allow_unused=True
    )
    return dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_carried_state_carries_on_bit_for_bit(name, kind):
    given = case(name, steps=5, runs=2, hidden=7, inputs=kind).to("float32")
    outputs, final = given.run("cpu")
    first, carried = replace(given, inputs=given.inputs[:2]).run("cpu")
    second, end = replace(given, inputs=given.inputs[2:], state=carried).run("cpu")
    assert torch.equal(torch.cat([first, second]), outputs)
    assert all(torch.equal(a, b) for a, b in zip(end, final, strict=True))


@pytest.mark.parametrize("name", ALL_CELLS)
def test_without_gradients_the_outputs_are_bit_for_bit_those_with_them(name):
    given = case(name, runs=2, hidden=7).to("float32")
    expected = results("cpu", given)
    with torch.no_grad():
        outputs, final = with_leaves(
            given, {k: v.detach().requires_grad_() for k, v in given.leaves().items()}
        ).run("cpu")
    assert not outputs.requires_grad
    assert torch.equal(outputs, expected["outputs"])
    assert all(torch.equal(s, expected[f"final state {k}"]) for k, s in enumerate(final))


@pytest.mark.parametrize("kind", ["tokens", "rows"])
def test_arguments_need_not_be_contiguous(kind):
    given = case("lstm-peephole", runs=2, batch=3, hidden=7, inputs=kind)

    def turned(value):
        return value.transpose(0, -1).contiguous().transpose(0, -1)

    strange = replace(
        given,
        parameters={name: turned(value) for name, value in given.parameters.items()},
        inputs=turned(given.inputs),
        state=tuple(turned(s) for s in given.state),
    )
    assert not any(
        t.is_contiguous() for t in (*strange.parameters.values(), strange.inputs, *strange.state)
    )
    assert_same(results("cpu", strange), results("cpu", given))


def test_one_tensor_may_be_two_arguments():
    """An expanded state, the same tensor twice, and parameters of a pack that are one run's."""
    one = case("lstm", runs=1, batch=1, hidden=7)
    wide = case("lstm", runs=3, batch=2, hidden=7)
    state = torch.zeros(1, 1, 7, dtype=torch.float64).expand(3, 2, 7)
    parameters = {name: value.expand(3, *value.shape[1:]) for name, value in one.parameters.items()}
    assert_agrees("cpu", replace(wide, parameters=parameters, state=(state, state)))


def test_only_what_is_asked_for_has_a_gradient():
    given = case("lstm-peephole", runs=2, hidden=7)
    everything = gradients(given)
    for asked in given.leaves():
        leaf = given.leaves()[asked].detach().requires_grad_()
        outputs, final = with_leaves(given, {asked: leaf}).run("cpu")
        (found,) = torch.autograd.grad(outputs.sum() + sum((s * s).sum() for s in final), [leaf])
        assert torch.equal(found, everything[asked]), asked


@pytest.mark.parametrize(
    "weigh",
    [
        lambda outputs, final: (outputs * outputs).sum(),
        lambda outputs, final: outputs[1].sum(),
        lambda outputs, final: (final[0] * final[0]).sum(),
        lambda outputs, final: (final[1] * final[1]).sum(),
    ],
    ids=["outputs", "one output", "the final h", "the final c"],
)
def test_what_the_loss_leaves_out_has_no_gradient(weigh):
    given = case("lstm-peephole", runs=2, hidden=7)
    ours, theirs = (gradients(given, engine, weigh) for engine in ("cpu", "reference"))
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-10, atol=1e-12)
    assert all(value.any() for value in theirs.values())


def test_a_gradient_may_be_taken_once():
    leaf = (given := case("gru")).parameters["R"].detach().requires_grad_()
    outputs, _ = with_leaves(given, {"R": leaf}).run("cpu")
    torch.autograd.grad(outputs.sum(), [leaf], retain_graph=True)
    with pytest.raises(
        RuntimeError,
        match="a layer's gradient can be taken once: its memory has gone to the next call",
    ):
        torch.autograd.grad(outputs.sum(), [leaf])


def test_a_gradient_has_no_gradient():
    leaf = (given := case("gru")).parameters["R"].detach().requires_grad_()
    outputs, _ = with_leaves(given, {"R": leaf}).run("cpu")
    (found,) = torch.autograd.grad((outputs * outputs).sum(), [leaf], create_graph=True)
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        found.sum().backward()


def test_tokens_that_come_often_add_up_in_one_order():
    given = replace(case("lstm", steps=40, batch=8, hidden=33, inputs="tokens").to("float32"))
    given = replace(given, inputs=given.inputs % 2)  # I - 2 rows of W that no token reads
    first = gradients(given)["W"]
    assert all(torch.equal(gradients(given.on_threads(k))["W"], first) for k in (1, 2, 3))
    assert not first[:, 2:].any() and first[:, :2].all()


@pytest.mark.parametrize(
    "name", ["NewStateIntoProduct", "RowAcrossProduct", "VectorThroughSigmoid", "ConstantState"]
)
def test_corners_in_a_pack_on_nan_and_on_threads(nan_everywhere, name):
    given = case(CORNERS[name], runs=2, hidden=7)
    expected = results("cpu", given)
    nan_everywhere()
    assert_same(results("cpu", given.on_threads(2)), expected)


# What is refused.


@pytest.mark.parametrize(
    ("device", "precision", "refusal"),
    [
        ("cuda", "float32", "it runs on a CPU, not on cuda"),
        ("cpu", "tf32", None),
        ("cpu", "bf16", None),
        ("cpu", "float32", None),
        ("cpu", "float64", None),
    ],
)
def test_what_is_refused(device, precision, refusal):
    assert engine.get("cpu").refusal(cells.find("lstm"), device, precision) == refusal


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="subnormal numbers cost nothing here"
)
def test_subnormal_numbers_count_as_zero_in_compiled_code_and_nowhere_else():
    rows, weight = torch.full((1, 1, 16), 1e-30), torch.full((1, 16, 2), 1e-10)
    gradients = torch.full((1, 1, 16), 7.0), torch.empty(1, 16, 2), torch.empty(1, 2)
    cross_entropy(
        rows,
        weight,
        torch.zeros(1, 2),
        torch.zeros(1, 1, dtype=torch.int64),
        None,
        1e-10,
        gradients,
    )
    assert gradients[1].abs().max() == 0  # 1e-30 * 0.5e-10
    assert (torch.full((64,), 1e-30) * 1e-10).min() > 0


@pytest.mark.parametrize("token", [-1, I])
def test_a_token_that_is_none_is_refused_before_memory_is_touched(token):
    lstm = cells.find("lstm")
    layer = Layer(lstm, 4, 1, "float64")
    parameters = {s.name: random((1, *s.shape(4)), 0) for s in lstm.parameters(I, 4, 1)}
    tokens, state = torch.full((2, 1, 3), token), tuple(random((1, 3, 4), 1) for _ in lstm.state)
    with pytest.raises(IndexError, match=rf"^token: must lie in 0 to {I - 1}, but got {token}\.$"):
        engine.get("cpu").run(layer, parameters, tokens, state)
    with pytest.raises(IndexError, match=r"^target: must lie in 0 to 3, but got 4\.$"):
        cross_entropy(
            *(random(s, 2) for s in ((1, 2, 3), (1, 3, 4), (1, 4))),
            torch.tensor([[0, 4]]),
            None,
            1.0,
            None,
        )


@pytest.mark.parametrize("name", ALL_CELLS)
def test_no_cell_is_exempt(name):
    assert engine.get("cpu").refusal(cells.find(name), "cpu", "float32") is None
    assert engine.resolve([cells.find(name)], "cpu", "float32") == ("cpu", [])


def test_code_that_does_not_compile_is_a_reason(monkeypatch):
    def refuse(layer):
        raise compiler.CompileError("g++ must compile products, but said: no.\nMore.")

    monkeypatch.setattr(cpu, "code_for", refuse)
    assert (
        engine.get("cpu").refusal(cells.find("lstm"), "cpu", "float32")
        == "g++ must compile products, but said: no."
    )


def test_random_arguments_are_random():
    """Or equality bit for bit would prove little."""
    assert len(random((I, I), 0).unique()) == I * I


@pytest.mark.parametrize("what", ["inputs", "state", "W", "R"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_compiled_code_reads_no_numbers_of_another_kind(what, dtype):
    """It takes addresses: what is shorter than it thinks would end the process."""
    given = case("lstm", batch=64, hidden=64)
    if what in ("W", "R"):
        given.parameters[what] = given.parameters[what].to(dtype)
    elif what == "state":
        given = replace(given, state=(given.state[0], given.state[1].to(dtype)))
    else:
        given = replace(given, inputs=given.inputs.to(dtype))
    name = {"state": "c"}.get(what, what)
    with pytest.raises(ValueError, match=f"{name} must be of torch.float64 on the cpu, but got"):
        given.run("cpu")
