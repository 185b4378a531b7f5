"""Name -> cell: the families of this package, a user's own file, and the entry points of installed
packages.
"""

import difflib
import hashlib
import importlib.util
import inspect
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from cells import (
    antisymmetric,
    bistable,
    elman,
    fast,
    gated,
    gru,
    highway,
    linear,
    lstm,
    lstm_products,
    lstm_relatives,
    mgu,
    odyssey,
    ordered,
)
from cells.base import Cell

FAMILIES = (
    *(elman, antisymmetric, lstm, odyssey, lstm_relatives, lstm_products, ordered),
    *(gru, mgu, gated, fast, bistable, linear, highway),
)
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "irnn": ("rnn-relu", {"initialization": "identity"}),
    "lstm-1997": ("lstm-no-forget-gate", {}),
}
"""Names in the literature for a cell with certain settings: (cell, settings).

A study may write them as a cell.
"""
ENTRY_POINT_GROUP = "harness.cells"

_RESERVED = re.compile(r"drop$|state_dropout|recurrent_dropout|zoneout_")
_cells: dict[str, type[Cell]] = {}
_sources: dict[type[Cell], str] = {}
_entry_points_loaded = False


class UnknownCell(ValueError):
    """No cell of that name; the message says which come near."""


class InvalidCell(ValueError):
    """A cell's declarations contradict one another, or its file cannot be used; the message says
    all that is wrong.
    """


def find(name: str) -> type[Cell]:
    """Returns the cell of that name.

    Raises:
        UnknownCell: There is none.
    """
    _load_entry_points()
    if name not in _cells:
        known = sorted({*_cells, *PRESETS})
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownCell(f"cell: must be one of {', '.join(known)}, but got cell={name!r}.{hint}")
    return _cells[name]


def names() -> list[str]:
    """Returns the names of all cells, sorted, so that variants stand beside their parent."""
    _load_entry_points()
    return sorted(_cells)


def load_file(path: str | Path) -> list[str]:
    """Registers the cells of a user's Python file and returns their names. Loading it again does
    nothing new.

    Raises:
        InvalidCell: The file is missing, cannot be imported, holds no cell, or one that is wrong.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise InvalidCell(
            f"cell file: must exist, but got path={str(path)!r}. Name a Python file that defines a Cell."
        )
    module_name = (
        "cells_of_user_" + hashlib.sha256(path.read_bytes() + str(path).encode()).hexdigest()[:16]
    )
    if module_name in sys.modules:
        return [cell.name for cell in _cells_of(sys.modules[module_name])]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidCell(
            f"cell file: must be a Python file, but got path={str(path)!r}. Give it the ending .py."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        return register(module)
    except InvalidCell:
        del sys.modules[module_name]
        raise
    except (
        Exception
    ) as error:  # a user's file may raise anything at all; it is reported, with its own words
        del sys.modules[module_name]
        raise InvalidCell(
            f"cell file: must import, but {path.name} raised {type(error).__name__}: {error}."
        ) from error


def register(module: ModuleType) -> list[str]:
    """Adds the cells that ``module`` defines and returns their names.

    Raises:
        InvalidCell: It holds no cell, a cell is wrong, or a name is taken by another file's cell.
    """
    found = _cells_of(module)
    problems = [problem for cell in found for problem in problems_of(cell)]
    if not found:
        problems.append(
            f"{module.__name__}: must define a subclass of cells.Cell, but defines none."
        )
    taken = dict(_cells)
    for cell in found:
        name = getattr(cell, "name", cell.__name__)
        other = taken.get(name)
        taken[name] = cell
        if name in PRESETS:
            problems.append(
                f"{cell.__name__}: name must be unique, but name={name!r} stands for {PRESETS[name][0]}."
            )
        if other is not None and inspect.getsource(other) != inspect.getsource(cell):
            problems.append(
                f"{cell.__name__}: name must be unique, but name={cell.name!r} is {other.__module__}'s."
            )
    if problems:
        raise InvalidCell("\n".join(problems))
    _cells.update({cell.name: cell for cell in found})
    for cell in found:
        source_of(cell)  # read now: the file may be edited while a study runs
    return [cell.name for cell in found]


def source_of(cell: type[Cell]) -> str:
    """Returns the SHA-256 of the class's source text as it was registered: part of a study's
    identity.
    """
    if cell not in _sources:
        _sources[cell] = hashlib.sha256(inspect.getsource(cell).encode()).hexdigest()
    return _sources[cell]


def problems_of(cell: type[Cell]) -> list[str]:
    """Returns what contradicts itself in a cell's declarations, a line each; nothing where all is
    well.
    """
    where = cell.__name__
    missing = [
        f"{where}: must declare `{a}`, but does not."
        for a in ("name", "gates")
        if not hasattr(cell, a)
    ]
    if missing:
        return missing
    problems = []
    if not isinstance(cell.name, str):
        problems.append(f"{where}: name must be a str, but got name={cell.name!r}.")
    for field in ("gates", "state"):
        declared = getattr(cell, field)
        is_enough = bool(declared) or (field == "gates" and cell.reads_input)
        if (
            not isinstance(declared, tuple)
            or not is_enough
            or not _are_distinct_identifiers(declared)
        ):
            problems.append(
                f"{where}: {field} must be a tuple of distinct identifiers, at least one, but got {field}={declared!r}."
            )
    if problems:
        return problems
    for product, gates in cell.recurrent_products().items():
        if not gates or not product.isidentifier() or len(set(gates)) != len(gates):
            problems.append(
                f"{where}: a product must feed distinct gates, but got {product}={gates}."
            )
    fed = {g for gates in cell.recurrent_products().values() for g in gates}
    biased = (set(cell.gates) | set(cell.recurrent_biases)) - set(cell.unbiased)
    known = {
        "recurrent_biases": fed,
        "unbiased": set(cell.gates) | fed,
        "forget_gates": biased,
        "input_gates": biased - set(cell.forget_gates),
        "candidates": set(cell.gates) | fed,
        "unread": set(cell.state),
        "zonable": set(cell.state) - set(cell.unread),
        "start": set(cell.state),
    }
    for field, allowed in known.items():
        strange = [v for v in getattr(cell, field) if v not in allowed]
        if strange:
            problems.append(f"{where}: {field} must be among {sorted(allowed)}, but got {strange}.")
    if len(cell.input_gates) > len(cell.forget_gates):
        problems.append(
            f"{where}: input_gates must be no more than forget_gates={cell.forget_gates}, "
            f"but got input_gates={cell.input_gates}."
        )
    taken_names = [
        name for name in (*cell.vectors, *cell.recurrent_products()) if _RESERVED.match(name)
    ]
    if taken_names:
        problems.append(
            f"{where}: vectors and products must leave p.drop and a study's noise, but got {taken_names}."
        )
    if cell.noise:
        problems.append(
            f"{where}: noise must be left to a study's fields, but got noise={cell.noise}."
        )
    if "input" in cell.gates:
        problems.append(
            f"{where}: gates must not have the name of the input itself, but got gates={cell.gates}."
        )
    taken = [parameter.name for parameter in cell.parameters(1, 1, 2)]
    doubled = sorted({name for name in taken if taken.count(name) > 1})
    if doubled:
        problems.append(
            f"{where}: products and vectors must have names of their own, but got {', '.join(doubled)} twice."
        )
    if cell.step is Cell.step:
        problems.append(f"{where}: must define `step`, but does not.")
    for entry in ("Source:", "Reference:", "Differs"):
        if entry not in (cell.__doc__ or ""):
            problems.append(f"{where}: its docstring must have an entry `{entry}`, but has none.")
    return problems


def _are_distinct_identifiers(names: tuple[str, ...]) -> bool:
    return len(set(names)) == len(names) and all(
        isinstance(name, str) and name.isidentifier() for name in names
    )


def _cells_of(module: ModuleType) -> list[type[Cell]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Cell)
        and value.__module__ == module.__name__
    ]


def _load_entry_points() -> None:
    global _entry_points_loaded
    if not _entry_points_loaded:
        _entry_points_loaded = True
        for point in entry_points(group=ENTRY_POINT_GROUP):
            register(point.load())


for _family in FAMILIES:
    register(_family)
