"""Initial numbers, sizes and the forward pass, against torch.nn and closed formulas."""

import math
from dataclasses import replace

import pytest
import torch
from tolerances import assert_close

import cells
from cells.base import split_gates
from harness.engine import get, lookup
from harness.engine.reference import bind
from harness.model.architecture import Architecture, SizeError, architecture
from harness.model.initialization import initial_parameters
from harness.model.loss_terms import LossTerms
from harness.model.masks import FIELDS, Masks
from harness.model.network import Model
from harness.model.regularization import regularization_of, regularized
from harness.settings import Settings

SEED = (1000,)
CPU = torch.device("cpu")


def settings(**changes):
    return Settings(**{"cell": "lstm", "corpus": "text", "hidden_size": 24, **changes})


def initial(run, seed=SEED, vocabulary=11):
    return initial_parameters(architecture(run, vocabulary, vocabulary), run, seed)


@pytest.mark.parametrize(
    "vocabulary, changes, expected",
    [
        (43, {}, 318_251),
        (43, {"biases": 2}, 319_275),
        (43, {"cell": "rnn-relu", "biases": 2}, 88_107),
        (28, {}, 299_036),
        (28, {"biases": 2}, 300_060),
        (1027, {"cell": "lstm-no-output-tanh"}, 1_578_755),
        (1027, {"biases": 2}, 1_579_779),
    ],
)
def test_the_sources_have_so_many_parameters(vocabulary, changes, expected):
    arch = architecture(settings(hidden_size=256, **changes), vocabulary, vocabulary)
    assert arch.num_parameters() == expected
    if vocabulary < 1000:
        drawn = initial_parameters(arch, settings(hidden_size=256, **changes), SEED)
        assert sum(p.numel() for p in drawn.values()) == expected


def test_parameters_states_and_flops_of_a_stack():
    arch = Architecture(cells.find("lstm"), 11, 13, 6, num_layers=2, embedding_size=5, biases=2)
    module = torch.nn.ModuleList(
        [torch.nn.Embedding(11, 5), torch.nn.LSTM(5, 6, 2), torch.nn.Linear(6, 13)]
    )
    assert arch.num_parameters() == sum(p.numel() for p in module.parameters())
    assert arch.num_states() == 2 * 2 * 6
    assert arch.flops_per_token() == 2 * (4 * 6 * (5 + 6) + 4 * 6 * (6 + 6) + 6 * 13)
    assert replace(arch, embedding_size=None, num_layers=1).flops_per_token() == 2 * (
        4 * 6 * 6 + 6 * 13
    )


# Initialisation.


@pytest.mark.parametrize("scale, stddev", [(None, 0.01), (0.3, 0.3)])
def test_normal(scale, stddev):
    parameters = initial(
        settings(initialization="normal", initial_scale=scale, hidden_size=64, biases=2)
    )
    for name, values in parameters.items():
        if ".b" in name:
            assert not values.any()
        else:
            assert values.dtype == torch.float64
            assert abs(values.mean()) < 4 * stddev / math.sqrt(values.numel())
            assert values.std().item() == pytest.approx(
                stddev, rel=4 / math.sqrt(2 * values.numel())
            )


@pytest.mark.parametrize("scale, bound", [(None, 1 / math.sqrt(64)), (0.3, 0.3)])
def test_uniform_is_that_of_torch_nn_for_everything(scale, bound):
    run = settings(
        cell="lstm-peephole", initial_scale=scale, hidden_size=64, biases=2, embedding_size=5
    )
    for name, values in initial(run).items():
        assert 0.9 * bound < values.abs().max() <= bound, name
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25), name


@pytest.mark.parametrize("gain", [None, 0.5])
def test_glorot_takes_the_fans_of_each_gate(gain):
    parameters = initial(
        settings(cell="lstm-peephole", initialization="glorot", initial_scale=gain, hidden_size=64)
    )
    fans = {
        "layer0.W": (11, 64),
        "layer0.R": (64, 64),
        "readout.W": (64, 11),
        "layer0.p_i": (64, 64),
    }
    for name, pair in fans.items():
        bound = (gain or 1.0) * math.sqrt(6 / sum(pair))
        assert 0.9 * bound < parameters[name].abs().max() <= bound, name
    assert not parameters["layer0.b"].any() and not parameters["readout.b"].any()


@pytest.mark.parametrize(
    "cell, names", [("lstm", ["layer0.R"]), ("gru-reset-before", ["layer0.R", "layer0.R_n"])]
)
def test_orthogonal_makes_every_gates_recurrent_matrix_orthogonal(cell, names):
    parameters = initial(
        settings(cell=cell, initialization="orthogonal", initial_scale=2.0, hidden_size=15)
    )
    for name in names:
        blocks = parameters[name].split(15, dim=1)
        for block in blocks:
            assert_close(block @ block.T, 4.0 * torch.eye(15, dtype=torch.float64))
        assert len({block[0, 0].item() for block in blocks}) == len(blocks)


def test_orthogonal_matrices_are_uniform_over_the_group():
    runs = settings(cell="rnn-tanh", initialization="orthogonal", hidden_size=2)
    matrices = torch.stack([initial(runs, (k,))["layer0.R"] for k in range(1000)])
    assert torch.linalg.det(matrices).mean().abs() < 4 / math.sqrt(1000)  # half of them mirror
    assert (matrices.mean(0).abs() < 4 * math.sqrt(0.5 / 1000)).all()


def test_keras_initialises_the_stacked_matrices():
    parameters = initial(settings(initialization="keras", hidden_size=64, num_layers=2))
    for name, fans in {"layer0.W": (11, 256), "layer1.W": (64, 256), "readout.W": (64, 11)}.items():
        bound = math.sqrt(6 / sum(fans))
        assert 0.9 * bound < parameters[name].abs().max() <= bound, name
    recurrent = parameters["layer0.R"]
    assert_close(recurrent @ recurrent.T, torch.eye(64, dtype=torch.float64))
    i, f, g, o = parameters["layer0.b"].split(64)
    assert (f == 1).all() and not torch.cat([i, g, o, parameters["readout.b"]]).any()


@pytest.mark.parametrize("initialization", ["normal", "uniform", "keras"])
def test_a_forget_bias_that_is_given_wins(initialization):
    run = settings(initialization=initialization, forget_bias=2.5, biases=2)
    with_bias, without = initial(run), initial(replace(run, forget_bias=None))
    assert (with_bias["layer0.b"].split(24)[1] == 2.5).all()
    for index in (0, 2, 3):
        assert torch.equal(
            with_bias["layer0.b"].split(24)[index], without["layer0.b"].split(24)[index]
        )
    assert torch.equal(with_bias["layer0.b_R"], without["layer0.b_R"])


def test_a_cell_without_forget_gates_takes_no_forget_bias():
    assert not initial(settings(cell="gru", initialization="keras", forget_bias=2.5))[
        "layer0.b"
    ].any()


@pytest.mark.parametrize("initialization", ["normal", "uniform", "glorot", "orthogonal"])
def test_equal_names_get_equal_numbers_in_different_arms(initialization):
    run = settings(initialization=initialization, biases=2)
    lstm, coupled = initial(run), initial(replace(run, cell="lstm-coupled", num_layers=2))
    for name in ("layer0.W", "layer0.R", "layer0.b", "layer0.b_R"):
        i, _, g, o = lstm[name].split(24, dim=-1)
        assert all(
            torch.equal(a, b)
            for a, b in zip((i, g, o), coupled[name].split(24, dim=-1), strict=True)
        )
    assert torch.equal(lstm["readout.W"], coupled["readout.W"])
    peephole = initial(replace(run, cell="lstm-peephole"))
    assert all(torch.equal(peephole[name], values) for name, values in lstm.items())


def test_other_seeds_layers_parameters_and_gates_get_other_numbers():
    parameters = initial(settings(initialization="normal", num_layers=3, hidden_size=11))
    blocks = [b for name, v in parameters.items() if ".b" not in name for b in v.split(11, dim=-1)]
    blocks += [
        b
        for b in initial(settings(initialization="normal", hidden_size=11), (1001,))[
            "layer0.R"
        ].split(11, 1)
    ]
    assert len({block[0, 0].item() for block in blocks}) == len(blocks)


# Sizes.


@pytest.mark.parametrize(
    "field, cost", [("num_parameters", "num_parameters"), ("flops_per_token", "flops_per_token")]
)
@pytest.mark.parametrize("cell", ["rnn-tanh", "lstm", "gru"])
def test_a_budget_is_met_by_the_nearest_hidden_size(field, cost, cell):
    budget = 300_000
    arch = architecture(settings(cell=cell, hidden_size=None, **{field: budget}), 43, 43)

    def off(hidden_size):
        return abs(getattr(replace(arch, hidden_size=hidden_size), cost)() - budget)

    assert off(arch.hidden_size) == min(off(h) for h in range(1, 1000))
    assert off(arch.hidden_size) <= 0.01 * budget


def test_a_budget_that_no_size_meets_names_both_neighbours():
    with pytest.raises(SizeError) as caught:
        architecture(settings(hidden_size=None, num_parameters=1000), 43, 43)
    costs = {h: architecture(settings(hidden_size=h), 43, 43).num_parameters() for h in (4, 5)}
    assert costs[4] < 0.99 * 1000 and costs[5] > 1.01 * 1000
    assert str(caught.value) == (
        "num_parameters: a hidden_size must come within 1 % of it, but got num_parameters=1000. "
        f"Take one of the nearest: hidden_size 4 has {costs[4]}, hidden_size 5 has {costs[5]}."
    )


def test_a_budget_below_one_unit_names_that_unit():
    with pytest.raises(
        SizeError,
        match=r"but got flops_per_token=1. Take one of the nearest: hidden_size 1 has \d+\.$",
    ):
        architecture(settings(hidden_size=None, flops_per_token=1), 43, 43)


def test_a_size_is_needed():
    with pytest.raises(
        SizeError, match="one of hidden_size, num_parameters, flops_per_token must be given"
    ):
        architecture(settings(hidden_size=None), 43, 43)


def test_an_unknown_cell_is_refused():
    with pytest.raises(cells.UnknownCell, match="but got cell='lstn'. Did you mean lstm"):
        architecture(settings(cell="lstn"), 43, 43)


# The forward pass.

STEPS, RUNS, STREAMS = 5, 2, 3


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_two_layers_over_an_embedding_equal_torch_nn_with_all_gradients(engine):
    run = settings(hidden_size=7, num_layers=2, embedding_size=4, biases=2, precision="float64")
    arch = architecture(run, 11, 11)
    drawn = [initial_parameters(arch, run, (seed,)) for seed in range(RUNS)]
    parameters = {name: torch.stack([d[name] for d in drawn]).requires_grad_() for name in drawn[0]}
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (STEPS, RUNS, STREAMS), generator=generator)
    states = [
        tuple(
            torch.randn(RUNS, STREAMS, 7, generator=generator, dtype=torch.float64).requires_grad_()
            for _ in "hc"
        )
        for _ in range(2)
    ]
    cotangent = torch.randn(RUNS, STEPS * STREAMS, 11, generator=generator, dtype=torch.float64)
    model = Model(arch, get(engine))
    rows, finals = model(parameters, tokens, states)
    scores = model.readout(parameters).scores(rows)
    leaves = [*parameters.values(), *(s for state in states for s in state)]
    gradients = torch.autograd.grad(
        (scores * cotangent).sum() + sum(f.sum() for pair in finals for f in pair), leaves
    )
    for n in range(RUNS):
        expected = torch_nn(
            {name: p[n].detach() for name, p in parameters.items()}, tokens[:, n], states, n
        )
        module, (expected_scores, h, c), initial_pair = expected
        assert_close(scores[n], expected_scores.flatten(0, 1))
        for layer in range(2):
            assert_close(finals[layer][0][n], h[layer])
            assert_close(finals[layer][1][n], c[layer])
        total = (expected_scores.flatten(0, 1) * cotangent[n]).sum() + h.sum() + c.sum()
        wanted = torch.autograd.grad(total, [*module.parameters(), *initial_pair])
        by_name = dict(
            zip([*parameters, "h0", "c0", "h1", "c1"], (g[n] for g in gradients), strict=True)
        )
        names = [
            "lookup.W",
            *(f"layer{k}.{p}" for k in range(2) for p in ("W", "R", "b", "b_R")),
            "readout.W",
            "readout.b",
        ]
        for name, gradient in zip(names, wanted, strict=False):
            transposed = name.endswith((".W", ".R")) and name != "lookup.W"
            assert_close(by_name[name], gradient.t() if transposed else gradient, name)
        for name, gradient in zip("hc", wanted[-2:], strict=True):
            assert_close(torch.stack([by_name[f"{name}0"], by_name[f"{name}1"]]), gradient, name)


def torch_nn(parameters, tokens, states, n):
    """Returns the same model in torch.nn with copied weights, its scores and final states, and its
    initial states.
    """
    module = torch.nn.ModuleList(
        [torch.nn.Embedding(11, 4), torch.nn.LSTM(4, 7, 2), torch.nn.Linear(7, 11)]
    ).double()
    embedding, lstm, readout = module
    with torch.no_grad():
        embedding.weight.copy_(parameters["lookup.W"])
        readout.weight.copy_(parameters["readout.W"].t())
        readout.bias.copy_(parameters["readout.b"])
        for layer in range(2):
            getattr(lstm, f"weight_ih_l{layer}").copy_(parameters[f"layer{layer}.W"].t())
            getattr(lstm, f"weight_hh_l{layer}").copy_(parameters[f"layer{layer}.R"].t())
            getattr(lstm, f"bias_ih_l{layer}").copy_(parameters[f"layer{layer}.b"])
            getattr(lstm, f"bias_hh_l{layer}").copy_(parameters[f"layer{layer}.b_R"])
    h = torch.stack([state[0][n].detach() for state in states]).requires_grad_()
    c = torch.stack([state[1][n].detach() for state in states]).requires_grad_()
    outputs, (h_final, c_final) = lstm(embedding(tokens), (h, c))
    return module, (readout(outputs), h_final, c_final), (h, c)


def loss_of(tokens, targets):
    """Returns the loss of an update: the mean over all targets (T, N, B)."""
    by_run = targets.transpose(0, 1).flatten(1)
    return lambda readout, rows: readout.losses_and_gradients(
        rows, by_run, scale=1 / (STEPS * STREAMS)
    )


def test_dropout_acts_between_layers_only_on_values_and_on_gradients(monkeypatch):
    run = settings(hidden_size=7, num_layers=3, precision="float64", dropout=0.5)
    arch = architecture(run, 11, 11)
    parameters = {name: p[None] for name, p in initial_parameters(arch, run, SEED).items()}
    model, masks, seen = Model(arch, get("reference")), Masks([SEED], [run], CPU), []

    def outputs(layer, values):
        seen.append((layer, tuple(values.shape)))
        return values * 0

    def loss(readout, rows):
        assert rows.shape == (1, STEPS * STREAMS, 7)
        seen.append("loss")
        return loss_of(tokens, tokens)(readout, rows)

    monkeypatch.setattr(masks, "outputs", outputs)
    tokens = torch.zeros(STEPS, 1, STREAMS, dtype=torch.int64)
    states = model.initial_states(parameters, 1, STREAMS)
    gradients = {name: torch.full_like(p, torch.nan) for name, p in parameters.items()}
    model.update(parameters, gradients, tokens, states, loss, masks)
    shape = (STEPS, 1, STREAMS, 7)
    assert seen == [(0, shape), (1, shape), "loss", (1, shape), (0, shape)]
    assert [bool(gradients[f"layer{k}.R"].any()) for k in range(3)] == [False, False, True]


ALL_NOISE = dict(zip(FIELDS, (0.4, 0.3, 0.2, 0.3, 0.2, 0.1, 0.5, 0.4, 0.3, 0.3), strict=True))
TERMS = {
    "activation_regularization": 2.0,
    "temporal_activation_regularization": 3.0,
    "dropout_masks": "update",
}
LAYERS = {"embedding_size": 4, "num_layers": 2, "biases": 2}
PROJECTED = {
    "cell": "lstm-projected",
    "projection_size": 4,
    "embedding_size": 4,
    "num_layers": 2,
    "tied": True,
}
EVERYTHING = {
    "embedding_size": 7,
    "num_layers": 3,
    "residual": True,
    "tied": True,
    "learned_start": True,
}

BOTH = {"bidirectional": True, "tied": False}


def by_definition(arch, run, masks, parameters, tokens, states):
    """Returns the scores (N, T*B, V) of an update, the penalties (N,) and the final states, by the
    reference engine, differentiable.
    """
    cell = regularized(arch.cell, regularization_of(arch.cell, [run]))
    values = tokens
    if arch.embedding_size is not None:
        values = masks.lookup(tokens, arch.num_inputs, lookup(parameters["lookup.W"], tokens))
    finals, given = [], iter(states)
    for index in range(run.num_layers):
        below = masks.inputs(index, values) if values.is_floating_point() else values
        outputs = []
        for place in (index, f"{index}_reverse")[: 1 + run.bidirectional]:
            prefix = f"layer{place}."
            of_layer = {
                n.removeprefix(prefix): p for n, p in parameters.items() if n.startswith(prefix)
            }
            of_layer |= {
                name: masks.weights(place, name, of_layer[name])
                for name in arch.cell.recurrent_products()
            }
            state = next(given)
            noise = masks.steps(place, cell, state[0], STEPS)
            output, final = get("reference").run(
                replace(arch.layer, cell=cell),
                of_layer,
                below if place == index else below.flip(0),
                state,
                noise,
            )
            outputs.append(output if place == index else output.flip(0))
            finals.append(final)
        values = torch.cat(outputs, 3)
        values = values + below if run.residual and index > 0 else values
        outputs = values
        is_last = index == run.num_layers - 1
        values = masks.readout(values) if is_last else masks.outputs(index, values)
    penalties = run.activation_regularization * values.pow(2).mean((0, 2, 3))
    differences = outputs[1:] - outputs[:-1]
    penalties = penalties + run.temporal_activation_regularization * differences.pow(2).mean(
        (0, 2, 3)
    )
    table = parameters["lookup.W"].transpose(1, 2) if run.tied else parameters["readout.W"]
    rows = values.transpose(0, 1).flatten(1, 2)
    return rows @ table + parameters["readout.b"].unsqueeze(1), penalties, finals


@pytest.mark.parametrize("engine", ["reference", "cpu", "scan", "gpu"])
@pytest.mark.parametrize(
    "changes",
    [{}, LAYERS, EVERYTHING, PROJECTED, {**LAYERS, **ALL_NOISE}, {**EVERYTHING, **ALL_NOISE}]
    + [{**LAYERS, **ALL_NOISE, **TERMS}, {**PROJECTED, **TERMS, "output_dropout": 0.3}]
    + [{**EVERYTHING, **ALL_NOISE, **TERMS, **BOTH}, {**PROJECTED, **BOTH, "dropout": 0.3}],
)
def test_an_update_writes_the_gradient_of_the_whole_model(engine, changes):
    """Against autograd through the definition: layers, read-out, masks, skips, tied tables and
    learned starts.
    """
    cell = "min-gru" if engine == "scan" else "lstm"
    run = settings(**{"cell": cell, "hidden_size": 7, "precision": "float64", **changes})
    if engine == "scan" and run.cell != cell:
        run = replace(run, cell=cell, projection_size=None, hidden_size=4)
    arch = architecture(run, 11, 11)
    drawn = [initial_parameters(arch, run, (seed,)) for seed in range(RUNS)]
    generator = torch.Generator().manual_seed(0)
    parameters = {name: torch.stack([d[name] for d in drawn]) for name in drawn[0]}
    parameters = {
        n: (torch.randn_like(p) if "start" in n else p).requires_grad_()
        for n, p in parameters.items()
    }
    tokens, targets = torch.randint(11, (2, STEPS, RUNS, STREAMS), generator=generator)
    masks = Masks([(seed,) for seed in range(RUNS)], [run] * RUNS, CPU)

    model = Model(arch, get(engine)).for_runs([run])
    states = model.initial_states(parameters, RUNS, STREAMS)
    scores, penalties, finals = by_definition(arch, run, masks, parameters, tokens, states)
    logs = (
        torch.log_softmax(scores, 2)
        .gather(2, targets.transpose(0, 1).flatten(1).unsqueeze(2))
        .squeeze(2)
    )
    expected_losses = -logs.mean(1)
    total = (expected_losses + penalties).sum()
    expected = torch.autograd.grad(total, list(parameters.values()))

    plain = {name: p.detach() for name, p in parameters.items()}
    gradients = {name: torch.full_like(p, torch.nan) for name, p in plain.items()}
    with torch.no_grad():
        first = model.initial_states(plain, RUNS, STREAMS)
        begins = torch.ones((), dtype=torch.float64)
        terms = LossTerms([run] * RUNS, CPU, torch.float64)
        losses, last = model.update(
            plain, gradients, tokens, first, loss_of(tokens, targets), masks, begins, terms
        )
    assert_close(losses, expected_losses)
    for wanted, got in zip(finals, last, strict=True):
        for a, b in zip(wanted, got, strict=True):
            assert_close(b, a)
    for name, wanted in zip(parameters, expected, strict=True):
        assert_close(gradients[name], wanted, name)


def test_a_learned_start_learns_only_where_a_stream_begins():
    run = settings(hidden_size=7, precision="float64", learned_start=True)
    arch = architecture(run, 11, 11)
    parameters = {name: p[None] for name, p in initial_parameters(arch, run, SEED).items()}
    assert (
        arch.num_parameters()
        == architecture(replace(run, learned_start=False), 11, 11).num_parameters() + 2 * 7
    )
    model = Model(arch, get("cpu"))
    tokens = torch.zeros(STEPS, 1, STREAMS, dtype=torch.int64)
    for begins in (0.0, 1.0):
        gradients = {name: torch.full_like(p, torch.nan) for name, p in parameters.items()}
        states = model.initial_states(parameters, 1, STREAMS)
        flag = torch.tensor(begins, dtype=torch.float64)
        model.update(parameters, gradients, tokens, states, loss_of(tokens, tokens), None, flag)
        assert all(bool(gradients[f"start0.{name}"].any()) == bool(begins) for name in "hc")


def test_a_learned_start_begins_at_the_constant_of_the_cell():
    run = settings(cell="slstm", hidden_size=3, learned_start=True)
    arch = architecture(run, 11, 11)
    parameters = initial_parameters(arch, run, SEED)
    for name in arch.cell.state:
        assert parameters[f"start0.{name}"].tolist() == [arch.cell.start.get(name, 0.0)] * 3


def test_a_state_that_no_step_reads_has_no_learned_start():
    run = settings(cell="sru", hidden_size=8, embedding_size=8, learned_start=True)
    arch = architecture(run, 11, 11)
    assert [slot.name for slot in arch.slots() if slot.name.startswith("start")] == ["start0.c"]
    parameters = {name: p[None] + 1 for name, p in initial_parameters(arch, run, SEED).items()}
    ((h, c),) = Model(arch, get("cpu")).initial_states(parameters, 1, STREAMS)
    assert not h.any() and (c == 1).all()


@pytest.mark.parametrize("field", ["num_parameters", "flops_per_token"])
@pytest.mark.parametrize("hidden", [252, 253, 254, 256])
def test_a_cell_in_blocks_is_sized_although_its_cost_does_not_grow_from_size_to_size(field, hidden):
    exact = architecture(settings(cell="lstm-block-diagonal", hidden_size=hidden), 28, 28)
    budget = {field: getattr(exact, field)()}
    arch = architecture(settings(cell="lstm-block-diagonal", hidden_size=None, **budget), 28, 28)
    assert getattr(arch, field)() == budget[field]


def test_a_tied_read_out_has_no_table_of_its_own():
    run = settings(hidden_size=8, embedding_size=8, tied=True)
    arch = architecture(run, 11, 11)
    assert "readout.W" not in [slot.name for slot in arch.slots()]
    assert (
        arch.num_parameters()
        == architecture(replace(run, tied=False), 11, 11).num_parameters() - 8 * 11
    )


@pytest.mark.parametrize(
    "changes", [{"embedding_size": 4}, {"embedding_size": None}, {"num_parameters": 5000}]
)
def test_a_tied_table_of_another_size_is_an_error(changes):
    run = settings(**{"hidden_size": 8, "embedding_size": 8, "tied": True, **changes})
    run = replace(run, hidden_size=None) if run.num_parameters else run
    with pytest.raises(
        SizeError, match=r"tied: embedding_size must be hidden_size, .*, but got .*Give both one"
    ):
        architecture(run, 11, 11)


def test_while_evaluating_the_means_of_the_noise_stand_for_it():
    run = settings(
        hidden_size=7, precision="float64", **{**ALL_NOISE, "zoneout_h": 0.3, "zoneout_c": 0.6}
    )
    arch = architecture(run, 11, 11)
    parameters = {name: p[None] for name, p in initial_parameters(arch, run, SEED).items()}
    tokens = torch.randint(11, (STEPS, 1, STREAMS), generator=torch.Generator().manual_seed(1))
    model = Model(arch, get("cpu")).for_runs([run])
    states = model.initial_states(parameters, 1, STREAMS)
    rows, _ = model(parameters, tokens, states, Masks([SEED], [run], CPU))
    step, p = (
        arch.cell().step,
        bind(arch.layer, {n.removeprefix("layer0."): v for n, v in parameters.items()}),
    )
    h, c = (torch.zeros(1, STREAMS, 7, dtype=torch.float64) for _ in "hc")
    for t in range(STEPS):
        x = parameters["layer0.W"][0][tokens[t]] + parameters["layer0.b"]
        new_h, new_c = step(p, split_gates(x, arch.cell.gates), h, c)
        h, c = 0.3 * h + 0.7 * new_h, 0.6 * c + 0.4 * new_c
        assert_close(rows[:, t * STREAMS : (t + 1) * STREAMS], h)
