"""How far the difference between two arms hangs on which settings their search happened to try.

See docs/decisions/search.md for what else was tried, and for what the simulation says.
"""

from collections.abc import Sequence

import numpy as np

from harness import randomness
from harness.study import Choices
from harness.tuning import design
from harness.tuning.design import Space
from harness.tuning.tried import TriedSetting

NUM_SHIFTS = 512
"""Designs that are drawn: the standard deviation of so many is known to 3 %."""
FEWEST = 3
"""Finished settings that a surface is fitted to, and one more for every further field."""


def search_spread(
    arm: Sequence[TriedSetting],
    baseline: Sequence[TriedSetting],
    space: Space,
    fields_arm: Sequence[str],
    fields_baseline: Sequence[str],
) -> float | None:
    """Returns S, the standard deviation of the difference between the two arms' best means, nats.

    It is over designs of the same size that differ in their random shift, which both arms share. A
    surface through each arm's finished settings says what a setting would have come to; one that
    lies nearer to a lost setting than to a finished one, by shares that are drawn for every design,
    would have been lost. None where an arm has too few finished settings for a surface.

    Args:
        arm: Its ended trials.
        baseline: Those of the baseline.
        space: What was searched, as wide as it is by now.
        fields_arm: Those that act in the arm.
        fields_baseline: Those that act in the baseline.
    """
    sides = ((arm, fields_arm), (baseline, fields_baseline))
    if any(_num_finished(tried) < FEWEST + len(fields) - 1 for tried, fields in sides):
        return None
    designs = _designs(len(space), max(len(arm), len(baseline)))
    bests = [
        _bests(tried, space, sorted(fields), designs, side)
        for side, (tried, fields) in enumerate(sides)
    ]
    return float(np.std(bests[0] - bests[1]))


def _num_finished(tried: Sequence[TriedSetting]) -> int:
    return sum(each.end == "finished" for each in tried)


def _designs(num_fields: int, count: int) -> np.ndarray:
    """Returns designs, (shifts, count, fields), each with a shift of its own."""
    sequence = design.sobol(num_fields, count)
    draws = randomness.uniform("search-spread", num_fields, shape=(NUM_SHIFTS, 1, num_fields))
    return design.shifted(sequence, (draws * 2.0**design.BITS).astype(np.uint64))


def _bests(
    tried: Sequence[TriedSetting],
    space: Space,
    fields: Sequence[str],
    designs: np.ndarray,
    side: int,
) -> np.ndarray:
    """Returns the best that each design would have come to, (shifts,), in nats."""
    finished = [each for each in tried if each.end == "finished"]
    lost = [each for each in tried if each.end == "diverged"]
    new, at = _new_places(space, fields, designs), _places(space, fields, finished)
    values = _surface(at, np.array([each.nats for each in finished]), new)
    if lost:
        share = randomness.uniform("search-spread", "cliff", side, shape=(len(new), 1))
        far = _distance(new, at), _distance(new, _places(space, fields, lost))
        is_lost = far[1] * share < far[0] * (1.0 - share)
        is_lost[is_lost.all(axis=1)] = False  # an arm that lost all of them is not compared
        values = np.where(is_lost, np.inf, values)
    best: np.ndarray = values.min(axis=1)
    return best


def _surface(at: np.ndarray, nats: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns the surface through ``nats`` at ``at``, read at ``new``, without its last axis."""
    from scipy.interpolate import RBFInterpolator  # late: it takes long to load

    places, which = np.unique(at, axis=0, return_inverse=True)
    means = np.bincount(which.reshape(-1), nats) / np.bincount(which.reshape(-1))
    surface = RBFInterpolator(places, means, kernel="linear", degree=0)
    read: np.ndarray = surface(new.reshape(-1, new.shape[-1])).reshape(new.shape[:-1])
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
    """Returns where each choice lies: by rank, or in a dimension of its own without an order."""
    count = len(choices.choices)
    if not design.is_ordered(field, choices):
        return np.eye(count)
    sizes = [design.size(field, value) for value in choices.choices]
    return ((np.argsort(np.argsort(np.array(sizes, dtype=float))) + 0.5) / count)[:, None]
