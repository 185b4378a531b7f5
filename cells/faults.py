"""What is said of a step that raised an error, or returned no states."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING

from cells.base import Cell
from cells.spelling import nearest

if TYPE_CHECKING:
    from torch import Tensor


def words_of(error: BaseException) -> str:
    """Returns the class of an error and its first line, without a full stop.

    A gate, a product or a vector that is not there is told with those that are, and what a step
    takes where it took its arguments for something else.
    """
    text = _missing_name(error) or str(error)
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    words = f"{type(error).__name__}: {first_line.strip().rstrip('.')}".rstrip(": ")
    return f"{words}; {hint}" if (hint := _misunderstanding(error)) else words


def place_of(error: BaseException, cell: type[Cell]) -> str:
    """Returns the file of the cell and the line at which it raised, if there is one."""
    path = getattr(getattr(cell.step, "__code__", None), "co_filename", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    return f" ({Path(str(path)).name}:{lines[-1]})" if lines else ""


def problems_of_returned(
    cell: type[Cell], state: "Sequence[Tensor]", returned: object
) -> list[str]:
    """Returns what is wrong with what a step returned, a line each.

    Args:
        cell: Whose step it was.
        state: What it was given, (N, B, H) each.
        returned: New states, if all is well: a tuple of finite tensors as those of ``state``.
    """
    from torch import Tensor  # late: the command line has words for errors without torch

    if not isinstance(returned, tuple) or len(returned) != len(cell.state):
        got = type(returned).__name__
        if isinstance(returned, tuple):
            got = f"{len(returned)} of them"
        names = ", ".join(cell.state)
        return [f"step must return a tuple of {len(cell.state)} states ({names}), but got {got}."]
    problems = []
    for name, old, new in zip(cell.state, state, returned, strict=True):
        if not isinstance(new, Tensor):
            got = type(new).__name__
            problems.append(f"the new state {name} must be a tensor, but got {got}.")
        elif new.shape != old.shape or new.dtype != old.dtype:
            problems.append(
                f"the new state {name} must have shape (N, B, H)={tuple(old.shape)} and be"
                f" {old.dtype}, but got shape={tuple(new.shape)} dtype={new.dtype}."
            )
        elif not new.isfinite().all():
            problems.append(
                f"the new state {name} must be finite for moderate arguments, but is not."
            )
    return problems


def problem_of_changed(arguments: Sequence[str]) -> str:
    """Returns what is said of a step that changed some of its arguments, by their names."""
    return (
        f"step must leave its arguments as they were, but changed {', '.join(arguments)}. Do "
        "nothing in place."
    )


def _misunderstanding(error: BaseException) -> str | None:
    """Returns what a step's arguments are, where an error comes of taking them for others."""
    if isinstance(error, AttributeError):
        is_of_product = isinstance(error.obj, FunctionType)
    else:
        is_of_product = isinstance(error, TypeError) and "'function'" in str(error)
    if is_of_product:
        return "a product is called with a state, and has a tensor for each gate: p.R(h).GATE"
    if isinstance(error, TypeError) and "SimpleNamespace" in str(error):
        return "x and what a product returns have a tensor for each gate: x.GATE, p.R(h).GATE"
    return None


def _missing_name(error: BaseException) -> str | None:
    """Returns what is said of a name that ``x``, ``p`` or a product lacks; None of other errors."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, SimpleNamespace):
        return None
    name = error.name or ""
    known = list(vars(error.obj))
    what = "p has no product or vector" if "drop" in known else "there is no gate"
    near = nearest(name, known, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{what} {name!r}{hint} among {', '.join(known)}"
