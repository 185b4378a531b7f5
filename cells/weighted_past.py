"""Cells whose memory is a sum over the past, weighted by keys or turned in the complex plane."""

import math

import torch
from torch import exp, maximum, sigmoid

from cells.base import Cell

LEAST_MODULUS = 0.9
LARGEST_MODULUS = 0.999
"""Between these are the moduli of lru's eigenvalues at the start."""


class RWKV4(Cell):
    r"""RWKV's time mixing, version 4: a mean of all values so far, weighted by their keys and age.

        r  = sigmoid(R_r (mu_r * x + (1 - mu_r) * s))
        k  =         K_k (mu_k * x + (1 - mu_k) * s)
        v  =         V_v (mu_v * x + (1 - mu_v) * s)
        m  = max(q, u + k)
        n  = exp(q - m) * a + exp(u + k - m) * v
        d  = exp(q - m) * b + exp(u + k - m)
        y' = O_o (r * n / max(d, 1))
        s' = x
        q' = max(q - exp(w), k)
        a' = exp(q - exp(w) - q') * a + exp(k - q') * v
        b' = exp(q - exp(w) - q') * b + exp(k - q')

    s is the input before. a and b are the paper's sums over the past, both times exp(-q), which
    keeps them from overflowing; q starts at -1e30. From there on b is at least 1 after a step, and
    so is the divisor: y' is the paper's, and the maximum bounds it for any other state. The layer
    above sees y'; no step does. w is the logarithm of the paper's, as in the authors' code. w
    starts at -1, u at -1.2, about log 0.3, and mu at 0.5, where that code spreads them over the
    units. The input has H units. The block's normalisation, its residual connection and its channel
    mixing are layers of their own.

    Source: Peng et al., "RWKV: reinventing RNNs for the transformer era", 2023.
    Reference: none.
    Differs: no parent.
    """

    name = "rwkv-4"
    gates = ()
    state = ("y", "s", "a", "b", "q")
    reads_input = True
    products = {"R": ("r",), "K": ("k",), "V": ("v",), "O": ("o",)}
    unbiased = ("r", "k", "v", "o")
    unread = ("y",)
    vectors = {"mu_r": 0.5, "mu_k": 0.5, "mu_v": 0.5, "w": -1.0, "u": -1.2}
    start = {"q": -1e30}
    candidates = ("v",)

    def step(self, p, x, y, s, a, b, q):
        x = x.input
        r = sigmoid(p.R(p.mu_r * x + (1 - p.mu_r) * s).r)
        k = p.K(p.mu_k * x + (1 - p.mu_k) * s).k
        v = p.drop(p.V(p.mu_v * x + (1 - p.mu_v) * s).v)
        m = maximum(q, p.u + k)
        past, present = exp(q - m), exp(p.u + k - m)
        n = past * a + present * v
        d = past * b + present
        y = p.O(r * n / d.clamp_min(1.0)).o
        aged = q - exp(p.w)
        q = maximum(aged, k)
        kept, written = exp(aged - q), exp(k - q)
        return y, x, kept * a + written * v, kept * b + written, q


class LRU(Cell):
    r"""Linear recurrent unit: complex states, turned and shrunk by a factor of each unit.

        lambda = exp(-exp(nu + nu_0) + i * exp(theta + theta_0))
        a' = Re(lambda) * a - Im(lambda) * b + exp(gamma + gamma_0) * (W_a x)
        b' = Re(lambda) * b + Im(lambda) * a + exp(gamma + gamma_0) * (W_b x)
        y' = C_re a' - C_im b' + W_d x

    The state is a + i * b, its input matrix W_a + i * W_b, and y' the real part of C's product with
    it, beside a linear shortcut. The layer above sees y'; no step does. The paper draws the moduli
    of lambda so that their squares are uniform between two bounds, and the phases uniform; here
    nu_0 and theta_0 spread them evenly over the units by the same two distributions, the moduli
    between 0.9 and 0.999 and the phases over the whole circle, and nu and theta start at 0: the
    parameters are these, and not the sums. gamma_0 is log sqrt(1 - |lambda|^2) at the start.

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long sequences", 2023.
    Reference: none.
    Differs: no parent.
    """

    name = "lru"
    gates = ("a", "b", "d")
    state = ("y", "a", "b")
    products = {"C_re": ("y",), "C_im": ("y",)}
    unbiased = ("a", "b", "d", "y")
    unread = ("y",)
    vectors = {"nu": 0.0, "theta": 0.0, "gamma": 0.0}
    candidates = ("a", "b")

    @classmethod
    def prepared(cls, parameters):
        """Re(lambda) and Im(lambda) take the places of nu and theta, the input's factor gamma's."""
        nu, theta, gamma = (parameters[name] for name in ("nu", "theta", "gamma"))
        place = torch.arange(nu.shape[-1], dtype=nu.dtype, device=nu.device) + 0.5
        least, largest = LEAST_MODULUS**2, LARGEST_MODULUS**2
        square = least + (largest - least) * place / nu.shape[-1]
        golden = (math.sqrt(5.0) - 1.0) / 2.0  # its multiples fill the circle evenly
        phase_0 = 2.0 * math.pi * (golden * place).frac()
        modulus = exp(0.5 * square.log() * exp(nu))
        phase = phase_0 * exp(theta)
        return {
            **parameters,
            "nu": modulus * phase.cos(),
            "theta": modulus * phase.sin(),
            "gamma": (1.0 - square).sqrt() * exp(gamma),
        }

    def step(self, p, x, y, a, b):
        re, im, scale = p.nu, p.theta, p.gamma
        a, b = (
            re * a - im * b + p.drop(scale * x.a),
            re * b + im * a + p.drop(scale * x.b),
        )
        return p.C_re(a).y - p.C_im(b).y + x.d, a, b
