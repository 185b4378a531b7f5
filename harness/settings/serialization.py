"""Settings as plain JSON values, and back: in plans, checkpoints and identities of studies."""

import dataclasses
from collections.abc import Callable
from typing import Any

from harness.settings.table import LATER, Settings
from harness.settings.values import Budget, Lines, Options, Paths

_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Settings)}
_BLOCKS: dict[str, Callable[..., Any]] = {
    "budget": Budget,
    "paths": Paths,
    "lines": Lines,
    "options": lambda **values: Options.of(values),
}
"""The fields whose values are mappings."""


def to_dict(settings: Settings) -> dict[str, Any]:
    """Returns plain JSON values; :func:`from_dict` is its inverse.

    A field that came later is there only where it is set: the plan, the checkpoint and the identity
    of a study without it are those of versions that knew none.
    """
    unset = [name for name in LATER if getattr(settings, name) == _DEFAULTS[name]]
    values = all_values(settings)
    return {name: value for name, value in values.items() if name not in unset}


def all_values(settings: Settings) -> dict[str, Any]:
    """Returns the plain JSON values of every field; :func:`from_dict` is its inverse, too."""
    return {name: _plain(value) for name, value in vars(settings).items()}


def _plain(value: Any) -> Any:
    """Returns a field's plain JSON value; ``dataclasses.asdict`` takes ten times as long."""
    if isinstance(value, Options):
        return value.to_dict()
    if isinstance(value, Budget | Paths | Lines):
        return dict(vars(value))
    return list(value) if isinstance(value, tuple) and value else value


def from_dict(values: dict[str, Any]) -> Settings:
    """Returns the settings that :func:`to_dict` wrote.

    Raises:
        TypeError: A field is unknown.
    """
    made = {
        name: kind(**values[name])
        for name, kind in _BLOCKS.items()
        if isinstance(values.get(name), dict)
    }
    if values.get("test_lengths") is not None:
        made["test_lengths"] = tuple(values["test_lengths"])
    return Settings(**values | made)
