"""A user's file of cells as it states them, read without running anything of it."""

import ast
import hashlib
import inspect
import tokenize
from pathlib import Path


def sources(path: str | Path) -> dict[str, str]:
    """Returns the cells of a user's file: the name in a study -> the SHA-256 of the class's text.

    That is what :func:`cells.registry.source_of` says once the file has been imported. A file that
    is gone or cannot be parsed states nothing. A cell is left out whose name is computed, or stated
    by more than one class: which of them is run is not known then.
    """
    try:
        with tokenize.open(path) as file:
            lines = file.readlines()  # not `splitlines`, which breaks lines where Python does not
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, ValueError):  # ValueError: a null character, or bytes of no text
        return {}
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (name := _name(node)) is not None:
            found.setdefault(name, []).append(_text(lines, node))
    return {name: digest(texts[0]) for name, texts in found.items() if len(texts) == 1}


def digest(text: str) -> str:
    """Returns what identifies a user's own cell: the SHA-256 of the text of its class."""
    return hashlib.sha256(text.encode()).hexdigest()


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


def _text(lines: list[str], node: ast.ClassDef) -> str:
    """Returns the lines that :func:`inspect.getsource` returns for a class."""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return "".join(inspect.getblock(lines[first - 1 :]))
