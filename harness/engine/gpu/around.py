"""What stands before and after the time loop: values of vectors alone, and sums over all steps."""

import functools

import torch
from torch import Tensor

from harness.engine.gpu.launches import Buffers, Layout, Place, evaluate
from harness.engine.rounding import product


def fill_vectors(plan: Layout, buffers: Buffers, vectors: Tensor) -> None:
    """Writes the vectors (N, K*H), and what follows from them alone, into their buffer."""
    if "vectors" not in buffers:
        return
    buffers["vectors"][:, 0, :, : vectors.shape[1]].copy_(vectors[:, None])
    values = plan.numbers(vectors) | {i: p.at(buffers, 0) for i, p in plan.vectors.items()}
    nodes = plan.schedule.program.nodes
    evaluate(((i, nodes[i]) for i in plan.schedule.prologue), values)
    for i in plan.schedule.prologue:
        plan.vectors[i].at(buffers, 0).copy_(values[i])


def vector_gradients(plan: Layout, buffers: Buffers, gradient: Tensor) -> Tensor:
    """Returns the gradients of the vectors side by side, (N, K*H).

    They are sums over T and B, and what follows from such sums.
    """
    num_runs, num_steps, _, size = gradient.shape
    values = plan.vector_values(buffers, gradient)
    for i, place in plan.sums.items():
        values[i] = place.over_time(buffers, num_steps).sum((1, 2))[:, None]
    nodes, wanted = plan.schedule.program.nodes, plan.schedule.program.vector_gradients.values()
    evaluate(((i, nodes[i]) for i in plan.schedule.epilogue), values)
    zero = gradient.new_zeros(num_runs, 1, size)
    gradients = [zero if i is None else values[i].expand_as(zero) for i in wanted]
    return torch.cat([zero[:, :, :0], *gradients], dim=-1)[:, 0]


def matrix_gradient(
    terms: tuple[tuple[Place, Place], ...], buffers: Buffers, precision: str, matrix: Tensor
) -> Tensor:
    """Returns the gradient of a matrix: for each of its terms one product over T and B."""
    num_steps = buffers["gradient"].shape[1]
    pairs = [
        [place.over_time(buffers, num_steps).flatten(1, 2) for place in term] for term in terms
    ]
    if not pairs:
        return buffers["gradient"].new_zeros(matrix.shape)
    products = [product(left.transpose(1, 2), cotangent, precision) for left, cotangent in pairs]
    return functools.reduce(torch.add, products)
