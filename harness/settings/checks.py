"""Whether settings are what the table of fields says of them."""

import dataclasses
import operator
import re
import sys
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from harness.settings.table import Settings
from harness.settings.values import Budget, Lines, Options, OptionValue, Paths

_BOUNDS = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}


def problems_of(settings: Settings, sound: Settings | None = None) -> list[str]:
    """Returns what contradicts the table of fields, a line each; nothing where all is well.

    Args:
        settings: What is checked.
        sound: Settings that contradict nothing: the values that both hold are not looked at again.
    """
    problems = []
    for name, hint, bounds in _fields():
        value = getattr(settings, name)
        if sound is not None and value is getattr(sound, name):  # the same object, of one type
            continue
        if not _is(hint)(value):
            problems.append(f"{name}: must be {_kind(hint)}, but got {name}={value!r}.")
        elif isinstance(value, int | float | tuple):
            numbers = value if isinstance(value, tuple) else (value,)
            for bound, limit in bounds.items():
                sign, holds = _BOUNDS[bound]
                if not all(holds(number, limit) for number in numbers):
                    problems.append(f"{name}: must be {sign} {limit}, but got {name}={value!r}.")
    budget = settings.budget
    if isinstance(budget, Budget):
        given = {unit: amount for unit, amount in vars(budget).items() if amount is not None}
        if len(given) != 1 or not all(
            _is(float)(amount) and amount > 0 for amount in given.values()
        ):
            problems.append(
                "budget: must be one positive number of updates, tokens, epochs or seconds, "
                f"but got {given}."
            )
    return problems


def _kind(hint: Any) -> str:
    """Returns what a person reads of a type: no module, which is an affair of the code."""
    return (
        hint.__name__ if isinstance(hint, type) else re.sub(r"[a-z_.]+\.(?=[A-Z])", "", str(hint))
    )


@cache
def _fields() -> list[tuple[str, Any, dict[str, float]]]:
    """Returns the name, the type and the bounds of every field; to read the types takes long."""
    hints = typing.get_type_hints(Settings)
    return [
        (each.name, hints[each.name], each.metadata.get("bounds", {}))
        for each in dataclasses.fields(Settings)
    ]


@cache
def _is(hint: Any) -> Callable[[Any], bool]:
    """Returns what says whether a value is of a type; a round of trials asks 60 times a trial."""
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kinds = [_is(part) for part in parts]
        return lambda value: any(is_kind(value) for is_kind in kinds)
    if typing.get_origin(hint) is Literal:
        return lambda value: value in parts
    if typing.get_origin(hint) is tuple:
        is_item = _is(parts[0])
        return lambda value: isinstance(value, tuple) and all(map(is_item, value))
    if hint is float:
        return _is_number
    if hint is Options:
        return lambda value: (
            isinstance(value, Options)
            and all(
                isinstance(name, str) and isinstance(item, OptionValue)
                for name, item in value.items
            )
        )
    if hint in (Paths, Lines):
        return lambda value: isinstance(value, hint) and all(map(_is(str), vars(value).values()))
    if hint is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared, and not converted: a whole number may be larger than every float.
    return is_number and abs(value) <= sys.float_info.max
