"""How a field of the table is described."""

import dataclasses
from dataclasses import field
from typing import Any


def setting(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    unit: str = "",
    per_run: bool = False,
    changes_numbers: bool = True,
    came_later: bool = False,
    **bounds: Any,
) -> Any:
    """A field with what the table of fields says of it.

    Args:
        default: As dataclasses take it.
        doc: What the field is.
        unit: Of its values.
        per_run: Whether runs of one pack may differ in it.
        changes_numbers: Whether results depend on it; else it only changes how fast they come.
        came_later: Whether studies had been stored before there was such a field.
        bounds: gt, ge, lt, le as pydantic names them.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "per_run": per_run,
        "changes_numbers": changes_numbers,
        "came_later": came_later,
        "bounds": bounds,
    }
    return field(default=default, metadata=metadata)


def fraction(doc: str, *, came_later: bool = False) -> Any:
    """A part of what there is, on which training acts."""
    return setting(0.0, doc=doc, unit="fraction", per_run=True, came_later=came_later, ge=0, lt=1)
