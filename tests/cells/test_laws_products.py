"""Laws of cells that read their input, and of those whose matrices are made of their parameters; as
`test_laws`.
"""

import math

import pytest
import torch
from parity import ALL_CELLS, input_size, random_inputs, random_parameters, random_state, results
from test_laws import OPEN, arguments, assert_same_run, blocks, run, with_bias
from test_laws_gated import by_gate, everywhere, of_gates
from tolerances import assert_close

import cells
from harness.engine import Layer, get

UNREAD = [name for name in ALL_CELLS if cells.find(name).unread]


def own_inputs(name, **changes):
    return random_inputs(inputs=input_size(cells.find(name)), **changes)


def scaled(parameters, names, factor=0.0):
    return {name: value * factor if name in names else value for name, value in parameters.items()}


# Matrices that are made of parameters.


@pytest.mark.parametrize("name", ["antisymmetric-rnn", "antisymmetric-rnn-gated"])
def test_an_antisymmetric_matrix_turns_and_damps(name):
    """A + A^T = -2 gamma I, so that all its eigenvalues have the real part -gamma."""
    made = cells.find(name).prepared(random_parameters(cells.find(name), 1, hidden=6, runs=2))["R"]
    expected = -0.02 * torch.eye(6, dtype=torch.float64)
    assert torch.equal(made + made.mT, expected.expand(2, 6, 6))
    assert_close(torch.linalg.eigvals(made).real, torch.full((2, 6), -0.01, dtype=torch.float64))


@pytest.mark.parametrize("name", ["antisymmetric-rnn", "antisymmetric-rnn-gated"])
def test_the_symmetric_part_of_its_parameter_does_nothing(name):
    parameters, state = arguments(name)
    symmetric = parameters["R"] @ parameters["R"].mT
    other = parameters | {"R": parameters["R"] + symmetric}
    assert_same_run(run(name, other, state), run(name, parameters, state))


def test_antisymmetric_with_an_open_gate_has_none_and_with_a_closed_one_stays():
    found, state = by_gate("antisymmetric-rnn-gated")
    opened = of_gates("antisymmetric-rnn-gated", found | {"b_z": everywhere(OPEN)})
    plain = of_gates("antisymmetric-rnn", found)
    assert_same_run(
        run("antisymmetric-rnn-gated", opened, state), run("antisymmetric-rnn", plain, state)
    )
    closed = of_gates("antisymmetric-rnn-gated", found | {"b_z": everywhere(-OPEN)})
    outputs, _ = run("antisymmetric-rnn-gated", closed, state)
    assert_close(outputs, state[0].expand_as(outputs))


def test_a_step_of_antisymmetric_is_a_tenth_of_one_of_rnn_tanh_with_that_matrix():
    parameters, (h,) = arguments("antisymmetric-rnn")
    inputs = random_inputs(steps=1)
    made = cells.find("antisymmetric-rnn").prepared(parameters)
    outputs, _ = run("antisymmetric-rnn", parameters, (h,), inputs)
    assert_close(outputs[0], h + run("rnn-tanh", made, (h,), inputs)[0][0] / 10)


def block_diagonal(hidden):
    """Arguments of lstm-block-diagonal of one run, with those of the lstm whose matrix has zeros
    beside the blocks.
    """
    cell = cells.find("lstm-block-diagonal")
    parameters, state = random_parameters(cell, 1, hidden=hidden), random_state(cell, hidden=hidden)
    size = parameters["R"].shape[1]
    whole = torch.zeros(1, hidden, 4 * hidden, dtype=torch.float64)
    for gate in range(4):
        for first in range(0, hidden, size):
            columns = slice(gate * hidden + first, gate * hidden + first + size)
            whole[:, first : first + size, columns] = parameters["R"][:, :, columns]
    return parameters, parameters | {"R": whole}, state


@pytest.mark.parametrize(
    ("hidden", "rows"), [(1, 1), (2, 1), (3, 3), (6, 3), (7, 7), (8, 2), (12, 3)]
)
def test_block_diagonal_is_lstm_with_zeros_beside_the_blocks(hidden, rows):
    """Four blocks, two where H is even alone, one where it is odd: then it is lstm to the last
    bit.
    """
    parameters, whole, state = block_diagonal(hidden)
    assert parameters["R"].shape == (1, rows, 4 * hidden)
    ours, theirs = run("lstm-block-diagonal", parameters, state), run("lstm", whole, state)
    assert_same_run(ours, theirs)
    if hidden % 2:
        assert torch.equal(parameters["R"], whole["R"]) and torch.equal(ours[0], theirs[0])


def test_a_unit_of_a_block_sees_no_unit_of_another_and_every_unit_of_its_own():
    parameters, _, (h, c) = block_diagonal(8)
    inputs = random_inputs(steps=1)
    before, _ = run("lstm-block-diagonal", parameters, (h, c), inputs)
    for unit in range(8):
        other = h.clone()
        other[..., unit] += 1.0
        after, _ = run("lstm-block-diagonal", parameters, (other, c), inputs)
        changed = (after != before).all(dim=2).flatten().tolist()
        assert changed == [k // 2 == unit // 2 for k in range(8)]


# Input and state that gate one another.


def of_lstm(parameters):
    """What a mogrifier has beside its rounds, as lstm's parameters."""
    return {"W": parameters["V"], "b": parameters["b_V"], "R": parameters["R"]}


def test_a_mogrifier_whose_rounds_are_0_is_lstm():
    """2 * sigmoid(0) is 1."""
    parameters, state = arguments("lstm-mogrifier")
    plain = scaled(parameters, ("Q1", "P1", "Q2", "P2", "Q3"))
    inputs = own_inputs("lstm-mogrifier")
    assert_same_run(
        run("lstm-mogrifier", plain, state, inputs), run("lstm", of_lstm(plain), state, inputs)
    )


def test_a_mogrifier_without_an_input_is_lstm():
    """What is 0 stays 0 in all rounds, and P 0 gates by 1."""
    parameters, state = arguments("lstm-mogrifier")
    inputs = torch.zeros_like(own_inputs("lstm-mogrifier"))
    assert_same_run(
        run("lstm-mogrifier", parameters, state, inputs),
        run("lstm", of_lstm(parameters), state, inputs),
    )


def test_the_first_step_of_a_mogrifier_from_nothing_is_that_of_lstm():
    parameters, (h, c) = arguments("lstm-mogrifier")
    inputs, state = own_inputs("lstm-mogrifier", steps=1), (torch.zeros_like(h), c)
    assert_same_run(
        run("lstm-mogrifier", parameters, state, inputs),
        run("lstm", of_lstm(parameters), state, inputs),
    )


@pytest.mark.parametrize("name", ["Q1", "P1", "Q2", "P2", "Q3"])
def test_every_round_of_a_mogrifier_acts(name):
    parameters, state = arguments("lstm-mogrifier")
    outputs, without = (
        run("lstm-mogrifier", own, state)[0] for own in (parameters, scaled(parameters, (name,)))
    )
    assert (outputs - without).abs().max() > 1e-3


# Input and state that a gate mixes.


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_declared_unread_changes_no_bit(name):
    cell = cells.find(name)
    parameters, state = arguments(name)
    other = tuple(
        s + 1.0 if k in cell.unread else s for k, s in zip(cell.state, state, strict=True)
    )
    (outputs, final), (expected, expected_final) = (
        run(name, parameters, other),
        run(name, parameters, state),
    )
    assert torch.equal(outputs, expected)
    assert all(torch.equal(a, b) for a, b in zip(final, expected_final, strict=True))


def test_there_are_cells_with_a_state_that_no_step_reads():
    assert UNREAD == ["intersection-rnn", "lru", "qrnn", "rwkv-4", "scrn", "sru", "t-lstm"]


@pytest.mark.parametrize(
    ("name", "gate", "bias"), [("intersection-rnn", "u", OPEN), ("sru", "r", -OPEN)]
)
def test_a_highway_that_is_open_gives_the_input(name, gate, bias):
    found, state = by_gate(name)
    inputs = own_inputs(name)
    outputs, _ = run(name, of_gates(name, found | {f"b_{gate}": everywhere(bias)}), state, inputs)
    assert_close(outputs, inputs)


def test_the_state_of_an_intersection_network_is_that_of_ugrnn():
    found, state = by_gate("intersection-rnn")
    inputs = own_inputs("intersection-rnn")
    _, (_, h) = run("intersection-rnn", of_gates("intersection-rnn", found), state, inputs)
    assert_close(h, run("ugrnn", of_gates("ugrnn", found), state[1:], inputs)[1][0])


def test_an_intersection_network_without_the_input_is_a_rectified_layer_over_the_state_before():
    found, state = by_gate("intersection-rnn")
    parameters = of_gates("intersection-rnn", found | {"b_u": everywhere(-OPEN)})
    inputs = own_inputs("intersection-rnn", steps=1)
    outputs, _ = run("intersection-rnn", parameters, state, inputs)
    layer = {key.replace("_y", "_h"): value for key, value in found.items() if key.endswith("_y")}
    assert_close(outputs, run("rnn-relu", of_gates("rnn-relu", layer), state[1:], inputs)[0])


def test_sru_whose_gates_do_not_see_c_is_t_rnn_under_a_highway():
    """And where r is open, t-rnn itself."""
    found, state = by_gate("sru")
    found |= {"v_f": everywhere(0.0), "v_r": everywhere(0.0)}
    inputs = own_inputs("sru")
    outputs, (_, c) = run("sru", of_gates("sru", found), state, inputs)
    inner, final = run("t-rnn", of_gates("t-rnn", found), state[1:], inputs)
    r = torch.sigmoid(inputs @ found["W_r"] + found["b_r"][:, None])
    assert_close(outputs, r * inner + (1 - r) * inputs)
    assert_close(c, final[0])
    opened, _ = run("sru", of_gates("sru", found | {"b_r": everywhere(OPEN)}), state, inputs)
    assert_close(opened, inner)


@pytest.mark.parametrize("name", ["rg-lru", "sru"])
def test_a_linear_cell_does_to_a_sum_of_states_what_it_does_to_each(name):
    """Of sru without v: with it, the gates see c."""
    parameters, state = arguments(name)
    parameters = scaled(parameters, ("v_f", "v_r"))
    other, none = tuple(s.flip(-1) - 0.3 for s in state), tuple(torch.zeros_like(s) for s in state)

    def outputs(*states):
        return run(name, parameters, tuple(map(sum, zip(none, *states, strict=True))))[0]

    assert_close(
        outputs(state, other) - outputs(), outputs(state) - outputs() + outputs(other) - outputs()
    )


def test_sru_is_not_linear_in_c():
    parameters, (h, c) = arguments("sru")
    one, two, none = (run("sru", parameters, (h, k * c))[0] for k in (1, 2, 0))
    assert (two - none - 2 * (one - none)).abs().max() > 1e-3


def test_rg_lru_with_its_recurrence_gate_closed_keeps_its_state_and_writes_nothing():
    """a = 1, of which sqrt(1 - a^2) is 0 only where r is far below a's last bit."""
    parameters, state = arguments("rg-lru")
    outputs, _ = run("rg-lru", with_bias(cells.find("rg-lru"), parameters, r=-2 * OPEN), state)
    assert_close(outputs, state[0].expand_as(outputs))


def test_the_squares_of_what_rg_lru_keeps_and_of_what_it_writes_sum_to_1():
    """Of a state of 1 without an input, and of an input of 1 from nothing, by one r."""
    parameters, (h,) = arguments("rg-lru")
    parameters = with_bias(cells.find("rg-lru"), scaled(parameters, ("W",)), r=0.3, i=OPEN)
    one, none = torch.ones_like(h), torch.zeros_like(h)
    kept, _ = run("rg-lru", parameters, (one,), none[None])
    written, _ = run("rg-lru", parameters, (none,), one[None])
    assert_close(kept**2 + written**2, torch.ones_like(kept))


def test_the_decay_of_rg_lru_starts_at_095_where_its_gate_is_open():
    cell = cells.find("rg-lru")
    parameters, (h,) = arguments("rg-lru")
    parameters = with_bias(cell, parameters | {"l": everywhere(cell.vectors["l"])}, r=OPEN)
    outputs, _ = run(
        "rg-lru", parameters, (torch.ones_like(h),), torch.zeros_like(own_inputs("rg-lru", steps=1))
    )
    expected = (1 + math.exp(-5)) ** -8
    assert_close(outputs, torch.full_like(outputs, expected))
    assert expected == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("engine", ["reference", "cpu", "scan"])
@pytest.mark.parametrize("bias", [-80.0, -90.0, -104.0, -200.0])
def test_the_gradients_of_rg_lru_are_finite_where_its_recurrence_gate_underflows(engine, bias):
    """sigmoid(-104) is 0 in float32, and so is 1 - a^2, of which a square root has no gradient."""
    cell = cells.find("rg-lru")
    parameters, state = arguments("rg-lru")
    parameters = with_bias(cell, parameters, r=bias)

    def single(given, inputs, start):
        given, start = (
            {name: value.float() for name, value in given.items()},
            tuple(s.float() for s in start),
        )
        return get(engine).run(
            Layer(cell, inputs.shape[-1], 1, "float32"), given, inputs.float(), start
        )

    found = results(single, parameters, own_inputs("rg-lru"), state)
    assert [name for name, value in found.items() if not value.isfinite().all()] == []
    assert_close(found["outputs"].double(), state[0].float().double().expand_as(found["outputs"]))


def test_rg_lru_by_steps_is_the_closed_form():
    """h_t = A_t h_0 + sum_k (A_t / A_k) w_k, with A_t the product of a up to t."""
    parameters, (h,) = arguments("rg-lru")
    parameters = scaled(parameters, ("W",), 0.3) | {
        "l": everywhere(-3.0)
    }  # a product of 12 decays far above 0
    inputs = own_inputs("rg-lru", steps=12)
    r, i = blocks(torch.sigmoid(inputs @ parameters["W"] + parameters["b"][:, None]), 2)
    a = torch.sigmoid(-parameters["l"]) ** (8 * r)
    decay = torch.cumprod(a, dim=0)
    closed = decay * (h + torch.cumsum((1 - a * a).sqrt() * i * inputs / decay, dim=0))
    outputs, final = run("rg-lru", parameters, (h,), inputs)
    assert_close(outputs, closed)
    assert_close(final[0], closed[-1])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sru", "sigmoid of c"),
        ("antisymmetric-rnn", "it has a recurrent product, R"),
        ("antisymmetric-rnn-gated", "it has a recurrent product, R"),
        ("intersection-rnn", "it has a recurrent product, R"),
        ("lstm-block-diagonal", "it has a recurrent product, R"),
        ("lstm-mogrifier", "it has a recurrent product, Q1"),
    ],
)
def test_a_scan_says_why_it_does_not_run_a_cell(name, reason):
    refusal = get("scan").refusal(cells.find(name), "cpu", "float32")
    assert refusal == f"{name} is not linear in its state: {reason}"


def test_a_scan_runs_rg_lru():
    assert get("scan").refusal(cells.find("rg-lru"), "cpu", "float32") is None
