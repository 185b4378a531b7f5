"""Main effects and interaction of a two-way cross of arms, within seeds.

Every effect is a contrast: a weighted sum of the cross's cells, taken at each seed by itself, so
that what a seed adds to all cells drops out. Its interval and its p are those of Student over the
seeds, each contrast with its own spread, as ``decisions`` compares arms. A residual pooled over all
cells, as an analysis of variance has it, would have more degrees of freedom, but it assumes that
all cells vary alike, and a cell that hardly trains does not.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.statistics import inference
from harness.statistics.inference import Interval

Losses = Mapping[tuple[str, str], Mapping[str, float]]
"""Cell (level of A, level of B) -> seed -> loss, infinite where the run diverged."""
Key = TypeVar("Key")


@dataclass(frozen=True)
class Contrast:
    """One effect, of losses: on the scale of ratios ``exp`` of it is one, or a ratio of ratios.

    Attributes:
        over: The other factor's levels that a main effect is a mean over; empty for an interaction.
        num_seeds: Seeds that all cells of the contrast have.
        num_finished: Those of them at which no run diverged: the seeds that ``mean`` is over.
        mean: Where ``num_finished < num_seeds``, conditional on finishing. None: no seed finished.
        interval: 95 %, unadjusted. None: fewer than two seeds, or a diverged run.
        p: Of the Student test that the effect is 0. None where ``interval`` is.
        adjusted_p: ``p`` after Holm over the effects of its kind; one without p counts among them.
    """

    over: tuple[str, ...]
    num_seeds: int
    num_finished: int
    mean: float | None
    interval: Interval | None
    p: float | None
    adjusted_p: float | None = None

    @property
    def num_lost(self) -> int:
        """Seeds at which a run of the contrast diverged."""
        return self.num_seeds - self.num_finished


@dataclass(frozen=True)
class TwoWay:
    """The effects of a cross of factor A with factor B, a family of Holm's for each field.

    An effect is absent where the cells that it needs are.

    Attributes:
        a: Level of A -> its main effect, against A's baseline.
        b: Level of B -> its main effect, against B's baseline.
        interactions: (level of A, level of B) -> by how much more the level of A changes the loss
            at that level of B than at B's baseline.
    """

    a: Mapping[str, Contrast]
    b: Mapping[str, Contrast]
    interactions: Mapping[tuple[str, str], Contrast]


def two_way(
    losses: Losses, a_levels: Sequence[str], b_levels: Sequence[str], *, first: int | None = None
) -> TwoWay:
    """Returns the main effects and the interaction of a cross.

    The main effect of a level is its loss minus the baseline level's, a mean over those levels of
    the other factor at which the study has both. The interaction of a_i and b_j is
    (a_i b_j - a_0 b_j) - (a_i b_0 - a_0 b_0). The three families (A, B, interactions) are corrected
    each by itself.

    Args:
        losses: Those of the cells that the study has; it may exclude some.
        a_levels: Of factor A, its baseline first.
        b_levels: Of factor B, its baseline first.
        first: Seeds of a sequential design's first stage, see ``inference``; None: the number of
            seeds was fixed.

    Raises:
        ValueError: A factor has fewer than two levels or names one twice, a cell is of no level, or
            a loss is NaN.
    """
    _check(losses, a_levels, b_levels)
    transposed = {(b, a): seeds for (a, b), seeds in losses.items()}
    return TwoWay(
        a=_with_holm(_main_effects(losses, a_levels, b_levels, first)),
        b=_with_holm(_main_effects(transposed, b_levels, a_levels, first)),
        interactions=_with_holm(_interactions(losses, a_levels, b_levels, first)),
    )


def _main_effects(
    losses: Losses, levels: Sequence[str], others: Sequence[str], first: int | None
) -> dict[str, Contrast]:
    baseline, *rest = levels
    effects = {}
    for level in rest:
        over = tuple(o for o in others if (level, o) in losses and (baseline, o) in losses)
        if over:
            share = 1.0 / len(over)
            weights = {(level, o): share for o in over} | {(baseline, o): -share for o in over}
            effects[level] = _contrast(losses, weights, over, first)
    return effects


def _interactions(
    losses: Losses, a_levels: Sequence[str], b_levels: Sequence[str], first: int | None
) -> dict[tuple[str, str], Contrast]:
    (a_0, *a_rest), (b_0, *b_rest) = a_levels, b_levels
    effects = {}
    for a in a_rest:
        for b in b_rest:
            weights = {(a, b): 1.0, (a_0, b): -1.0, (a, b_0): -1.0, (a_0, b_0): 1.0}
            if weights.keys() <= losses.keys():
                effects[a, b] = _contrast(losses, weights, (), first)
    return effects


def _contrast(
    losses: Losses,
    weights: Mapping[tuple[str, str], float],
    over: tuple[str, ...],
    first: int | None,
) -> Contrast:
    cells = [losses[cell] for cell in weights]
    seeds = [seed for seed in cells[0] if all(seed in cell for cell in cells)]
    table = np.array([[cell[seed] for seed in seeds] for cell in cells], dtype=np.float64)
    finished = np.isfinite(table).all(axis=0)
    values = np.array(list(weights.values())) @ table[:, finished]
    is_tested = len(values) == len(seeds) >= 2
    return Contrast(
        over=over,
        num_seeds=len(seeds),
        num_finished=len(values),
        mean=float(np.mean(values)) if len(values) else None,
        interval=inference.student_interval(values, first=first) if is_tested else None,
        p=inference.student_p(values, first=first) if is_tested else None,
    )


def _with_holm(effects: Mapping[Key, Contrast]) -> dict[Key, Contrast]:
    adjusted = inference.holm([effect.p for effect in effects.values()])
    return {
        key: dataclasses.replace(effect, adjusted_p=p)
        for (key, effect), p in zip(effects.items(), adjusted, strict=True)
    }


def _check(losses: Losses, a_levels: Sequence[str], b_levels: Sequence[str]) -> None:
    problems = [
        f"a factor must have two levels or more and each once, but got levels={list(levels)}"
        for levels in (a_levels, b_levels)
        if len(levels) < 2 or len(set(levels)) < len(levels)
    ]
    problems += [
        f"a cell must be of a level of each factor, but got cell={cell}"
        for cell in losses
        if cell[0] not in a_levels or cell[1] not in b_levels
    ]
    problems += [
        f"a loss must be a number, or infinite where a run diverged, but got {cell=}, {seed=}, nan"
        for cell, seeds in losses.items()
        for seed, loss in seeds.items()
        if np.isnan(loss)
    ]
    if problems:
        raise ValueError(
            f"statistics: {'; '.join(problems)}. Name every level, the baseline first, and leave"
            " runs without a loss out."
        )
