"""Laws of LSTM's ablations and relatives; as `test_laws`."""

import pytest
import torch
from parity import H, I, random_inputs, random_parameters, results
from test_laws import OPEN, arguments, assert_same_run, blocks, run, shared, with_bias
from tolerances import assert_close

import cells
from harness.engine.base import initial_state


@pytest.mark.parametrize(
    ("name", "parent", "gate"),
    [
        ("lstm-no-input-gate", "lstm", "i"),
        ("lstm-no-forget-gate", "lstm", "f"),
        ("lstm-no-output-gate", "lstm", "o"),
        ("odyssey-nig", "lstm-peephole", "i"),
        ("odyssey-nfg", "lstm-peephole", "f"),
        ("odyssey-nog", "lstm-peephole", "o"),
    ],
)
def test_without_a_gate_a_cell_is_its_parent_with_that_gate_open(name, parent, gate):
    parameters, state = arguments(parent)
    opened = with_bias(cells.find(parent), parameters, **{gate: OPEN})
    assert_same_run(run(name, shared(name, parent, parameters), state), run(parent, opened, state))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("odyssey-nig", "lstm-no-input-gate"),
        ("odyssey-nfg", "lstm-no-forget-gate"),
        ("odyssey-nog", "lstm-no-output-gate"),
        ("odyssey-niaf", "lstm-no-input-tanh"),
        ("odyssey-noaf", "lstm-no-output-tanh"),
        ("odyssey-cifg", "lstm-coupled"),
        ("odyssey-np", "lstm"),
    ],
)
def test_without_peepholes_an_ablation_of_peephole_is_that_of_lstm(name, plain):
    parameters, state = arguments(plain)
    none = {vector: torch.zeros(1, H, dtype=torch.float64) for vector in cells.find(name).vectors}
    assert_same_run(run(name, parameters | none, state), run(plain, parameters, state))


def test_odyssey_fgr_without_its_nine_matrices_is_peephole():
    parameters, state = arguments("odyssey-fgr")
    without = {name: value * 0 if name.startswith("F_") else value for name, value in parameters.items()}
    kept = {name: value for name, value in parameters.items() if not name.startswith("F_")}
    outputs, final = run("odyssey-fgr", without, state)
    assert_same_run((outputs, final[:2]), run("lstm-peephole", kept, state[:2]))


def test_capped_is_coupled_where_the_cap_always_holds_and_lstm_where_it_never_does():
    parameters, state = arguments("lstm-capped")
    capped = cells.find("lstm-capped")

    def without_input_gate(value):
        _, f, g, o = blocks(value, 4)
        return torch.cat([-f, g, o], dim=-1)  # 1 - sigmoid(u) is sigmoid(-u)

    coupled = {name: without_input_gate(value) for name, value in parameters.items()}
    assert_same_run(
        run("lstm-capped", with_bias(capped, parameters, i=OPEN), state), run("lstm-coupled", coupled, state)
    )
    closed = with_bias(capped, parameters, f=-OPEN)
    assert_same_run(run("lstm-capped", closed, state), run("lstm", closed, state))


def test_multiplicative_is_lstm_where_what_the_input_makes_of_h_is_h():
    """W_m x is 1 in every unit for an input whose first value is 1, and R_m is the identity."""
    parameters, state = arguments("lstm-multiplicative")
    inputs = random_inputs()
    inputs[..., 0] = 1.0
    parameters["R_m"] = torch.eye(H, dtype=torch.float64)[None]
    parameters["W"][..., :H] = torch.eye(I, 1, dtype=torch.float64)
    plain = {"W": parameters["W"][..., H:], "b": parameters["b"], "R": parameters["R"]}
    assert_same_run(run("lstm-multiplicative", parameters, state, inputs), run("lstm", plain, state, inputs))


def test_working_memory_connections_that_are_0_leave_lstm():
    parameters, state = arguments("wmclstm")
    without = {name: value * 0 if name in ("M", "M_o") else value for name, value in parameters.items()}
    plain = {name: value for name, value in parameters.items() if name not in ("M", "M_o")}
    assert_same_run(run("wmclstm", without, state), run("lstm", plain, state))


def test_janet_keeps_its_state_where_the_forget_gate_is_open():
    parameters, state = arguments("janet")
    outputs, _ = run("janet", with_bias(cells.find("janet"), parameters, f=OPEN), state)
    assert_close(outputs, state[0].expand_as(outputs))


def test_ran_adds_its_inputs_up_where_both_gates_are_open():
    parameters, state = arguments("ran")
    inputs = random_inputs(steps=6)
    opened = parameters | {"b": torch.full_like(parameters["b"], OPEN)}
    total = state[1] + torch.cumsum(inputs @ blocks(parameters["W"], 3)[2], dim=0)
    outputs, final = run("ran", opened, state, inputs)
    assert_close(outputs, torch.tanh(total))
    assert_close(final[1], total[-1])


def test_nas_is_silent_where_g3_and_g4_are_0():
    """l2 = tanh(g3 + g4) is a factor of c', and c' one of h'; g4 has no bias, so that W_g4 = 0 closes it."""
    parameters, state = arguments("nas")
    parameters["W"][..., 3 * H : 4 * H] = 0.0
    parameters["b"][..., 2 * H : 3 * H] = -2 * OPEN
    outputs, final = run("nas", parameters, state)
    assert outputs.abs().max() < 1e-30 and final[1].abs().max() < 1e-30


def from_the_start(cell, steps):
    """Random arguments of a run from the cell's own initial state."""
    inputs = random_inputs(steps=steps)
    return random_parameters(cell, 1), inputs, initial_state(cell, 1, inputs.shape[2], H, inputs)


def slstm_without_a_stabiliser(parameters, inputs, state):
    """The paper's first form, exp(i~) and sigmoid(f~) as they stand, from c = n = 0."""
    h, c, n, _ = (torch.zeros_like(value) for value in state)
    outputs = []
    for x in inputs:
        i, f, g, o = blocks(x @ parameters["W"] + h @ parameters["R"] + parameters["b"][:, None], 4)
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(g)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs), (c, n)


def test_slstm_from_its_start_is_the_papers_form_without_a_stabiliser():
    """Outputs, final state and the gradients of both: that through m and the maximum cancels."""
    parameters, inputs, state = from_the_start(cells.find("slstm"), 8)

    def stabilised(own, given, start):
        outputs, (_, c, n, m) = run("slstm", own, start, given)
        assert n.min() >= 1
        return outputs, (c * torch.exp(m), n * torch.exp(m))

    ours = results(stabilised, parameters, inputs, state)
    theirs = results(slstm_without_a_stabiliser, parameters, inputs, state)
    for name in (
        "outputs",
        "final state 0",
        "final state 1",
        *(f"gradient of {p}" for p in (*parameters, "the input")),
    ):
        assert_close(ours[name], theirs[name], name)


def test_slstm_does_not_overflow_where_its_exponentials_would():
    cell = cells.find("slstm")
    parameters, inputs, state = from_the_start(cell, 8)
    outputs, final = run("slstm", with_bias(cell, parameters, i=1000.0), state, inputs)
    expected, _ = run("slstm", with_bias(cell, parameters, i=0.0), state, inputs)
    assert all(value.isfinite().all() for value in final)
    assert_close(outputs, expected)  # a factor that all weights share cancels
