"""The options of a source of sequences, and the lengths that it can have."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from harness.data.errors import DataError
from harness.settings import Settings


class Stamp:
    """A time stamp, or a number where a series has numbers for times."""


_KINDS: dict[type, str] = {
    int: "an integer",
    bool: "true or false",
    str: "text",
    Stamp: "a time stamp or a number",
}
_MEMBERS: dict[type, tuple[type, ...]] = {Stamp: (int, float, str)}
"""Kind -> the types of its values; it is its own where none are named."""
MOST_SYMBOLS = 10_000
"""Of a task: a read-out over more is a language model's."""
MOST_ITEMS = 10_000
"""Of a sequence: nothing that is trained remembers so many."""


def whole(default: int, *, least: int, most: int, doc: str) -> Any:
    """An option that is a number from ``least`` to ``most``."""
    metadata = {"kind": int, "least": least, "most": most, "doc": doc}
    return dataclasses.field(default=default, metadata=metadata)


def switch(*, doc: str) -> Any:
    """An option that is off where it is not named."""
    return dataclasses.field(default=False, metadata={"kind": bool, "doc": doc})


def text(default: Any = dataclasses.MISSING, *, doc: str) -> Any:
    """An option that is a text; without a default it must be named."""
    return dataclasses.field(default=default, metadata={"kind": str, "doc": doc})


def stamp(*, doc: str) -> Any:
    """An option that is a time; where it is not named it is an empty text."""
    return dataclasses.field(default="", metadata={"kind": Stamp, "doc": doc})


def option_fields(kind: Any) -> "dict[str, dataclasses.Field[Any]]":
    """Returns the options of a task's dataclass, with ``doc`` and bounds as their metadata."""
    return {each.name: each for each in dataclasses.fields(kind) if "kind" in each.metadata}


def option_problems(name: str, kind: Any, given: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong with the options of a task, each by itself.

    Args:
        name: The task's.
        kind: Its dataclass.
        given: Options by their names; where one has a default it may be missing.
    """
    fields = option_fields(kind)
    has = f"the options {', '.join(fields)}" if fields else "no option"
    problems = [
        f"{name}.{key}: must be left out, since {name} has {has}, but got {key}={value!r}. "
        "Remove it."
        for key, value in given.items()
        if key not in fields
    ]
    for key, field in fields.items():
        if key in given:
            problems += _problems(name, field, given[key])
        elif field.default is dataclasses.MISSING:
            problems.append(f"{name}.{key}: must be given, but is missing. {_described(field)}")
    return problems


def _problems(name: str, field: "dataclasses.Field[Any]", value: Any) -> list[str]:
    rule, key = field.metadata, field.name
    # True is an int to Python, and no number of anything.
    if type(value) not in _MEMBERS.get(rule["kind"], (rule["kind"],)):
        must = _KINDS[rule["kind"]]
        return [f"{name}.{key}: must be {must}, but got {key}={value!r}. {_described(field)}"]
    if rule["kind"] is int and not rule["least"] <= value <= rule["most"]:
        return [
            f"{name}.{key}: {rule['least']:,} <= {key} <= {rule['most']:,} must hold, but got "
            f"{key}={value:,}. {_described(field)}"
        ]
    return []


def _described(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING or field.default == "":
        return f"Write {field.name}: {field.metadata['doc']}."
    default = json.dumps(field.default).strip('"')  # as YAML has it
    return f"Write {field.name}: {default}, for example ({field.metadata['doc']})."


Kind = TypeVar("Kind")


def options_of(kind: type[Kind], settings: Settings) -> Kind:
    """Returns the options of a task's data; raises a DataError with a line for each problem."""
    given = {} if settings.options is None else settings.options.to_dict()
    if problems := option_problems("options", kind, given):
        raise DataError(*problems)
    return kind(**given)


def listed(names: str) -> tuple[str, ...]:
    """Returns what an option lists, parted by commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def check_options(name: str, task: Any) -> None:
    """Checks every option of a task by itself.

    Raises:
        DataError: One is of another kind, or out of its bounds. The message has a line for each.
    """
    given = {key: getattr(task, key) for key in option_fields(task)}
    if problems := option_problems(name, task, given):
        raise DataError(*problems)


def check_length(name: str, length: int, *, least: int, why: str) -> None:
    """Raises a DataError where ``length`` is less than ``least``, for the reason ``why``."""
    if length < least:
        raise DataError(
            f"{name}: length >= {least:,} must hold, since {why}, but got length={length:,}. "
            f"Set bptt_length to {least:,} or more."
        )
