"""Measures :class:`harness.training.state_statistics.StateStatistics` of a trained run.

It reads a fixed part of the held-out text with the reference engine in float64, whatever engine and
precision the run was trained with, draws nothing, and changes no number of the run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harness import engine
from harness.engine import Parameters
from harness.model.masks import Masks
from harness.model.network import Model
from harness.tasks.task import Batch, Task
from harness.training.plan import Run
from harness.training.state_statistics import (
    MOST_STEPS,
    SATURATION,
    StateStatistics,
    StateSummary,
)

MOST_TOKENS = 8192
"""Most tokens that are read, but those of one stream's first window."""


def measure(task: Task, model: Model, run: Run, parameters: Parameters) -> StateStatistics:
    """Returns the statistics of one run at ``parameters``, (1, ...) each."""
    arch = replace(model.arch, precision="float64")
    model = Model(arch, engine.get("reference")).for_runs([run.settings])
    parameters = {name: values.detach().double() for name, values in parameters.items()}
    masks = Masks([run.seed], [run.settings], parameters["readout.b"].device)
    split = "validation" if "validation" in task.splits else "train"
    windows = _windows(task, split, run.settings.bptt_length)
    num_steps, _, num_streams = windows[0].inputs.shape[:3]
    reader = _Reader(model, parameters, masks, num_streams, task.point)
    norms = torch.stack([reader.read(window) for window in windows]).sum(0)
    norms, num_steps = norms[:, :MOST_STEPS], min(num_steps, MOST_STEPS)
    *of_states, of_all = (norms / (len(windows) * num_streams)).tolist()
    names = [(layer, name) for layer in range(arch.num_layers) for name in arch.cell.state]
    summaries = [
        _summary(layer, name, torch.stack(values), tuple(gradient_norms))
        for (layer, name), values, gradient_norms in zip(
            names, zip(*reader.seen, strict=True), of_states, strict=True
        )
    ]
    return StateStatistics(
        split, num_streams, len(windows), num_steps, tuple(summaries), tuple(of_all)
    )


def _windows(task: Task, split: str, bptt_length: int) -> list[Batch]:
    """Returns the first minibatches of an evaluation, of streams that are whole in each.

    Of a text that is shorter than one window, it is the longest streams as far as they go.
    """
    batches = task.evaluation(split, 1)
    first = next(batch for batch in batches if _lengths(batch).any())
    lengths = _lengths(first)
    # A sequence is read to its last target; of a text a window is as good as the next.
    num_steps = min(int(lengths.max()), MOST_TOKENS if first.begins else MOST_STEPS)
    streams = torch.nonzero(lengths >= num_steps)[: max(1, MOST_TOKENS // num_steps), 0]
    windows = [_part(first, num_steps, streams)]
    # The next window does not begin where this one is cut, and another sequence is no sequel.
    if num_steps < bptt_length or first.begins:
        return windows
    tokens = num_steps * len(streams)
    for batch in batches:
        is_full = (len(windows) + 1) * num_steps > MOST_STEPS
        is_full = is_full or (len(windows) + 1) * tokens > MOST_TOKENS
        if is_full or not (_lengths(batch)[streams] == len(batch.inputs)).all():
            break
        windows.append(_part(batch, num_steps, streams))
    return windows


def _lengths(batch: Batch) -> Tensor:
    """Returns the time steps of every stream up to the last one that is scored, (B,)."""
    steps = torch.arange(1, len(batch.inputs) + 1, device=batch.inputs.device).unsqueeze(1)
    if batch.weights is None:
        return steps.amax(0).expand(batch.inputs.shape[2])
    return ((batch.weights[:, 0] != 0) * steps).amax(0)


def _part(batch: Batch, num_steps: int, streams: Tensor) -> Batch:
    return Batch(batch.inputs[:num_steps, :, streams], batch.targets[:num_steps, :, streams])


class _Reader:
    """Reads windows one after the other, time step by time step.

    Attributes:
        seen: What every state was after every time step: a list of (B, H) a step, layer by layer.
    """

    def __init__(
        self,
        model: Model,
        parameters: Parameters,
        masks: Masks,
        num_streams: int,
        point: Callable[[Tensor], Tensor],
    ):
        self._model, self._parameters, self._masks = model, parameters, masks
        self._point = point
        self._states = model.initial_states(parameters, 1, num_streams)
        self.seen: list[list[Tensor]] = []

    def read(self, window: Batch) -> Tensor:
        """Returns the summed gradient norms of a window's streams, (states + 1, T).

        The first column is one step before the end. The last row is of all states together.
        """
        taken, left = [], []
        like = self._states[0][0]
        inputs, targets = (
            each.to(like.dtype) if each.is_floating_point() else each
            for each in (window.inputs, window.targets[-1, 0])
        )
        for step in inputs.split(1):
            given = [tuple(s.detach().requires_grad_() for s in state) for state in self._states]
            with torch.enable_grad():
                rows, self._states = self._model(self._parameters, step, given, self._masks)
            taken.append([s for state in given for s in state])
            left.append([s for state in self._states for s in state])
            self.seen.append([s.detach()[0] for s in left[-1]])
        with torch.enable_grad():
            scores = self._model.readout(self._parameters).scores(rows)[0]
            losses = (
                (self._point(scores) - targets).square().mean(1)
                if targets.is_floating_point()
                else torch.nn.functional.cross_entropy(scores, targets, reduction="none")
            )
        gradients = _pulled_back([losses], [torch.ones_like(losses)], taken[-1])
        columns = [_norms(gradients)]
        for given_states, left_states in zip(taken[-2::-1], left[-2::-1], strict=True):
            gradients = _pulled_back(left_states, gradients, given_states)
            columns.append(_norms(gradients))
        return torch.stack(columns, 1)


def _pulled_back(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Returns the gradients of ``inputs`` given those of ``outputs``.

    What does not depend on the inputs adds nothing.
    """
    pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
    if not pairs:
        return [torch.zeros_like(each) for each in inputs]
    return torch.autograd.grad(
        [output for output, _ in pairs],
        list(inputs),
        [gradient for _, gradient in pairs],
        allow_unused=True,
        materialize_grads=True,
    )


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """Returns the norms of every state's gradient, (1, B, H) each, summed over the streams.

    Returns:
        (states + 1,), the last of all states together.
    """
    squares = torch.stack([gradient[0].square().sum(1) for gradient in gradients])
    return torch.cat([squares, squares.sum(0, keepdim=True)]).sqrt().sum(1)


def _summary(
    layer: int, state: str, values: Tensor, gradient_norms: tuple[float, ...]
) -> StateSummary:
    sizes = values.abs().flatten()

    def quantile(share: float) -> float:
        """Returns the least size that at least that share of the sizes does not exceed."""
        return float(sizes.kthvalue(max(1, math.ceil(share * len(sizes)))).values)

    return StateSummary(
        layer=layer,
        state=state,
        rms=float(sizes.square().mean().sqrt()),
        median=quantile(0.5),
        percentile_90=quantile(0.9),
        percentile_99=quantile(0.99),
        largest=float(sizes.max()),
        saturated=float((sizes.tanh() > SATURATION).double().mean()),
        gradient_norms=gradient_norms,
    )
