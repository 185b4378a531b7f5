"""The equations of LSTM's family once more, in the manner of `equations`: other forms of the same
sums and products.
"""

import torch
from equations import a, lstm, lstm_full_gate_recurrence, lstm_layer_norm, s, th
from torch import exp


def lstm_no_input_gate(w, x, h, c):
    c = c / (1 + exp(-a(w, "f", x, h))) + th(a(w, "g", x, h))
    return th(c) / (1 + exp(-a(w, "o", x, h))), c


def lstm_no_forget_gate(w, x, h, c):
    c = th(a(w, "g", x, h)) / (1 + exp(-a(w, "i", x, h))) + c
    return th(c) / (1 + exp(-a(w, "o", x, h))), c


def lstm_no_output_gate(w, x, h, c):
    c = c / (1 + exp(-a(w, "f", x, h))) + th(a(w, "g", x, h)) / (1 + exp(-a(w, "i", x, h)))
    return 1 - 2 / (1 + exp(2 * c)), c


def lstm_no_input_tanh(w, x, h, c):
    c = c / (1 + exp(-a(w, "f", x, h))) + a(w, "g", x, h) / (1 + exp(-a(w, "i", x, h)))
    return th(c) / (1 + exp(-a(w, "o", x, h))), c


def lstm_capped(w, x, h, c):
    """1 - s(v) is s(-v); what i has above that cap is taken off again."""
    cap, i = s(-a(w, "f", x, h)), s(a(w, "i", x, h))
    above = (i - cap) * (i > cap)
    c = c - cap * c + (i - above) * th(a(w, "g", x, h))
    return s(a(w, "o", x, h)) * th(c), c


def odyssey_nig(w, x, h, c):
    c = c * s(a(w, "f", x, h) + c * w["p_f"]) + th(a(w, "g", x, h))
    return th(c) * s(a(w, "o", x, h) + c * w["p_o"]), c


def odyssey_nfg(w, x, h, c):
    c = c + th(a(w, "g", x, h)) * s(a(w, "i", x, h) + c * w["p_i"])
    return th(c) * s(a(w, "o", x, h) + c * w["p_o"]), c


def odyssey_nog(w, x, h, c):
    i = s(a(w, "i", x, h) + c * w["p_i"])
    f = s(a(w, "f", x, h) + c * w["p_f"])
    c = c * f + th(a(w, "g", x, h)) * i
    return th(c), c


def odyssey_niaf(w, x, h, c):
    i = s(a(w, "i", x, h) + c * w["p_i"])
    f = s(a(w, "f", x, h) + c * w["p_f"])
    c = c * f + a(w, "g", x, h) * i
    return th(c) * s(a(w, "o", x, h) + c * w["p_o"]), c


def odyssey_noaf(w, x, h, c):
    i = s(a(w, "i", x, h) + c * w["p_i"])
    f = s(a(w, "f", x, h) + c * w["p_f"])
    c = c * f + th(a(w, "g", x, h)) * i
    return c * s(a(w, "o", x, h) + c * w["p_o"]), c


def odyssey_cifg(w, x, h, c):
    c = c + s(a(w, "i", x, h) + c * w["p_i"]) * (th(a(w, "g", x, h)) - c)
    return th(c) * s(a(w, "o", x, h) + c * w["p_o"]), c


def lstm_multiplicative(w, x, h, c):
    """LSTM's equations of m."""
    return lstm(w, x, (x @ w["W_m"]) * (h @ w["R_m"]), c)


def wmclstm(w, x, h, c):
    i = s(a(w, "i", x, h) + th(c @ w["M_i"]))
    f = s(a(w, "f", x, h) + th(c @ w["M_f"]))
    c = c * f + th(a(w, "g", x, h)) * i
    return th(c) * s(a(w, "o", x, h) + th(c @ w["M_o"])), c


def nas(w, x, h, c):
    """From the leaves of the paper's tree to its root: four pairs, then two, then one."""
    v = {k: a(w, f"g{k}", x, h) for k in (1, 2, 3, 5, 6, 7, 8)}
    product = (x @ w["W_g4"]) * (h @ w["R_g4"])
    pairs = (
        th(s(v[1]) * v[2] * (v[2] > 0)),
        th(s(v[3]) + product * (product > 0)),
        th(th(v[5]) * s(v[6])),
        s(th(v[7]) + s(v[8])),
    )
    c = th(pairs[0] + c) * pairs[1]
    return th(c * th(pairs[2] + pairs[3])), c


def janet(w, x, h):
    """1 - s(v - 1) is s(1 - v)."""
    v = a(w, "f", x, h)
    return (h * s(v) + th(a(w, "g", x, h)) * s(1 - v),)


def slstm(w, x, h, c, n, m):
    """By the difference of the two exponents alone: the larger weight is 1, and m follows the
    larger.
    """
    i = a(w, "i", x, h)
    f = m - torch.log(1 + exp(-a(w, "f", x, h)))
    kept, written = exp((f - i) * (f < i)), exp((i - f) * (i < f))
    m = i * (f < i) + f * (f >= i)
    c = kept * c + written * th(a(w, "g", x, h))
    n = kept * n + written
    return s(a(w, "o", x, h)) * (c / (n * (n > 1) + (n <= 1))), c, n, m


def cumax(v):
    """Each unit's share of the exponentials, its own and those of the units before."""
    shares = exp(v) / exp(v).sum()
    return torch.stack([shares[: k + 1].sum() for k in range(v.numel())])


def lstm_on(w, x, h, c):
    """Where both master gates are open, by i and f; where one alone is, by that one."""
    forget, write = cumax(a(w, "mf", x, h)), 1 - cumax(a(w, "mi", x, h))
    both = forget * write
    kept = s(a(w, "f", x, h)) * both + forget * (1 - write)
    written = s(a(w, "i", x, h)) * both + write * (1 - forget)
    c = kept * c + written * th(a(w, "g", x, h))
    return th(c) * s(a(w, "o", x, h)), c


def lstm_multiplicative_integration(w, x, h, c):
    """Factored: (alpha u + beta1) v + beta2 u + b, with u = W x and v = R h."""
    v = {}
    for g in "ifgo":
        of_x, of_h = x @ w[f"W_{g}"], h @ w[f"R_{g}"]
        v[g] = (
            (w[f"alpha_{g}"] * of_x + w[f"beta1_{g}"]) * of_h + w[f"beta2_{g}"] * of_x + w[f"b_{g}"]
        )
    c = c * s(v["f"]) + th(v["g"]) * s(v["i"])
    return th(c) * s(v["o"]), c


def ran(w, x, h, c):
    c = c * s(a(w, "f", x, h)) + (x @ w["W_g"]) * s(a(w, "i", x, h))
    return th(c), c


EQUATIONS = {
    "lstm-no-input-gate": lstm_no_input_gate,
    "lstm-no-forget-gate": lstm_no_forget_gate,
    "lstm-no-output-gate": lstm_no_output_gate,
    "lstm-no-input-tanh": lstm_no_input_tanh,
    "lstm-capped": lstm_capped,
    "odyssey-nig": odyssey_nig,
    "odyssey-nfg": odyssey_nfg,
    "odyssey-nog": odyssey_nog,
    "odyssey-niaf": odyssey_niaf,
    "odyssey-noaf": odyssey_noaf,
    "odyssey-cifg": odyssey_cifg,
    "odyssey-np": lstm,
    "odyssey-fgr": lstm_full_gate_recurrence,
    "lstm-layer-norm": lstm_layer_norm,
    "lstm-multiplicative": lstm_multiplicative,
    "wmclstm": wmclstm,
    "nas": nas,
    "janet": janet,
    "slstm": slstm,
    "ran": ran,
    "lstm-on": lstm_on,
    "lstm-multiplicative-integration": lstm_multiplicative_integration,
}
