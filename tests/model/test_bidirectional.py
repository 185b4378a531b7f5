"""Layers that read from both ends: against torch.nn on packed sequences, padding, costs."""

from dataclasses import replace

import pytest
import torch
from tolerances import assert_close
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import cells
from harness.engine import get
from harness.engine.base import by_run
from harness.model.architecture import Architecture, SizeError, architecture
from harness.model.initialization import initial_parameters
from harness.model.network import Model
from harness.model.reading_order import from_the_end, reordered
from harness.settings import Settings

STEPS, RUNS, STREAMS = 6, 2, 4
LENGTHS = torch.tensor([[6, 2, 4, 1], [3, 6, 0, 5]])
"""Of every run's sequences; a minibatch that is filled up has some of length 0."""
ARCH = Architecture(
    cells.find("lstm"),
    num_inputs=3,
    num_outputs=4,
    hidden_size=5,
    num_layers=2,
    biases=2,
    precision="float64",
    reads_tokens=False,
    bidirectional=True,
)


def drawn(arch):
    """Parameters of all runs, inputs and targets, the same each time."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    parameters = {slot.name: values(RUNS, *slot.shape) / 2 for slot in arch.slots()}
    targets = torch.randint(4, (STEPS, RUNS, STREAMS), generator=generator)
    return parameters, values(STEPS, RUNS, STREAMS, 3), targets


def counted(arch, num_steps=STEPS):
    """How often each time step counts: the last of a sequence alone, or all of it."""
    steps = torch.arange(num_steps).view(-1, 1, 1)
    counts = steps == LENGTHS - 1 if arch.has_one_answer else steps < LENGTHS
    return counts.double()


def updated(arch, engine, parameters, inputs, targets, weights):
    """Returns the losses of an update and all gradients."""
    model = Model(arch, get(engine))
    gradients = {name: torch.full_like(p, torch.nan) for name, p in parameters.items()}
    losses, _ = model.update(
        parameters,
        gradients,
        inputs,
        model.initial_states(parameters, RUNS, STREAMS),
        lambda readout, rows: readout.losses_and_gradients(
            rows, by_run(targets), by_run(weights), scale=1.0
        ),
        weights=weights,
    )
    return losses, gradients


def rows_of(arch, engine, parameters, inputs, weights):
    """Returns what the read-out gets, (T, N, B, 2H)."""
    model = Model(arch, get(engine))
    states = model.initial_states(parameters, RUNS, STREAMS)
    rows, _ = model(parameters, inputs, states, weights=weights)
    return rows.unflatten(1, (len(inputs), STREAMS)).transpose(0, 1)


def of_torch(parameters, run):
    """Returns torch's LSTM and read-out with a run's parameters."""
    lstm = torch.nn.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64)
    readout = torch.nn.Linear(10, 4, dtype=torch.float64)
    ours = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "b", "bias_hh": "b_R"}
    names = {
        f"{theirs}_l{k}{end}": f"layer{k}{end}.{name}"
        for k in range(2)
        for end in ("", "_reverse")
        for theirs, name in ours.items()
    }
    with torch.no_grad():
        for theirs, name in names.items():
            getattr(lstm, theirs).copy_(parameters[name][run].t())
        readout.weight.copy_(parameters["readout.W"][run].t())
        readout.bias.copy_(parameters["readout.b"][run])
    leaves = {name: getattr(lstm, theirs) for theirs, name in names.items()}
    return lstm, readout, leaves | {"readout.W": readout.weight, "readout.b": readout.bias}


@pytest.mark.parametrize("engine", ["reference", "cpu", "native"])
@pytest.mark.parametrize("has_one_answer", [False, True])
def test_outputs_and_gradients_are_those_of_torch_on_packed_sequences(engine, has_one_answer):
    arch = replace(ARCH, has_one_answer=has_one_answer)
    parameters, inputs, targets = drawn(arch)
    weights = counted(arch)
    rows = rows_of(arch, engine, parameters, inputs, weights)
    losses, gradients = updated(arch, engine, parameters, inputs, targets, weights)
    for run in range(RUNS):
        lstm, readout, leaves = of_torch(parameters, run)
        there = LENGTHS[run] > 0
        lengths, counts = LENGTHS[run, there], weights[:, run, there] > 0
        packed = pack_padded_sequence(inputs[:, run, there], lengths, enforce_sorted=False)
        outputs, (last, _) = lstm(packed)
        if has_one_answer:
            seen, asked = torch.cat([last[2], last[3]], 1), lengths - 1
            ours = rows[asked, run, torch.nonzero(there)[:, 0]]
            truth = targets[asked, run, torch.nonzero(there)[:, 0]]
        else:
            seen = pad_packed_sequence(outputs, total_length=STEPS)[0][counts]
            ours, truth = rows[:, run, there][counts], targets[:, run, there][counts]
        assert_close(ours, seen.detach())
        loss = torch.nn.functional.cross_entropy(readout(seen), truth, reduction="sum")
        assert_close(losses[run], loss.detach())
        for name, wanted in zip(
            leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True
        ):
            assert_close(gradients[name][run], wanted.t(), name)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("has_one_answer", [False, True])
def test_padding_changes_no_number(engine, has_one_answer):
    arch = replace(ARCH, has_one_answer=has_one_answer)
    parameters, inputs, targets = drawn(arch)
    longer = torch.cat([inputs, 7 * inputs.flip(0)])
    rows = rows_of(arch, engine, parameters, inputs, counted(arch))
    padded = rows_of(arch, engine, parameters, longer, counted(arch, 2 * STEPS))
    counts = counted(arch) > 0
    assert torch.equal(padded[:STEPS][counts], rows[counts])
    losses, gradients = updated(arch, engine, parameters, inputs, targets, counted(arch))
    more = updated(
        arch, engine, parameters, longer, targets.repeat(2, 1, 1), counted(arch, 2 * STEPS)
    )
    assert_close(more[0], losses)
    for name, gradient in gradients.items():
        assert_close(more[1][name], gradient, name)


def test_a_cell_that_is_linear_in_its_state_is_scanned_in_both_directions():
    arch = replace(ARCH, cell=cells.find("min-gru"), biases=1)
    parameters, inputs, targets = drawn(arch)
    given = parameters, inputs, targets, counted(arch)
    losses, gradients = updated(arch, "scan", *given)
    wanted = updated(arch, "reference", *given)
    assert_close(losses, wanted[0])
    for name, gradient in wanted[1].items():
        assert_close(gradients[name], gradient, name)


def test_the_order_from_the_end_is_its_own_inverse():
    inputs = torch.arange(STEPS).view(-1, 1, 1).expand(STEPS, RUNS, STREAMS)
    order = from_the_end(inputs, counted(ARCH))
    assert reordered(inputs, order)[:, 1].T.tolist() == [
        [2, 1, 0, 3, 4, 5],
        [5, 4, 3, 2, 1, 0],
        [0, 1, 2, 3, 4, 5],
        [4, 3, 2, 1, 0, 5],
    ]
    assert torch.equal(reordered(reordered(inputs, order), order), inputs)
    assert reordered(inputs, from_the_end(inputs))[:, 0, 0].tolist() == [5, 4, 3, 2, 1, 0]


def test_parameters_states_and_flops_are_those_of_both_directions():
    module = torch.nn.ModuleList(
        [torch.nn.LSTM(3, 5, 2, bidirectional=True), torch.nn.Linear(10, 4)]
    )
    assert ARCH.num_parameters() == sum(p.numel() for p in module.parameters())
    assert ARCH.num_states() == 2 * 2 * 2 * 5
    assert ARCH.flops_per_token() == 2 * (2 * 4 * 5 * (3 + 5) + 2 * 4 * 5 * (10 + 5) + 10 * 4)
    of_tokens = replace(ARCH, reads_tokens=True, num_layers=1)
    assert of_tokens.flops_per_token() == 2 * (2 * 4 * 5 * 5 + 10 * 4)


def settings(**changes):
    fields = {"cell": "lstm", "corpus": "labelled", "task": "classification", "hidden_size": 6}
    return Settings(**fields | {"bidirectional": True} | changes)


def test_a_budget_of_parameters_is_met_with_both_directions():
    arch = architecture(settings(hidden_size=None, num_parameters=200_000), 3, 4, False)
    assert abs(arch.num_parameters() - 200_000) <= 2000
    one = architecture(
        settings(hidden_size=None, num_parameters=200_000, bidirectional=False), 3, 4, False
    )
    assert arch.hidden_size < one.hidden_size


def test_the_second_direction_begins_with_numbers_of_its_own_and_the_first_with_those_it_had():
    run = settings(chrono_steps=30, learned_start=True)
    both = initial_parameters(architecture(run, 3, 4, False), run, (1,))
    one = replace(run, bidirectional=False)
    alone = initial_parameters(architecture(one, 3, 4, False), one, (1,))
    assert all(torch.equal(both[name], p) for name, p in alone.items() if name[:7] != "readout")
    for name in ("layer0.W", "layer0.R", "layer0.b"):
        second = both[name.replace("0", "0_reverse")]
        assert second.shape == both[name].shape and not torch.equal(second, both[name])
    assert "start0_reverse.c" in both


def test_layers_that_are_wider_than_what_a_cell_reads_are_refused():
    fields = {"cell": "sru", "embedding_size": 6}
    assert architecture(settings(**fields), 3, 4, False).output_size == 12
    with pytest.raises(SizeError, match="cell sru: must stand without bidirectional here"):
        architecture(settings(**fields, num_layers=2), 3, 4, False)
    with pytest.raises(SizeError, match="tied: must stand without bidirectional here"):
        architecture(settings(tied=True, embedding_size=6), 4, 4)
