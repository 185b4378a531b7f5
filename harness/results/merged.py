"""What a study of several parts is: its identity, and its file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.store.kept import load_stored
from harness.store.known import ArchiveError
from harness.store.locations import Locations
from harness.study import Study, union


def whole(name: str, folders: Sequence[Locations], known: Mapping[str, Any]) -> Study | str:
    """Returns the study that asks for what all parts ask for; or why there is no such file.

    Args:
        name: The study's.
        folders: Where its parts are, each with the file that it was last run with.
        known: The identity of all parts together.
    """
    parts = []
    try:
        for each in folders:
            parts.append(load_stored(name, (), each))
        study = union.joined(parts)
    except ArchiveError:
        return f"that of {folders[len(parts)].folder} was not kept whole"
    except ValueError as error:
        return str(error).splitlines()[0]
    changes = study.changes_since(dict(known))
    return f"the file of all parts would differ: {changes[0]}" if changes else study


def identity(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the identity of all parts together: the first, with all arms and conditions."""
    joined = dict(parts[0])
    for group in ("arms", "tunes"):
        if group in joined:
            items = [part.get(group, {}).items() for part in parts]
            joined[group] = {key: value for group in items for key, value in group}
    return joined


def conflicts(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Yields in what the identities of two parts differ that must be alike."""
    if bool(first.get("tunes")) != bool(second.get("tunes")):
        yield "one alone has conditions"
    else:
        yield from differences(_of_shared_arms(first, second), _of_shared_arms(second, first))


def _of_shared_arms(identity: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an identity without the arms and conditions that another does not have."""
    shared = _without_common_search(identity)
    for group in ("arms", "tunes"):
        known = other.get(group, {})
        shared[group] = {k: v for k, v in identity.get(group, {}).items() if k in known}
    return shared


def _without_common_search(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an identity without the search of its first condition, where each has its own."""
    if not identity.get("tunes"):
        return dict(identity)
    return {**identity, "shared": {**identity["shared"], "tune": None}}


def differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    """Yields in what two values differ, each with its path."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{path}.{key}" if path else key
            yield from differences(first.get(key), second.get(key), inner)
    elif first != second:
        yield f"{path} is {first!r} and {second!r}"
