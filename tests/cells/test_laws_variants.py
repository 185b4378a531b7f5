"""Laws of the variants that came after LSTM, GRU and IndRNN; as `test_laws`."""

import pytest
import torch
from parity import H, random_inputs
from test_laws import OPEN, arguments, assert_same_run, run
from test_laws_gated import by_gate, everywhere, of_gates, taken
from tolerances import assert_close

import cells

# Normalised over the units.


@pytest.mark.parametrize("name", ["gru-layer-norm", "indrnn-layer-norm"])
def test_a_normalised_cell_sees_no_scale_of_its_matrices(name):
    """Up to epsilon, which is 1e-5 beside a variance of 1e8 or more here."""
    parameters, state = arguments(name)
    matrices = [matrix for matrix in "WR" if matrix in parameters]
    outputs = [
        run(name, parameters | {matrix: scale * parameters[matrix] for matrix in matrices}, state)
        for scale in (1e5, 1e6)
    ]
    assert_close(outputs[0][0], outputs[1][0])


def test_gru_layer_norm_without_its_gains_is_gru_that_sees_neither_input_nor_state():
    found, state = by_gate("gru-layer-norm")
    none = found | {f"{letter}_{gate}": everywhere(0.0) for letter in "uv" for gate in "rzn"}
    biases = {f"b_{gate}": found[f"b_{gate}"] for gate in "rzn"} | {"c_n": found["b_Rn"]}
    assert_same_run(
        run("gru-layer-norm", of_gates("gru-layer-norm", none), state),
        run("gru", of_gates("gru", biases), state),
    )


def test_indrnn_layer_norm_is_indrnn_on_normalised_inputs():
    parameters, state = arguments("indrnn-layer-norm")
    inputs = random_inputs()
    product = inputs @ parameters["W"]
    seen = torch.nn.functional.layer_norm(product, product.shape[-1:]) * parameters["v_h"]
    plain = {
        "W": torch.eye(seen.shape[-1], dtype=torch.float64)[None],
        "b": parameters["b_h"],
        "u": parameters["u"],
    }
    assert_same_run(
        run("indrnn-layer-norm", parameters, state, inputs), run("indrnn", plain, state, seen)
    )


# Units that see themselves alone.


@pytest.mark.parametrize(("name", "parent"), [("indylstm", "lstm"), ("indygru", "gru")])
def test_an_independent_cell_is_its_parent_with_diagonal_matrices(name, parent):
    """Of gru the form with the reset after the product, whose inner bias is 0."""
    found, state = by_gate(name)
    diagonal = {
        f"R_{gate}": torch.diag_embed(found[f"u_{gate}"]) for gate in cells.find(name).gates
    }
    assert_same_run(
        run(name, of_gates(name, found), state),
        run(parent, of_gates(parent, found | diagonal), state),
    )


@pytest.mark.parametrize("name", ["indylstm", "indygru", "indrnn-layer-norm"])
def test_a_unit_of_an_independent_cell_acts_on_itself_alone(name):
    """Where a bias keeps it off the flat side of relu."""
    parameters, state = arguments(name)
    parameters |= {"b_h": everywhere(5.0)} if "b_h" in parameters else {}
    inputs = random_inputs(steps=2)
    before, _ = run(name, parameters, state, inputs)
    for unit in range(before.shape[-1]):
        other = tuple(part.clone() for part in state)
        for part in other:
            part[..., unit] += 0.5
        after, _ = run(name, parameters, other, inputs)
        changed = (after != before).flatten(0, 2).any(0)
        assert changed.nonzero().tolist() == [[unit]]


# Products of input and state, and a shortcut.


def test_multiplicative_integration_without_its_products_is_gru_reset_before():
    found, state = by_gate("gru-multiplicative-integration")
    for gate in "rzn":
        found |= {f"alpha_{gate}": everywhere(0.0)}
        found |= {f"beta{k}_{gate}": everywhere(1.0) for k in (1, 2)}
    assert_same_run(
        run(
            "gru-multiplicative-integration",
            of_gates("gru-multiplicative-integration", found),
            state,
        ),
        run("gru-reset-before", of_gates("gru-reset-before", found), state),
    )


def test_a_residual_lstm_without_its_shortcut_and_its_projection_is_lstm_peephole():
    found, state = by_gate("lstm-residual")
    found["W_s"] = torch.zeros_like(found["W_s"])
    found["R_m"] = torch.eye(H, dtype=torch.float64)[None]
    assert_same_run(
        run("lstm-residual", of_gates("lstm-residual", found), state),
        run("lstm-peephole", of_gates("lstm-peephole", found), state),
    )


def test_the_shortcut_of_a_residual_lstm_passes_the_output_gate():
    """Open, it adds W_s x to what comes without it; closed, nothing comes."""
    found, state = by_gate("lstm-residual")
    inputs = random_inputs(steps=1)
    opened, closed = (found | {"b_o": everywhere(bias)} for bias in (OPEN, -OPEN))
    without = opened | {"W_s": torch.zeros_like(found["W_s"])}
    outputs, inner, none = (
        run("lstm-residual", of_gates("lstm-residual", given), state, inputs)[0]
        for given in (opened, without, closed)
    )
    assert_close(outputs - inner, inputs @ found["W_s"])
    assert none.abs().max() < 1e-15


# One gate.


@pytest.mark.parametrize("name", ["sgu", "dsgu"])
def test_a_simple_gated_unit_with_its_gate_closed_stays_to_the_last_bit(name):
    found, state = by_gate(name)
    outputs, _ = run(name, of_gates(name, found | {"b_z": everywhere(-OPEN)}), state)
    assert torch.equal(outputs, state[0].expand_as(outputs))


def test_an_open_step_of_dsgu_without_its_matrix_is_a_function_of_that_of_sgu():
    """sigmoid(u) = 1 - exp(-softplus(u))."""
    found, state = by_gate("dsgu")
    found |= {"b_z": everywhere(OPEN), "R_n": torch.eye(H, dtype=torch.float64)[None]}
    inputs = random_inputs(steps=1)
    outputs, _ = run("dsgu", of_gates("dsgu", found), state, inputs)
    soft, _ = run("sgu", of_gates("sgu", found), state, inputs)
    assert_close(outputs, 1 - torch.exp(-soft))


def test_cfc_whose_contents_are_alike_is_rnn_tanh():
    found, state = by_gate("cfc")
    alike = found | taken(found, "g", "k")
    assert_same_run(
        run("cfc", of_gates("cfc", alike), state),
        run("rnn-tanh", of_gates("rnn-tanh", taken(found, "g", "h")), state),
    )


def test_cfc_with_its_contents_exchanged_and_its_time_reversed_is_itself():
    found, state = by_gate("cfc")
    other = taken(found, "g", "k") | taken(found, "k", "g") | taken(found, "f", "f", sign=-1)
    assert_same_run(
        run("cfc", of_gates("cfc", other), state), run("cfc", of_gates("cfc", found), state)
    )
