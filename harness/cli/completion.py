"""What the shell proposes where a study or a cell is to be named. Nothing here loads torch."""

from pathlib import Path
from typing import Any

from harness.store.configuration import ConfigurationError, locate
from harness.store.locations import Locations

SUFFIXES = (".yaml", ".yml")


def studies(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Returns the study files and the folders that begin so, and the names of stored studies."""
    try:
        locations = locate(None, ctx.params.get("folder"), ctx.params.get("tracking"))
    except ConfigurationError:  # a command says so; here a person is still typing
        return _files(incomplete)
    names = [name for name in _stored(locations) if name.startswith(incomplete)]
    return [*_files(incomplete), *names]


def cells(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """Returns the names of shipped and installed cells that begin so."""
    from cells import registry

    names = [*registry.names(), *registry.PRESETS]
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    folder, _, start = incomplete.rpartition("/")
    root = Path(folder or ("/" if incomplete.startswith("/") else "."))
    paths = sorted(root.glob("*")) if root.is_dir() else []
    prefix = incomplete.removesuffix(start)
    return [
        f"{prefix}{path.name}{'/' if path.is_dir() else ''}"
        for path in paths
        if path.name.startswith(start)
        and (start or not path.name.startswith("."))
        and (path.is_dir() or path.suffix in SUFFIXES)
    ]


def _stored(locations: Locations) -> list[str]:
    """Returns the names of the studies of a local store; a shell cannot wait for a server."""
    from harness.store.address import sqlite_path
    from harness.store.source import experiment_ids

    path = sqlite_path(locations.tracking_uri)
    if path is None or not path.exists():
        return []
    return sorted(name for name in experiment_ids(locations.tracking_uri) if name != "Default")
