"""How far the difference between two arms hangs on which settings their search happened to try.

See docs/decisions/search.md for what else was tried, and for what the simulation says.
"""

import functools
import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness import randomness
from harness.study import Choices, Range
from harness.tuning import design
from harness.tuning.bracketing import seed_squares
from harness.tuning.design import Space
from harness.tuning.tried import TriedSetting

NUM_SHIFTS = 256
"""Designs that are drawn: the standard deviation of so many is known to 4 %."""
FEWEST = 3
"""Finished settings that a surface is fitted to, and one more for every further column."""
MOST = 512
"""Places that a surface goes through, and settings that a design has, at most.

What the surface costs grows with the product of the two. Neighbours of more settings than these are
taken together, which may make S smaller by a tenth, and a design of fewer settings has the larger
spread. Where it was simulated S stayed above the truth (docs/decisions/search.md).
"""

ROUNDING = 1e-9
"""Points of a lattice of which half were lost lie just so far apart as is close, but for this."""


def search_spread(
    arm: Sequence[TriedSetting],
    baseline: Sequence[TriedSetting],
    space: Space,
    fields_arm: Sequence[str],
    fields_baseline: Sequence[str],
    *,
    replicates: tuple[Sequence[float], Sequence[float]] = ((), ()),
    finalists: int = 1,
    finalist_seeds: int = 0,
) -> float | None:
    """Returns S, the spread of the difference between the two arms' best means, in nats.

    It is over designs of the same size, of MOST settings at most, that both arms share, each with a
    random shift, and with seeds of its own. A smooth surface through each arm's settings says what
    a setting would have come to, and a second one with which probability a seed would have been
    lost: between a setting that was lost and one that was not, both may be. S is the root of the
    variance of the difference of the best means and of the square of what the one arm's best lies
    further above its surface's lowest point than the other's. None: an arm has too few settings
    that finished for a surface, or nothing says how noisy a mean is.

    Args:
        arm: Its ended trials.
        baseline: Those of the baseline.
        space: What was searched, as wide as it is by now.
        fields_arm: Those that act in the arm.
        fields_baseline: Those that act in the baseline.
        replicates: The nats of the arm's replicates and of the baseline's, at the settings chosen;
            their spread says how noisy a trial is, as that of a trial's seeds does.
        finalists: How many of the best settings run again before one is chosen; 1: none.
        finalist_seeds: With how many fresh seeds each.
    """
    designs = _designs(len(space), min(MOST, max(len(arm), len(baseline))))
    sides = ((arm, fields_arm, replicates[0]), (baseline, fields_baseline, replicates[1]))
    rounds = (finalists, finalist_seeds if finalists > 1 else 0)
    ends = []
    for side, (tried, fields, again) in enumerate(sides):
        noise, surface = _seed_noise(tried, again), _surface(tried, space, sorted(fields), designs)
        if noise is None or surface is None:
            return None
        ends.append(_search(surface, noise, max(len(e.seed_nats) for e in tried), *rounds, side))
    (seen, missed), (seen_baseline, missed_baseline) = ends
    bias = float(np.mean(missed) - np.mean(missed_baseline))
    return math.hypot(float(np.std(seen - seen_baseline)), bias)


@functools.lru_cache(maxsize=8)
def _designs(num_fields: int, count: int) -> np.ndarray:
    """Returns designs, (shifts, count, fields), each with a shift of its own."""
    sequence = design.sobol(num_fields, count)
    draws = randomness.uniform("search-spread", "shift", shape=(NUM_SHIFTS, 1, num_fields))
    return design.shifted(sequence, (draws * 2.0**design.BITS).astype(np.uint64))


def _seed_noise(tried: Sequence[TriedSetting], replicates: Sequence[float]) -> float | None:
    """Returns the standard deviation from seed to seed, over trials and replicates."""
    squares, degrees = seed_squares(tried)
    again = np.array([nats for nats in replicates if math.isfinite(nats)])
    if len(again) > 1:
        squares, degrees = squares + float(np.var(again)) * len(again), degrees + len(again) - 1
    return math.sqrt(squares / degrees) if degrees else None


@functools.lru_cache(maxsize=16)
def _noise(shape: tuple[int, ...], *names: randomness.Name) -> np.ndarray:
    return randomness.normal("search-spread", *names, "noise", shape=shape)


@dataclass(frozen=True)
class _Surface:
    """What the settings of all designs come to, (shifts, count) each.

    Attributes:
        nats: Of a seed that is not lost, without noise.
        lost: The probability that a seed is lost.
        worth: What a lost seed counts as, in nats.
    """

    nats: np.ndarray
    lost: np.ndarray
    worth: float

    def mean(self, noise: float, num_seeds: int, *names: randomness.Name) -> np.ndarray:
        """Returns a mean of seeds for each setting; it is infinite where all of them are lost."""
        shape = self.nats.shape
        num_lost = np.zeros(shape)
        if self.lost.any():
            draws = randomness.uniform("search-spread", *names, "lost", shape=(num_seeds, *shape))
            num_lost = np.sum(draws < self.lost, axis=0)
        num_kept = num_seeds - num_lost
        z = _noise(shape, *names)
        kept = num_kept * self.nats + noise * np.sqrt(num_kept) * z
        mean: np.ndarray = np.where(
            num_kept == 0, np.inf, (kept + num_lost * self.worth) / num_seeds
        )
        return mean


def _search(
    surface: _Surface, noise: float, num_seeds: int, finalists: int, finalist_seeds: int, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how every design's search ends, (shifts,) each, in nats.

    The first is the mean of the setting chosen, as the search sees it; the second how far it truly
    lies above the lowest point of the surface. Where all seeds of all settings are lost, the
    setting is the one that is lost least likely.

    Args:
        surface: Of all designs.
        noise: Of one seed.
        num_seeds: Of a trial.
        finalists: How many of the best run again.
        finalist_seeds: Seeds that they run again with; 0: none.
        side: Whose draws they are.
    """
    seen = surface.mean(noise, num_seeds, side)
    is_gone = np.isinf(seen).all(axis=1)
    seen[is_gone] = (surface.nats + surface.lost)[is_gone]
    if finalist_seeds:
        again = surface.mean(noise, finalist_seeds, side, "finals")
        again = np.where(np.isinf(again), surface.worth, again)
        is_out = np.argsort(np.argsort(seen, axis=1), axis=1) >= finalists
        seen = (num_seeds * seen + finalist_seeds * again) / (num_seeds + finalist_seeds)
        seen[is_out] = np.inf
    chosen = np.argmin(seen, axis=1)[:, None]
    # Also where all seeds are lost: whether that share is quite 1 hangs on the last digits of sums.
    lowest = surface.nats.min()
    missed = np.take_along_axis(surface.nats, chosen, axis=1)[:, 0] - lowest
    return np.take_along_axis(seen, chosen, axis=1)[:, 0], missed


def _surface(
    tried: Sequence[TriedSetting], space: Space, fields: Sequence[str], designs: np.ndarray
) -> _Surface | None:
    """Returns the surface through an arm's settings, read at all designs; None: they are too few.

    Pruned settings are left out.
    """
    ended = [each for each in tried if each.end != "pruned"]
    kept = [each for each in ended if each.num_lost < len(each.seed_nats)]
    new = _new_places(space, fields, designs)
    if len(kept) < FEWEST - 1 + new.shape[-1]:
        return None
    means = [np.mean(sorted(e.seed_nats)[: len(e.seed_nats) - e.num_lost]) for e in kept]
    nats = _read(_places(space, fields, kept), np.array(means), new, is_smooth=True)
    shares = np.array([each.num_lost / len(each.seed_nats) for each in ended])
    lost = np.zeros_like(nats)
    if shares.any():
        read = _read(_places(space, fields, ended), shares, new, is_smooth=False)
        lost = np.clip(read, 0.0, 1.0)
    seeds = [seed for each in ended for seed in each.seed_nats if math.isfinite(seed)]
    return _Surface(nats, lost, max(seeds))


def _read(at: np.ndarray, values: np.ndarray, new: np.ndarray, *, is_smooth: bool) -> np.ndarray:
    """Returns the surface through ``values`` at ``at``, read at ``new``.

    A smooth one is the thin-plate spline, in one dimension the natural cubic one; the other, also
    where settings in a plane do not determine that, is the linear radial one, in one dimension
    the straight lines from point to point.
    """
    from scipy.interpolate import RBFInterpolator  # late: it takes long to load

    num_columns = at.shape[1]
    if not num_columns:  # no field acts, so that all settings are one
        return np.full(new.shape[:-1], float(np.mean(values)))
    places, means = _merged(*_thinned(at, values))
    is_full = np.linalg.matrix_rank(places - places[0]) == num_columns
    kernel, degree = "linear", 0
    if is_smooth and is_full and len(places) > num_columns + 1:
        kernel, degree = ("cubic" if num_columns == 1 else "thin_plate_spline"), 1
    surface = RBFInterpolator(places, means, kernel=kernel, degree=degree)
    read: np.ndarray = surface(new.reshape(-1, num_columns)).reshape(new.shape[:-1])
    return read


def _thinned(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns MOST places and values at most: the means of neighbours where there are more.

    The largest group is halved until there are so many, across the column in which it is widest: so
    there are more places where more was tried.
    """
    if len(at) <= MOST:
        return at, values
    numbers = itertools.count()  # they tell groups of one size apart
    groups = [(-len(at), next(numbers), np.arange(len(at)))]
    while len(groups) < MOST and groups[0][0]:
        _, _, group = heapq.heappop(groups)
        halves = _halves(at, group)
        for half in halves:
            size = len(half) if len(halves) > 1 else 0  # what lies at one place comes last
            heapq.heappush(groups, (-size, next(numbers), half))
    return _means_of(at, values, [group for _, _, group in groups])


def _halves(at: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """Returns a group in two, as alike in size as can be without parting equal values."""
    column = at[group, np.ptp(at[group], axis=0).argmax()]
    order = np.argsort(column, kind="stable")
    cuts = np.flatnonzero(np.diff(column[order])) + 1
    if not len(cuts):
        return [group]
    cut = cuts[np.abs(cuts - len(group) / 2).argmin()]
    return np.split(group[order], [cut])


def _merged(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns places and values after the close ones have become one, the mean of them.

    Close is within half of what so many points lie apart on a lattice. A surface through two noisy
    means at almost one place would be as steep as a wall.
    """
    close = (0.5 - ROUNDING) * len(at) ** (-1.0 / at.shape[1])
    firsts = np.empty_like(at)  # of each group
    groups: list[list[int]] = []
    for i in np.argsort(values, kind="stable").tolist():
        is_near = np.abs(firsts[: len(groups)] - at[i]).max(axis=1) < close
        if is_near.any():
            groups[int(is_near.argmax())].append(i)
        else:
            firsts[len(groups)] = at[i]
            groups.append([i])
    return _means_of(at, values, groups)


def _means_of(
    at: np.ndarray, values: np.ndarray, groups: Sequence[Sequence[int] | np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean place and the mean value of each group of indices."""
    places = np.array([at[group].mean(axis=0) for group in groups])
    return places, np.array([values[group].mean() for group in groups])


def _places(space: Space, fields: Sequence[str], tried: Sequence[TriedSetting]) -> np.ndarray:
    """Returns where settings lie in the scale searched, (settings, columns)."""
    columns = [np.zeros((len(tried), 0))]
    for field in fields:
        domain, values = space[field], [each.values[field] for each in tried]
        if isinstance(domain, Choices):
            columns.append(_columns(field, domain)[[domain.choices.index(v) for v in values]])
        else:
            columns.append(np.array([[design.place_of(field, domain, v)] for v in values]))
    return np.concatenate(columns, axis=-1)


def _new_places(space: Space, fields: Sequence[str], designs: np.ndarray) -> np.ndarray:
    """Returns the same of designs, (shifts, count, columns), of coordinates from 0 to 1.

    A list of numbers, or a step, is one choice of values among many, whose neighbours another one
    would have tried; between two whole numbers there is nothing.
    """
    columns, names = [np.zeros((*designs.shape[:-1], 0))], sorted(space)
    for field in fields:
        domain, u = space[field], designs[..., names.index(field)]
        if isinstance(domain, Choices) and not design.is_ordered(field, domain):
            columns.append(_columns(field, domain)[(u * len(domain.choices)).astype(np.intp)])
            continue
        if design.is_whole(field) and not (isinstance(domain, Range) and domain.log):
            steps = domain.num_steps
            u = (np.floor(u * steps) + 0.5) / steps
        columns.append(u[..., None])
    return np.concatenate(columns, axis=-1)


def _columns(field: str, choices: Choices) -> np.ndarray:
    """Returns where each choice lies: by rank, or in a dimension of its own without an order.

    The first of those without an order lies at 0.
    """
    count = len(choices.choices)
    if not design.is_ordered(field, choices):
        return np.eye(count)[:, 1:]
    sizes = [design.size(field, value) for value in choices.choices]
    return ((np.argsort(np.argsort(np.array(sizes, dtype=float))) + 0.5) / count)[:, None]
