"""A layer's time loop through its two kernels, as a function that autograd differentiates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.engine.gpu.around import fill_vectors, matrix_gradient, vector_gradients
from harness.engine.gpu.launches import Buffers, Layout
from harness.engine.persistent.arguments import Call, Kernels
from harness.engine.persistent.places import identifier
from harness.engine.reference import lookup_gradient


@dataclass(frozen=True)
class Loop:
    """What the time loops of a call follow from, beside their tensors."""

    plan: Layout
    precision: str
    kernels: Kernels

    def run(
        self,
        is_backward: bool,
        given: Buffers,
        shape: tuple[int, ...],
        tokens: Tensor | None,
        matrices: dict[str, Tensor],
    ) -> Buffers:
        """Runs one direction.

        Args:
            is_backward: Which.
            given: The tensors that are there, by name, among them ``x``.
            shape: T, N, B.
            tokens: (N, T, B), where x is a table.
            matrices: (N, H, g*H) each.

        Returns:
            The tensors that the loop reads and writes, by the names of their buffers.
        """
        num_steps, num_runs, batch_size = shape
        pointers = self.kernels.source.pointers
        made = {
            name: _empty(buffer.shape(num_steps, num_runs, batch_size), given["x"])
            for name, buffer in self.plan.buffers[is_backward].items()
            if name not in given and identifier(buffer) in pointers
        }
        buffers = given | made
        tensors = {name.replace(".", "_"): tensor for name, tensor in buffers.items()}
        tensors |= {f"matrix_{name}": matrix for name, matrix in matrices.items()}
        kernel = self.kernels.backward if is_backward else self.kernels.forward
        kernel(Call(num_runs, num_steps, batch_size, tokens, tensors))
        return buffers


class _Recurrence(torch.autograd.Function):
    """The time loop.

    It is a function of x (N, T, B, G*H) or the table (N, V, G*H), vectors (N, K*H), noise
    (N, T, B, M*H), the matrices and the first states.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loop: Loop,
        shape: tuple[int, ...],
        tokens: Tensor | None,
        x: Tensor,
        vectors: Tensor,
        noise: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        plan, (num_steps, num_runs, batch_size) = loop.plan, shape[:3]
        matrices = {name: m.contiguous() for name, m in zip(plan.outers, others, strict=False)}
        first = others[len(matrices) :]
        given = {"x": x.contiguous(), "noise": noise.contiguous()}
        states = {name: b for name, b in plan.buffers[0].items() if name.startswith("state.")}
        for name, buffer in states.items():
            given[name] = _empty(buffer.shape(num_steps, num_runs, batch_size), x)
            given[name][:, 0].copy_(first[int(name.partition(".")[2])])
        if "vectors" in plan.buffers[0] | plan.buffers[1]:
            buffer = (plan.buffers[0] | plan.buffers[1])["vectors"]
            given["vectors"] = _empty(buffer.shape(num_steps, num_runs, batch_size), x)
            fill_vectors(plan, given, vectors)
        buffers = loop.run(False, given, shape[:3], tokens, matrices)
        kept = {name: buffers[name] for name, b in plan.buffers[1].items() if name in buffers} | {
            "x": given["x"]
        }
        ctx.loop, ctx.shape, ctx.names = loop, shape[:3], tuple(kept)
        ctx.tokens = tokens
        ctx.save_for_backward(*kept.values(), *matrices.values())
        final = [buffers[f"state.{s}"][:, num_steps].clone() for s in range(len(first))]
        return buffers["state.0"][:, 1:].transpose(0, 1), *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *final_gradients: Tensor) -> tuple[Tensor | None, ...]:
        loop, saved, tokens = ctx.loop, ctx.saved_tensors, ctx.tokens
        plan: Layout = loop.plan
        num_steps, num_runs, batch_size = ctx.shape
        matrices = dict(zip(plan.outers, saved[len(ctx.names) :], strict=True))
        given = dict(zip(ctx.names, saved, strict=False))
        x = given["x"]
        given["gradient"] = gradient.transpose(0, 1).contiguous()
        for s, last in enumerate(final_gradients):
            given[f"last_gradient_{s}"] = last.contiguous()
            given[f"first_gradient_{s}"] = _empty(last.shape, last)
        for i, place in plan.sums.items():
            shape = place.buffer.shape(num_steps, num_runs, batch_size)
            given[f"sum_{i}"] = _empty(shape, gradient)
        buffers = loop.run(True, given, ctx.shape, tokens, matrices)
        of_x = plan.input_gradient.over_time(buffers, num_steps)
        if tokens is not None:
            of_x = lookup_gradient(x, tokens.transpose(0, 1), of_x.transpose(0, 1))
        of_vectors = vector_gradients(plan, buffers, buffers["gradient"])
        of_matrices = [
            matrix_gradient(plan.outers[name], buffers, loop.precision, matrix)
            for name, matrix in matrices.items()
        ]
        of_states = [buffers[f"first_gradient_{s}"] for s in range(len(final_gradients))]
        return None, None, None, of_x, of_vectors, None, *of_matrices, *of_states


recurrence: Callable[..., tuple[Tensor, ...]] = _Recurrence.apply


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Returns memory of arbitrary content: every buffer is written before it is read."""
    return like.new_empty(shape)
