"""What a cell's declarations must satisfy; each rule tells a line for everything that breaks it."""

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from cells.base import DRAWN, Cell

_RESERVED = re.compile(r"drop$|state_dropout|recurrent_dropout|zoneout_")


def problems_of(cell: type[Cell]) -> list[str]:
    """Returns what is wrong with a cell's declarations, a line each; nothing where all is well.

    A rule that needs others to hold is asked only where they do.
    """
    for rules in ((_missing,), (_kinds,), (_products, _members, _names, _equations)):
        problems = [problem for rule in rules for problem in rule(cell)]
        if problems:
            return [told(cell, problem) for problem in problems]
    return []


def told(cell: type[Cell], problem: str) -> str:
    """Returns a problem with the class that it is of, its file and its line, where there is a file.

    The line is that of the declaration that the problem begins with, or the first of the class.
    """
    try:
        path, (lines, first) = inspect.getfile(cell), inspect.getsourcelines(cell)
    except (OSError, TypeError):  # a class that was made in a shell has no file
        return f"{cell.__name__}: {problem}"
    (defined,) = ast.parse(textwrap.dedent("".join(lines))).body
    declared = {
        target.id: first + part.lineno - 1
        for part in getattr(defined, "body", ())
        if isinstance(part, ast.Assign | ast.AnnAssign)
        for target in (part.targets if isinstance(part, ast.Assign) else [part.target])
        if isinstance(target, ast.Name)
    }
    line = declared.get(problem.split()[0], first)
    return f"{cell.__name__} ({Path(path).name}:{line}): {problem}"


def _missing(cell: type[Cell]) -> Iterator[str]:
    for attribute in ("name", "gates"):
        if not hasattr(cell, attribute):
            yield f"must declare `{attribute}`, but does not."


def _kinds(cell: type[Cell]) -> Iterator[str]:
    if not isinstance(cell.name, str):
        yield f"name must be a str, but got name={cell.name!r}."
    for field, may_be_empty in (("gates", cell.reads_input), ("state", False)):
        declared = getattr(cell, field)
        if not _are_distinct_identifiers(declared) or not (declared or may_be_empty):
            yield (
                f"{field} must be a tuple of distinct identifiers, at least one, "
                f"but got {field}={declared!r}."
            )
    examples = {
        "vectors": '{"v": 0.0}',
        "products": '{"R": ("f", "o")}',
        "start": '{"c": 1.0}',
    }
    for field, example in examples.items():
        if (declared := getattr(cell, field)) is not None and not isinstance(declared, Mapping):
            yield f"{field} must be a dict such as {example}, but got {field}={declared!r}."
    yield from _numbers(cell)


def _numbers(cell: type[Cell]) -> Iterator[str]:
    """Yields what is wrong with the numbers that states and vectors begin with."""
    for name, value in _items(cell.start):
        if not _is_finite(value):
            yield (
                f"start of {name} must be a number, but got {value!r}. A start that is learned is "
                "a study's: `learned_start: true`."
            )
    for name, value in _items(cell.vectors):
        if value != DRAWN and not _is_finite(value):
            yield f'vectors must begin with a number or "{DRAWN}", but got {name}={value!r}.'


def _items(declared: Any) -> Any:
    return declared.items() if isinstance(declared, Mapping) else ()


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _are_distinct_identifiers(names: Any) -> bool:
    return (
        isinstance(names, tuple)
        and len(set(names)) == len(names)
        and all(isinstance(name, str) and name.isidentifier() for name in names)
    )


def _products(cell: type[Cell]) -> Iterator[str]:
    for product, gates in cell.recurrent_products().items():
        if not gates or not product.isidentifier() or len(set(gates)) != len(gates):
            yield f"a product must feed distinct gates, but got {product}={gates}."


def _members(cell: type[Cell]) -> Iterator[str]:
    fed = {gate for gates in cell.recurrent_products().values() for gate in gates}
    biased = (set(cell.gates) | set(cell.recurrent_biases)) - set(cell.unbiased)
    allowed_in = {
        "recurrent_biases": fed,
        "unbiased": set(cell.gates) | fed,
        "forget_gates": biased,
        "input_gates": biased - set(cell.forget_gates),
        "candidates": set(cell.gates) | fed,
        "unread": set(cell.state),
        "zoneout_states": set(cell.state) - set(cell.unread),
        "start": set(cell.state),
    }
    for field, allowed in allowed_in.items():
        strange = [value for value in getattr(cell, field) if value not in allowed]
        if strange:
            yield f"{field} must be among {sorted(allowed)}, but got {strange}."
    if len(cell.input_gates) > len(cell.forget_gates):
        yield (
            f"input_gates must be no more than forget_gates={cell.forget_gates}, "
            f"but got input_gates={cell.input_gates}."
        )


def _names(cell: type[Cell]) -> Iterator[str]:
    named = (*cell.vectors, *cell.recurrent_products())
    reserved = [name for name in named if _RESERVED.match(name)]
    if reserved:
        yield f"vectors and products must leave p.drop and a study's noise, but got {reserved}."
    if cell.noise:
        yield f"noise must be left to a study's fields, but got noise={cell.noise}."
    if "input" in cell.gates:
        yield f"gates must not have the name of the input itself, but got gates={cell.gates}."
    parameters = [parameter.name for parameter in cell.parameters(1, 1, 2)]
    doubled = sorted({name for name in parameters if parameters.count(name) > 1})
    if doubled:
        yield (
            "products and vectors must have names of their own, "
            f"but got {', '.join(doubled)} twice."
        )


def _equations(cell: type[Cell]) -> Iterator[str]:
    if cell.step is Cell.step:
        yield "must define `step`, but does not."
    # As an engine calls it: a static method has no `self`.
    taken, called = (inspect.signature(each.step) for each in (cell, object.__new__(cell)))
    arguments = ("p", "x", *cell.state)
    try:
        called.bind(*arguments)
    except TypeError:
        wanted = arguments if taken == called else ("self", *arguments)
        yield f"step must take ({', '.join(wanted)}), but takes {taken}."
    for entry in ("Source:", "Reference:", "Differs"):
        if entry not in (cell.__doc__ or ""):
            yield f"its docstring must have an entry `{entry}`, but has none."
