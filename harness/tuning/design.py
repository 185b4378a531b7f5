"""The points that all arms of a condition try: one shifted Sobol sequence, or one grid.

A verdict compares the best settings of two arms. Where both arms draw settings of their own, the
difference holds what one arm happened to draw and the other did not. Shared points take most of
that out, as paired seeds take out what a seed adds to both. See docs/decisions/search.md.
"""

import itertools
import math
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from harness import randomness
from harness.randomness import Name
from harness.study import Choices, Range, Tune
from harness.study.fields import hint_of

POINTS_PER_FIELD = 8
"""Start-up points for every field whose values have an order."""
BITS = 30
"""Of a coordinate: what torch's and SciPy's Sobol sequences have."""

Space = Mapping[str, Range | Choices]


def num_start_up(tune: Tune) -> int:
    """Returns how many of the first trials are shared points, which are never pruned.

    That a trial is one of them depends on its number alone, so a search may grow.
    """
    num_ordered = sum(is_ordered(field, domain) for field, domain in tune.space.items())
    return min(tune.num_trials, POINTS_PER_FIELD * max(1, num_ordered))


def points(
    space: Space, names: tuple[Name, ...], count: int, first: int = 0
) -> list[dict[str, Any]]:
    """Returns points ``first`` to ``first + count - 1`` of the one sequence that ``names`` fix.

    Any of them can be had alone. The fields are sorted by name before the sequence's dimensions are
    dealt out.
    """
    fields = sorted(space)
    if not fields or not count:
        return [{} for _ in range(count)]
    unit = shifted(sobol(len(fields), first + count)[first:], shift(fields, names))
    return [
        {
            field: value_at(field, space[field], float(u))
            for field, u in zip(fields, row, strict=True)
        }
        for row in unit
    ]


def grid(space: Space, names: tuple[Name, ...]) -> list[dict[str, Any]]:
    """Returns the whole grid, in the one random order that ``names`` fix."""
    fields = sorted(space)
    rows = list(itertools.product(*(listed(field, space[field]) for field in fields)))
    order = randomness.permutation(*names, "grid", count=len(rows))
    return [dict(zip(fields, rows[i], strict=True)) for i in order]


def sobol(num_fields: int, count: int) -> np.ndarray:
    """Returns the first points of the unscrambled Sobol sequence as whole numbers below 2^30.

    They are (count, num_fields), uint64. Torch and SciPy have the same sequence; each takes long to
    load, so it is torch's where that is loaded, as in a launch, and else SciPy's.
    """
    if count == 0:  # torch draws one point at least
        return np.zeros((0, num_fields), np.uint64)
    sequence = (_torchs if "torch" in sys.modules else _scipys)(num_fields, count)
    whole: np.ndarray = (sequence * 2.0**BITS).astype(np.uint64)
    return whole


def _torchs(num_fields: int, count: int) -> np.ndarray:
    import torch

    sequence = torch.quasirandom.SobolEngine(num_fields).draw(count, dtype=torch.float64)
    points: np.ndarray = sequence.numpy()
    return points


def _scipys(num_fields: int, count: int) -> np.ndarray:
    from scipy.stats import qmc

    exponent = max(0, count - 1).bit_length()  # SciPy warns of any other number of points
    points: np.ndarray = qmc.Sobol(num_fields, scramble=False, bits=BITS).random_base2(exponent)
    return points[:count]


def shift(fields: list[str], names: tuple[Name, ...]) -> np.ndarray:
    """Returns the digits to shift every field by, (fields,), uint64."""
    draws = [randomness.uniform(*names, field, shape=(1,))[0] for field in fields]
    digits: np.ndarray = (np.array(draws) * 2.0**BITS).astype(np.uint64)
    return digits


def shifted(sequence: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Returns a sequence after a digital shift, in the open interval from 0 to 1.

    The shift moves every point to a uniform place and keeps the sequence's evenness.
    """
    moved: np.ndarray = ((sequence ^ digits) + 0.5) * 2.0**-BITS
    return moved


def value_at(field: str, domain: Range | Choices, u: float) -> Any:
    """Returns the value at a share ``u``, from 0 to 1, of what is searched."""
    if isinstance(domain, Choices):
        return domain.choices[min(int(u * len(domain.choices)), len(domain.choices) - 1)]
    if is_listed(field, domain) and not domain.log:
        steps = min(int(u * domain.num_steps), domain.num_steps - 1)
        return _step(field, domain, steps)
    low, high = _ends(field, domain)
    if not domain.log:
        return typed(field, min(max(low + u * (high - low), low), high))
    value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    return typed(field, min(max(value, domain.low), domain.high))


def place_of(field: str, domain: Range | Choices, value: Any) -> float:
    """Returns which share of what is searched lies below a value, in the scale searched.

    It is below 0 or above 1 for a value outside of it, and the inverse of :func:`value_at` but for
    rounding.
    """
    if isinstance(domain, Choices):
        return (domain.choices.index(value) + 0.5) / len(domain.choices)
    if is_listed(field, domain) and not domain.log:
        return float(((value - domain.low) / (domain.step or 1) + 0.5) / domain.num_steps)
    low, high = _ends(field, domain)
    if domain.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def listed(field: str, domain: Range | Choices) -> list[Any]:
    """Returns the values that a grid takes: choices as they stand, ranges by their step."""
    if isinstance(domain, Choices):
        return list(domain.choices)
    return [_step(field, domain, k) for k in range(domain.num_steps)]


def _step(field: str, domain: Range, count: int) -> Any:
    """Returns ``low + count * step`` as a person writes it: 0.7, and not 0.7000000000000001.

    A value beyond ``high`` by a rounding error would be another one to Optuna and to an extension.
    """
    low, step = (Decimal(repr(number)) for number in (domain.low, domain.step or 1))
    return typed(field, min(float(low + count * step), domain.high))


def is_listed(field: str, domain: Range | Choices) -> bool:
    """Returns whether there are only so many values: choices, whole numbers, steps."""
    return isinstance(domain, Choices) or domain.step is not None or is_whole(field)


def is_ordered(field: str, domain: Range | Choices) -> bool:
    """Returns whether the values have an order, and at least one lies between two others."""
    if isinstance(domain, Range):
        return not is_listed(field, domain) or domain.num_steps > 2
    return len(domain.choices) > 2 and all(size(field, v) is not None for v in domain.choices)


def size(field: str, value: Any) -> float | None:
    """Returns what a value counts as in the order of its field; None: it has no place in one.

    A gradient that is not clipped is one that is clipped at infinity.
    """
    if value is None and field == "clip_norm":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _ends(field: str, domain: Range) -> tuple[float, float]:
    """Returns the ends between which a coordinate runs; a whole number takes half of its gaps."""
    half = 0.5 if is_whole(field) else 0.0
    return domain.low - half, domain.high + half


def is_whole(field: str) -> bool:
    """Returns whether a field takes whole numbers."""
    return hint_of(field)[0] is int


def typed(field: str, value: float) -> int | float:
    """Returns a number as its field takes it; a whole one is rounded."""
    return round(value) if is_whole(field) else float(value)
