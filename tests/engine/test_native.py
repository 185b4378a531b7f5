"""torch.nn's own modules against the definition, for every cell that has one."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from agreement import I, assert_agrees, assert_same, case, results
from tolerances import assert_close
from torch.multiprocessing.reductions import StorageWeakRef

import cells
from harness.engine import Layer, get, native, rounding

CELLS = [name for name in cells.names() if cells.find(name).reference]
SHAPES = [(1, 1, 1, 1), (4, 1, 3, 4), (3, 3, 2, 5), (1, 3, 1, 7)]  # T, N, B, H


@pytest.mark.parametrize("kind", ["tokens", "rows"])
@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CELLS)
def test_native_equals_the_definition(name, shape, biases, kind):
    steps, runs, batch, hidden = shape
    given = case(
        name,
        steps=steps,
        runs=runs,
        batch=batch,
        hidden=hidden,
        biases=biases,
        inputs=kind,
        scale=1,
    )
    assert_agrees("native", given)


@pytest.mark.parametrize("name", CELLS)
def test_native_equals_the_definition_in_float32(name):
    given = case(
        name, steps=6, runs=2, hidden=4, inputs="tokens", scale=0.3
    )  # large ones amplify every rounding
    ours, theirs = (results(engine, given.to("float32")) for engine in ("native", "reference"))
    for key, value in theirs.items():
        assert_close(ours[key], value, key)


@pytest.mark.parametrize("name", CELLS)
def test_a_carried_state_carries_on(name):
    given = case(name, steps=5, runs=2, hidden=4, inputs="tokens")
    outputs, final = given.run("native")
    first, carried = replace(given, inputs=given.inputs[:2]).run("native")
    second, end = replace(given, inputs=given.inputs[2:], state=carried).run("native")
    for whole, parts in zip((outputs, *final), (torch.cat([first, second]), *end), strict=True):
        assert_close(parts, whole)


@pytest.mark.parametrize("name", CELLS)
def test_nothing_of_a_call_outlives_its_tape(name):
    """Torch's module, which is kept, would hold its weights, and these all of a pack's."""
    given, engine = case(name, runs=2, hidden=4).to("float32"), get("native")
    tape = engine.forward(given.layer, given.parameters, given.inputs, given.state)
    gradients = {key: torch.empty_like(value) for key, value in given.parameters.items()}
    tape.backward(torch.ones_like(tape.outputs), gradients, inputs=False)
    held = [StorageWeakRef(value.untyped_storage()) for value in given.parameters.values()]
    del given, tape, gradients
    assert all(reference.expired() for reference in held)


def test_nothing_of_a_call_that_fails_is_kept():
    """As one for which memory was short, whose pack is tried again in halves."""
    given, engine = case("lstm", hidden=4).to("float32"), get("native")
    wrong = tuple(value[..., :-1] for value in given.state)
    with pytest.raises(RuntimeError, match="hidden"):
        engine.forward(given.layer, given.parameters, given.inputs, wrong)
    held = [StorageWeakRef(value.untyped_storage()) for value in given.parameters.values()]
    module = native.module_for(given.layer, given.parameters["W"].shape[1])
    assert not any(isinstance(value, torch.Tensor) for value in module._flat_weights)
    del given
    assert all(reference.expired() for reference in held)


@pytest.mark.parametrize(
    ("name", "device", "precision", "refusal"),
    [
        ("lstm-coupled", "cpu", "float32", "torch.nn has no lstm-coupled"),
        ("lstm", "cpu", "bf16", "torch.nn does not round its operands to bf16 on cpu"),
        ("lstm", "cuda", "bf16", "torch.nn does not round its operands to bf16 on cuda"),
        ("lstm", "cpu", "tf32", "torch.nn does not round its operands to tf32 on cpu"),
        ("lstm", "cuda", "tf32", None),
        ("gru", "cpu", "float64", None),
    ],
)
def test_what_is_refused(name, device, precision, refusal):
    assert get("native").refusal(cells.find(name), device, precision) == refusal


@pytest.mark.parametrize(
    ("has_such_products", "refusal"),
    [(True, None), (False, "torch.nn does not round its operands to tf32 on cuda")],
)
def test_tf32_is_refused_on_a_gpu_without_it(monkeypatch, has_such_products, refusal):
    """It comes with products of bf16, from compute capability 8.0 on."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(rounding, "_multiplies_bf16", lambda: has_such_products)
    assert get("native").refusal(cells.find("lstm"), "cuda", "tf32") == refusal


def test_weights_go_to_torchs_own_module_unchanged():
    """By torch.nn's own road, loading a state dict, and not by a functional call."""
    given = case("lstm", hidden=4, biases=2)
    module = torch.nn.LSTM(I, 4, dtype=torch.float64)
    module.load_state_dict(
        native.to_torch(given.layer, {key: value[0] for key, value in given.parameters.items()})
    )
    expected, _ = module(given.inputs[:, 0], given.state)
    outputs, _ = given.run("native")
    assert_close(outputs[:, 0], expected)


def test_a_bias_that_a_cell_lacks_is_zero_in_torchs_layout():
    lacking = type("Lacking", (cells.find("lstm"),), {"unbiased": ("f",)})
    layer = Layer(lacking, 2, 2, "float64")
    parameters = {spec.name: torch.ones(spec.shape(2)) for spec in lacking.parameters(I, 2, 2)}
    found = native.to_torch(layer, parameters)
    assert found["bias_ih_l0"].tolist() == found["bias_hh_l0"].tolist() == [1, 1, 0, 0, 1, 1, 1, 1]


def test_each_thread_has_a_module_of_its_own_and_keeps_it():
    layer = Layer(cells.find("lstm"), 4, 1, "float64")
    met = {}
    both = threading.Barrier(2)

    def look(key):
        both.wait(120)
        met[key] = [native.module_for(layer, I), native.module_for(layer, I)]
        both.wait(120)

    in_threads(look, "ab")
    assert met["a"][0] is met["a"][1]
    assert met["b"][0] is met["b"][1]
    assert met["a"][0] is not met["b"][0]


def test_two_threads_at_once_compute_what_they_compute_one_after_the_other():
    given = {
        key: case("gru", steps=6, runs=2, hidden=4, biases=2, inputs="tokens", seed=200 * k)
        for k, key in enumerate("ab")
    }
    alone = {key: results("native", one) for key, one in given.items()}
    rounds, start, found = 40, threading.Barrier(2), {"a": [], "b": []}

    def compute(key):
        start.wait(120)
        for _ in range(rounds):
            found[key].append(results("native", given[key]))

    in_threads(compute, "ab")
    for key, expected in alone.items():
        assert len(found[key]) == rounds
        for one in found[key]:
            assert_same(one, expected)


@pytest.fixture
def interleaved(monkeypatch):
    """A torch.nn.GRU in whose calls thread b enters while a is inside, and a leaves while b is
    inside.
    """
    entered, left = {"a": threading.Event(), "b": threading.Event()}, threading.Event()

    class Interleaved(torch.nn.GRU):
        def forward(self, *arguments):
            key = threading.current_thread().name
            entered[key].set()
            assert (entered["b"] if key == "a" else left).wait(120)
            return super().forward(*arguments)

    monkeypatch.setattr(torch.nn, "GRU", Interleaved)
    native._module.cache_clear()
    yield entered, left
    native._module.cache_clear()


@pytest.mark.parametrize("shared", [False, True])
def test_interleaved_calls_are_right_because_no_module_is_shared(interleaved, monkeypatch, shared):
    entered, left = interleaved
    given = {
        key: case("gru", steps=3, batch=2, hidden=4, biases=2, seed=200 * k)
        for k, key in enumerate("ab")
    }
    found, raised = {}, []
    if shared:
        monkeypatch.setattr(native, "threading", SimpleNamespace(get_ident=lambda: 0))

    def compute(key):
        if key == "b":
            assert entered["a"].wait(120)
        try:
            found[key] = given[key].run("native")[0]
        except (RuntimeError, ValueError) as error:
            raised.append(error)
        if key == "a":
            left.set()

    in_threads(compute, "ab")
    expected = {key: one.run("reference")[0] for key, one in given.items()}
    if shared:  # a has computed with b's weights, and b has lost its own
        assert raised or not torch.allclose(found["b"], expected["b"])
        assert not torch.allclose(found["a"], expected["a"])
    else:
        assert not raised
        for key, value in expected.items():
            assert_close(found[key], value)


def in_threads(function, keys):
    """Runs `function(key)` in a thread each, at once, and raises what one of them raised."""
    raised = []

    def guarded(key):
        try:
            function(key)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(key,), name=key) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn-tanh"])
def test_gradients_survive_weights_that_cudnn_puts_side_by_side(name, monkeypatch):
    """On CUDA torch.nn moves its weights into one buffer by ``set_``, which no view survives."""
    call = torch.func.functional_call

    def flattened(module, weights, arguments):
        with torch.no_grad():
            buffer = torch.cat([weight.reshape(-1) for weight in weights.values()])
            parts = buffer.split([weight.numel() for weight in weights.values()])
            for weight, part in zip(weights.values(), parts, strict=True):
                weight.set_(part.view_as(weight))
        return call(module, weights, arguments)

    given = case(name, steps=4, runs=2, batch=3, hidden=4, biases=2, inputs="tokens", scale=1)
    expected = results("native", given)
    monkeypatch.setattr(torch.func, "functional_call", flattened)
    ours = results("native", given)
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, rtol=0.0, atol=0.0, msg=key)
