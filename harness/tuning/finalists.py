"""Which of an arm's settings is chosen, where the best of a search run again before one is.

The rule is sequential halving (Karnin, Koren and Somekh 2013, "Almost Optimal Exploration in
Multi-Armed Bandits") in two rounds: all settings with a few seeds each, then the best of them with
more. It guarantees that, with noise bounded or as light-tailed as a normal one, the best of the
settings *tried* is missed with a probability that falls exponentially in the number of seeds. It
guarantees nothing about settings that were not tried. The mean of the setting chosen is the lowest
of several and so too low: replicates judge it, with seeds of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.tuning.tried import TriedSetting


def leaders(tried: Sequence[TriedSetting], count: int) -> list[int]:
    """Returns the numbers of the ``count`` best finished settings, the best one first.

    Of equal ones the earlier leads; there are fewer where fewer finished, or where fewer values
    were tried: the same ones twice would be compared with themselves.
    """
    finished = [each for each in tried if each.end == "finished"]
    best: dict[tuple[tuple[str, Any], ...], int] = {}
    for each in sorted(finished, key=lambda each: (each.nats, each.number)):
        best.setdefault(tuple(sorted(each.values.items())), each.number)
    return list(best.values())[:count]


def choose(seed_nats: Mapping[int, Sequence[float]]) -> int:
    """Returns the number of the setting with the lowest mean, the earliest of equals.

    Unlike in the paper the mean is over a setting's seeds of both rounds, so none is thrown away.

    Args:
        seed_nats: Number of a finalist -> the nats of all its seeds, those of its trial too; one
            that diverged or did not learn counts at what guessing is worth.

    Raises:
        ValueError: There is no finalist, or one has no seed.
    """
    if not seed_nats or not all(seed_nats.values()):
        got = {number: len(nats) for number, nats in seed_nats.items()}
        raise ValueError(
            "finalists: one finalist or more, each with a seed or more, must hold, but got"
            f" num_seeds={got}. Leave out what has not run."
        )
    return min(seed_nats, key=lambda number: (float(np.mean(seed_nats[number])), number))
