"""Laws of LSTM's ablations and relatives; as `test_laws`."""

import pytest
import torch
from parity import H, I, random_inputs, random_parameters, results
from test_laws import OPEN, arguments, assert_same_run, blocks, run, shared, with_bias
from tolerances import assert_close

import cells
from harness.engine import Layer, get
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
    without = {
        name: value * 0 if name.startswith("F_") else value for name, value in parameters.items()
    }
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
        run("lstm-capped", with_bias(capped, parameters, i=OPEN), state),
        run("lstm-coupled", coupled, state),
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
    assert_same_run(
        run("lstm-multiplicative", parameters, state, inputs), run("lstm", plain, state, inputs)
    )


def test_working_memory_connections_that_are_0_leave_lstm():
    parameters, state = arguments("wmclstm")
    without = {
        name: value * 0 if name in ("M", "M_o") else value for name, value in parameters.items()
    }
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
    """l2 = tanh(g3 + g4) is a factor of c', and c' one of h'; g4 has no bias, so that W_g4 = 0
    closes it.
    """
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


# Input and state that are multiplied.


def integrating(alpha, beta1, beta2):
    """lstm's arguments, and those of the cell of multiplicative integration with the same factors
    everywhere.
    """
    parameters, state = arguments("lstm")
    own = {key: parameters[key] for key in "WR"}
    own |= {
        f"b_{gate}": part for gate, part in zip("ifgo", blocks(parameters["b"], 4), strict=True)
    }
    for name, value in {"alpha": alpha, "beta1": beta1, "beta2": beta2}.items():
        own |= {f"{name}_{gate}": torch.full((1, H), value, dtype=torch.float64) for gate in "ifgo"}
    return parameters, own, state


def test_multiplicative_integration_that_adds_alone_is_lstm():
    parameters, own, state = integrating(0.0, 1.0, 1.0)
    assert_same_run(
        run("lstm-multiplicative-integration", own, state), run("lstm", parameters, state)
    )


def test_the_factors_of_a_sum_are_those_of_its_matrices():
    parameters, own, state = integrating(0.0, 0.3, -0.6)
    scaled = parameters | {"W": -0.6 * parameters["W"], "R": 0.3 * parameters["R"]}
    assert_same_run(run("lstm-multiplicative-integration", own, state), run("lstm", scaled, state))


def test_multiplicative_integration_alone_sees_no_input_without_a_state():
    """From h = 0 the first step's gates are their biases'."""
    _, own, (h, c) = integrating(1.0, 0.0, 0.0)
    state, inputs = (torch.zeros_like(h), c), random_inputs(steps=1)
    outputs, _ = run("lstm-multiplicative-integration", own, state, inputs)
    expected, _ = run("lstm-multiplicative-integration", own, state, 0 * inputs)
    assert_close(outputs, expected)


# Units in an order.


def ordered(first, last):
    """Random arguments of lstm-on, its master gates' sums wholly at the units `first` and
    `last`.
    """
    parameters, state = arguments("lstm-on")
    bias = parameters["b"].clone()
    for block, unit in ((4, first), (5, last)):
        bias[..., block * H + unit] += OPEN
    return parameters | {"b": bias}, state


def test_ordered_neurons_whose_master_gates_are_open_are_lstm_but_for_the_last_unit():
    """All is forgotten from the first unit on and written up to the last, which keeps what it
    has.
    """
    parameters, state = ordered(0, H - 1)
    plain = {name: value[..., : 4 * H].clone() for name, value in parameters.items()}
    plain["b"][..., H - 1] -= OPEN
    plain["b"][..., 2 * H - 1] += OPEN
    assert_same_run(run("lstm-on", parameters, state), run("lstm", plain, state))


def test_ordered_neurons_below_the_place_of_both_master_gates_are_new_and_those_above_are_kept():
    parameters, (h, c) = ordered(1, 1)
    _, (_, new) = run("lstm-on", parameters, (h, c), random_inputs(steps=1))
    inputs = random_inputs(steps=1)
    g = blocks(inputs[0] @ parameters["W"] + parameters["b"][:, None] + h @ parameters["R"], 6)[2]
    assert_close(new[..., :1], torch.tanh(g[..., :1]))
    assert_close(new[..., 1:], c[..., 1:])


def test_the_last_of_ordered_neurons_keeps_its_cell_state_whatever_comes():
    parameters, (h, c) = arguments("lstm-on")
    _, (_, final) = run("lstm-on", parameters, (h, c), random_inputs(steps=7))
    assert_close(final[..., -1], c[..., -1])


# A projection.


@pytest.mark.parametrize("biases", [1, 2])
def test_projected_by_the_identity_is_lstm(biases):
    parameters, state = arguments("lstm", biases)
    identity = torch.eye(parameters["R"].shape[1], dtype=torch.float64)[None]
    assert_same_run(
        run("lstm-projected", parameters | {"P": identity}, state, biases=biases),
        run("lstm", parameters, state, biases=biases),
    )


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_projected_is_torchs_with_proj_size(engine):
    """From a start of zero, where torch's state h has no m; outputs, final state and all
    gradients.
    """
    hidden, width, inputs = 6, 2, random_inputs(steps=5, inputs=4)
    cell = cells.find("lstm-projected")
    generator = torch.Generator().manual_seed(3)
    own = {
        spec.name: torch.randn(
            1, *spec.shape(hidden), generator=generator, dtype=torch.float64
        ).requires_grad_()
        for spec in cell.parameters(4, hidden, 2, width)
    }
    zero = tuple(torch.zeros(1, inputs.shape[2], hidden, dtype=torch.float64) for _ in cell.state)
    outputs, (_, c) = get(engine).run(Layer(cell, hidden, 2, "float64"), own, inputs, zero)
    module = torch.nn.LSTM(4, hidden, proj_size=width).double()
    names = {
        "W": "weight_ih_l0",
        "R": "weight_hh_l0",
        "P": "weight_hr_l0",
        "b": "bias_ih_l0",
        "b_R": "bias_hh_l0",
    }
    with torch.no_grad():
        for name, theirs in names.items():
            getattr(module, theirs).copy_(own[name][0].mT if own[name].ndim == 3 else own[name][0])
    expected, (h_final, c_final) = module(inputs[:, 0])
    assert_close(outputs[:, 0], expected)
    assert_close(outputs[-1, 0], h_final[0])
    assert_close(c[0], c_final[0])
    ours = torch.autograd.grad(outputs.pow(2).sum() + c.sum(), list(own.values()))
    theirs = torch.autograd.grad(
        expected.pow(2).sum() + c_final.sum(), [getattr(module, names[name]) for name in own]
    )
    for name, gradient, wanted in zip(own, ours, theirs, strict=True):
        assert_close(gradient[0], wanted.mT if wanted.ndim == 2 else wanted, name)
