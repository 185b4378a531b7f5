"""Draws of whole numbers for many sequences at once, each a pure function of its names."""

import numpy as np

from harness import randomness
from harness.randomness import Name


def integers(*names: Name, below: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns int64 draws from 0 to ``below`` - 1, of ``shape``."""
    return (randomness.uniform(*names, shape=shape) * below).astype(np.int64)


def distinct(*names: Name, below: int, shape: tuple[int, int]) -> np.ndarray:
    """Returns int64 draws from 0 to ``below`` - 1, of ``shape``, in random order.

    The numbers of a row differ, so a row is at most ``below`` long.
    """
    size = shape[1]
    keys = randomness.uniform(*names, shape=(shape[0], below))
    # A whole sort would cost several times as much where rows are long and few are taken.
    least = np.argpartition(keys, size - 1, axis=1)[:, :size]
    order = np.argsort(np.take_along_axis(keys, least, axis=1), axis=1)
    return np.take_along_axis(least, order, axis=1)
