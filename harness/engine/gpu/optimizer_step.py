"""One step of SGD, Adam, AdamW, RMSprop, NAdam or ASGD for all runs of a pack: one launch.

:meth:`harness.training.optimizer.Optimizer.step` says the same in torch's operations, some fifteen
launches that each read or write every parameter. Triton is imported here, so this module is
imported only where :func:`harness.engine.gpu.trial.failure` found nothing.
"""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
KINDS = ("sgd", "adam", "adamw", "rmsprop", "nadam", "asgd")
"""The optimizers as the kernel numbers them."""


@triton.jit(do_not_specialize=["num_runs"])  # type: ignore[untyped-decorator]
def move(  # type: ignore[no-untyped-def]
    parameters,
    gradients,
    first,
    second,
    alive,
    norms,
    losses,
    factors,
    clip_norms,
    clip_values,
    momenta,
    decays,
    size,
    num_runs,
    KIND: tl.constexpr,
    HAS_CLIP: tl.constexpr,
    HAS_LIMIT: tl.constexpr,
    HAS_MOMENTUM: tl.constexpr,
    HAS_DECAY: tl.constexpr,
    MEAN_WEIGHT: tl.constexpr,
    SQUARE_WEIGHT: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Moves SIZE parameters of one run; program (i, n) has the i-th part of run n.

    Of a run whose loss or norm is not finite every program writes that it is no longer alive, so
    that it does not matter which of them comes first.
    """
    run = tl.program_id(1)
    norm = tl.load(norms + run)
    is_finite = norm + tl.load(losses + run) < float("inf")
    end = tl.where(is_finite & (tl.load(alive + run) != 0), size, 0)  # nothing moves below 0
    tl.store(alive + run, 0, mask=is_finite == 0)
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    mask = place < end
    place += run.to(tl.int64) * size

    parameter = tl.load(parameters + place, mask=mask, other=0.0)
    gradient = tl.load(gradients + place, mask=mask, other=0.0)
    if HAS_CLIP:
        clip = tl.load(clip_norms + run)
        longest = tl.maximum(norm, clip)
        if gradient.dtype == tl.float64:
            gradient *= clip / longest
        else:
            gradient *= tl.div_rn(clip, longest)
    if HAS_LIMIT:
        limit = tl.load(clip_values + run)
        gradient = tl.minimum(tl.maximum(gradient, -limit), limit)
    if HAS_DECAY and KIND != 2:
        gradient += parameter * tl.load(decays + run)
    direction = gradient
    if KIND == 1 or KIND == 2 or KIND == 4:
        direction = tl.load(first + place, mask=mask, other=0.0)
        direction += (gradient - direction) * MEAN_WEIGHT
        tl.store(first + place, direction, mask=mask)
    if KIND != 0 and KIND != 5:
        square = tl.load(second + place, mask=mask, other=0.0)
        square = square * (1 - SQUARE_WEIGHT) + gradient * gradient * SQUARE_WEIGHT
        tl.store(second + place, square, mask=mask)
        epsilon = tl.load(factors + num_runs + run)
        if KIND == 4:
            direction += gradient * tl.load(factors + 2 * num_runs + run)
        if gradient.dtype == tl.float64:
            direction = direction / (tl.sqrt(square) + epsilon)
        else:
            direction = tl.div_rn(direction, tl.sqrt_rn(square) + epsilon)
    if HAS_DECAY and KIND == 2:
        shrinkage = tl.load(factors + 2 * num_runs + run) * tl.load(decays + run)
        direction += parameter * shrinkage
    if HAS_MOMENTUM and (KIND == 0 or KIND == 3):
        velocity = tl.load(first + place, mask=mask, other=0.0)
        direction += velocity * tl.load(momenta + run)
        tl.store(first + place, direction, mask=mask)
    parameter -= direction * tl.load(factors + run)
    tl.store(parameters + place, parameter, mask=mask)
    if KIND == 5:
        share = tl.load(factors + num_runs + run)
        mean = tl.load(first + place, mask=mask, other=0.0)
        gap = parameter - mean
        mean = tl.where(share < 0.5, mean + gap * share, parameter - gap * (1 - share))
        tl.store(first + place, mean, mask=mask)


def step(
    name: str,
    parameters: Tensor,
    gradients: Tensor,
    moments: Sequence[Tensor | None],
    alive: Tensor,
    norms: Tensor,
    losses: Tensor,
    factors: Tensor,
    columns: tuple[Tensor, Tensor, Tensor, Tensor],
    acts: tuple[bool, bool, bool, bool],
    betas: tuple[float, float],
) -> None:
    """Clips, then moves the parameters and moments of every run that is alive.

    Args:
        name: One of ``KINDS``.
        parameters: (N, P), in one piece, as all tensors here.
        gradients: Likewise; they stay as they are.
        moments: A velocity or a mean of gradients or parameters, and a mean of squares, (N, P)
            each; None where the optimizer has none.
        alive: (N, 1), 0 for a run that has stopped; it is 0 afterwards where a norm or a loss is
            not finite.
        norms: Of the gradients, (N, 1).
        losses: (N,).
        factors: The update's part of the schedule, (K, N, 1).
        columns: Clip norm and value, momentum and weight decay, (N, 1) each.
        acts: Whether any run has each of these.
        betas: How much is kept of the two means.
    """
    num_runs, size = parameters.shape
    # Any address where there is none.
    first, second = (parameters if moment is None else moment for moment in moments)
    move[triton.cdiv(size, BLOCK), num_runs](
        parameters, gradients, first, second, alive, norms, losses, factors, *columns,
        size, num_runs, KINDS.index(name), *acts, 1 - betas[0], 1 - betas[1], BLOCK,
        enable_fp_fusion=True,  # Triton 3.9 warns where it is left to a default, which is to change
    )  # fmt: skip
