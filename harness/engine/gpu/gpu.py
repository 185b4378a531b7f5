"""The recurrence on a GPU: batched products and one fused pointwise launch a stage.

One launch does its work for all runs of a pack. The launches are the same on every device: on CUDA
a pointwise piece is a Triton kernel, elsewhere (and where Triton does not work) it is done by
torch's operations.

An update is: W x + b of all time steps, by lookup or one product; T times the launches of
``Layout.forward``; T times those of ``Layout.backward``, in reversed time; then one product over T
and B for each term of a matrix's gradient, and one sum for each vector's. Where a direction is one
pointwise piece without a product, one launch goes through all time steps. For capture in a CUDA
graph: this sequence depends on T and on the layer alone, nothing waits for the device or looks at a
value, buffers come from torch's allocator, and no result depends on the order in which threads add.
The first call with a layer and a dtype compiles its kernels, so it must lie before the capture.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell
from harness.engine.base import ByAutograd, Layer, Parameters, State, emitted, prepared
from harness.engine.gpu import trial, triton_source
from harness.engine.gpu.around import fill_vectors, matrix_gradient, vector_gradients
from harness.engine.gpu.launches import (
    Buffer,
    Buffers,
    Call,
    Layout,
    Piece,
    Product,
    Step,
    by_torch,
)
from harness.engine.gpu.layout import layout
from harness.engine.gpu.rounded import with_rounded_operands
from harness.engine.reference import input_product
from harness.engine.rounding import multiplied, operand
from harness.engine.tracing.trace import untraceable

STEPS_AT_ONCE = 16
"""The time steps whose values exist at once where there are no gradients.

What a step keeps is for the backward pass.
"""


class Gpu(ByAutograd):
    """Any cell whose step can be traced, in every precision."""

    name = "gpu"
    general_device: str | None = "cuda"

    def __init__(self, device_types: tuple[str, ...] = ("cuda",)):
        self.device_types = device_types

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why this engine does not run the cell there, or None where it does."""
        if device.partition(":")[0] not in self.device_types:
            return f"it runs on {' and '.join(self.device_types)}, not on {device}"
        return untraceable(cell, precision)

    def note(self, precision: str) -> str | None:
        """Returns what makes it slower here than it could be, or None."""
        try:
            failure = trial.failure()
        except torch.OutOfMemoryError:  # an update that is tried will tell it, and of which arm
            return None
        if failure is None:
            return None
        return f"engine gpu: pointwise pieces run as separate torch operations, since {failure}"

    def run(
        self,
        layer: Layer,
        parameters: Parameters,
        inputs: Tensor,
        state: State,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs a layer over all time steps; see :class:`harness.engine.base.Engine`.

        Raises:
            Untraceable: The step cannot be generated; :meth:`refusal` says so beforehand.
        """
        plan, ready = _plan(layer), prepared(layer, parameters, inputs)
        num_steps, num_runs, batch_size = inputs.shape[:3]
        # As one long time step, so that W x + b comes out run by run. Its gradient for tokens is
        # that of torch's embedding, which adds a row's gradients in a fixed order, on CUDA too, and
        # lets itself be captured: it sorts the tokens, or lets threads that meet on one row take
        # turns (ATen/native/cuda/Embedding.cu).
        sizes = inputs.shape[3:]
        rows = inputs.transpose(0, 1).reshape(1, num_runs, num_steps * batch_size, *sizes)
        x = input_product(layer, ready, rows).view(num_runs, num_steps, batch_size, -1)
        specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
        vectors = [ready[s.name] for s in specs if s.kind in ("recurrent_bias", "vector")]
        matrices = [ready[s.name] for s in specs if s.kind == "recurrent"]
        joined = torch.cat(vectors, dim=-1) if vectors else x.new_empty(num_runs, 0)
        factors = x.new_empty(num_runs, num_steps, batch_size, 0)
        if noise is not None:
            factors = noise.transpose(0, 1).expand(-1, num_steps, -1, -1)
        at_once = num_steps if torch.is_grad_enabled() else STEPS_AT_ONCE
        parts = [(x, factors)]
        if num_steps > at_once:
            both = x.split(at_once, dim=1), factors.split(at_once, dim=1)
            parts = list(zip(*both, strict=True))
        outputs = []
        for x_part, factors_part in parts:
            output, *final = recurrence(
                plan, layer.precision, x_part, joined, factors_part, *matrices, *state
            )
            outputs.append(output)
            state = tuple(final)
        whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return emitted(layer, parameters, whole), state


def _plan(layer: Layer) -> Layout:
    plan = layout(layer)
    return rounding(plan) if layer.precision == "bf16" else plan


rounding = functools.lru_cache(maxsize=256)(with_rounded_operands)


@dataclass(frozen=True)
class _Sweep:
    """One direction of the time loop."""

    plan: Layout
    precision: str
    buffers: Buffers
    matrices: dict[str, Tensor]
    like: Tensor

    def run(self, steps: tuple[Step, ...], times: range) -> None:
        """Does every step at each of ``times``; the matrices are rounded already."""
        bind = pieces_for(self.plan, self.buffers, self.like)
        calls = [bind(step) if isinstance(step, Piece) else self._product(step) for step in steps]
        at_once = [times] if len(calls) == 1 else [range(t, t + 1) for t in times]
        # Triton takes the present device, whatever device its arguments are on.
        with torch.cuda.device_of(self.like):
            for each in at_once:
                for call in calls:
                    call(each)

    def _product(self, step: Product) -> Call:
        matrix = self.matrices[step.matrix]
        if step.transposed:
            matrix = matrix.transpose(1, 2)

        def call(times: range) -> None:
            for t in times:
                left = step.operand.at(self.buffers, t)
                if not step.operand.buffer.is_rounded:
                    left = operand(left, self.precision)
                multiplied(left, matrix, out=step.result.at(self.buffers, t))

        return call


def pieces_for(plan: Layout, buffers: Buffers, like: Tensor) -> Callable[[Piece], Call]:
    """Returns what makes a call of a pointwise piece.

    It is a Triton kernel on CUDA, where Triton works, and else torch's operations.
    """
    if like.is_cuda and trial.failure() is None:
        return functools.partial(
            triton_source.bind, triton_source.kernels(plan, like.dtype), buffers, like.shape
        )
    return functools.partial(by_torch, buffers, plan.numbers(like))


class _Recurrence(torch.autograd.Function):
    """The time loop.

    It is a function of x (N, T, B, G*H), vectors (N, K*H), noise (N, T, B, M*H), the matrices and
    the first states.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: Layout,
        precision: str,
        x: Tensor,
        vectors: Tensor,
        noise: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        num_matrices, num_steps = len(plan.outers), x.shape[1]
        matrices = {
            name: operand(m, precision) for name, m in zip(plan.outers, others, strict=False)
        }
        given = {"x": x.contiguous(), "noise": noise.contiguous()}  # kernels count on the layout
        buffers = _allocated(plan.buffers[0], given, x)
        fill_vectors(plan, buffers, vectors)
        for s, start in enumerate(others[num_matrices:]):
            for name in {f"state.{s}", f"state.{s}.rounded"} & set(buffers):
                buffers[name][:, 0].copy_(start)
        _Sweep(plan, precision, buffers, matrices, x).run(plan.forward, range(num_steps))
        kept = {
            name: buffers[name]
            for name, b in plan.buffers[1].items()
            if name in buffers and b.outlives
        }
        ctx.plan, ctx.precision, ctx.names = plan, precision, tuple(kept)
        ctx.save_for_backward(*kept.values(), *matrices.values())
        final = [
            buffers[f"state.{s}"][:, num_steps].clone() for s in range(len(others) - num_matrices)
        ]
        return buffers["state.0"][:, 1:].transpose(0, 1), *final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *final_gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan, precision, saved = ctx.plan, ctx.precision, ctx.saved_tensors
        matrices = dict(zip(plan.outers, saved[len(ctx.names) :], strict=True))
        gradient = gradient.transpose(0, 1).contiguous()
        num_steps = gradient.shape[1]
        given = dict(zip(ctx.names, saved, strict=False)) | {"gradient": gradient}
        buffers = _allocated(plan.buffers[1], given, gradient)
        for terms, final in zip(plan.carries, final_gradients, strict=True):
            terms[0].at(buffers, num_steps).copy_(final)
            for term in terms[1:]:
                term.at(buffers, num_steps).zero_()
        _Sweep(plan, precision, buffers, matrices, gradient).run(
            plan.backward, range(num_steps - 1, -1, -1)
        )
        of_x = plan.input_gradient.over_time(buffers, num_steps)
        of_vectors = vector_gradients(plan, buffers, gradient)
        of_matrices = [
            matrix_gradient(plan.outers[name], buffers, precision, matrix)
            for name, matrix in matrices.items()
        ]
        of_states = [
            functools.reduce(torch.add, (term.at(buffers, 0) for term in terms))
            for terms in plan.carries
        ]
        return None, None, of_x, of_vectors, None, *of_matrices, *of_states


recurrence: Callable[..., tuple[Tensor, ...]] = _Recurrence.apply


def _allocated(wanted: dict[str, Buffer], given: Buffers, like: Tensor) -> Buffers:
    """Returns ``given`` and a tensor for every other buffer; ``like`` is (N, T, B, width)."""
    num_runs, num_steps, batch_size, _ = like.shape
    rounded = like.new_empty(0, dtype=torch.bfloat16)
    missing = {
        name: _empty(b.shape(num_steps, num_runs, batch_size), rounded if b.is_rounded else like)
        for name, b in wanted.items()
        if name not in given
    }
    return given | missing


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Returns memory of arbitrary content: every buffer is written before it is read."""
    return like.new_empty(shape)
