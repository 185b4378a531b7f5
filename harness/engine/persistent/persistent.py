"""The recurrence as one kernel a direction.

An update is: the table W + b of all tokens, or W x + b of all time steps; one kernel forward; one
backward; then one product over T and B for each term of a matrix's gradient, and one sum for each
vector's. Nothing is launched for a single time step, and W x of T * B tokens exists nowhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.base import Cell
from harness.engine.base import ByAutograd, Layer, Parameters, State, emitted, prepared
from harness.engine.gpu.around import fill_vectors, matrix_gradient, vector_gradients
from harness.engine.gpu.launches import Buffers, Layout
from harness.engine.persistent import device as on_device
from harness.engine.persistent import host, nvrtc
from harness.engine.persistent.arguments import Call, Kernels
from harness.engine.persistent.coverage import uncovered
from harness.engine.persistent.places import identifier
from harness.engine.persistent.source import plan_of
from harness.engine.persistent.tiling import Tiling, tilings
from harness.engine.reference import input_product, input_table, lookup_gradient
from harness.engine.tracing.trace import untraceable

STEPS_AT_ONCE = 16
"""The time steps whose values exist at once where there are no gradients."""
HOST_THREADS = 2
"""Of a block on the host: two that must wait for one another are as good as 256."""


def on_host(hidden_size: int) -> Tiling:
    """Returns how a layer is cut where threads of the host stand for those of the blocks."""
    return replace(tilings(hidden_size)[0], num_threads=HOST_THREADS)


class Persistent(ByAutograd):
    """Cells whose pointwise pieces need one unit alone.

    On a CPU the kernels run as threads of the host, which shows what they compute and not how fast.
    They were never launched on CUDA, so no study can choose this engine.
    """

    name = "persistent"

    def __init__(self, tile: Callable[[int], Tiling] = on_host):
        """Takes what cuts a layer of H units into blocks, on the host."""
        self._tile = tile

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why this engine does not run the cell there, or None where it does."""
        kind = device.partition(":")[0]
        if kind not in ("cpu", "cuda"):
            return f"it runs on cuda, and on cpu to be tested, not on {device}"
        if kind == "cuda" and nvrtc.find() is None:
            return "it needs NVRTC, which was not found"
        reason = untraceable(cell, precision)
        if reason is not None:
            return reason
        reason = uncovered(plan_of(Layer(cell, 2, 1, precision)))
        return None if reason is None else f"{cell.name}: {reason}"

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
            IndexError: A token lies outside W, on a CPU.
            CompileError: There is no compiler, or it refuses.
            DeviceError: The layer does not fit the device, or its driver refuses.
            NvrtcError: NVRTC refuses.
        """
        plan, ready = plan_of(layer), prepared(layer, parameters, inputs)
        table = None if inputs.is_floating_point() else _table(layer, ready, inputs)
        if inputs.is_cuda:
            made = on_device.kernels(plan, layer.precision, inputs.get_device())
        else:
            made = host.kernels(plan, layer.precision, self._tile(layer.hidden_size))
        loop = _Loop(plan, layer.precision, made)
        num_steps, num_runs, batch_size = inputs.shape[:3]
        specs = layer.cell.parameters(1, layer.hidden_size, layer.biases)
        vectors = [ready[s.name] for s in specs if s.kind in ("recurrent_bias", "vector")]
        matrices = [ready[s.name] for s in specs if s.kind == "recurrent"]
        like = state[0]
        joined = torch.cat(vectors, dim=-1) if vectors else like.new_empty(num_runs, 0)
        factors = like.new_empty(num_runs, num_steps, batch_size, 0)
        if noise is not None:
            factors = noise.transpose(0, 1).expand(-1, num_steps, -1, -1)
        outputs = []
        at_once = num_steps if torch.is_grad_enabled() else STEPS_AT_ONCE
        parts = zip(inputs.split(at_once), factors.split(at_once, dim=1), strict=True)
        for part, factors_part in parts:
            rows = input_product(layer, ready, part).transpose(0, 1) if table is None else table
            tokens = None if table is None else part.transpose(0, 1).contiguous()
            output, *final = _recurrence(
                loop, part.shape, tokens, rows, joined, factors_part, *matrices, *state
            )
            outputs.append(output)
            state = tuple(final)
        return emitted(layer, parameters, torch.cat(outputs)), state


def _table(layer: Layer, parameters: Parameters, tokens: Tensor) -> Tensor:
    """Returns W x + b of every token, (N, V, G*H).

    Raises:
        IndexError: A token lies outside, on a CPU; on CUDA the kernel ends itself.
    """
    num_tokens = parameters["W"].shape[1]
    if not tokens.is_cuda:
        is_outside = (tokens < 0) | (tokens >= num_tokens)
        if is_outside.any():
            first = tokens[is_outside][0].item()
            raise IndexError(f"tokens: must lie in 0 to {num_tokens - 1}, but got {first}.")
    return input_table(layer, parameters)


@dataclass(frozen=True)
class _Loop:
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
        loop: _Loop,
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


_recurrence: Callable[..., tuple[Tensor, ...]] = _Recurrence.apply


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Returns memory of arbitrary content: every buffer is written before it is read."""
    return like.new_empty(shape)
