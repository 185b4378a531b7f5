"""The cells of this package as their files state them, read without importing torch.

A family's file is parsed, and nothing of it is run but methods that count: a study is checked by a
cell's declarations alone, and a cell is known by a fingerprint of its equations that outlives a
rewording of its docstring.
"""

import ast
import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NoReturn

from cells.base import DRAWN, Cell

_FOLDER = Path(__file__).parent
_NOT_EQUATIONS = ("annotation", "returns", "type_comment", "type_params")
"""Fields of a syntax tree that no value depends on."""


@functools.cache
def definitions(family: str) -> dict[str, ast.ClassDef]:
    """Returns the cells of a family's file: the name in a study -> the class statement.

    The file is read once, so that it may be edited while a study runs.
    """
    classes = [node for node in _tree(family).body if isinstance(node, ast.ClassDef)]
    return {_declared_values(node)["name"]: node for node in classes}


@functools.cache
def declared(family: str, name: str) -> type[Cell]:
    """Returns a cell with its declarations and docstring, but without its equations.

    The result is a subclass of :class:`~cells.base.Cell` with the attributes of the true class.
    What needs more (a step, a preparation of the parameters) fails an assertion. What counts sizes
    with nothing but ``math`` and the file's numbers is there.
    """
    node = definitions(family)[name]
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    namespace = {
        "__doc__": ast.get_docstring(node, clean=False),
        "__module__": f"cells.{family}",
        **_declared_values(node),
        **{method.name: _method(family, name, method) for method in methods},
    }
    return type(node.name, (Cell,), namespace)


@functools.cache
def fingerprint(family: str, name: str) -> str:
    """Returns what identifies a cell's equations in stored studies, checkpoints and models.

    A cell of ``fingerprints.json`` keeps the fingerprint of that table as long as its equations
    are those of the table; every other cell's fingerprint is the digest of its equations.
    """
    digest = equations_digest(_tree(family), definitions(family)[name])
    known = _fingerprints().get(name)
    return known["fingerprint"] if known and known["equations"] == digest else digest


def equations_digest(tree: ast.Module, cell: ast.ClassDef) -> str:
    """Returns the SHA-256 of a cell's declarations and methods, and of what they use of its file.

    Docstrings, comments, layout, annotations and the order of declarations do not count. Declared
    values, every operation and constant, helper functions of the same file and the origin of
    imported names do. The result is the same under every supported version of Python.
    """
    declared_values = _declared_values(cell)
    text = [f"{name}: {declared_values[name]!a}" for name in sorted(declared_values)]
    others = [part for part in cell.body if not _is_declaration(part)]
    text.append(_canonical([*cell.bases, *cell.keywords, *cell.decorator_list, *others]))
    top_level = _top_level(tree)
    used: dict[str, str] = {}
    waiting = _names_in(cell)
    while waiting:
        name = waiting.pop()
        if name in top_level and name not in used:
            used[name] = _canonical(top_level[name])
            waiting |= _names_in(top_level[name])
    text += [f"{name} = {used[name]}" for name in sorted(used)]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


@functools.cache
def _tree(family: str) -> ast.Module:
    return ast.parse((_FOLDER / f"{family}.py").read_text(encoding="utf-8"))


@functools.cache
def _fingerprints() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(
        (_FOLDER / "fingerprints.json").read_text("utf-8")
    )
    return table


def _declared_values(cell: ast.ClassDef) -> dict[str, Any]:
    return {
        part.targets[0].id: _value(part.value)  # type: ignore[attr-defined]
        for part in cell.body
        if _is_declaration(part)
    }


def _is_declaration(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name()]):
            return True
    return False


def _value(node: ast.expr) -> Any:
    """The value of a declaration: a literal, DRAWN, ``dict.fromkeys`` or a union of mappings."""
    match node:
        case ast.Name(id="DRAWN"):
            return DRAWN
        case ast.Call(func=ast.Attribute(value=ast.Name(id="dict"), attr="fromkeys")):
            return dict.fromkeys(*map(_value, node.args))
        case ast.Dict():
            union: dict[Any, Any] = {}
            for key, value in zip(node.keys, node.values, strict=True):
                union |= _value(value) if key is None else {_value(key): _value(value)}
            return union
    return ast.literal_eval(node)


def _method(family: str, cell: str, node: ast.FunctionDef) -> Any:
    """A method that counts, or in place of any other one that refuses to be called."""
    numbers = {
        name: value.value
        for name, value in _top_level(_tree(family)).items()
        if isinstance(value, ast.Constant)
    }
    known = {"classmethod": classmethod, "math": math, **numbers}
    if not _names_in(node) <= {*known, *(argument.arg for argument in node.args.args)}:
        return _without_equations(cell, node.name)
    plain = ast.Module([node], type_ignores=[])
    exec(compile(plain, f"{family}.py", "exec"), known)
    return known[node.name]


def _without_equations(cell: str, method: str) -> Any:
    def refuse(*args: Any) -> NoReturn:
        raise AssertionError(f"{cell} has been read without its {method}; cells.find has it")

    return classmethod(refuse) if method != "step" else refuse


def _top_level(tree: ast.Module) -> dict[str, Any]:
    """What a file's own names and imported names stand for; names of this package are left out."""
    named: dict[str, Any] = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                named[node.name] = node
            case ast.Assign():
                named |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                named[name] = node.value
            case ast.Import():
                named |= {alias.asname or alias.name: alias.name for alias in node.names}
            case ast.ImportFrom() if (node.module or "").partition(".")[0] != "cells":
                origin = {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
                named |= origin
    return named


def _names_in(node: Any) -> set[str]:
    """The names that a syntax tree uses, but for its annotations."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, list):
        return set().union(*map(_names_in, node))
    if not isinstance(node, ast.AST):
        return set()
    fields = (getattr(node, name, None) for name in node._fields if name not in _NOT_EQUATIONS)
    return set().union(*map(_names_in, fields))


def _canonical(node: Any) -> str:
    """A syntax tree as text: type names, and the fields that are not empty, sorted by name."""
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__} {ascii(node.value)}"
    if isinstance(node, list):
        return f"[{', '.join(_canonical(item) for item in node if not _is_remark(item))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = sorted((name, getattr(node, name, None)) for name in node._fields)
    given = [
        f"{name}={_canonical(value)}"
        for name, value in fields
        if value not in (None, []) and name not in _NOT_EQUATIONS
    ]
    return f"{type(node).__name__}({', '.join(given)})"


def _is_remark(node: Any) -> bool:
    """A docstring, or a string that stands alone as a comment does."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
