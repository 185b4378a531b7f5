"""As `equations`, for cells that oscillate, turn their state, or sum over their past.

Vectors are columns here where that is the paper's way: R_g.T is the paper's matrix.
"""

import torch
from equations import s, th
from equations_gated import relu
from torch import exp


def unicornn(w, x, h, z):
    """The velocity's own step put into the place's."""
    dt = 0.205 / (1 + exp(-w["c"]))
    force = th(x @ w["W_z"] + w["b_z"] + h * w["u"])
    return h + dt * z - dt * dt * force, z - dt * force


def keeping_the_sign(v, b):
    """Both sides of 0 for themselves."""
    return (v > 0) * relu(v + b) - (v < 0) * relu(b - v)


def exponential(matrix):
    """The sum of its powers over their factorials."""
    term = total = torch.eye(len(matrix), dtype=matrix.dtype)
    for k in range(1, 80):
        term = term @ matrix / k
        total = total + term
    return total


def exprnn(w, x, h):
    turned = exponential(w["R_h"].T - w["R_h"]) @ h
    return (keeping_the_sign(x @ w["W_h"] + turned, w["b_h"]),)


def scornn(w, x, h):
    size = h.numel()
    skew, one = w["R_h"].T - w["R_h"], torch.eye(size, dtype=h.dtype)
    signs = torch.tensor([-1.0 if k < size // 2 else 1.0 for k in range(size)], dtype=h.dtype)
    matrix = torch.linalg.inv(one + skew) @ (one - skew) @ torch.diag(signs)
    return (keeping_the_sign(x @ w["W_h"] + matrix @ h, w["b_h"]),)


def rwkv4(w, x, y, before, a, b, q):
    """By the paper's sums themselves, exp(q) * a and exp(q) * b, which may overflow."""
    sums = exp(q) * a, exp(q) * b
    r, k, v = ((before + w[f"mu_{g}"] * (x - before)) @ w[f"R_{g}"] for g in ("r", "k", "v"))
    first = exp(k + w["u"])
    largest = first * (first > exp(q)) + exp(q) * (first <= exp(q))
    divisor = sums[1] + first
    divisor = divisor * (divisor > largest) + largest * (divisor <= largest)
    y = (s(r) * (sums[0] + first * v) / divisor) @ w["R_o"]
    decay = exp(-exp(w["w"]))
    new = decay * sums[0] + exp(k) * v, decay * sums[1] + exp(k)
    q = torch.log(decay * exp(q) * (decay * exp(q) > exp(k)) + exp(k) * (decay * exp(q) <= exp(k)))
    return y, x, new[0] / exp(q), new[1] / exp(q), q


def lru(w, x, y, a, b):
    """In complex numbers."""
    size, golden = a.numel(), (5**0.5 - 1) / 2
    places = [k + 0.5 for k in range(size)]
    squares = torch.tensor([0.81 + 0.188001 * k / size for k in places], dtype=a.dtype)
    angles = torch.tensor([2 * torch.pi * (golden * k % 1) for k in places], dtype=a.dtype)
    nu, theta = w["nu"] + torch.log(-torch.log(squares) / 2), w["theta"] + torch.log(angles)
    eigenvalues = exp(torch.complex(-exp(nu), exp(theta)))
    gamma = w["gamma"] + torch.log(1 - squares) / 2
    state = eigenvalues * torch.complex(a, b)
    state = state + exp(gamma) * torch.complex(x @ w["W_a"], x @ w["W_b"])
    y = (state @ torch.complex(w["R_y"], w["C_im"])).real + x @ w["W_d"]
    return y, state.real, state.imag


EQUATIONS = {
    "unicornn": unicornn,
    "exprnn": exprnn,
    "scornn": scornn,
    "rwkv-4": rwkv4,
    "lru": lru,
}
