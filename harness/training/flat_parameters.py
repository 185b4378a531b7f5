"""All parameters of a run in one row, so that what acts on every parameter alike is one
operation.
"""

import math

from torch import Tensor

from harness.engine import Parameters

ALIGNMENT = 16
"""Every parameter starts at a multiple of so many elements, where vector units and matrix products
read fastest.
"""


class Layout:
    """Where each parameter lies in a row of ``size`` elements.

    What is between them belongs to none, and is zero.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        """Places the parameters one after the other; ``shapes`` are those of one run."""
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.size = 0
        for name, shape in shapes.items():
            self._places[name] = slice(self.size, self.size + math.prod(shape)), shape
            self.size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT

    def views(self, rows: Tensor) -> Parameters:
        """Returns name -> (N, ...), the parts of ``rows`` (N, size), which they share memory
        with.
        """
        return {
            name: rows[:, place].view(-1, *shape) for name, (place, shape) in self._places.items()
        }
