"""A user's file of cells as it states them, read without running anything of it."""

import ast
import hashlib
import inspect
import tokenize
from pathlib import Path


def sources(path: str | Path) -> dict[str, str]:
    """Returns the cells of a user's file: the name in a study -> the SHA-256 of the class's text.

    That is what :func:`cells.registry.source_of` says once the file has been imported. A file that
    is gone or cannot be parsed states nothing, and a cell whose name is computed is left out.
    """
    try:
        with tokenize.open(path) as file:
            text = file.read()
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):  # ValueError: a null character, or bytes of no text
        return {}
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {name: _digest(lines, node) for node in classes if (name := _name(node)) is not None}


def _name(node: ast.ClassDef) -> str | None:
    """Returns the name that a class states; None where it states none, or computes it."""
    for part in node.body:
        match part:
            case (
                ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str() as name))
                | ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str() as name))
            ):
                return name
    return None


def _digest(lines: list[str], node: ast.ClassDef) -> str:
    """Returns the SHA-256 of the lines that :func:`inspect.getsource` returns for a class."""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return hashlib.sha256("".join(inspect.getblock(lines[first - 1 :])).encode()).hexdigest()
