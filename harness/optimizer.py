"""SGD, Adam and AdamW over a pack: every run its own learning rate, clip norm, decay and schedule."""

import math

import torch
from torch import Tensor

from harness.engine import Parameters
from harness.settings import Settings

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def learning_rates(settings: Settings, num_updates: int) -> Tensor:
    """Returns the learning rate of every update, float64 (num_updates,): linear warm-up, then the schedule."""
    warmup = settings.warmup_updates
    rates = []
    for update in range(num_updates):
        if update < warmup:
            factor = (update + 1) / warmup
        elif settings.schedule == "cosine":
            done = (update - warmup) / max(1, num_updates - warmup)
            factor = settings.cosine_floor + (1 - settings.cosine_floor) * 0.5 * (1 + math.cos(math.pi * done))
        elif settings.schedule == "step":
            factor = settings.step_factor ** ((update - warmup) // settings.step_updates)
        else:
            factor = 1.0
        rates.append(settings.learning_rate * factor)
    return torch.tensor(rates, dtype=torch.float64)


def global_norms(gradients: Parameters) -> Tensor:
    """Returns every run's Euclidean norm over all parameters, (N,)."""
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


class Optimizer:
    """One optimiser step for all runs of a pack. Moments live in ``state``: name -> (N, ...)."""

    def __init__(self, runs: list[Settings], parameters: Parameters):
        like = next(iter(parameters.values()))
        self._name = runs[0].optimizer

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)

        self._momentum = column([r.momentum for r in runs])
        self._weight_decay = column([r.weight_decay for r in runs])
        self._clip_norm = column([math.inf if r.clip_norm is None else r.clip_norm for r in runs])
        self._has_momentum = any(r.momentum for r in runs)
        self._has_decay = any(r.weight_decay for r in runs)
        kinds = {"sgd": ("velocity",) if self._has_momentum else (), "adam": ("first", "second")}
        kinds["adamw"] = kinds["adam"]
        self.state = {f"{kind}/{n}": torch.zeros_like(p) for kind in kinds[self._name] for n, p in parameters.items()}

    def step(
        self, parameters: Parameters, gradients: Parameters, rates: Tensor, update: int, alive: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Clips, then moves ``parameters`` in place; a run that is not alive, or has no finite norm, stays.

        Args:
            parameters: Name -> (N, ...).
            gradients: Likewise.
            rates: The learning rates of this update, (N,).
            update: Updates done before this one.
            alive: Which runs still train, (N,) bool.

        Returns:
            The norms before clipping (N,), whether each was clipped (N,), and the runs that moved (N,).
        """
        norms = global_norms(gradients)
        clipped = norms > self._clip_norm
        scale = torch.where(clipped, self._clip_norm / norms, torch.ones_like(norms))
        moved = alive & torch.isfinite(norms)
        for name, parameter in parameters.items():
            column = (-1,) + (1,) * (parameter.dim() - 1)
            change = self._change(name, parameter, gradients[name] * scale.view(column), rates, update, column)
            parameter.copy_(torch.where(moved.view(column), parameter - change, parameter))
        return norms, clipped, moved

    def _change(
        self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor, update: int, column: tuple[int, ...]
    ) -> Tensor:
        rate, decay = rates.view(column), self._weight_decay.view(column)
        if self._has_decay and self._name != "adamw":
            gradient = gradient + decay * parameter
        if self._name == "sgd":
            if self._has_momentum:
                velocity = self.state[f"velocity/{name}"]
                gradient = velocity.mul_(self._momentum.view(column)).add_(gradient)
            return rate * gradient
        first, second = self.state[f"first/{name}"], self.state[f"second/{name}"]
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        # The bias corrections of Kingma & Ba 2015, section 3.
        root = (second / (1 - BETAS[1] ** (update + 1))).sqrt_().add_(EPSILON)
        change = rate * (first / (1 - BETAS[0] ** (update + 1))) / root
        return change + rate * decay * parameter if self._name == "adamw" else change
