"""The equations, one family a file; see :mod:`cells.base` for the contract.

A family's file imports torch and nothing else. This package and its registry import no torch.
"""

from cells.base import DRAWN, Cell, normalize
from cells.registry import UnknownCell, find, load_file, names

__all__ = ["DRAWN", "Cell", "UnknownCell", "find", "load_file", "names", "normalize"]
