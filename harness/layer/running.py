"""A layer on an engine, differentiable as users of torch expect.

An engine's own gradient can be taken once, since its memory goes to the next call. Here the second
time runs the layer again, and a gradient that is itself differentiated is that of the reference.
"""

import contextlib
import functools
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cells.base import Cell
from harness import engine as engines
from harness.engine import Engine, EngineError, Layer, Parameters, State
from harness.layer.checks import is_autocast

DEFINITION = "reference"
"""The engine that autograd differentiates by itself, as often as is wanted."""


def engine_for(name: str, layer: Layer, device: torch.device) -> Engine:
    """Returns the engine of that name, ``auto``: the fastest that runs the layer there.

    Where an engine is passed over that is meant to run every cell, a warning says why, once.

    Raises:
        EngineError: There is none of that name, or it does not run the layer there.
    """
    return _engine_for(name, replace(layer, threads=1), device)


@functools.lru_cache(maxsize=256)
def _engine_for(name: str, layer: Layer, device: torch.device) -> Engine:
    cell, precision = layer.cell, layer.precision
    if name == "auto":
        return _fastest(cell, device.type, precision)  # type: ignore[arg-type]  # classes have a hash
    engine = engines.get(name)
    refusal = engine.refusal(cell, device.type, precision) or engine.layer_refusal(layer, device)
    if refusal is not None:
        raise EngineError(
            f"engine: must run {cell.name} on {device} in {precision}, but got engine={name!r}: "
            f"{refusal}. Leave it out, and the fastest that can is taken."
        )
    return engine


@functools.lru_cache(maxsize=256)
def _fastest(cell: type[Cell], device: str, precision: str) -> Engine:
    chosen, notes = engines.resolve([cell], device, precision)
    for note in notes:
        text = f"{cell.name}: {note}. It runs on {chosen}."
        warnings.warn(text, stacklevel=_level_of_caller())
    return engines.get(chosen)


def _level_of_caller() -> int:
    """Returns the ``stacklevel`` of a warning that is to name the line of a person's own script."""
    frame, level = inspect.currentframe(), 0
    while (frame := frame and frame.f_back) is not None:
        if str(frame.f_globals.get("__name__")).split(".")[0] not in ("harness", "torch"):
            break
        level += 1
    return level + 1


def of_jit() -> EngineError:
    """Returns what is told where torch.jit traces or scripts a layer."""
    return EngineError(
        "layer: must not become TorchScript, which holds no compiled code, but got a call of "
        "torch.jit. Take torch.export, or torch.onnx.export with dynamo=True."
    )


def refuse_transforms(engine: str, given: Sequence[Tensor]) -> None:
    """Refuses what compiled code cannot be a part of, or would drop in silence.

    Raises:
        EngineError: A transform of torch.func is at work, or forward-mode differentiation, which
            the reference alone can follow.
    """
    if engine == DEFINITION:
        return
    is_dual = any(forward_ad.unpack_dual(values).tangent is not None for values in given)
    if is_dual or torch._C._are_functorch_transforms_active():
        raise EngineError(
            f"engine: must be {DEFINITION!r} under torch.func's transforms (grad, vmap, jvp) and "
            f"forward-mode differentiation, but got {engine=}. "
            f"Set layer.engine = {DEFINITION!r}."
        )


def run(
    engine: Engine,
    layer: Layer,
    parameters: Parameters,
    inputs: Tensor,
    state: State,
    noise: Tensor | None,
) -> tuple[Tensor, State]:
    """Runs a layer over all time steps.

    Args:
        engine: One that runs the layer.
        layer: What to run.
        parameters: Name -> values, without an axis of runs.
        inputs: Tokens (T, B), int64, or (T, B, I) in the dtype of the precision.
        state: (B, H) each.
        noise: The cell's, (T or 1, B, K*H).

    Returns:
        The outputs (T, B, H), or (T, B, P) where the cell projects, and the final state.
    """
    names = tuple(parameters)
    given = (inputs, *state, *parameters.values())
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    if wanted and engine.name != DEFINITION:
        outputs, *final = _recurrence(engine, layer, names, inputs, noise, *given[1:])
    else:
        outputs, *final = _results(engine, layer, names, inputs, noise, given[1:])
    return outputs, tuple(final)


def _results(
    engine: Engine,
    layer: Layer,
    names: Sequence[str],
    inputs: Tensor,
    noise: Tensor | None,
    tensors: Sequence[Tensor],
) -> list[Tensor]:
    """Returns the outputs and the final state; ``tensors`` are the state and the parameters."""
    runs = [values.unsqueeze(0) for values in tensors]
    state, parameters = runs[: -len(names)], dict(zip(names, runs[-len(names) :], strict=True))
    if inputs.shape[1] == 0:  # nothing to compute, for which no compiled code is made
        engine = engines.get(DEFINITION)
    with _without_autocast(inputs.device.type):
        outputs, final = engine.run(
            layer,
            parameters,
            inputs.unsqueeze(1),
            tuple(state),
            None if noise is None else noise.unsqueeze(1),
        )
    return [outputs.squeeze(1), *(s.squeeze(0) for s in final)]


@contextlib.contextmanager
def _without_autocast(device: str) -> Iterator[None]:
    """Has products computed in the precision of their operands, and not in autocast's."""
    if not is_autocast(device):
        yield
        return
    with torch.autocast(device, enabled=False):
        yield


class _Recurrence(torch.autograd.Function):
    """An engine's recurrence, whose saved tensors say what a second gradient is computed from.

    They also find what was changed in place between the two passes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        engine: Engine,
        layer: Layer,
        names: tuple[str, ...],
        inputs: Tensor,
        noise: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.arguments = engine, layer, names
        ctx.graph = _Graph(ctx, inputs, noise, tensors)
        results = tuple(value.detach() for value in ctx.graph.results)
        ctx.save_for_backward(inputs, noise, results[0], *tensors)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, noise, _, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated again
            found = _differentiable_gradients(ctx, inputs, noise, tensors, gradients)
        else:
            graph, ctx.graph = ctx.graph, None
            graph = graph or _Graph(ctx, inputs, noise, tensors)
            found = graph.gradients(gradients)
        return None, None, None, found[0], None, *found[1:]


class _Graph:
    """A forward pass of its own and the way back through it, which can be gone once."""

    def __init__(self, ctx: Any, inputs: Tensor, noise: Tensor | None, tensors: Sequence[Tensor]):
        needed = ctx.needs_input_grad[3], *ctx.needs_input_grad[5:]
        self._leaves = [
            values.detach().requires_grad_(is_needed)
            for values, is_needed in zip((inputs, *tensors), needed, strict=True)
        ]
        with torch.enable_grad():
            engine, layer, names = ctx.arguments
            inputs, *tensors = self._leaves
            self.results = _results(engine, layer, names, inputs, noise, tensors)

    def gradients(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Returns the gradient of the inputs and of every tensor, None where none is needed."""
        with _without_autocast(self._leaves[0].device.type):
            return _gradients(self.results, self._leaves, gradients, again=False)


def _differentiable_gradients(
    ctx: Any,
    inputs: Tensor,
    noise: Tensor | None,
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> list[Tensor | None]:
    """Returns the gradients as the reference has them, differentiable in all that enters."""
    _, layer, names = ctx.arguments
    # Views, so that no gradient goes back beyond them: one tensor may be computed from another.
    own = [values.view_as(values) for values in (inputs, *tensors)]
    results = _results(engines.get(DEFINITION), layer, names, own[0], noise, own[1:])
    with _without_autocast(inputs.device.type):
        return _gradients(results, own, gradients, again=True)


def _gradients(
    results: Sequence[Tensor], leaves: Sequence[Tensor], gradients: Sequence[Tensor], again: bool
) -> list[Tensor | None]:
    pairs = [
        (value, gradient)
        for value, gradient in zip(results, gradients, strict=True)
        if value.requires_grad
    ]
    wanted = [values for values in leaves if values.requires_grad]
    found = iter(
        torch.autograd.grad(
            [value for value, _ in pairs],
            wanted,
            [gradient for _, gradient in pairs],
            allow_unused=True,
            create_graph=again,
        )
    )
    return [next(found) if values.requires_grad else None for values in leaves]


_recurrence: Any = _Recurrence.apply
