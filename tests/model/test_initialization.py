"""The identity and the chrono initialisation: exact where they are constants, statistics where they
are drawn.
"""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from tolerances import assert_close

import cells
from harness import study
from harness.engine import Layer, get
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.model.network import Model
from harness.settings import Settings, from_dict, problems_of, to_dict
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Plan, Run
from harness.training.shard import Shard

SEED = (1000,)
OWN = [name for name in cells.names() if cells.find(name).__module__.startswith("cells.")]
FORGETTING = [name for name in OWN if cells.find(name).forget_gates]
PAIRED = [name for name in OWN if cells.find(name).input_gates]
SCHEMES = ["normal", "uniform", "glorot", "orthogonal", "keras", "identity"]


def settings(**changes):
    run = Settings(**{"cell": "lstm", "corpus": "text", "hidden_size": 24, **changes})
    return replace(run, embedding_size=run.hidden_size) if cells.find(run.cell).reads_input else run


def initial(run, seed=SEED, vocabulary=11):
    return initial_parameters(architecture(run, vocabulary, vocabulary), run, seed)


def biases(run, place=0):
    """Returns gate -> the initial values of the first layer's first bias of it; ``place`` 1: of its
    second one.
    """
    values, found = initial(run), {}
    for slot in architecture(run, 11, 11).slots():
        if slot.kind in ("bias", "recurrent_bias") and slot.name.startswith("layer0."):
            for gate, block in zip(slot.gates, values[slot.name].split(slot.width), strict=True):
                found.setdefault(gate, []).append(block)
    return {gate: blocks[place] for gate, blocks in found.items() if len(blocks) > place}


# Identity.


@pytest.mark.parametrize("scale", [None, 0.01, 2.0])
@pytest.mark.parametrize(
    "cell", ["rnn-relu", "lstm", "gru-reset-before", "wmclstm", "odyssey-fgr", "lstm-mogrifier"]
)
def test_every_block_of_every_recurrent_matrix_is_the_scaled_identity(cell, scale):
    run = settings(
        cell=cell, initialization="identity", initial_scale=scale, hidden_size=5, num_layers=2
    )
    found = initial(run)
    names = [slot.name for slot in architecture(run, 11, 11).slots() if slot.kind == "recurrent"]
    assert len(names) == 2 * len(cells.find(cell).recurrent_products())
    for name in names:
        for block in found[name].split(5, dim=1):
            assert torch.equal(block, (scale or 1.0) * torch.eye(5, dtype=torch.float64)), name


def test_a_matrix_that_is_made_of_blocks_is_the_identity_too():
    run = settings(
        cell="lstm-block-diagonal", initialization="identity", initial_scale=0.5, hidden_size=12
    )
    made = cells.find("lstm-block-diagonal").prepared({"R": initial(run)["layer0.R"][None]})["R"][0]
    assert torch.equal(made, 0.5 * torch.eye(12, dtype=torch.float64).repeat(1, 4))


@pytest.mark.parametrize("scale", [None, 0.01])
@pytest.mark.parametrize("cell", ["rnn-relu", "lstm-peephole"])
def test_all_other_weights_are_those_of_the_irnn_and_all_biases_0(cell, scale):
    run = settings(
        cell=cell,
        initialization="identity",
        initial_scale=scale,
        hidden_size=64,
        num_layers=2,
        embedding_size=32,
        biases=2,
    )
    found = initial(run, vocabulary=200)
    for slot in architecture(run, 200, 200).slots():
        values = found[slot.name].flatten()
        if "bias" in slot.kind:
            assert not values.any()
        elif slot.kind != "recurrent":
            assert values.std().item() == pytest.approx(
                0.001, rel=4 / math.sqrt(2 * len(values))
            ), slot.name
            assert stats.kstest(values.numpy() / 0.001, "norm").pvalue > 0.001, slot.name


def test_the_weights_of_the_irnn_differ_by_seed_layer_parameter_and_gate():
    run = settings(initialization="identity", num_layers=3, hidden_size=11)
    names = ["layer0.W", "layer1.W", "layer2.W", "readout.W"]
    blocks = [
        block
        for name in names
        for seed in (1000, 1001)
        for block in initial(run, (seed,))[name].split(11, 1)
    ]
    assert len({block[0, 0].item() for block in blocks}) == len(blocks) == 2 * (3 * 4 + 1)
    again = initial(run)
    assert all(torch.equal(again[name], values) for name, values in initial(run).items())


# Chrono.


@pytest.mark.parametrize("chrono_steps", [3, 100, 5000])
def test_the_exponential_of_a_forget_bias_is_uniform(chrono_steps):
    found = biases(settings(cell="min-lstm", hidden_size=4000, chrono_steps=chrono_steps))
    time_steps = found["f"].exp().numpy()
    assert time_steps.min() >= 1 and time_steps.max() <= chrono_steps - 1
    assert stats.kstest(time_steps, stats.uniform(1, chrono_steps - 2).cdf).pvalue > 0.01


def test_layers_and_seeds_draw_time_steps_of_their_own():
    run = settings(chrono_steps=100, num_layers=20)
    runs = [initial(run, (seed,)) for seed in range(20)]
    drawn = [own[f"layer{layer}.b"].split(24)[1] for own in runs for layer in range(20)]
    assert len({values[0].item() for values in drawn}) == len(drawn)
    time_steps = torch.cat(drawn).exp().numpy()
    assert stats.kstest(time_steps, stats.uniform(1, 98).cdf).pvalue > 0.01
    assert torch.equal(initial(run, (7,))["layer3.b"], runs[7]["layer3.b"])


@pytest.mark.parametrize("initialization", SCHEMES)
@pytest.mark.parametrize("name", FORGETTING)
def test_an_input_gate_is_lowered_as_far_as_its_forget_gate_is_raised(name, initialization):
    cell = cells.find(name)
    run = settings(cell=name, initialization=initialization, biases=2, hidden_size=7)
    with_chrono, without = biases(replace(run, chrono_steps=50)), biases(run)
    for gate in cell.forget_gates:
        assert (with_chrono[gate] >= 0).all() and (with_chrono[gate].exp() < 49).all()
        assert len(set(with_chrono[gate].tolist())) == 7
    for input_gate, forget_gate in zip(cell.input_gates, cell.forget_gates, strict=False):
        assert torch.equal(with_chrono[input_gate], -with_chrono[forget_gate])
    for gate in set(without) - {*cell.forget_gates, *cell.input_gates}:
        assert torch.equal(with_chrono[gate], without[gate])
    second = biases(replace(run, chrono_steps=50), place=1), biases(run, place=1)
    assert second[0].keys() == second[1].keys()
    assert all(torch.equal(values, second[1][gate]) for gate, values in second[0].items())
    before, after = initial(run), initial(replace(run, chrono_steps=50))
    assert all(
        torch.equal(after[parameter], before[parameter])
        for parameter in before
        if ".b" not in parameter
    )


def test_equal_gates_of_different_arms_get_equal_biases():
    found = [
        biases(settings(cell=cell, chrono_steps=50))["f"]
        for cell in ("lstm", "lstm-no-input-gate", "janet")
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_forget_gate_without_an_input_gate_is_one_whose_cell_has_none_of_its_own():
    coupled = {"janet", "ugrnn", "intersection-rnn", "t-rnn", "t-lstm", "qrnn", "sru"}
    beside = {"lstm-on"}  # its master gate writes without its input gate
    assert set(FORGETTING) - set(PAIRED) == coupled | beside | {
        "lstm-no-input-gate",
        "odyssey-nig",
        "t-gru",
    }


@pytest.mark.parametrize("name", PAIRED)
def test_a_shut_input_gate_keeps_new_content_out(name):
    cell, hidden_size = cells.find(name), 3
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    specs = cell.parameters(hidden_size, hidden_size, 1)
    parameters = {spec.name: draw(1, *spec.shape(hidden_size)) for spec in specs}
    state, inputs = tuple(draw(1, 2, hidden_size) for _ in cell.state), draw(1, 1, 2, hidden_size)

    def step(shut, changed):
        own = {name: values.clone() for name, values in parameters.items()}
        for spec in specs:
            for gate, block in zip(spec.gates, own[spec.name].split(hidden_size, -1), strict=True):
                if shut and "bias" in spec.kind and gate in cell.input_gates:
                    block -= 60.0
                if changed and spec.kind in ("input", "recurrent") and gate in cell.candidates:
                    block += 1.0
        return torch.stack(
            get("reference").run(Layer(cell, hidden_size, 1, "float64"), own, inputs, state)[1]
        )

    assert_close(step(shut=True, changed=True), step(shut=True, changed=False))
    assert not torch.allclose(
        step(shut=False, changed=True), step(shut=False, changed=False), atol=0.01
    )


@pytest.mark.parametrize("name", PAIRED)
def test_the_forget_bias_leaves_the_input_gate_alone(name):
    cell, run = cells.find(name), settings(cell=name)
    with_bias, without = biases(replace(run, forget_bias=2.5)), biases(run)
    for gate in without:
        expected = (
            torch.full_like(without[gate], 2.5) if gate in cell.forget_gates else without[gate]
        )
        assert torch.equal(with_bias[gate], expected)


def test_a_cell_without_forget_gates_is_as_without_the_field():
    run = settings(cell="gru", biases=2)
    before, after = initial(run), initial(replace(run, chrono_steps=50))
    assert all(torch.equal(after[name], values) for name, values in before.items())


def test_a_run_of_a_pack_starts_as_it_starts_alone(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "the time traveller for so it will be convenient to speak of him " * 20, encoding="utf-8"
    )
    base = settings(path=str(path), hidden_size=7, batch_size=3, bptt_length=5, precision="float64")
    runs = [
        Run(f"r{steps}", (index,), replace(base, chrono_steps=steps))
        for index, steps in enumerate((9, None, 90))
    ]
    Plan(tuple(runs))  # a pack may differ in the field
    cpu = torch.device("cpu")
    task = LanguageModelling(base, cpu)
    arch = architecture(base, task.num_inputs, task.num_outputs)
    shard = Shard(runs, task, Model(arch, get("reference")), 1, cpu)
    for index, run in enumerate(runs):
        alone = initial_parameters(arch, run.settings, run.seed)
        assert all(
            torch.equal(shard.parameters[name][index], values) for name, values in alone.items()
        )


# The field.


def test_time_steps_that_leave_nothing_to_draw_are_refused():
    assert problems_of(settings(chrono_steps=3)) == []
    assert problems_of(settings(chrono_steps=2)) == [
        "chrono_steps: must be > 2, but got chrono_steps=2."
    ]
    assert problems_of(settings(chrono_steps=9.5)) == [
        "chrono_steps: must be int | None, but got chrono_steps=9.5."
    ]


STUDY = """\
study: chrono
version: 1
question: Does it matter how long an LSTM remembers at first?
compare:
  arms: {one: {forget_bias: 1.0}, chrono: {chrono_steps: 100}, neither: {}}
  baseline: one
fix: {cell: lstm, corpus: time-machine, hidden_size: 64}
"""


def test_a_study_may_compare_the_two():
    arms = {arm.name: arm.settings for arm in study.loads(STUDY).arms}
    found = {name: (arm.forget_bias, arm.chrono_steps) for name, arm in arms.items()}
    assert found == {"one": (1.0, None), "chrono": (None, 100), "neither": (None, None)}


def test_what_was_written_before_the_field_is_read_as_without_it():
    run = settings()
    assert (
        from_dict({name: value for name, value in to_dict(run).items() if name != "chrono_steps"})
        == run
    )
    loaded = study.loads(STUDY)
    old = loaded.identity()
    assert old["arms"]["one"].pop("chrono_steps") is None
    assert loaded.changes_since(old) == []


@pytest.mark.parametrize("scheme", ["orthogonal", "keras"])
def test_each_block_of_a_matrix_in_blocks_is_drawn_as_a_square_matrix(scheme):
    run = settings(cell="lstm-block-diagonal", hidden_size=8, initialization=scheme)
    (name,) = [name for name in initial(run) if name.endswith(".R")]
    blocks = (
        initial(run)[name].unflatten(1, (4, 4, 2)).permute(1, 2, 0, 3)
    )  # gates, blocks, rows, columns
    products = blocks @ blocks.transpose(-1, -2)
    torch.testing.assert_close(products, torch.eye(2, dtype=products.dtype).expand_as(products))
    assert len({tuple(block.flatten().tolist()) for gate in blocks for block in gate}) == 16
