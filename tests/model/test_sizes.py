"""How many parameters, states and FLOPs a model has, and the size that meets a budget."""

from dataclasses import replace

import pytest
import torch
from small_models import SEED, settings

import cells
from harness.model.architecture import Architecture, SizeError, architecture
from harness.model.initialization import initial_parameters


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
