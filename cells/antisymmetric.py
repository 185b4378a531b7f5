"""Networks whose recurrent matrix is antisymmetric.

They follow a differential equation whose solutions neither explode nor die out.
"""

import torch
from torch import Tensor, sigmoid, tanh

from cells.base import Cell

DAMPING = 0.01
"""The paper's gamma, which makes the explicit scheme stable."""


def antisymmetric(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the parameters with A = R - R^T - gamma * I in the place of R (N, H, H)."""
    matrix = parameters["R"]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return {**parameters, "R": matrix - matrix.transpose(-1, -2) - DAMPING * identity}


class AntisymmetricRNN(Cell):
    r"""One explicit step of h'(t) = tanh(A h + W x + b), whose matrix is antisymmetric.

    Its eigenvalues lie next to the imaginary axis.

        A  = R - R^T - gamma * I
        h' = h + epsilon * tanh(W_h x + A h + b_h)

    epsilon = 0.1 and gamma = 0.01 are part of this definition; the paper tunes both for each of its
    tasks.

    Source: Chang, Chen, Haber & Chi, "AntisymmetricRNN: a dynamical system view on recurrent neural
    networks", 2019.
    Reference: none.
    Differs from rnn-tanh: the step adds to h, and the matrix is antisymmetric but for its damping.
    """

    name = "antisymmetric-rnn"
    gates = ("h",)
    candidates = ("h",)
    zoneout_states = ("h",)

    @classmethod
    def prepared(cls, parameters):
        """R becomes A."""
        return antisymmetric(parameters)

    def step(self, p, x, h):
        return (h + 0.1 * p.drop(tanh(x.h + p.R(h).h)),)


class AntisymmetricRNNGated(Cell):
    r"""The antisymmetric network with a gate that sees the same recurrent product.

        A  = R - R^T - gamma * I
        z  = sigmoid(W_z x + A h + b_z)
        h' = h + epsilon * z * tanh(W_h x + A h + b_h)

    epsilon = 0.1 and gamma = 0.01 are part of this definition; the paper tunes both for each of its
    tasks.

    Source: Chang, Chen, Haber & Chi, "AntisymmetricRNN: a dynamical system view on recurrent neural
    networks", 2019.
    Reference: none.
    Differs from antisymmetric-rnn: the gate z.
    """

    name = "antisymmetric-rnn-gated"
    gates = ("h", "z")
    products = {"R": ("h",)}
    candidates = ("h",)
    zoneout_states = ("h",)

    @classmethod
    def prepared(cls, parameters):
        """R becomes A."""
        return antisymmetric(parameters)

    def step(self, p, x, h):
        a = p.R(h).h
        return (h + 0.1 * sigmoid(x.z + a) * p.drop(tanh(x.h + a)),)
