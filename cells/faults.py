"""What is said of a step that raised an error, or returned no states."""

import inspect
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from cells.base import Cell
from cells.spelling import nearest

if TYPE_CHECKING:
    from torch import Tensor


_OF_AXES = re.compile(
    r"must be a 3D tensor|first two dimensions|[Dd]imension out of range"
    r"|out of bounds for dimension|size of tensor a|too many indices"
)
"""How torch complains of a tensor that lacks an axis, or has another one too many."""


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


def problem_of_changed(arguments: Sequence[str], place: str = "") -> str:
    """Returns what is said of a step that changed some of its arguments.

    Args:
        arguments: Their names.
        place: Where it did, as :func:`place_of_change` returns it.
    """
    return (
        f"step must leave its arguments as they were, but changed {', '.join(arguments)}{place}. "
        "Do nothing in place."
    )


def place_of_change(cell: type[Cell], given: "Sequence[Tensor]", step: Callable[[], object]) -> str:
    """Returns the file of the cell and the line that first changed what it was given.

    It is empty where no operation of torch's in the step did.

    Args:
        cell: Whose step it is.
        given: What it must leave as it is, and will have changed.
        step: Runs the step.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    path = getattr(getattr(cell.step, "__code__", None), "co_filename", None)
    before = [value.clone() for value in given]
    lines: list[int] = []

    class Watching(TorchFunctionMode):
        """Looks after every operation whether anything has changed."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            same = (torch.equal(value, old) for value, old in zip(given, before, strict=True))
            if not lines and not all(same):
                frames = traceback.walk_stack(inspect.currentframe())
                lines.extend(line for frame, line in frames if frame.f_code.co_filename == path)
            return result

    with Watching():
        step()
    return f" ({Path(str(path)).name}:{lines[0]})" if lines else ""


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
    if isinstance(error, RuntimeError | IndexError) and _OF_AXES.search(str(error)):
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        if any(isinstance(frame.f_locals.get("self"), Cell) for frame in frames):
            return "x.GATE and the states are of one time step, (N, B, H): a step loops over none"
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
