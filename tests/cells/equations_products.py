"""As `equations`, for cells that read their input itself or multiply with a matrix that is made of
their parameters.

A block-diagonal matrix comes as the rows of one block: R_g (H/n, H) holds gate g's n blocks side by
side. Where a gate has a matrix V of the input beside R, it is V_g, and the gate's only bias is c_g.
"""

import torch
from equations import a, lstm, s, th
from equations_gated import moved, relu


def turned(w, h):
    """The product with R - R^T - I / 100, and its bias."""
    return h @ w["R_h"] - w["R_h"] @ h - h / 100 + w.get("c_h", 0)


def antisymmetric_rnn(w, x, h):
    return (h + th(x @ w["W_h"] + turned(w, h) + w["b_h"]) / 10,)


def antisymmetric_rnn_gated(w, x, h):
    """The gate sees the one product, its bias too."""
    seen = turned(w, h)
    return (h + th(x @ w["W_h"] + seen + w["b_h"]) * s(x @ w["W_z"] + seen + w["b_z"]) / 10,)


def intersection_rnn(w, x, y, h):
    new_y = moved(relu(a(w, "y", x, h)), x, s(a(w, "u", x, h)))
    return new_y, moved(th(a(w, "n", x, h)), h, s(a(w, "g", x, h)))


def sru(w, x, h, c):
    f, r = (s(x @ w[f"W_{g}"] + w[f"v_{g}"] * c + w[f"b_{g}"]) for g in "fr")
    c = moved(x @ w["W_z"], c, f)
    return moved(x, c, r), c


def rg_lru(w, x, h):
    """exp(-softplus(l)) is sigmoid(-l)."""
    r, i = (s(x @ w[f"W_{g}"] + w[f"b_{g}"]) for g in "ri")
    kept = s(-w["l"]) ** (8 * r)
    return (kept * h + (1 - kept * kept) ** 0.5 * i * x,)


def lstm_block_diagonal(w, x, h, c):
    """Four blocks where 4 divides H, two where only 2 does, else one."""
    count = next(n for n in (4, 2, 1) if h.numel() % n == 0)
    whole = {f"R_{g}": torch.block_diag(*w[f"R_{g}"].chunk(count, dim=1)) for g in "ifgo"}
    return lstm(w | whole, x, h, c)


def lstm_mogrifier(w, x, h, c):
    x = x * 2 * s(h @ w["R_q1"])
    h = h * 2 * s(x @ w["R_p1"])
    x = x * 2 * s(h @ w["R_q2"])
    h = h * 2 * s(x @ w["R_p2"])
    x = x * 2 * s(h @ w["R_q3"])
    i, f, g, o = (x @ w[f"V_{g}"] + h @ w[f"R_{g}"] + w[f"c_{g}"] for g in "ifgo")
    c = s(f) * c + s(i) * th(g)
    return s(o) * th(c), c


def lstm_projected(w, x, m, c):
    """The layer above sees m' P, and so does the next step."""
    h = m @ w["P"]
    i, f, g, o = (
        x @ w[f"W_{k}"] + h @ w[f"R_{k}"] + w[f"b_{k}"] + w.get(f"c_{k}", 0) for k in "ifgo"
    )
    c = s(f) * c + s(i) * th(g)
    return s(o) * th(c), c


EQUATIONS = {
    "antisymmetric-rnn": antisymmetric_rnn,
    "antisymmetric-rnn-gated": antisymmetric_rnn_gated,
    "intersection-rnn": intersection_rnn,
    "sru": sru,
    "rg-lru": rg_lru,
    "lstm-block-diagonal": lstm_block_diagonal,
    "lstm-mogrifier": lstm_mogrifier,
    "lstm-projected": lstm_projected,
}
