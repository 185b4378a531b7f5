"""What is said of an error that a cell's step raised."""

from types import SimpleNamespace

from cells.spelling import nearest


def words_of(error: BaseException) -> str:
    """Returns the class of an error and its first line, without a full stop.

    A gate, a product or a vector that is not there is told with those that are.
    """
    text = _missing_name(error) or str(error)
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first_line.strip().rstrip('.')}".rstrip(": ")


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
