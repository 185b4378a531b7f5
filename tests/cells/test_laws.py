"""What the equations imply of one another: exact relations between cells, better than golden
numbers.
"""

import itertools

import pytest
import torch
from parity import (
    ALL_CELLS,
    H,
    I,
    by_engine,
    input_size,
    random_inputs,
    random_parameters,
    random_state,
    results,
)
from tolerances import TOLERANCES, assert_close

import cells


def _parent(cell):
    """The parent that the docstring names, or None."""
    line = next(line for line in cell.__doc__.splitlines() if line.strip().startswith("Differs"))
    return line.split("Differs from ")[1].split(":")[0] if "Differs from" in line else None


PARENTS = {name: parent for name in ALL_CELLS if (parent := _parent(cells.find(name)))}


def run(name, parameters, state, inputs=None, biases=1):
    inputs = random_inputs(inputs=input_size(cells.find(name))) if inputs is None else inputs
    return by_engine(cells.find(name), biases, parameters, inputs, state)


def arguments(name, biases=1):
    cell = cells.find(name)
    return random_parameters(cell, biases), random_state(cell)


def blocks(value, count):
    return value.chunk(count, dim=-1)


OPEN = 50.0
"""A bias beside which pre-activations of these sizes are nothing: sigmoid is 1 to the last bit."""


def with_bias(cell, parameters, **values):
    """The parameters with whole gates' biases at a value each."""
    parts = dict(zip(cell.gates, blocks(parameters["b"], len(cell.gates)), strict=True))
    parts |= {gate: torch.full_like(parts[gate], value) for gate, value in values.items()}
    return parameters | {"b": torch.cat(list(parts.values()), dim=-1)}


def assert_same_run(ours, theirs):
    """Fails where outputs or final states differ; each is (outputs, final state)."""
    for own, expected in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        assert_close(own, expected)


@pytest.mark.parametrize("biases", [1, 2])
def test_coupled_is_lstm_with_the_forget_gate_minus_the_input_gate(biases):
    parameters, state = arguments("lstm-coupled", biases)

    def with_forget_gate(value):
        i, g, o = blocks(value, 3)
        return torch.cat([i, -i, g, o], dim=-1)

    full = {name: with_forget_gate(value) for name, value in parameters.items()}
    coupled, lstm = (
        run("lstm-coupled", parameters, state, biases=biases),
        run("lstm", full, state, biases=biases),
    )
    for ours, theirs in zip((coupled[0], *coupled[1]), (lstm[0], *lstm[1]), strict=True):
        assert_close(ours, theirs)


def test_peephole_with_no_peephole_is_lstm():
    parameters, state = arguments("lstm")
    none = {name: torch.zeros(1, H, dtype=torch.float64) for name in ("p_i", "p_f", "p_o")}
    with_zeros, without = (
        run("lstm-peephole", parameters | none, state),
        run("lstm", parameters, state),
    )
    for ours, theirs in zip(
        (with_zeros[0], *with_zeros[1]), (without[0], *without[1]), strict=True
    ):
        assert_close(ours, theirs)


def test_full_gate_recurrence_without_its_matrices_is_peephole():
    parameters, state = arguments("my-full-gate-recurrence")
    without = {
        name: value * 0 if name.startswith("F_") else value for name, value in parameters.items()
    }
    kept = {name: value for name, value in parameters.items() if not name.startswith("F_")}
    outputs, final = run("my-full-gate-recurrence", without, state)
    expected, expected_final = run("lstm-peephole", kept, state[:2])
    for ours, theirs in zip((outputs, *final[:2]), (expected, *expected_final), strict=True):
        assert_close(ours, theirs)


def test_reset_before_is_gru_where_the_reset_saturates_and_the_candidate_has_no_bias_of_its_own():
    parameters, state = arguments("gru-reset-before")
    parameters["b"][..., :H] = 50.0  # sigmoid is 1 to the last bit
    joined = torch.cat([parameters["R"], parameters["R_n"]], dim=-1)
    gru = {
        "W": parameters["W"],
        "b": parameters["b"],
        "R": joined,
        "b_R": torch.zeros(1, H, dtype=torch.float64),
    }
    before, after = run("gru-reset-before", parameters, state), run("gru", gru, state)
    for ours, theirs in zip((before[0], *before[1]), (after[0], *after[1]), strict=True):
        assert_close(ours, theirs)


def test_layer_norm_sees_no_scale_of_its_matrices():
    """Up to epsilon, which is 1e-5 beside a variance of 1e8 or more here."""
    parameters, state = arguments("lstm-layer-norm")
    outputs = [
        run(
            "lstm-layer-norm", parameters | {name: scale * parameters[name] for name in "WR"}, state
        )[0]
        for scale in (1e5, 1e6)
    ]
    assert_close(*outputs)


def test_indrnn_is_rnn_relu_with_a_diagonal_matrix():
    parameters, state = arguments("indrnn")
    diagonal = torch.diag_embed(parameters["u"])
    outputs, final = run("indrnn", parameters, state)
    expected, expected_final = run(
        "rnn-relu", {"W": parameters["W"], "b": parameters["b"], "R": diagonal}, state
    )
    assert_close(outputs, expected)
    assert_close(final[0], expected_final[0])


def test_no_output_tanh_tends_to_lstm_as_the_cell_state_shrinks():
    """tanh(c) - c = -c^3 / 3, so ten times less c makes the relative difference a hundred times
    less.
    """
    parameters, state = arguments("lstm")
    gaps = []
    for scale in (1e-1, 1e-2, 1e-3):
        small = {name: value.clone() for name, value in parameters.items()}
        for value in small.values():
            value[..., 2 * H : 3 * H] *= (
                scale  # the candidate, so that c stays as small as it starts
            )
        carried = (state[0] * scale, state[1] * scale)
        with_tanh, without = (
            run("lstm", small, carried)[0],
            run("lstm-no-output-tanh", small, carried)[0],
        )
        gaps.append(((with_tanh - without).abs().max() / with_tanh.abs().max()).item())
    for larger, smaller in itertools.pairwise(gaps):
        assert 50 < larger / smaller < 200
    assert 0 < gaps[-1] < 1e-6


def test_min_gru_by_steps_is_the_closed_form():
    """h_t = A_t h_0 + sum_k (A_t / A_k) z_k n_k, with A_t the product of 1 - z up to t."""
    parameters, state = arguments("min-gru")
    inputs = random_inputs(steps=12)
    z, n = blocks(inputs[:, 0] @ parameters["W"][0] + parameters["b"][0], 2)
    z = torch.sigmoid(z)
    n = torch.where(n >= 0, n + 0.5, torch.sigmoid(n))
    decay = torch.cumprod(1 - z, dim=0)
    closed = decay * (state[0][0] + torch.cumsum(z * n / decay, dim=0))
    outputs, final = run("min-gru", parameters, state, inputs)
    assert_close(outputs[:, 0], closed)
    assert_close(final[0][0], closed[-1])


@pytest.mark.parametrize("biases", [1, 2])
def test_min_lstm_with_opposite_gates_is_min_gru(biases):
    """i = sigmoid(-u) is 1 - f, so f + i = 1: the input gate is min-gru's z."""
    parameters, state = arguments("min-gru", biases)

    def with_forget_gate(value):
        z, n = blocks(value, 2)
        return torch.cat([-z, z, n], dim=-1)

    full = {name: with_forget_gate(value) for name, value in parameters.items()}
    gru, lstm = (
        run("min-gru", parameters, state, biases=biases),
        run("min-lstm", full, state, biases=biases),
    )
    assert_close(lstm[0], gru[0])
    assert_close(lstm[1][0], gru[1][0])


def test_min_lstm_weighs_old_and_new_by_the_ratio_of_its_gates_alone():
    """Codes so low that sigmoid(u) is exp(u) to the last bit: what both have in common cancels."""
    parameters, state = arguments("min-lstm")
    low = parameters["b"].clone()
    low[..., : 2 * H] -= 40.0
    lower = low.clone()
    lower[..., : 2 * H] -= 40.0
    outputs, expected = (run("min-lstm", parameters | {"b": b}, state)[0] for b in (lower, low))
    assert_close(outputs, expected)
    assert (expected - run("min-lstm", parameters, state)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("constant", [-1.5, 0.0, 2.0])
def test_a_strongly_typed_state_forgets_as_it_writes_so_a_constant_stays(constant):
    """h' - z = f * (h - z): where z is what h is, h stays, whatever f is."""
    parameters, _ = arguments("t-rnn")
    inputs = torch.ones_like(random_inputs())
    weight = torch.zeros_like(parameters["W"])
    weight[..., :H], weight[..., 0, H:] = parameters["W"][..., :H], constant
    state = (torch.full_like(random_state(cells.find("t-rnn"))[0], constant),)
    outputs, _ = run("t-rnn", parameters | {"W": weight}, state, inputs)
    assert_close(outputs, torch.full_like(outputs, constant))


def shared(name, parent, parameters, biases=1):
    """A cell's parameters: its parent's gate by gate, and random ones of its own where that has
    none.
    """
    theirs = {}
    for spec in cells.find(parent).parameters(I, H, biases):
        for gate, block in zip(
            spec.gates, blocks(parameters[spec.name], len(spec.gates)), strict=True
        ):
            theirs.setdefault((spec.kind, gate or spec.name), block)
    own = random_parameters(cells.find(name), biases)
    for spec in cells.find(name).parameters(I, H, biases):
        named = zip(spec.gates, blocks(own[spec.name], len(spec.gates)), strict=True)
        parts = [
            theirs.pop((spec.kind, gate or spec.name), block) for gate, block in named
        ]  # to a gate's first product
        own[spec.name] = torch.cat(parts, dim=-1)
    return own


@pytest.mark.parametrize(
    ("name", "parent"),
    # The first is of one block, and lstm, where H is odd; the second has outputs of another size.
    [pair for pair in PARENTS.items() if pair[0] not in ("lstm-block-diagonal", "lstm-projected")],
)
def test_a_variant_differs_from_its_parent_on_random_weights(name, parent):
    """What both have is shared, the rest is each one's own."""
    inputs = random_inputs(inputs=input_size(cells.find(name)))
    parameters = random_parameters(cells.find(parent), 2, inputs=inputs.shape[-1])
    states = dict(zip(cells.find(parent).state, random_state(cells.find(parent)), strict=True))
    own_state = random_state(cells.find(name))
    own_state = tuple(
        states.get(s, own) for s, own in zip(cells.find(name).state, own_state, strict=True)
    )
    outputs, _ = run(name, shared(name, parent, parameters, biases=2), own_state, inputs, biases=2)
    expected, _ = run(parent, parameters, tuple(states.values()), inputs, biases=2)
    assert (outputs - expected).abs().max() > 1e-3


def test_parents_are_cells_of_the_registry():
    assert PARENTS["lstm-peephole"] == "lstm" and PARENTS["gru-reset-before"] == "gru"
    assert set(PARENTS.values()) <= set(cells.names())


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-peephole"])
def test_a_gradient_through_a_split_sequence_is_that_of_the_whole(name):
    """A carried state carries the gradient: T steps at once, or 2 and then the rest."""
    cell = cells.find(name)
    parameters, state = arguments(name)
    inputs = random_inputs(steps=5)

    def in_two(own, given, start):
        first, carried = run(name, own, start, given[:2])
        second, end = run(name, own, carried, given[2:])
        return torch.cat([first, second]), end

    whole = results(
        lambda own, given, start: run(name, own, start, given), parameters, inputs, state
    )
    parts = results(in_two, parameters, inputs, state)
    assert len(whole) == 1 + 2 * len(cell.state) + len(parameters) + 1
    for key, value in whole.items():
        assert_close(parts[key], value, key)


def test_the_table_of_tolerances_can_fail():
    for dtype, (rtol, atol) in TOLERANCES.items():
        one = torch.ones(1, dtype=dtype)
        with pytest.raises(AssertionError, match="near"):
            assert_close(one + 3 * (rtol + atol), one, "near")
