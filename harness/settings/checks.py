"""Whether settings are what the table of fields says of them."""

import dataclasses
import operator
import re
import sys
import types
import typing
from typing import Any, Literal

from harness.settings.table import Settings
from harness.settings.values import Budget, Lines, Options, OptionValue, Paths

_BOUNDS = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}


def problems_of(settings: Settings) -> list[str]:
    """Returns what contradicts the table of fields, a line each; nothing where all is well."""
    hints = typing.get_type_hints(Settings)
    problems = []
    for each in dataclasses.fields(Settings):
        name, value = each.name, getattr(settings, each.name)
        if not _fits(value, hints[name]):
            problems.append(f"{name}: must be {_kind(hints[name])}, but got {name}={value!r}.")
        elif isinstance(value, int | float | tuple):
            numbers = value if isinstance(value, tuple) else (value,)
            for bound, limit in each.metadata.get("bounds", {}).items():
                sign, holds = _BOUNDS[bound]
                if not all(holds(number, limit) for number in numbers):
                    problems.append(f"{name}: must be {sign} {limit}, but got {name}={value!r}.")
    budget = settings.budget
    if isinstance(budget, Budget):
        given = {
            unit: amount
            for unit, amount in dataclasses.asdict(budget).items()
            if amount is not None
        }
        if len(given) != 1 or not all(
            _fits(amount, float) and amount > 0 for amount in given.values()
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


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(
            _fits(item, typing.get_args(hint)[0]) for item in value
        )
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Compared, and not converted: a whole number may be larger than every float.
        return is_number and abs(value) <= sys.float_info.max
    if hint is Options:
        return isinstance(value, Options) and all(
            isinstance(name, str) and isinstance(item, OptionValue) for name, item in value.items
        )
    if hint in (Paths, Lines):
        return isinstance(value, hint) and all(_fits(item, str) for item in vars(value).values())
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
