"""Name -> cell, for shipped cells, a user's own file and the entry points of installed packages.

The names, declarations and fingerprints of this package's cells are known without torch;
:func:`find` imports the one file that holds the cell.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cells import plugins, shipped, stated
from cells.base import Cell
from cells.declarations import problems_of, told
from cells.families import FAMILIES, PRESETS
from cells.spelling import nearest

__all__ = [
    "FAMILIES",
    "PRESETS",
    "InvalidCell",
    "UnknownCell",
    "declarations",
    "find",
    "content_of",
    "fingerprint",
    "held_files",
    "line_in",
    "load_file",
    "names",
    "plugin_faults",
    "problems_of",
    "read_from",
    "register",
    "similar",
    "source_of",
]

_FAMILY_OF = {name: family for family, names_of in FAMILIES.items() for name in names_of}
_cells: dict[str, type[Cell]] = {}
_sources: dict[type[Cell], str] = {}
_copies: dict[str, Path] = {}


class _File(NamedTuple):
    content: bytes
    module: ModuleType


_holders = 0
_holding = threading.Lock()
_held: dict[Path, _File] = {}
_plugin_faults: list[str] | None = None
"""What is wrong with cells of installed packages; None: they have not been looked for."""


class UnknownCell(ValueError):
    """There is no cell of that name; the message names those that come near."""


class InvalidCell(ValueError):
    """A cell's declarations contradict one another, or its file cannot be used.

    The message tells everything that is wrong.
    """


def find(name: str) -> type[Cell]:
    """Returns the cell of that name; of this package's files it imports only the one that it needs.

    Raises:
        UnknownCell: There is none.
    """
    if name not in _cells and name in _FAMILY_OF:
        _import_family(_FAMILY_OF[name])
    if name not in _cells:
        plugin_faults()
    if name not in _cells:
        raise _unknown(name)
    return _cells[name]


def declarations(name: str) -> type[Cell]:
    """Returns the cell of that name for a look at its declarations; its equations may be missing.

    For a cell of this package nothing is imported: see :func:`cells.shipped.declared`.

    Raises:
        UnknownCell: There is none.
    """
    if name not in _cells and name in _FAMILY_OF:
        return shipped.declared(_FAMILY_OF[name], name)
    return find(name)


def names() -> list[str]:
    """Returns the names of all cells, sorted, so that variants stand beside their parent."""
    plugin_faults()
    return sorted({*_FAMILY_OF, *_cells})


def plugin_faults() -> list[str]:
    """Returns what is wrong with the cells of installed packages, a line for each that fails.

    The others are registered when this is first asked.
    """
    global _plugin_faults
    if _plugin_faults is None:
        _plugin_faults = []  # a package may itself look for a cell
        _plugin_faults += plugins.load(register)
    return list(_plugin_faults)


def shipped_names() -> list[str]:
    """Returns the names of this package's own cells, sorted."""
    return sorted(_FAMILY_OF)


def similar(name: str) -> list[str]:
    """Returns the names of cells that a misspelt one may mean, the nearest first, three at most."""
    return nearest(name, _known(), 3, 0.5)


def load_file(path: str | Path) -> list[str]:
    """Registers the cells of a user's Python file and returns their names.

    Loading the same file again does nothing new.

    Raises:
        InvalidCell: The file is missing, cannot be imported, holds no cell, or one that is wrong.
    """
    path = _copies.get(str(path), Path(path).resolve())
    if path in _held:
        return [cell.name for cell in _cells_of(_held[path].module)]
    if not path.is_file():
        raise InvalidCell(
            f"cell file: must exist, but got path={str(path)!r}. "
            "Name a Python file that defines a Cell."
        )
    content = path.read_bytes()
    digest = hashlib.sha256(content + str(path).encode()).hexdigest()
    module_name = "cells_of_user_" + digest[:16]
    if module_name in sys.modules:
        module = sys.modules[module_name]
        registered = register(module)  # the file may have been another one meanwhile
        _hold(path, content, module)
        return registered
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidCell(
            f"cell file: must be a Python file, but got path={str(path)!r}. Give it the ending .py."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        registered = register(module)
    except InvalidCell:
        del sys.modules[module_name]
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything at all
        del sys.modules[module_name]
        line = line_in([path], error)
        place = path.name if line is None else f"{path.name}:{line[1]}"
        raise InvalidCell(
            f"cell file: must import, but {place} raised {type(error).__name__}: {error}. "
            "Correct it there."
        ) from error
    _hold(path, content, module)
    return registered


@contextmanager
def held_files() -> Iterator[None]:
    """Has every user's file stay what it was when it was first loaded in the block.

    A study's runs are of one text, whoever edits or removes the file while they are trained. Where
    several blocks overlap, as of studies in threads, a file stays until the last of them ends.
    """
    global _holders
    with _holding:
        _holders += 1
    try:
        yield
    finally:
        with _holding:
            _holders -= 1
            if not _holders:
                _held.clear()


def content_of(path: str | Path) -> bytes:
    """Returns a user's file: where files are held, as it was when it was loaded."""
    path = _copies.get(str(path), Path(path).resolve())
    return _held[path].content if path in _held else path.read_bytes()


def _hold(path: Path, content: bytes, module: ModuleType) -> None:
    """Holds a file where files are held."""
    with _holding:
        if _holders:
            _held[path] = _File(content, module)


def read_from(path: str | Path, copy: Path) -> None:
    """Has a user's file read from a copy: the file itself lies on another machine."""
    _copies[str(path)] = copy.resolve()


def line_in(files: Iterable[str | Path], error: BaseException) -> tuple[Path, int] | None:
    """Returns the file and the line at which an exception last passed through one of ``files``.

    Of an exception that was raised because of another, the other counts too; None where none of
    them did.
    """
    own = {str(Path(file).resolve()) for file in files}
    cause: BaseException | None = error
    while cause is not None:
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if str(Path(frame.filename).resolve()) in own and frame.lineno is not None:
                return Path(frame.filename), frame.lineno
        cause = cause.__cause__ or cause.__context__
    return None


def register(module: ModuleType) -> list[str]:
    """Adds the cells that ``module`` defines and returns their names.

    Raises:
        InvalidCell: It holds no cell, a cell is wrong, or a name is taken by another file's cell.
    """
    defined = _cells_of(module)
    problems = [problem for cell in defined for problem in problems_of(cell)]
    if not defined:
        problems.append(
            f"{Path(module.__file__ or module.__name__).name}: must define a subclass of "
            "cells.Cell, but defines none."
        )
    problems += _name_problems(defined)
    if problems:
        raise InvalidCell("\n".join(problems))
    _cells.update({cell.name: cell for cell in defined})
    for cell in defined:
        source_of(cell)  # read now: the file may be edited while a study runs
    return [cell.name for cell in defined]


def source_of(cell: type[Cell]) -> str:
    """Returns what identifies a cell's equations: it is part of a study's identity.

    For a cell of this package that is its :func:`fingerprint`. For a user's own cell it is the
    SHA-256 of the class's source text, as it was when the cell was registered.
    """
    family = cell.__module__.removeprefix("cells.")
    if cell.__module__.startswith("cells.") and cell.name in FAMILIES.get(family, ()):
        return shipped.fingerprint(family, cell.name)
    if cell not in _sources:
        _sources[cell] = stated.digest(inspect.getsource(cell))
    return _sources[cell]


def fingerprint(name: str) -> str:
    """Returns the :func:`source_of` of the cell of that name; loads no torch for a shipped cell.

    Raises:
        UnknownCell: There is none.
    """
    if name not in _cells and name in _FAMILY_OF:
        return shipped.fingerprint(_FAMILY_OF[name], name)
    return source_of(find(name))


def _import_family(family: str) -> None:
    shipped.definitions(family)  # read now: the file may be edited while a study runs
    for cell in _cells_of(importlib.import_module(f"cells.{family}")):
        _cells.setdefault(cell.name, cell)


def _name_problems(defined: list[type[Cell]]) -> list[str]:
    """Returns what is wrong with the names of new cells, a line each."""
    problems = []
    taken: dict[str, type[Cell]] = {}
    for cell in defined:
        name = getattr(cell, "name", cell.__name__)
        other = taken.get(name) or _registered(name)
        taken[name] = cell
        if name in PRESETS:
            rule = f"name must be unique, but name={name!r} stands for {PRESETS[name][0]}."
            problems.append(told(cell, rule))
        if other is not None and not _is_same_source(other, cell):
            rule = f"name must be unique, but name={name!r} is of a cell in {_place(other)}."
            problems.append(told(cell, f"{rule} Choose another."))
    return problems


def _place(cell: type[Cell]) -> str:
    """Returns the file that defines a cell, as a person knows it."""
    path = Path(inspect.getfile(cell))
    return f"cells/{path.name}, shipped" if cell.__module__.startswith("cells.") else path.name


def _registered(name: str) -> type[Cell] | None:
    return find(name) if name in _FAMILY_OF else _cells.get(name)


def _is_same_source(one: type[Cell], other: type[Cell]) -> bool:
    """Returns whether two cells have one text, be it that of an older copy of a shipped cell."""
    if source_of(one) == source_of(other):
        return True
    try:
        return inspect.getsource(one) == inspect.getsource(other)
    except OSError:  # the file of one is gone since
        return False


def _unknown(name: str) -> UnknownCell:
    near = similar(name)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(_known())}."
    told = f"cell: must be the name of a cell, but got cell={name!r}. {hint}"
    return UnknownCell("\n".join([told, *plugin_faults()]))


def _known() -> list[str]:
    return sorted({*_FAMILY_OF, *_cells, *PRESETS})


def _cells_of(module: ModuleType) -> list[type[Cell]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Cell)
        and value.__module__ == module.__name__
    ]
