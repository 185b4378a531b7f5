"""A shipped cell as a file of its own, for who wants to change one of its equations."""

import ast
import re
from pathlib import Path

from cells import registry, shipped

_ENTRIES = re.compile(r"\n    Source: .*?(?=\n    \"\"\")", re.DOTALL)
"""The entries at the end of a cell's docstring, which tell of the shipped cell alone."""


def copied_source(cell: str, name: str, class_name: str) -> str:
    """Returns a module with a copy of a shipped cell, under another name and without a reference.

    What the cell uses of its own file comes along; what else is in that file does not.

    Args:
        cell: The shipped cell.
        name: The copy's name in a study.
        class_name: The copy's name in Python.

    Raises:
        UnknownCell: No cell has that name.
    """
    family = registry.declarations(cell).__module__.removeprefix("cells.")
    found = shipped.definitions(family)[cell]
    text = (Path(shipped.__file__).parent / f"{family}.py").read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    used, helpers = _used_of(tree, found)
    imports = "\n".join(line for node in tree.body if (line := _import_of(node, used)))
    parts = ["\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in helpers]
    head = imports.replace("\nfrom cells import", "\n\nfrom cells import")
    return "\n\n\n".join([head, *parts, _renamed(lines, found, cell, name, class_name)])


def _names(node: ast.stmt) -> list[str]:
    """Returns the names that a statement of a file or a class defines."""
    match node:
        case ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _used_of(tree: ast.Module, found: ast.ClassDef) -> tuple[set[str], list[ast.stmt]]:
    """Returns the names that a class uses, directly or not, and the statements that define some."""
    used = _mentioned(found)
    helpers: list[ast.stmt] = []
    while more := [n for n in tree.body if n not in helpers and used.intersection(_names(n))]:
        helpers += more
        used = used.union(*map(_mentioned, more))
    return used, sorted(helpers, key=lambda node: node.lineno)


def _mentioned(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _import_of(node: ast.stmt, used: set[str]) -> str:
    """Returns what of an import is used, as a line; an empty text where it is nothing."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    node.names = [each for each in node.names if (each.asname or each.name) in used]
    if isinstance(node, ast.ImportFrom) and node.module == "cells.base":
        node.module = "cells"  # what a cell needs is there, and it is the documented place
    return ast.unparse(node) if node.names else ""


def _renamed(lines: list[str], found: ast.ClassDef, cell: str, name: str, class_name: str) -> str:
    """Returns the text of the class under its new names."""
    kept = dict(enumerate(lines, 1))
    for part in found.body:
        if _names(part) == ["reference"]:
            for number in range(part.lineno, (part.end_lineno or part.lineno) + 1):
                del kept[number]
        elif _names(part) == ["name"]:
            kept[part.lineno] = f'    name = "{name}"'
    block = range(found.lineno, (found.end_lineno or found.lineno) + 1)
    text = "".join(f"{kept[number]}\n" for number in block if number in kept)
    text = text.replace(f"class {found.name}(", f"class {class_name}(", 1)
    entries = f"\n    Source: none.\n    Reference: none.\n    Differs from {cell}: nothing yet."
    return _ENTRIES.sub(lambda _: entries, text, count=1)
