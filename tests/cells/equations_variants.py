"""As `equations`, for variants of LSTM, GRU and IndRNN that came after their parents."""

import torch
from equations import a, ln, s, th
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


def gru_multiplicative_integration(w, x, h):
    """Factored: (alpha u + beta1) v + beta2 u + b, with u = W x and v = R h."""

    def seen(g, state):
        u, v = x @ w[f"W_{g}"], state @ w[f"R_{g}"]
        return (w[f"alpha_{g}"] * u + w[f"beta1_{g}"]) * v + w[f"beta2_{g}"] * u + w[f"b_{g}"]

    return (moved(th(seen("n", s(seen("r", h)) * h)), h, s(seen("z", h))),)


def lstm_residual(w, x, h, c):
    """The shortcut and the projection as one product, of input and squashed state side by side."""
    i = s(a(w, "i", x, h) + c * w["p_i"])
    f = s(a(w, "f", x, h) + c * w["p_f"])
    c = f * c + i * th(a(w, "g", x, h))
    o = s(a(w, "o", x, h) + c * w["p_o"])
    return o * (torch.cat([x, th(c)]) @ torch.cat([w["W_s"], w["R_m"]])), c


def hard(v):
    """A line of slope a fifth through a half, between 0 and 1."""
    line = v / 5 + 0.5
    return line * (line > 0) * (line < 1) + (line >= 1)


def multiplied(w, x, h):
    """The old state times what the input and it make together."""
    return h * th((h * (x @ w["W_a"] + w["b_a"])) @ w["R_m"])


def sgu(w, x, h):
    content = torch.log(1 + torch.exp(multiplied(w, x, h)))
    return (moved(h, content, hard(a(w, "z", x, h))),)


def dsgu(w, x, h):
    return (moved(h, s(multiplied(w, x, h) @ w["R_n"]), hard(a(w, "z", x, h))),)


def cfc(w, x, h):
    share = 1 / (1 + torch.exp(a(w, "f", x, h)))
    return (moved(th(a(w, "k", x, h)), th(a(w, "g", x, h)), share),)


EQUATIONS = {
    "gru-layer-norm": gru_layer_norm,
    "indrnn-layer-norm": indrnn_layer_norm,
    "indylstm": indylstm,
    "indygru": indygru,
    "gru-multiplicative-integration": gru_multiplicative_integration,
    "lstm-residual": lstm_residual,
    "sgu": sgu,
    "dsgu": dsgu,
    "cfc": cfc,
}
