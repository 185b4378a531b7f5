"""SGD, Adam, AdamW, RMSprop, NAdam and ASGD over a pack of runs.

Every run has its own learning rate, clips, decay and schedule.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.engine.cpu.products import address, optimizer_step
from harness.settings import Settings
from harness.training.patience import Heard, averaging_begins, reductions

BETAS = (0.9, 0.999)
"""How much is kept of the mean of the gradients, and of that of their squares."""
BETAS_OF_RMSPROP = (0.0, 0.99)
MOMENTUM_DECAY = 4e-3
"""Of NAdam: how fast its momentum rises to ``BETAS[0]``."""
EPSILON = 1e-8
BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
KINDS = ("sgd", "adam", "adamw", "rmsprop", "nadam", "asgd")
"""The optimizers as ``kernels/optimizer.cpp`` numbers them."""


FIRSTS = ("velocity", "first", "average")
"""The moments of which an optimizer has one at most."""


def learning_rates(
    settings: Settings, num_updates: int, reduced_after: Sequence[int] = ()
) -> Tensor:
    """Returns the learning rate of every update: a linear warm-up, then the schedule.

    Args:
        settings: Of the run.
        num_updates: U.
        reduced_after: The updates after which a plateau has reduced it, in their order.

    Returns:
        Float64, (num_updates,).
    """
    warmup, first_step = settings.warmup_updates, settings.step_first_updates
    first_step = settings.step_updates if first_step is None else first_step
    rates = []
    for update in range(num_updates):
        if update < warmup:
            factor = (update + 1) / warmup
        elif settings.schedule == "cosine":
            done = (update - warmup) / max(1, num_updates - warmup)
            factor = settings.cosine_floor + (1 - settings.cosine_floor) * 0.5 * (
                1 + math.cos(math.pi * done)
            )
        elif settings.schedule == "step":
            since_first = update - warmup - first_step
            factor = settings.step_factor ** max(0, since_first // settings.step_updates + 1)
        else:
            factor = settings.plateau_factor ** bisect.bisect_right(reduced_after, update)
        rates.append(settings.learning_rate * factor)
    return torch.tensor(rates, dtype=torch.float64)


def moments(name: str, has_momentum: bool) -> tuple[str, ...]:
    """Returns what an optimizer keeps besides the parameters, a tensor like them each."""
    velocity = ("velocity",) if has_momentum else ()
    own = {"sgd": velocity, "rmsprop": (*velocity, "second"), "asgd": ("average",)}
    return own.get(name, ("first", "second"))


class Optimizer:
    """One optimizer step for all runs of a pack.

    The parameters of the runs are the rows of one tensor (N, P). Moments live in ``state``: kind ->
    (N, P). All that depends on the update is in ``schedule`` (U, K, N, 1), on the device; a step is
    given its part of it.
    """

    def __init__(
        self,
        runs: list[Settings],
        parameters: Tensor,
        num_updates: int,
        backend: Literal["torch", "cpp", "triton"] = "torch",
    ):
        """Makes moments like ``parameters``, and the schedule of ``num_updates`` updates.

        A step is torch's operations, or one pass over the parameters: of compiled code on a CPU, or
        of one kernel in Triton on a GPU.
        """

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).unsqueeze(1).to(parameters)

        self._name = runs[0].optimizer
        self._betas = BETAS_OF_RMSPROP if self._name == "rmsprop" else BETAS
        self._compiled = optimizer_step(parameters.dtype) if backend == "cpp" else None
        self._is_one_kernel = backend == "triton"
        self._has_momentum = any(r.momentum for r in runs)
        self._has_decay = any(r.weight_decay for r in runs)
        self._has_clip = any(r.clip_norm is not None for r in runs)
        self._momentum = column([r.momentum for r in runs])
        self._weight_decay = column([r.weight_decay for r in runs])
        largest = torch.finfo(parameters.dtype).max  # no norm that is finite exceeds it
        self._has_limit = any(r.clip_value is not None for r in runs)
        self._clip_value = column([r.clip_value or math.inf for r in runs])
        self._clip_norm = column([largest if r.clip_norm is None else r.clip_norm for r in runs])
        kinds = moments(self._name, self._has_momentum)
        self.state = {kind: torch.zeros_like(parameters) for kind in kinds}
        self._runs, self._waited = runs, [_Waited.of(run, ()) for run in runs]
        self.schedule = _schedule(runs, num_updates, self._waited).to(parameters)
        self._infinity = column([math.inf] * len(runs))
        self._numbers = [
            (r.clip_norm or math.inf, r.clip_value or math.inf, r.momentum, r.weight_decay)
            for r in runs
        ]  # as compiled steps take them
        self._none = torch.zeros_like(self._infinity).view(BITS[parameters.dtype])
        self._alive = ~self._none

    @property
    def alive(self) -> Tensor:
        """Which runs still move, (N,) bool."""
        return self._alive.squeeze(1) != 0

    def clipped(self, norms: Tensor) -> Tensor:
        """Returns which of the ``norms`` (..., N) exceed ``clip_norm``; none that is not finite."""
        return (norms > self._clip_norm.squeeze(1)) & torch.isfinite(norms)

    @property
    def average(self) -> Tensor | None:
        """The mean of the parameters, (N, P), where an optimizer has one; it is evaluated."""
        return self.state.get("average")

    def hear(self, heard: Sequence[Sequence[Heard]]) -> None:
        """Lets the schedule follow the validation losses that every run has had so far."""
        for n, (run, own) in enumerate(zip(self._runs, heard, strict=True)):
            waited = _Waited.of(run, own)
            if waited != self._waited[n]:
                self._waited[n] = waited
                self.schedule[:, :, n] = _schedule([run], len(self.schedule), [waited])[:, :, 0]

    def step(
        self, parameters: Tensor, gradients: Tensor, schedule: Tensor, losses: Tensor
    ) -> Tensor:
        """Clips the norm, then the elements, and moves ``parameters`` in place.

        A run whose loss or norm is not finite stays where it is, now and for ever.

        Args:
            parameters: (N, P).
            gradients: Likewise; overwritten.
            schedule: The update's part of ``self.schedule``, (K, N, 1).
            losses: Those that the gradients are of, (N,), none below zero.

        Returns:
            The norms before clipping, (N,).
        """
        if self._compiled is not None:
            return self._step_compiled(self._compiled, parameters, gradients, schedule, losses)
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        if self._is_one_kernel:
            self._step_in_one_kernel(parameters, gradients, schedule, norms, losses)
            return norms.squeeze(1)
        finite = norms + losses.unsqueeze(1) < self._infinity
        # In place, as all that outlives an update.
        torch.where(finite, self._alive, self._none, out=self._alive)
        if self._has_clip:
            gradients.mul_(self._clip_norm / torch.maximum(norms, self._clip_norm))
        if self._has_limit:
            torch.clamp(gradients, -self._clip_value, self._clip_value, out=gradients)
        sizes, *others = schedule.unbind()
        direction = self._direction(parameters, gradients, others)
        # By their bits: a product with zero would keep a NaN, and a choice by element takes a CPU
        # five times as long.
        direction.view(self._alive.dtype).bitwise_and_(self._alive)
        parameters.addcmul_(direction, sizes, value=-1.0)
        if self.average is not None:
            self.average.lerp_(parameters, *others)
        return norms.squeeze(1)

    def _step_compiled(
        self,
        function: Callable[..., float],
        parameters: Tensor,
        gradients: Tensor,
        schedule: Tensor,
        losses: Tensor,
    ) -> Tensor:
        kind, (num_runs, size) = KINDS.index(self._name), parameters.shape
        moments = self._rows_of_kernels()
        norms, nats = [], losses.tolist()
        for n in range(num_runs):
            first, second = (None if m is None else address(m, n) for m in moments)
            norm = function(
                size, kind, address(parameters, n), address(gradients, n), first, second,
                address(schedule[0], n), num_runs, *self._numbers[n], nats[n],
                address(self._alive, n),
            )  # fmt: skip
            norms.append(norm)
        return parameters.new_tensor(norms)

    def _step_in_one_kernel(
        self,
        parameters: Tensor,
        gradients: Tensor,
        schedule: Tensor,
        norms: Tensor,
        losses: Tensor,
    ) -> None:
        from harness.engine.gpu import optimizer_step  # it imports Triton

        optimizer_step.step(
            self._name,
            parameters,
            gradients,
            self._rows_of_kernels(),
            self._alive,
            norms,
            losses,
            schedule,
            columns=(self._clip_norm, self._clip_value, self._momentum, self._weight_decay),
            acts=(self._has_clip, self._has_limit, self._has_momentum, self._has_decay),
            betas=self._betas,
        )

    def _rows_of_kernels(self) -> tuple[Tensor | None, Tensor | None]:
        """Returns the moments as kernels take them: a velocity or a mean, and a mean square."""
        firsts = [self.state[kind] for kind in FIRSTS if kind in self.state]
        return firsts[0] if firsts else None, self.state.get("second")

    def _direction(self, parameters: Tensor, gradients: Tensor, schedule: list[Tensor]) -> Tensor:
        """Returns what an update's size multiplies, (N, P)."""
        if self._has_decay and self._name != "adamw":
            gradients.addcmul_(parameters, self._weight_decay)
        if self._name in ("sgd", "asgd"):
            return self._with_momentum(gradients)
        second = self.state["second"]
        second.mul_(self._betas[1]).addcmul_(gradients, gradients, value=1 - self._betas[1])
        epsilons, *others = schedule
        scale = second.sqrt().add_(epsilons)
        if self._name == "rmsprop":
            return self._with_momentum(gradients / scale)
        first, (factor,) = self.state["first"], others
        first.lerp_(gradients, 1 - self._betas[0])
        if self._name == "nadam":
            return torch.addcmul(first, gradients, factor).div_(scale)
        direction = first / scale
        if self._has_decay and self._name == "adamw":
            direction.addcmul_(parameters, factor * self._weight_decay)
        return direction

    def _with_momentum(self, direction: Tensor) -> Tensor:
        if "velocity" not in self.state:
            return direction
        velocity: Tensor = self.state["velocity"]
        return velocity.mul_(self._momentum).add_(direction)

    def take_over(self, other: "Optimizer", indices: list[int]) -> None:
        """Goes on where the runs ``indices`` of another optimiser stand."""
        self._alive = other._alive[indices]
        for kind, moment in self.state.items():
            moment.copy_(other.state[kind][indices])


@dataclass(frozen=True)
class _Waited:
    """What a run's validation losses have brought about: see :mod:`harness.training.patience`."""

    reduced_after: tuple[int, ...]
    averaged_after: int | None

    @staticmethod
    def of(run: Settings, heard: Sequence[Heard]) -> "_Waited":
        return _Waited(reductions(run, heard), averaging_begins(run, heard))


def _schedule(runs: list[Settings], num_updates: int, waited: Sequence[_Waited]) -> Tensor:
    """Returns what depends on the update alone, (U, K, N, 1), float64.

    That is the size of each update; for ASGD also the part that it has in the mean of parameters;
    for the adaptive ones epsilon; for Adam also what decay is multiplied by, and for NAdam what the
    gradient is multiplied by before it is added to the mean of gradients. The bias corrections are
    in them, as at the end of section 2 of Kingma & Ba 2015.
    """
    rates = torch.stack(
        [
            learning_rates(run, num_updates, own.reduced_after)
            for run, own in zip(runs, waited, strict=True)
        ],
        dim=1,
    )
    name, one = runs[0].optimizer, torch.ones(num_updates, 1, dtype=torch.float64)
    updates = one.cumsum(0)
    first, root = 1 - BETAS[0] ** updates, (1 - BETAS[1] ** updates).sqrt()
    if name == "sgd":
        parts: tuple[Tensor, ...] = (rates,)
    elif name == "asgd":
        parts = rates, torch.stack([_shares_of_mean(num_updates, w) for w in waited], dim=1)
    elif name == "rmsprop":
        parts = rates, EPSILON * one
    elif name == "nadam":
        mean, fresh = _shares_of_nadam(num_updates)
        parts = rates * root * mean, EPSILON * root, fresh / mean
    else:
        parts = rates * root / first, EPSILON * root, first / root
    return torch.stack([part.expand_as(rates) for part in parts], dim=1).unsqueeze(3)


def _shares_of_mean(num_updates: int, waited: _Waited) -> Tensor:
    """Returns the part of every update's parameters in their mean, (U,).

    Until averaging begins the mean is the parameters themselves. Its first two updates both begin
    it anew, as those of torch.optim.ASGD do.
    """
    begin = num_updates if waited.averaged_after is None else waited.averaged_after
    counts = torch.arange(num_updates, dtype=torch.float64) - begin
    return 1 / counts.clamp(min=1)


def _shares_of_nadam(num_updates: int) -> tuple[Tensor, Tensor]:
    """Returns what NAdam takes of the mean of gradients and of the gradient, (U, 1) each.

    Its momentum of update t is mu_t = 0.9 (1 - 0.96 ** (0.004 t) / 2); see Dozat, "Incorporating
    Nesterov momentum into Adam", 2016, algorithm 8.
    """
    updates = torch.arange(1, num_updates + 2, dtype=torch.float64).unsqueeze(1)
    momenta = BETAS[0] * (1 - 0.5 * 0.96 ** (updates * MOMENTUM_DECAY))
    products = momenta.cumprod(0)
    return momenta[1:] / (1 - products[1:]), (1 - momenta[:-1]) / (1 - products[:-1])
