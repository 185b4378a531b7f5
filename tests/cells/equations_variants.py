"""As `equations`, for variants of LSTM, GRU and IndRNN that came after their parents."""

import torch
from equations import ln, s, th
from equations_gated import moved, relu


def gru_layer_norm(w, x, h):
    """The supplement of Ba 2016: both gates are normalised as one vector of 2H."""
    H = h.numel()
    from_h = ln(torch.cat([h @ w["R_z"], h @ w["R_r"]]))
    from_x = ln(torch.cat([x @ w["W_z"], x @ w["W_r"]]))
    gate = {}
    for k, g in enumerate("zr"):
        part = slice(k * H, (k + 1) * H)
        gate[g] = s(w[f"u_{g}"] * from_h[part] + w[f"v_{g}"] * from_x[part] + w[f"b_{g}"])
    seen = w["u_n"] * ln(h @ w["R_n"]) + w["b_Rn"]
    content = th(w["v_n"] * ln(x @ w["W_n"]) + w["b_n"] + gate["r"] * seen)
    return (moved(content, h, gate["z"]),)


def indrnn_layer_norm(w, x, h):
    return (relu(ln(x @ w["W_h"]) * w["v_h"] + w["b_h"] + h * w["u"]),)


def own_past(w, g, x, h):
    """The pre-activation of gate g where a unit sees itself alone: a diagonal matrix."""
    return x @ w[f"W_{g}"] + h @ torch.diag(w[f"u_{g}"]) + w[f"b_{g}"]


def indylstm(w, x, h, c):
    c = s(own_past(w, "f", x, h)) * c + s(own_past(w, "i", x, h)) * th(own_past(w, "g", x, h))
    return s(own_past(w, "o", x, h)) * th(c), c


def indygru(w, x, h):
    content = th(own_past(w, "n", x, s(own_past(w, "r", x, h)) * h))
    return (moved(content, h, s(own_past(w, "z", x, h))),)


EQUATIONS = {
    "gru-layer-norm": gru_layer_norm,
    "indrnn-layer-norm": indrnn_layer_norm,
    "indylstm": indylstm,
    "indygru": indygru,
}
