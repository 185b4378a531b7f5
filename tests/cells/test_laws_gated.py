"""Laws of the cells between Elman's network and the GRU, of small gated cells and of typed ones; as
`test_laws`.
"""

import math

import pytest
import torch
from parity import H, I, random_inputs, random_state
from test_laws import OPEN, arguments, assert_same_run, blocks, run
from tolerances import assert_close

import cells


def keys(name, spec):
    """The names by gate of a parameter's blocks.

    A recurrent bias is the gate's only one, b, where it has no W.
    """
    letter = {"input": "W", "bias": "b", "recurrent": "R", "recurrent_bias": "c"}.get(spec.kind)
    for gate in spec.gates:
        own = "b" if letter == "c" and gate not in cells.find(name).gates else letter
        yield f"{own}_{gate}" if gate else spec.name


def by_gate(name):
    """Random parameters of a cell, gate by gate: W_g, b_g, R_g, c_g a second bias, and vectors; and
    a state.
    """
    parameters, state = arguments(name)
    found = {}
    for spec in cells.find(name).parameters(I, H, 1):
        found |= dict(
            zip(keys(name, spec), blocks(parameters[spec.name], len(spec.gates)), strict=True)
        )
    return found, state


def of_gates(name, found):
    """The parameters of a cell out of those by gate, 0 where there are none."""
    made = {}
    for spec in cells.find(name).parameters(I, H, 1):
        zero = torch.zeros(1, *([] if spec.rows is None else [spec.rows]), H, dtype=torch.float64)
        made[spec.name] = torch.cat([found.get(key, zero) for key in keys(name, spec)], dim=-1)
    return made


def taken(found, gate, new, sign=1):
    """What a gate has, under another gate's name."""
    return {
        f"{letter}_{new}": sign * found[f"{letter}_{gate}"]
        for letter in "WRb"
        if f"{letter}_{gate}" in found
    }


def everywhere(value):
    return torch.full((1, H), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        *((f"gru{k}", "gru-reset-before") for k in (1, 2, 3)),
        *((f"mgu{k}", "mgu") for k in (1, 2, 3)),
    ],
)
def test_with_less_in_its_gates_a_cell_is_its_parent_with_that_at_0(name, parent):
    found, state = by_gate(name)
    assert_same_run(
        run(name, of_gates(name, found), state), run(parent, of_gates(parent, found), state)
    )


@pytest.mark.parametrize(
    ("name", "gate", "bias"), [("gru-no-reset", "r", OPEN), ("gru-no-update", "z", -OPEN)]
)
def test_without_a_gate_a_cell_is_gru_with_that_gate_open_or_closed(name, gate, bias):
    found, state = by_gate(name)
    fixed = of_gates("gru", found | {f"b_{gate}": everywhere(bias)})
    assert_same_run(run(name, of_gates(name, found), state), run("gru", fixed, state))


@pytest.mark.parametrize(
    ("name", "parent"), [("mgu", "gru-reset-before"), ("mgu-reset-after", "gru")]
)
def test_a_minimal_gated_unit_is_a_gru_whose_gates_are_one(name, parent):
    """r = f, and z = 1 - f = sigmoid of f's negative pre-activation."""
    found, state = by_gate(name)
    both = found | taken(found, "f", "r") | taken(found, "f", "z", sign=-1)
    assert_same_run(
        run(name, of_gates(name, found), state), run(parent, of_gates(parent, both), state)
    )


@pytest.mark.parametrize(("name", "key"), [("mut1", "W_g"), ("mut3", "R_z")])
def test_a_mutant_without_its_tanh_is_a_gru_whose_update_gate_is_the_opposite(name, key):
    """What the tanh of the input, or of the state, goes through is 0."""
    found, state = by_gate(name)
    found[key] = torch.zeros_like(found[key])
    opposite = of_gates("gru-reset-before", found | taken(found, "z", "z", sign=-1))
    assert_same_run(
        run(name, of_gates(name, found), state), run("gru-reset-before", opposite, state)
    )


def test_ugrnn_is_gru_no_reset():
    found, state = by_gate("ugrnn")
    other = of_gates("gru-no-reset", found | taken(found, "g", "z"))
    assert_same_run(
        run("ugrnn", of_gates("ugrnn", found), state), run("gru-no-reset", other, state)
    )


def test_rhn_whose_second_layer_carries_all_is_gru_no_reset():
    found, state = by_gate("rhn")
    found["b_t2"] = everywhere(-OPEN)
    other = of_gates("gru-no-reset", taken(found, "n1", "n") | taken(found, "t1", "z", sign=-1))
    assert_same_run(run("rhn", of_gates("rhn", found), state), run("gru-no-reset", other, state))


def test_fastrnn_with_all_weight_on_the_new_state_is_rnn_tanh():
    found, state = by_gate("fastrnn")
    found |= {"alpha": everywhere(OPEN), "beta": everywhere(-OPEN)}
    other = of_gates("rnn-tanh", taken(found, "n", "h"))
    assert_same_run(
        run("fastrnn", of_gates("fastrnn", found), state), run("rnn-tanh", other, state)
    )


def test_fastgrnn_with_extreme_weights_is_ugrnn_with_shared_matrices():
    found, state = by_gate("fastgrnn")
    found |= {"zeta": everywhere(OPEN), "nu": everywhere(-OPEN)}
    other = of_gates("ugrnn", found | taken(found, "n", "g") | {"b_g": found["b_z"]})
    assert_same_run(run("fastgrnn", of_gates("fastgrnn", found), state), run("ugrnn", other, state))


def test_brc_is_nbrc_with_diagonal_matrices():
    found, state = by_gate("brc")
    other = of_gates(
        "nbrc", found | {f"R_{gate}": torch.diag_embed(found[f"w_{gate}"]) for gate in "ac"}
    )
    assert_same_run(run("brc", of_gates("brc", found), state), run("nbrc", other, state))


@pytest.mark.parametrize("name", ["nbrc", "brc"])
@pytest.mark.parametrize("start", [0.1, -0.1])
def test_a_bistable_unit_keeps_either_of_two_values_without_any_input(name, start):
    """At a = 2 these are the two solutions of h = tanh(2 h); at a = 0 it keeps nothing."""
    inputs = torch.zeros_like(random_inputs(steps=300))
    state = (torch.full_like(random_state(cells.find(name))[0], start),)
    (held,) = run(name, of_gates(name, {"b_a": everywhere(OPEN)}), state, inputs)[1]
    assert_close(held, torch.tanh(2 * held))
    assert (held / start).min() > 9
    (lost,) = run(name, of_gates(name, {"b_a": everywhere(-OPEN)}), state, inputs)[1]
    assert lost.abs().max() < 1e-30


def test_a_step_of_star_is_the_tanh_of_one_of_light_rnn():
    """Without the bias of the candidate, which star has."""
    found, state = by_gate("light-rnn")
    inputs = random_inputs(steps=1)
    inner, _ = run("light-rnn", of_gates("light-rnn", found), state, inputs)
    other = of_gates("star", taken(found, "f", "k") | taken(found, "n", "z"))
    assert_close(run("star", other, state, inputs)[0], torch.tanh(inner))


def test_a_step_of_sgrn_is_the_tanh_of_one_of_t_rnn_with_one_matrix():
    """Without the recurrent product, which t-rnn has not."""
    found, state = by_gate("sgrn")
    found["R_f"] = torch.zeros_like(found["R_f"])
    inputs = random_inputs(steps=1)
    outputs, _ = run("sgrn", of_gates("sgrn", found), state, inputs)
    other = of_gates("t-rnn", {"W_f": found["W_n"], "W_z": found["W_n"], "b_f": found["b_f"]})
    assert_close(outputs, torch.tanh(run("t-rnn", other, state, inputs)[0]))


@pytest.mark.parametrize(("name", "gate"), [("minimal-rnn", "z"), ("light-rnn", "n")])
def test_a_state_that_is_the_inputs_code_stays(name, gate):
    """h' - z = u * (h - z): where the code z is what h is, h stays, whatever the gate is."""
    found, _ = by_gate(name)
    inputs = torch.ones_like(random_inputs())
    code = torch.tanh(
        inputs[0] @ found[f"W_{gate}"] + found.get(f"b_{gate}", torch.zeros(1, H))[:, None]
    )
    outputs, _ = run(name, of_gates(name, found), (code,), inputs)
    assert_close(outputs, code.expand_as(outputs))


def test_the_state_of_cfn_goes_to_0_without_an_input():
    """tanh and theta shrink what has any size; nothing is added."""
    parameters, state = arguments("cfn")
    outputs, _ = run("cfn", parameters, state, torch.zeros_like(random_inputs(steps=200)))
    sizes = torch.cat([state[0][None], outputs]).abs()
    assert (sizes[1:] < sizes[:-1]).all()
    assert sizes[-1].max() < 1e-3


def test_atr_without_its_recurrent_matrix_weighs_old_and_new_alike():
    """q = 0 makes both gates sigmoid(v)."""
    found, (h,) = by_gate("atr")
    inputs = random_inputs(steps=1)
    v = inputs[0] @ found["W_v"] + found["b_v"][:, None]
    found["R_v"] = torch.zeros_like(found["R_v"])
    outputs, _ = run("atr", of_gates("atr", found), (h,), inputs)
    assert_close(outputs[0], torch.sigmoid(v) * (v + h))


def test_ligru_stays_at_0_or_above():
    parameters, (h,) = arguments("ligru")
    outputs, _ = run("ligru", parameters, (h.abs(),), random_inputs(steps=20))
    assert outputs.min() >= 0
    assert run("gru-no-reset", parameters, (h.abs(),), random_inputs(steps=20))[0].min() < 0


def test_lem_with_both_time_steps_at_1_is_a_network_of_two_layers():
    found, (h, z) = by_gate("lem")
    found |= {"b_d1": everywhere(OPEN), "b_d2": everywhere(OPEN)}
    inputs = random_inputs(steps=1)
    new_z = torch.tanh(inputs[0] @ found["W_z"] + h @ found["R_z"] + found["b_z"][:, None])
    new_h = torch.tanh(inputs[0] @ found["W_h"] + new_z @ found["R_h"] + found["b_h"][:, None])
    outputs, final = run("lem", of_gates("lem", found), (h, z), inputs)
    assert_same_run((outputs, final), (new_h[None], (new_h, new_z)))


def test_an_oscillator_of_cornn_that_nothing_drives_is_a_power_of_a_matrix():
    steps, dt, gamma, epsilon = 50, 0.054, 4.9, 4.8
    kept = 1 - dt * epsilon
    one = torch.tensor([[1 - dt * dt * gamma, dt * kept], [-dt * gamma, kept]], dtype=torch.float64)
    start = torch.stack(random_state(cells.find("cornn")))
    expected = torch.einsum("ij,j...->i...", torch.linalg.matrix_power(one, steps), start)
    _, final = run("cornn", of_gates("cornn", {}), tuple(start), random_inputs(steps=steps))
    assert_close(torch.stack(final), expected)


@pytest.mark.parametrize("name", ["t-gru", "t-lstm", "qrnn"])
def test_by_the_input_before_a_cell_is_itself_on_a_sequence_one_step_late(name):
    found, start = by_gate(name)
    now = {key: value for key, value in found.items() if not key.startswith("W_v")}
    before = {f"W_v{gate}": found[f"W_{gate}"] for gate in "zfo"} | {
        f"b_{gate}": found[f"b_{gate}"] for gate in "zfo"
    }
    state = (*start[:-3], *(torch.zeros_like(value) for value in start[-3:]))
    inputs = random_inputs(steps=6)
    late = torch.cat([torch.zeros_like(inputs[:1]), inputs[:-1]])
    outputs, _ = run(name, of_gates(name, before), state, inputs)
    expected, _ = run(name, of_gates(name, now), state, late)
    assert_close(outputs, expected)


def without_the_input_before(name):
    """Its parameters by gate but those of the input before, and a state that holds none."""
    found, (h, c, *_) = by_gate(name)
    return {key: value for key, value in found.items() if not key.startswith("W_v")}, (
        h,
        c,
        *[torch.zeros_like(h)] * 3,
    )


def test_t_lstm_without_the_input_before_is_t_rnn_times_a_factor():
    found, state = without_the_input_before("t-lstm")
    found |= {"b_z": everywhere(0.0)}
    outputs, (_, c, *_) = run("t-lstm", of_gates("t-lstm", found), state)
    inner, final = run("t-rnn", of_gates("t-rnn", found), state[1:2])
    factor = torch.tanh(random_inputs() @ found["W_o"] + found["b_o"][:, None])
    assert_close(outputs, factor * inner)
    assert_close(c, final[0])


def test_qrnn_without_the_input_before_has_the_cell_state_of_a_coupled_lstm_that_sees_no_state():
    """i is 1 - f, so f's pre-activation negated."""
    found, state = without_the_input_before("qrnn")
    outputs, (_, c, *_) = run("qrnn", of_gates("qrnn", found), state)
    lstm = taken(found, "f", "i", -1) | taken(found, "z", "g") | taken(found, "o", "o")
    squashed, (_, expected) = run("lstm-coupled", of_gates("lstm-coupled", lstm), state[:2])
    assert_close(c, expected)
    assert_close(outputs[-1] * torch.tanh(c), squashed[-1] * c)  # o * c beside o * tanh(c)


def test_the_context_of_scrn_is_t_rnn_with_a_gate_that_keeps_095():
    parameters, state = arguments("scrn")
    _, (_, _, context) = run("scrn", parameters, state)
    typed = {"W_z": blocks(parameters["W"], 2)[0], "b_f": everywhere(math.log(0.95 / 0.05))}
    assert_close(context, run("t-rnn", of_gates("t-rnn", typed), state[2:])[1][0])


def test_scrn_without_its_context_is_rnn_tanh_of_half_the_weights_between_0_and_1():
    """sigmoid(a) = (1 + tanh(a / 2)) / 2, and where U is I, the output is h."""
    parameters, (y, h, s) = arguments("scrn")
    zero, identity = torch.zeros_like(parameters["R"]), torch.eye(H, dtype=torch.float64)[None]
    outputs, _ = run("scrn", parameters | {"M": zero, "V": zero, "U": identity}, (y, h, s))
    half = {"W": blocks(parameters["W"], 2)[1] / 2, "R": parameters["R"] / 4}
    half["b"] = (
        parameters["b"] / 2 + parameters["R"].sum(1) / 4
    )  # of h = (1 + k) / 2, what R makes of the 1
    inner, _ = run("rnn-tanh", half, (2 * h - 1,))
    assert_close(outputs, (1 + inner) / 2)
