"""The equations. Imports torch and nothing else; see :mod:`cells.base` for the contract."""

from cells.base import DRAWN, Cell, normalize
from cells.registry import UnknownCell, find, load_file, names

__all__ = ["DRAWN", "Cell", "UnknownCell", "find", "load_file", "names", "normalize"]
