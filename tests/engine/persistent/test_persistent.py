"""One kernel a direction, its threads those of the host, against the definition."""

import functools

import pytest
import torch
from agreement import assert_agrees, assert_same, case, errors, random, results, share_of_bounds
from corner_cells import CORNERS
from held_columns import share_held

import cells
from cells import Cell
from harness import engine
from harness.engine import Layer
from harness.engine.persistent import loop, persistent
from harness.engine.persistent.coverage import capacity, fitted, uncovered
from harness.engine.persistent.source import plan_of, source
from harness.engine.persistent.tiling import Tiling, tilings
from harness.model.regularization import StepRegularization, regularized

FIRST = ["lstm", "gru", "rnn-tanh", "rnn-relu"]
SPREAD = {
    "gru-reset-before": "two dependent products",
    "lem": "a state that is an operand in its own step",
    "lstm-on": "sums of a row and up to each unit",
    "lstm-peephole": "vectors beside the product",
    "min-gru": "no product",
}
SHAPES = [(1, 1), (1, 32), (1, 33), (35, 1), (35, 32), (35, 33)]  # T, B
FLOAT32_ERROR = 2e-5  # sums in another order and another exp, amplified over the time steps
ROUNDING = {"tf32": 2**-11, "bf16": 2**-8}


def four_blocks(hidden_size):
    """A cluster of four for few units too: of 7 the last block owns one."""
    return Tiling(hidden_size, num_blocks=4, num_threads=2)


@pytest.fixture(autouse=True)
def spoilt_memory(monkeypatch):
    """New tensors hold NaN, so that what is read before it is written shows."""
    monkeypatch.setattr(loop, "_empty", lambda shape, like: like.new_full(shape, torch.nan))


@pytest.fixture(autouse=True)
def small_clusters(monkeypatch):
    ours = persistent.Persistent(("cpu",), four_blocks)
    monkeypatch.setattr(engine, "ENGINES", (ours, *engine.ENGINES))


@pytest.fixture
def whole_clusters(monkeypatch):
    """As many blocks as on a device."""
    monkeypatch.setattr(engine, "ENGINES", (persistent.Persistent(("cpu",)), *engine.ENGINES))


@pytest.mark.parametrize("name", FIRST)
def test_a_cell_is_the_definitions(name):
    small = functools.partial(case, name, hidden=7, biases=2)
    assert_agrees("persistent", small(steps=5, runs=3, batch=9, inputs="tokens"))
    assert_agrees("persistent", small(steps=4, runs=2, batch=3, inputs="rows"))
    assert_agrees("persistent", small(steps=35, batch=33, inputs="tokens", scale=0.3))
    assert_agrees("persistent", small(steps=1, batch=1, inputs="tokens"))


def test_repeats_packs_and_parts_of_time_are_the_same_bit_for_bit():
    given = case("lstm", steps=5, runs=3, batch=9, hidden=7, biases=2, inputs="tokens")
    assert_same(results("persistent", given), results("persistent", given))
    outputs, final = given.run("persistent")
    for n in range(3):
        own_outputs, own_final = given.alone(n).run("persistent")
        assert torch.equal(own_outputs, outputs[:, n : n + 1])
        assert all(torch.equal(a, b[n : n + 1]) for a, b in zip(own_final, final, strict=True))
    assert not torch.equal(outputs[:, 0], outputs[:, 1])
    run = functools.partial(engine.get("persistent").run, given.layer, given.parameters)
    first, carried = run(given.inputs[:2], given.state)
    second, end = run(given.inputs[2:], carried)
    assert torch.equal(torch.cat([first, second]), outputs)
    assert all(torch.equal(a, b) for a, b in zip(end, final, strict=True))


def gradients(given, name, noise=None):
    """All gradients of one weighting, which is the same for all runs, and the outputs."""
    leaves = {key: value.clone().requires_grad_() for key, value in given.leaves().items()}
    state = tuple(leaves[f"initial state {k}"] for k in range(len(given.state)))
    parameters = {key: leaves[key] for key in given.parameters}
    outputs, final = engine.get(name).run(given.layer, parameters, given.inputs, state, noise)
    total = outputs.sum() + sum((s * s).sum() for s in final)
    found = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    return found | {"outputs": outputs.transpose(0, 1)}


def test_gradients_of_a_run_of_a_pack_are_those_of_that_run_alone():
    given = case("lstm", steps=5, runs=2, batch=9, hidden=7, biases=2, inputs="tokens")
    together = gradients(given, "persistent")
    for n in range(2):
        alone = gradients(given.alone(n), "persistent")
        assert_same(alone, {key: value[n : n + 1] for key, value in together.items()})


def test_without_gradients_the_results_are_the_same_and_few_time_steps_exist_at_once(monkeypatch):
    steps = 2 * persistent.STEPS_AT_ONCE + 3
    given = case("lstm", steps=steps, runs=2, batch=3, hidden=7, biases=2, inputs="tokens")
    lengths = []
    empty = loop._empty
    monkeypatch.setattr(
        loop, "_empty", lambda shape, like: lengths.append(shape[1]) or empty(shape, like)
    )
    with torch.no_grad():
        outputs, final = given.run("persistent")
    assert max(lengths) == persistent.STEPS_AT_ONCE + 1
    expected = results("persistent", given)
    assert torch.equal(outputs, expected["outputs"])
    assert all(torch.equal(s, expected[f"final state {k}"]) for k, s in enumerate(final))


TENSOR_CORES = {
    "whole warps, of which each has a tile of the outputs": ("lstm", Tiling(7, 2, 32)),
    "two warps, of which each has half the terms of a sum": ("rnn-tanh", Tiling(20, 2, 64)),
    "a part of a sum's terms in registers": ("rnn-tanh", Tiling(64, 4, 64, num_held=4)),
    "of each of a warp's tiles a part": ("rnn-tanh", Tiling(64, 2, 32, num_held=16)),
    "nothing in registers": ("rnn-tanh", Tiling(64, 4, 64, num_held=0)),
    "two groups of products": ("gru-reset-before", Tiling(20, 2, 32, num_held=12)),
    "terms of an odd number, of which two gates' share a word": ("lstm", Tiling(9, 3, 32)),
}


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_registers_hold_what_these_say(precision):
    shares = {what: share_held(*TENSOR_CORES[what], precision) for what in TENSOR_CORES}
    assert 0 < shares["a part of a sum's terms in registers"] < 1
    assert 0 < shares["of each of a warp's tiles a part"] < 1
    assert shares["nothing in registers"] == 0.0
    assert shares["whole warps, of which each has a tile of the outputs"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("what", TENSOR_CORES)
def test_a_tensor_cores_product_is_the_definitions(monkeypatch, what, precision):
    """Each lane of a warp takes its part of the operands, and shows it to the others."""
    name, tile = TENSOR_CORES[what]
    ours = persistent.Persistent(("cpu",), lambda hidden_size: tile)
    monkeypatch.setattr(engine, "ENGINES", (ours, *engine.ENGINES))
    given = case(
        name,
        steps=3,
        runs=2,
        batch=9,
        hidden=tile.hidden_size,
        biases=2,
        inputs="tokens",
        scale=0.2,
    ).to(precision)
    made = results("persistent", given)
    assert share_of_bounds(made, results("reference", given), precision) < 1
    alone, _ = given.alone(1).run("persistent")
    assert torch.equal(alone[:, 0], made["outputs"][:, 1])


@pytest.mark.parametrize("precision", ["tf32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_operands_are_rounded_as_the_definition_rounds_them(precision):
    given = case("lstm", runs=2, biases=2, inputs="tokens", scale=0.3).to(precision)
    ours, theirs = results("persistent", given), results("reference", given)
    exact = results("reference", given.to("float32"))
    assert max(errors(ours, theirs).values()) < FLOAT32_ERROR
    # Else the bound would not see the rounding.
    assert max(errors(exact, theirs).values()) > ROUNDING[precision] / 8


@pytest.mark.slow
@pytest.mark.parametrize("name", SPREAD)
def test_a_cell_of_another_kind_is_the_definitions(name):
    assert_agrees("persistent", case(name, steps=5, runs=2, batch=9, biases=2, inputs="tokens"))
    assert_agrees("persistent", case(name, steps=1, batch=1, biases=2, inputs="rows"))


@pytest.mark.slow
@pytest.mark.parametrize("num_noise_steps", [1, 5])
def test_noise_within_a_step_is_the_definitions(num_noise_steps):
    varied = StepRegularization(True, True, ("h", "c"), state_clip=0.6)
    cell = regularized(cells.find("lstm"), varied)
    given = case(cell, steps=5, runs=2, batch=9, inputs="tokens", scale=0.5)
    noise = random((num_noise_steps, 2, 9, len(cell.noise) * 7), 7).sigmoid()
    ours, theirs = (gradients(given, name, noise) for name in ("persistent", "reference"))
    assert max(errors(ours, theirs).values()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hidden"), [*((name, 256) for name in FIRST), ("lstm", 64), ("gru", 64)]
)
def test_clusters_of_a_devices_size_are_the_definitions(whole_clusters, name, hidden):
    for steps, batch in SHAPES:
        given = case(
            name, steps=steps, batch=batch, hidden=hidden, inputs="tokens", scale=0.5 / hidden**0.5
        )
        assert_agrees("persistent", given)


@pytest.mark.slow
def test_float32_follows_the_definition_in_float64(whole_clusters):
    given = case("lstm", steps=35, batch=33, hidden=64, inputs="tokens", scale=0.1)
    exact = results("reference", given)
    found = errors(results("persistent", given.to("float32")), exact)
    assert max(found.values()) < FLOAT32_ERROR, found


class Rolled(Cell):
    """Its units take one another's place."""

    name = "rolled"
    gates = ("g",)

    def step(self, p, x, h):
        return (torch.tanh(x.g + p.R(h).g).roll(1, -1),)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Rolled, "rolled: it reads other units (roll), which may lie in another block"),
        (
            CORNERS["ProductOfGate"],
            "corner: the product R reads what no pointwise piece writes",
        ),
    ],
)
def test_what_is_not_generated_says_why(cell, reason):
    assert engine.get("persistent").refusal(cell, "cpu", "float32") == reason


def test_a_device_without_nvrtc_is_refused(monkeypatch):
    monkeypatch.setattr(persistent.nvrtc, "find", lambda: None)
    ours = persistent.Persistent()
    assert ours.refusal(cells.find("lstm"), "cuda:0", "float32") == (
        "it needs NVRTC, which was not found"
    )
    assert ours.refusal(cells.find("lstm"), "cpu", "float32") == "it runs on cuda, not on cpu"


def test_a_token_outside_the_table_is_an_error():
    given = case("lstm", inputs="tokens")
    with pytest.raises(IndexError, match="tokens: must lie in 0 to 4, but got 5"):
        engine.get("persistent").run(
            given.layer, given.parameters, given.inputs.clamp(min=5), given.state
        )


def code(name, hidden_size, architecture=90, precision="float32"):
    plan = plan_of(Layer(cells.find(name), hidden_size, 1, precision))
    assert uncovered(plan) is None
    return fitted(plan, precision, architecture)


def test_registers_hold_what_shared_memory_then_need_not():
    code_of = functools.partial(source, plan_of(Layer(cells.find("lstm"), 256, 1, "tf32")), "tf32")
    without, with_them = code_of(Tiling(256, 8, num_held=0)), code_of(Tiling(256, 8))
    # All 256 terms of 128 outputs.
    assert without.shared_bytes - with_them.shared_bytes >= 256 * 128 * 4
    assert "Word held_R[32][4];" in with_them.text and "held_R" not in without.text
    # Then four gates of 512 units fit, and one of 1,024, of which registers hold a part.
    assert capacity(code("lstm", 512, precision="tf32"), 90) is None
    assert capacity(code("rnn-tanh", 1024, precision="tf32"), 90) is None
    # A thread of ordinary instructions holds 112 numbers, of its 4 outputs for 28 of 32 terms.
    assert "Word held_R[28][4];" in code("lstm", 256).text
    # Values of a whole row take the registers themselves, and numbers of 8 bytes take two each.
    assert "held_R" not in code("lstm-layer-norm", 256, precision="tf32").text
    assert "held_R" not in code("lstm", 64, precision="float64").text


def test_numbers_of_two_bytes_take_half_the_registers_and_memory():
    assert "Word held_R[16][4];" in code("lstm", 256, precision="bf16").text
    for name, size in (("lstm", 768), ("gru", 768), ("rnn-tanh", 1024)):
        assert capacity(code(name, size, precision="bf16"), 90) is None
    assert capacity(code("lstm", 768, precision="tf32"), 90) is not None
    assert capacity(code("gru", 1024, precision="bf16"), 90) is not None


@pytest.mark.parametrize("tiling", [Tiling(64, 1), Tiling(768, 16)], ids=str)
def test_sums_over_the_batch_take_registers_of_backward_alone(tiling):
    layers = [Layer(cells.find("lstm"), tiling.hidden_size, biases, "tf32") for biases in (1, 2)]
    one, two = (source(plan_of(layer), "tf32", tiling) for layer in layers)
    # The kernel that takes more shared memory is forward's, which has no sums.
    assert one.shared_bytes == two.shared_bytes
    assert "Word held_R[" in two.text


def test_blocks_own_32_units_at_most_where_a_cluster_reaches():
    assert [tilings(size)[0].num_blocks for size in (7, 32, 33, 64, 256, 512, 1024)] == [
        1, 1, 2, 2, 8, 16, 16,
    ]  # fmt: skip
    assert [tile.num_blocks for tile in tilings(256, architecture=80)] == [1]


def test_blocks_of_a_cell_without_products_are_no_cluster():
    for architecture in (80, 90):
        wide = code("min-gru", 4096, architecture)
        assert (wide.tiling.num_blocks, wide.tiling.is_cluster) == (128, False)
        assert "#define CLUSTERS 0" in wide.opening
        assert capacity(wide, architecture) is None
    for name in ("lstm", "indrnn-layer-norm"):  # a product; totals of rows
        assert code(name, 256).tiling.is_cluster
    assert not code("lstm", 32).tiling.is_cluster  # one block


def test_more_matrices_take_twice_the_blocks():
    blocks = [code(name, 256).tiling.num_blocks for name in ("rwkv-4", "lstm")]
    assert blocks == [16, 8]
    assert capacity(code("rwkv-4", 256), 90) is None


def test_what_does_not_fit_into_shared_memory_says_so():
    assert capacity(code("lstm", 512), 90) is None
    assert capacity(code("lstm", 768), 90) == (
        "a block must have at most 232,448 bytes of shared memory on sm_90, but got "
        f"shared_bytes={code('lstm', 768).shared_bytes:,}"
    )
    assert capacity(code("rnn-tanh", 128, 80), 80) is None
    assert capacity(code("lstm", 256, 80), 80) is not None
