"""How far the difference between two arms hangs on which settings their search happened to try.

See docs/decisions/search.md for what else was tried, and for what the simulation says.
"""

import math
from collections.abc import Sequence

import numpy as np

from harness import randomness
from harness.study import Choices
from harness.tuning import design
from harness.tuning.bracketing import seed_squares
from harness.tuning.design import Space
from harness.tuning.tried import TriedSetting

NUM_SHIFTS = 256
"""Designs that are drawn: the standard deviation of so many is known to 4 %."""
FEWEST = 3
"""Finished settings that a surface is fitted to, and one more for every further column."""
CLIFF = (0.2, 0.8)
"""Where between a finished setting and a lost one the first lost one may lie."""


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

    It is over designs of the same size that both arms share, each with a random shift and with seed
    noise of its own. A smooth surface through each arm's finished settings says what a setting
    would have come to, and one that lies beyond a cliff, between a finished and a lost setting,
    would have been lost. S is the root of the variance of the difference of the best means and of
    the square of what the one arm's best lies further above its surface's lowest point than the
    other's. None: an arm has too few finished settings for a surface, or nothing says how noisy a
    mean is.

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
    designs = _designs(len(space), max(len(arm), len(baseline)))
    sides = ((arm, fields_arm, replicates[0]), (baseline, fields_baseline, replicates[1]))
    second = finalist_seeds if finalists > 1 else 0
    searches = []
    for side, (tried, fields, again) in enumerate(sides):
        noise, surface = _seed_noise(tried, again), _surface(tried, space, fields, designs, side)
        if noise is None or surface is None:
            return None
        num_seeds = max(len(each.seed_nats) for each in tried)
        draws = randomness.normal("search-spread", "noise", side, shape=(2, *surface.shape))
        searches.append(_search(surface, noise * draws, num_seeds, finalists, second))
    (seen, missed), (seen_baseline, missed_baseline) = searches
    bias = float(np.mean(missed) - np.mean(missed_baseline))
    return math.hypot(float(np.std(seen - seen_baseline)), bias)


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


def _search(
    surface: np.ndarray, noise: np.ndarray, num_seeds: int, finalists: int, finalist_seeds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how every design's search ends, (shifts,) each, in nats.

    The first is the mean of the setting chosen, as the search sees it; the second how far it truly
    lies above the lowest point of the surface.

    Args:
        surface: What each setting comes to, (shifts, count); infinite where it is lost.
        noise: Of one seed, in the trials and in the finals, (2, shifts, count).
        num_seeds: Of a trial.
        finalists: How many of the best run again.
        finalist_seeds: Seeds that they run again with.
    """
    seen = surface + noise[0] / math.sqrt(num_seeds)
    if finalist_seeds:
        total = num_seeds + finalist_seeds
        again = surface + noise[1] / math.sqrt(finalist_seeds)
        is_out = np.argsort(np.argsort(seen, axis=1), axis=1) >= finalists
        seen = (num_seeds * seen + finalist_seeds * again) / total
        seen[is_out] = np.inf
    chosen = np.argmin(seen, axis=1)[:, None]
    missed = np.take_along_axis(surface, chosen, axis=1)[:, 0] - surface.min()
    return np.take_along_axis(seen, chosen, axis=1)[:, 0], missed


def _surface(
    tried: Sequence[TriedSetting],
    space: Space,
    fields: Sequence[str],
    designs: np.ndarray,
    side: int,
) -> np.ndarray | None:
    """Returns what every setting of every design would have come to, (shifts, count), in nats.

    It is infinite where the setting would have been lost.
    """
    fields = sorted(fields)
    finished = [each for each in tried if each.end == "finished"]
    lost = [each for each in tried if each.end == "diverged"]
    new = _new_places(space, fields, designs)
    if len(finished) < FEWEST - 1 + new.shape[-1]:
        return None
    at = _places(space, fields, finished)
    nats = _fitted(at, np.array([each.nats for each in finished]), new)
    if lost:
        draws = randomness.uniform("search-spread", "cliff", side, shape=(len(new), 1))
        share = CLIFF[0] + (CLIFF[1] - CLIFF[0]) * draws
        far, near = _distance(new, _places(space, fields, lost)), _distance(new, at)
        is_lost = far * share < near * (1.0 - share)
        is_lost[is_lost.all(axis=1)] = False  # an arm that lost all of them is not compared
        nats = np.where(is_lost, np.inf, nats)
    return nats


def _fitted(at: np.ndarray, nats: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns the thin-plate spline through ``nats`` at ``at``, read at ``new``.

    In one dimension that is the natural cubic spline. Where settings lie in a plane, so that it is
    not determined, the surface is the linear one.
    """
    from scipy.interpolate import RBFInterpolator  # late: it takes long to load

    places, which = np.unique(at, axis=0, return_inverse=True)
    means = np.bincount(which.reshape(-1), nats) / np.bincount(which.reshape(-1))
    rows = new.reshape(-1, new.shape[-1])
    is_plane = np.linalg.matrix_rank(places - places[0]) < places.shape[1]
    if is_plane or len(places) <= places.shape[1] + 1:
        surface = RBFInterpolator(places, means, kernel="linear", degree=0)
    else:
        kernel = "cubic" if places.shape[1] == 1 else "thin_plate_spline"
        surface = RBFInterpolator(places, means, kernel=kernel, degree=1)
    read: np.ndarray = surface(rows).reshape(new.shape[:-1])
    return read


def _distance(new: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns how far from the nearest of ``at`` every new point lies, (shifts, count)."""
    squares = np.sum((new[:, :, None, :] - at) ** 2, axis=-1)
    distance: np.ndarray = np.sqrt(squares.min(axis=-1))
    return distance


def _places(space: Space, fields: Sequence[str], tried: Sequence[TriedSetting]) -> np.ndarray:
    """Returns where settings lie in the scale searched, (settings, columns)."""
    columns = []
    for field in fields:
        domain, values = space[field], [each.values[field] for each in tried]
        if isinstance(domain, Choices):
            columns.append(_columns(field, domain)[[domain.choices.index(v) for v in values]])
        else:
            columns.append(np.array([[design.place_of(field, domain, v)] for v in values]))
    return np.concatenate(columns, axis=-1)


def _new_places(space: Space, fields: Sequence[str], designs: np.ndarray) -> np.ndarray:
    """Returns the same of designs, (shifts, count, columns), of coordinates from 0 to 1."""
    columns, names = [], sorted(space)
    for field in fields:
        domain, u = space[field], designs[..., names.index(field)]
        if isinstance(domain, Choices):
            columns.append(_columns(field, domain)[(u * len(domain.choices)).astype(np.intp)])
        elif design.is_listed(field, domain) and not domain.log:
            steps = domain.num_steps
            columns.append(((np.floor(u * steps) + 0.5) / steps)[..., None])
        else:
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
