"""All parameters of a run in one row: what acts on each alike is then one operation."""

import math

from torch import Tensor

from harness.engine import Parameters

ALIGNMENT = 16
"""Every parameter starts at a multiple of so many elements.

Vector units and matrix products read fastest there.
"""


class FlatLayout:
    """Where each parameter lies in a row of ``size`` elements.

    What is between them belongs to none, and is zero.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        """Places the parameters one after the other; ``shapes`` are those of one run."""
        self._slices: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.size = 0
        for name, shape in shapes.items():
            self._slices[name] = slice(self.size, self.size + math.prod(shape)), shape
            self.size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT

    def views(self, rows: Tensor) -> Parameters:
        """Returns name -> (N, ...), views of ``rows`` (N, size)."""
        return {
            name: rows[:, columns].view(-1, *shape)
            for name, (columns, shape) in self._slices.items()
        }
