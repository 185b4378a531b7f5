"""The forward pass and the update of a whole model, against torch.nn and against its definition."""

from dataclasses import replace

import pytest
import torch
from small_models import SEED, settings
from tolerances import assert_close

from cells.base import split_gates
from harness.engine import get, lookup
from harness.engine.reference import bind
from harness.model.architecture import architecture
from harness.model.initialization import initial_parameters
from harness.model.loss_terms import LossTerms
from harness.model.masks import FIELDS, Masks
from harness.model.network import Model
from harness.model.regularization import regularization_of, regularized

CPU = torch.device("cpu")
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
