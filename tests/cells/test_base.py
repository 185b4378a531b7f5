import pytest
import torch
from parity import ALL_CELLS

import cells
from cells.base import Cell, Parameter, normalize, split_gates, unchanged

I, H = 7, 5


def declared(cell, biases):
    return [(p.name, p.kind, p.gates, p.shape(H)) for p in cell.parameters(I, H, biases)]


def test_a_layer_of_one_product_has_w_b_r_and_with_two_biases_b_r():
    gates = ("i", "f", "g", "o")
    one = [
        ("W", "input", gates, (7, 20)),
        ("b", "bias", gates, (20,)),
        ("R", "recurrent", gates, (5, 20)),
    ]
    assert declared(cells.find("lstm"), 1) == one
    assert declared(cells.find("lstm"), 2) == [*one, ("b_R", "recurrent_bias", gates, (20,))]


def test_a_bias_that_the_equation_needs_is_there_with_one_bias_too():
    names = {
        biases: {p.name: p.gates for p in cells.find("gru").parameters(I, H, biases)}
        for biases in (1, 2)
    }
    assert names[1]["b_R"] == ("n",)
    assert names[2]["b_R"] == ("r", "z", "n")


def test_a_second_bias_belongs_to_the_first_product_that_feeds_the_gate():
    found = {p.name: p.gates for p in cells.find("my-full-gate-recurrence").parameters(I, H, 2)}
    assert found["b_R"] == ("i", "f", "g", "o")
    assert not {"b_F_i", "b_F_f", "b_F_o"} & set(found)
    before = {p.name: p.gates for p in cells.find("gru-reset-before").parameters(I, H, 2)}
    assert (before["b_R"], before["b_R_n"]) == (("r", "z"), ("n",))


def test_an_unbiased_gate_has_no_bias_of_either_sort():
    class Half(Cell):
        gates = ("a", "b")
        unbiased = ("a",)

    assert {p.name: p.gates for p in Half.parameters(I, H, 2) if "bias" in p.kind} == {
        "b": ("b",),
        "b_R": ("b",),
    }
    assert "b" not in {p.name for p in cells.find("my-lstm-layer-norm").parameters(I, H, 2)}


def test_a_gate_without_w_has_a_recurrent_bias_where_one_is_declared_and_none_where_unbiased():
    with_bias = {p.name: p.gates for p in cells.find("gru1").parameters(I, H, 1)}
    assert with_bias == {
        "W": ("n",),
        "b": ("n",),
        "R": ("r", "z"),
        "b_R": ("r", "z"),
        "R_n": ("n",),
    }
    assert {
        p.name: p.gates
        for p in cells.find("gru2").parameters(I, H, 2)
        if p.kind == "recurrent_bias"
    } == {"b_R_n": ("n",)}


def test_vectors_come_last_with_their_start():
    found = cells.find("my-lstm-layer-norm").parameters(I, H, 1)[2:]
    assert {p.kind for p in found} == {"vector"}
    assert {p.name: p.start for p in found}["u_c"] == 1.0
    assert found[0] == Parameter("u_i", "vector", ("",), None, 1.0)
    assert found[0].shape(H) == (5,)


@pytest.mark.parametrize("name", [name for name in ALL_CELLS if cells.find(name).reference])
def test_with_two_biases_a_cell_has_the_parameters_of_torch(name):
    cell = cells.find(name)
    module = getattr(torch.nn, cell.reference[0])(I, H, **cell.reference[1])
    assert cell.num_parameters(I, H, 2) == sum(p.numel() for p in module.parameters())


def test_flops_are_two_an_entry_of_each_product_and_a_lookup_is_free():
    lstm = cells.find("lstm")
    assert lstm.flops_per_token(I, H) == 2 * 4 * H * (I + H)
    assert lstm.flops_per_token(None, H) == 2 * 4 * H * H
    assert cells.find("indrnn").flops_per_token(None, H) == 0
    assert cells.find("my-full-gate-recurrence").flops_per_token(None, H) == 2 * (4 + 9) * H * H


def test_split_gates_names_the_blocks_in_order():
    x = split_gates(torch.arange(6.0).view(1, 6), ("i", "f"))
    assert x.i.tolist() == [[0, 1, 2]]
    assert x.f.tolist() == [[3, 4, 5]]


def test_unchanged_is_the_value_itself():
    value = torch.zeros(2)
    assert unchanged(value) is value


def test_normalize_is_layer_norm_over_all_parts_together():
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64).unbind(0)
    expected = torch.nn.functional.layer_norm(torch.cat(parts, dim=-1), (12,)).chunk(3, dim=-1)
    for got, wanted in zip(normalize(*parts), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_cell_without_a_step_says_so():
    with pytest.raises(NotImplementedError):
        Cell().step(None, None)
