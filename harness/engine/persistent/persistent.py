"""The recurrence as one kernel a direction.

An update is: the table W + b of all tokens, or W x + b of all time steps; one kernel forward; one
backward; then one product over T and B for each term of a matrix's gradient, and one sum for each
vector's. Nothing is launched for a single time step, and W x of T * B tokens exists nowhere.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from cells.base import Cell
from harness.engine.base import ByAutograd, Layer, Parameters, State, emitted, prepared
from harness.engine.persistent import device as on_device
from harness.engine.persistent import host, nvrtc, trial
from harness.engine.persistent.coverage import uncovered
from harness.engine.persistent.loop import Loop, recurrence
from harness.engine.persistent.source import Source, plan_of, source
from harness.engine.persistent.tiling import Tiling
from harness.engine.reference import input_product, input_table
from harness.engine.tracing.trace import untraceable

STEPS_AT_ONCE = 16
"""The time steps whose values exist at once where there are no gradients."""


class Persistent(ByAutograd):
    """Cells whose pointwise pieces need one unit alone, in layers that fit a device.

    A device tries each layer before it is used, see :mod:`harness.engine.persistent.trial`. On a
    CPU the kernels run as threads of the host, which shows what they compute and not how fast: no
    study can choose that.
    """

    name = "persistent"

    def __init__(
        self,
        device_types: tuple[str, ...] = ("cuda",),
        tile: Callable[[int], Tiling] = host.tiling,
        tried: Callable[[Layer, Source, torch.device], str | None] = trial.failure,
    ):
        """Takes where it runs, what cuts a layer of H units on a CPU, and what tries a layer."""
        self.device_types, self._tile, self._tried = device_types, tile, tried

    def refusal(self, cell: type[Cell], device: str, precision: str, biases: int = 1) -> str | None:
        """Returns why this engine does not run the cell there, or None where it does."""
        kind = device.partition(":")[0]
        if kind not in self.device_types:
            return f"it runs on {' and '.join(self.device_types)}, not on {device}"
        if kind == "cuda" and nvrtc.find() is None:
            return "it needs NVRTC, which was not found"
        reason = untraceable(cell, precision)
        if reason is not None:
            return reason
        reason = uncovered(plan_of(Layer(cell, 2, 1, precision)))
        return None if reason is None else f"{cell.name}: {reason}"

    def layer_refusal(self, layer: Layer, device: torch.device) -> str | None:
        """Returns why this engine does not run a layer on this very device, or None where it does.

        A layer that was never tried there is tried now, which takes seconds.
        """
        plan = plan_of(layer)
        if device.type == "cpu":
            code = source(plan, layer.precision, self._tile(layer.hidden_size))
        else:
            try:
                code = on_device.cut_for(device, plan, layer.precision)
            except on_device.DeviceError as error:
                reason = str(error).rstrip(".")
                return f"{layer.cell.name} of {layer.hidden_size:,} units does not fit: {reason}"
        return self._tried(replace(layer, threads=1), code, device)

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
        loop = Loop(plan, layer.precision, made)
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
            output, *final = recurrence(
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
