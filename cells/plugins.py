"""The cells of installed packages: their entry points, and what is told of those that fail.

A package that cannot be imported keeps no other cell from being used: its fault is kept, and told
where a cell is looked for that it may have held.
"""

import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

GROUP = "harness.cells"
"""The group of the entry points, each of which names a module with cells."""


def load(register: Callable[[ModuleType], object]) -> list[str]:
    """Registers the cells of all installed packages; returns what is wrong with some, a line each.

    Args:
        register: Called with every module; what it raises is told as what an import raises.
    """
    faults = []
    for point in entry_points():
        try:
            register(point.load())
        except (Exception, SystemExit) as error:  # another's package may raise anything at all
            faults.append(_told(point, error))
    return faults


def entry_points() -> Iterable[Any]:
    """Returns the entry points of the group."""
    from importlib.metadata import entry_points  # late: it takes longer than reading a study

    return entry_points(group=GROUP)


def _told(point: Any, error: BaseException) -> str:
    package = "a package" if point.dist is None else point.dist.name
    where = _place(point.module, error) or f"its entry point {point.name} = {point.value}"
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"cells of {package}: must import, but {where} raised {words.rstrip('.')}. Correct it "
        f"there, or install another version of {package}; all other cells can be used."
    )


def _place(module: str, error: BaseException) -> str:
    """Returns the file and the line at which the package of a module last ran; empty: it did not.

    Of a file that cannot be read as Python the line is the one that is wrong.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    package = module.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            return f"{frame.f_code.co_filename}:{line}"
    return ""
