"""As `equations`, for what grew out of Elman's network and the GRU, for small gated cells and for
typed ones.

A gate's one recurrent matrix is R_g; a product that feeds a gate beside R has its own name, U or Q.
"""

from equations import a, s, th


def relu(v):
    return v * (v > 0)


def moved(old, new, share):
    """From the old state to the new content by a share of the way."""
    return old + share * (new - old)


def rhn(w, x, h):
    half = moved(h, th(a(w, "n1", x, h)), s(a(w, "t1", x, h)))
    return (moved(half, th(half @ w["R_n2"] + w["c_n2"]), s(half @ w["R_t2"] + w["c_t2"])),)


def lem(w, x, h, z):
    new_z = moved(z, th(a(w, "z", x, h)), s(a(w, "d1", x, h)))
    return moved(h, th(a(w, "h", x, new_z)), s(a(w, "d2", x, h))), new_z


def cornn(w, x, h, z):
    """The damping of z as a factor that it keeps."""
    force = th(a(w, "z", x, h) + z @ w["Q"]) - 4.9 * h
    new_z = (1 - 0.054 * 4.8) * z + 0.054 * force
    return h + 0.054 * new_z, new_z


def gru_no_reset(w, x, h):
    return (moved(th(a(w, "n", x, h)), h, s(a(w, "z", x, h))),)


def gru_no_update(w, x, h):
    return (th(x @ w["W_n"] + w["b_n"] + s(a(w, "r", x, h)) * (h @ w["R_n"] + w["c_n"])),)


def reset_before(w, x, h, r, z):
    return (moved(th(a(w, "n", x, r * h)), h, z),)


def gru1(w, x, h):
    return reset_before(w, x, h, s(h @ w["R_r"] + w["c_r"]), s(h @ w["R_z"] + w["c_z"]))


def gru2(w, x, h):
    return reset_before(w, x, h, s(h @ w["R_r"]), s(h @ w["R_z"]))


def gru3(w, x, h):
    return reset_before(w, x, h, s(w["b_r"]), s(w["b_z"]))


def minimal_gated(w, x, h, f):
    return (moved(h, th(a(w, "n", x, f * h)), f),)


def mgu(w, x, h):
    return minimal_gated(w, x, h, s(a(w, "f", x, h)))


def mgu_reset_after(w, x, h):
    f = s(a(w, "f", x, h))
    return (moved(h, th(x @ w["W_n"] + w["b_n"] + f * (h @ w["R_n"] + w["c_n"])), f),)


def mgu1(w, x, h):
    return minimal_gated(w, x, h, s(h @ w["R_f"] + w["c_f"]))


def mgu2(w, x, h):
    return minimal_gated(w, x, h, s(h @ w["R_f"]))


def mgu3(w, x, h):
    return minimal_gated(w, x, h, s(w["b_f"]))


def mut1(w, x, h):
    content = th((s(a(w, "r", x, h)) * h) @ w["R_n"] + th(x @ w["W_g"]) + w["c_n"])
    return (moved(h, content, s(x @ w["W_z"] + w["b_z"])),)


def mut3(w, x, h):
    content = th(a(w, "n", x, s(a(w, "r", x, h)) * h))
    return (moved(h, content, s(a(w, "z", x, th(h)))),)


def ugrnn(w, x, h):
    return (moved(th(a(w, "n", x, h)), h, s(a(w, "g", x, h))),)


def ligru(w, x, h):
    return (moved(relu(a(w, "n", x, h)), h, s(a(w, "z", x, h))),)


def minimal_rnn(w, x, h):
    code = th(x @ w["W_z"] + w["b_z"])
    return (moved(code, h, s(code @ w["U"] + h @ w["R_u"] + w["c_u"])),)


def star(w, x, h):
    return (th(moved(h, th(x @ w["W_z"] + w["b_z"]), s(a(w, "k", x, h)))),)


def light_rnn(w, x, h):
    return (moved(h, th(x @ w["W_n"]), s(a(w, "f", x, h))),)


def sgrn(w, x, h):
    content = x @ w["W_n"]
    return (th(moved(content, h, s(content + h @ w["R_f"] + w["c_f"]))),)


def atr(w, x, h):
    """s(-u) is 1 - s(u)."""
    content, seen = x @ w["W_v"] + w["b_v"], h @ w["R_v"] + w.get("c_v", 0)
    return (content * s(content + seen) + h * (1 - s(seen - content)),)


def cfn(w, x, h):
    return (th(x @ w["W_g"]) * s(a(w, "eta", x, h)) + th(h) * s(a(w, "theta", x, h)),)


def fastrnn(w, x, h):
    return (th(a(w, "n", x, h)) * s(w["alpha"]) + h * s(w["beta"]),)


def fastgrnn(w, x, h):
    v = x @ w["W_n"] + h @ w["R_n"]
    written = s(w["zeta"]) * s(-v - w["b_z"]) + s(w["nu"])
    return (h * s(v + w["b_z"]) + written * th(v + w["b_n"]),)


def bistable(w, x, h, v_a, v_c):
    """1 + tanh(v) is 2 s(2 v)."""
    return (moved(th(x @ w["W_n"] + 2 * s(2 * v_a) * h), h, s(v_c)),)


def nbrc(w, x, h):
    return bistable(w, x, h, a(w, "a", x, h), a(w, "c", x, h))


def brc(w, x, h):
    v_a = x @ w["W_a"] + h * w["w_a"] + w["b_a"]
    v_c = x @ w["W_c"] + h * w["w_c"] + w["b_c"]
    return bistable(w, x, h, v_a, v_c)


def t_gru(w, x, h, vz, vf, vo):
    z, f, o = (
        x @ w[f"W_{g}"] + before + w[f"b_{g}"]
        for g, before in zip("zfo", (vz, vf, vo), strict=True)
    )
    return th(o) * z + h * s(f), x @ w["W_vz"], x @ w["W_vf"], x @ w["W_vo"]


def t_lstm(w, x, h, c, vz, vf, vo):
    z, f, o = (
        x @ w[f"W_{g}"] + before + w[f"b_{g}"]
        for g, before in zip("zfo", (vz, vf, vo), strict=True)
    )
    c = moved(z, c, s(f))
    return c * th(o), c, x @ w["W_vz"], x @ w["W_vf"], x @ w["W_vo"]


def qrnn(w, x, h, c, vz, vf, vo):
    """1 - s(f) is s(-f)."""
    z, f, o = (
        x @ w[f"W_{g}"] + before + w[f"b_{g}"]
        for g, before in zip("zfo", (vz, vf, vo), strict=True)
    )
    c = s(f) * c + s(-f) * th(z)
    return c * s(o), c, x @ w["W_vz"], x @ w["W_vf"], x @ w["W_vo"]


def scrn(w, x, y, h, context):
    """The only matrix of y that has no name of its own is U."""
    context = moved(x @ w["W_s"], context, 0.95)
    h = s(a(w, "h", x, h) + context @ w["M"])
    return h @ w["R_y"] + context @ w["V"], h, context


EQUATIONS = {
    "rhn": rhn,
    "lem": lem,
    "cornn": cornn,
    "gru-no-reset": gru_no_reset,
    "gru-no-update": gru_no_update,
    "gru1": gru1,
    "gru2": gru2,
    "gru3": gru3,
    "mgu": mgu,
    "mgu-reset-after": mgu_reset_after,
    "mgu1": mgu1,
    "mgu2": mgu2,
    "mgu3": mgu3,
    "mut1": mut1,
    "mut3": mut3,
    "ugrnn": ugrnn,
    "ligru": ligru,
    "minimal-rnn": minimal_rnn,
    "star": star,
    "light-rnn": light_rnn,
    "sgrn": sgrn,
    "atr": atr,
    "cfn": cfn,
    "fastrnn": fastrnn,
    "fastgrnn": fastgrnn,
    "nbrc": nbrc,
    "brc": brc,
    "t-gru": t_gru,
    "t-lstm": t_lstm,
    "qrnn": qrnn,
    "scrn": scrn,
}
