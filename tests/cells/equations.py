"""The papers' equations once more, for one example at a time, in plain loops; imports nothing of
what it checks.

Weights come as a dict: W_g (I, H) and R_g (H, H) of gate g act on a row from the right, b_g (H,) is
its bias, c_g that of its recurrent product (absent where there is none). Each function is one time
step and returns the new states.
"""

import torch
from torch import exp


def s(a):
    """The logistic function."""
    return 1 / (1 + exp(-a))


def th(a):
    """The hyperbolic tangent."""
    return (exp(a) - exp(-a)) / (exp(a) + exp(-a))


def ln(v):
    """Layer normalisation of one vector without gain or bias, epsilon 1e-5 (Ba 2016, eq. 3)."""
    mu = v.sum() / v.numel()
    sigma2 = ((v - mu) ** 2).sum() / v.numel()
    return (v - mu) / (sigma2 + 1e-5) ** 0.5


def a(w, g, x, h):
    """The pre-activation of gate g."""
    return x @ w[f"W_{g}"] + h @ w[f"R_{g}"] + w[f"b_{g}"] + w.get(f"c_{g}", 0)


def rnn_tanh(w, x, h):
    return (th(a(w, "h", x, h)),)


def rnn_relu(w, x, h):
    v = a(w, "h", x, h)
    return (v * (v > 0),)


def lstm(w, x, h, c):
    c = s(a(w, "f", x, h)) * c + s(a(w, "i", x, h)) * th(a(w, "g", x, h))
    return s(a(w, "o", x, h)) * th(c), c


def lstm_no_output_tanh(w, x, h, c):
    c = s(a(w, "f", x, h)) * c + s(a(w, "i", x, h)) * th(a(w, "g", x, h))
    return s(a(w, "o", x, h)) * c, c


def lstm_coupled(w, x, h, c):
    i = s(a(w, "i", x, h))
    c = c + i * (th(a(w, "g", x, h)) - c)
    return s(a(w, "o", x, h)) * th(c), c


def lstm_peephole(w, x, h, c):
    i = s(a(w, "i", x, h) + c * w["p_i"])
    f = s(a(w, "f", x, h) + c * w["p_f"])
    c = f * c + i * th(a(w, "g", x, h))
    o = s(a(w, "o", x, h) + c * w["p_o"])
    return o * th(c), c


def lstm_full_gate_recurrence(w, x, h, c, i, f, o):
    """F_k_g (H, H) takes the previous value of gate k to gate g."""
    seen = {g: i @ w[f"F_i_{g}"] + f @ w[f"F_f_{g}"] + o @ w[f"F_o_{g}"] for g in "ifo"}
    i = s(a(w, "i", x, h) + seen["i"] + c * w["p_i"])
    f = s(a(w, "f", x, h) + seen["f"] + c * w["p_f"])
    c = f * c + i * th(a(w, "g", x, h))
    o = s(a(w, "o", x, h) + seen["o"] + c * w["p_o"])
    return o * th(c), c, i, f, o


def lstm_layer_norm(w, x, h, c):
    """Eq. 20 to 22 of the supplement of Ba 2016; the gates are normalised as one vector of 4H."""
    H = h.numel()
    from_h = ln(torch.cat([h @ w[f"R_{g}"] for g in "fiog"]))
    from_x = ln(torch.cat([x @ w[f"W_{g}"] for g in "fiog"]))
    v = {}
    for k, g in enumerate("fiog"):
        part = slice(k * H, (k + 1) * H)
        v[g] = w[f"u_{g}"] * from_h[part] + w[f"v_{g}"] * from_x[part] + w[f"b_{g}"]
    c = s(v["f"]) * c + s(v["i"]) * th(v["g"])
    return s(v["o"]) * th(w["u_c"] * ln(c) + w["b_c"]), c


def gru(w, x, h):
    """The candidate's recurrent bias c_n stands inside the reset, whatever the number of biases."""
    r = s(a(w, "r", x, h))
    z = s(a(w, "z", x, h))
    n = th(x @ w["W_n"] + w["b_n"] + r * (h @ w["R_n"] + w["c_n"]))
    return (n + z * (h - n),)


def gru_reset_before(w, x, h):
    r = s(a(w, "r", x, h))
    z = s(a(w, "z", x, h))
    n = th(a(w, "n", x, r * h))
    return (n + z * (h - n),)


def indrnn(w, x, h):
    v = x @ w["W_h"] + w["u"] * h + w["b_h"]
    return (v * (v > 0),)


def min_gru(w, x, h):
    z = s(x @ w["W_z"] + w["b_z"])
    u = x @ w["W_n"] + w["b_n"]
    g = (u + 0.5) * (u >= 0) + s(u) * (u < 0)
    return (h + z * (g - h),)


def min_lstm(w, x, h):
    """The paper's log-space form: f / (f + i) = s(-d), d the difference of softplus(-f) and
    softplus(-i).
    """
    f, i, u = (x @ w[f"W_{g}"] + w[f"b_{g}"] for g in "fin")
    d = torch.log(1 + exp(-f)) - torch.log(1 + exp(-i))
    g = (u + 0.5) * (u >= 0) + s(u) * (u < 0)
    return (g + s(-d) * (h - g),)


def t_rnn(w, x, h):
    z = x @ w["W_z"]
    return (z + s(x @ w["W_f"] + w["b_f"]) * (h - z),)


EQUATIONS = {
    "rnn-tanh": rnn_tanh,
    "rnn-relu": rnn_relu,
    "lstm": lstm,
    "lstm-no-output-tanh": lstm_no_output_tanh,
    "lstm-coupled": lstm_coupled,
    "lstm-peephole": lstm_peephole,
    "my-full-gate-recurrence": lstm_full_gate_recurrence,
    "my-lstm-layer-norm": lstm_layer_norm,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
    "indrnn": indrnn,
    "my-indrnn": indrnn,
    "min-gru": min_gru,
    "min-lstm": min_lstm,
    "t-rnn": t_rnn,
    "my-t-rnn": t_rnn,
}


def run(step, w, inputs, state):
    """Runs one example over its time steps: inputs (T, I), a state (H,) each; returns outputs (T,
    H), final state.
    """
    outputs = []
    for t in range(inputs.shape[0]):
        state = step(w, inputs[t], *state)
        outputs.append(state[0])
    return torch.stack(outputs), state


import equations_gated  # noqa: E402  (these take the helpers above)
import equations_lstm  # noqa: E402
import equations_past  # noqa: E402
import equations_products  # noqa: E402
import equations_variants  # noqa: E402

for stated in (
    equations_gated,
    equations_lstm,
    equations_products,
    equations_variants,
    equations_past,
):
    EQUATIONS |= stated.EQUATIONS
