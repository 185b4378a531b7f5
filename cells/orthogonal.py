"""Networks whose recurrent matrix is orthogonal, so that it keeps the size of what it turns."""

import torch
from torch import Tensor, relu, sign

from cells.base import Cell


def skew(matrix: Tensor) -> Tensor:
    """Returns A = R - R^T of R (..., H, H)."""
    return matrix - matrix.transpose(-1, -2)


def modrelu(value: Tensor, bias: Tensor) -> Tensor:
    """Returns a rectifier that leaves the sign: sign(a) * relu(|a| + b)."""
    return sign(value) * relu(value.abs() + bias)


class ExpRNN(Cell):
    r"""Network whose recurrent matrix is the exponential of a skew-symmetric one, a rotation.

        A  = R - R^T
        a  = W_h x + exp(A) h
        h' = sign(a) * relu(|a| + b_h)

    exp is the matrix exponential. The paper has the entries above the diagonal as parameters; here
    R has all of them, so that a drawn R gives a drawn A. b_h starts at 0, about which the authors'
    code draws it. An R of 0, or any symmetric one, starts exp(A) at the identity.

    Source: Lezcano-Casado & Martinez-Rubio, "Cheap orthogonal constraints in neural networks: a
    simple parametrization of the orthogonal and unitary group", 2019.
    Reference: none.
    Differs from rnn-relu: the matrix is orthogonal, and the rectifier keeps the sign.
    """

    name = "exprnn"
    gates = ("h",)
    unbiased = ("h",)
    vectors = {"b_h": 0.0}
    candidates = ("h",)
    zoneout_states = ("h",)

    @classmethod
    def prepared(cls, parameters):
        """R becomes exp(A)."""
        return {**parameters, "R": torch.matrix_exp(skew(parameters["R"]))}

    def step(self, p, x, h):
        return (p.drop(modrelu(x.h + p.R(h).h, p.b_h)),)


class ScoRNN(Cell):
    r"""Network whose recurrent matrix is a scaled Cayley transform of a skew-symmetric one.

        A  = R - R^T
        a  = W_h x + (I + A)^-1 (I - A) D h
        h' = sign(a) * relu(|a| + b_h)

    D is diagonal, -1 for the first half of the units, rounded down, and 1 for the others: their
    number, the paper's rho, is part of this definition; the paper tunes it for each task. The paper
    has the entries above the diagonal as parameters; here R has all of them. b_h starts at 0.

    Source: Helfrich, Willmott & Ye, "Orthogonal recurrent neural networks with scaled Cayley
    transform", 2018.
    Reference: none.
    Differs from exprnn: the Cayley transform for the exponential, and D, without which no
    eigenvalue could be -1.
    """

    name = "scornn"
    gates = ("h",)
    unbiased = ("h",)
    vectors = {"b_h": 0.0}
    candidates = ("h",)
    zoneout_states = ("h",)

    @classmethod
    def prepared(cls, parameters):
        """R becomes the scaled transform; D scales its rows, which h meets first."""
        made = skew(parameters["R"])
        size = made.shape[-1]
        identity = torch.eye(size, dtype=made.dtype, device=made.device)
        signs = torch.ones_like(identity[0])
        signs[: size // 2].fill_(-1.0)  # an assignment would make a tensor of the number first
        # I + A has no eigenvalue of 0. Rounding makes one where a run has diverged, of which
        # linalg.solve would raise, for all runs of a pack; to know it, it waits for a GPU.
        turned, _ = torch.linalg.solve_ex(identity + made, identity - made)
        return {**parameters, "R": signs[:, None] * turned}

    def step(self, p, x, h):
        return (p.drop(modrelu(x.h + p.R(h).h, p.b_h)),)
