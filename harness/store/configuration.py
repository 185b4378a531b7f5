"""Where results live and packs train: an option says so, else the environment, a file, a default.

The file is ``harness.toml`` beside the study, else the one in the working directory; the first that
exists counts alone.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from cells.spelling import nearest
from harness.store.address import AddressedError, without_passwords
from harness.store.locations import STORAGE, TRACKING, Locations

FILE = "harness.toml"
DEFAULTS = {
    "folder": ".",
    "tracking": TRACKING,
    "storage": STORAGE,
    "executor": "inline",
    "executor_address": "auto",
}
"""The keys of the file, and their values where nothing says otherwise."""
ExecutorKind = Literal["inline", "ray"]
EXECUTORS: tuple[ExecutorKind, ...] = get_args(ExecutorKind)
"""What ``executor`` may be."""
DEFAULT = "default"
"""The place of a value that nothing says otherwise."""
MAX_BYTES = 100_000
"""The file has a few lines: what is larger is another file."""


class ConfigurationError(AddressedError):
    """The file of the configuration is wrong; the message says all that is."""


@dataclass(frozen=True)
class Choice:
    """A value, and the place that decided it: an option, a variable, a file, or the default."""

    value: str
    place: str

    def __str__(self) -> str:
        return f"{without_passwords(self.value)} ({self.place})"


def variable(key: str) -> str:
    """Returns the environment variable of a key."""
    return f"HARNESS_{key.upper()}"


def choose(
    study: object = None, given: Mapping[str, str | Path | None] | None = None
) -> dict[str, Choice]:
    """Returns the value of every key of DEFAULTS, and which place decided it.

    Args:
        study: The study's YAML file, beside which the file is looked for first; its name, or
            anything else that is no path, leads to the working directory.
        given: What options say; None where one says nothing.

    Raises:
        ConfigurationError: The file is wrong.
    """
    given, path = given or {}, _file(study)
    in_file = {} if path is None else read(path)
    choices = {}
    for key, default in DEFAULTS.items():
        if (value := given.get(key)) is not None:
            choices[key] = Choice(str(value), f"--{key.replace('_', '-')}")
        elif text := os.environ.get(variable(key)):
            choices[key] = Choice(text, variable(key))
        elif path is not None and key in in_file:
            choices[key] = Choice(in_file[key], str(path))
        else:
            choices[key] = Choice(default, DEFAULT)
    return choices


def locate(
    study: object = None,
    folder: str | Path | None = None,
    tracking: str | None = None,
    storage: str | None = None,
) -> Locations:
    """Returns where a study's results live; what options do not say is None.

    Raises:
        ConfigurationError: The file is wrong.
    """
    locations = _locations(choose(study, _given(folder, tracking, storage)))
    is_kept = tracking is None and locations.tracking != TRACKING
    return replace(locations, found_here=_found_here(), is_tracking_kept=is_kept)


def executor(
    study: object = None, kind: str | None = None, address: str | None = None
) -> tuple[ExecutorKind, str]:
    """Returns where packs train, and the cluster's address; what options do not say is None.

    Raises:
        ConfigurationError: The file is wrong, or there is no such kind.
    """
    choices = choose(study, {"executor": kind, "executor_address": address})
    chosen = choices["executor"]
    kinds = [each for each in EXECUTORS if each == chosen.value]
    if not kinds:
        raise ConfigurationError(
            f"executor: must be one of {', '.join(EXECUTORS)}, but got executor={chosen}. "
            "Use one of these."
        )
    return kinds[0], choices["executor_address"].value


def decisions(
    study: object = None,
    folder: str | Path | None = None,
    tracking: str | None = None,
    storage: str | None = None,
) -> list[str]:
    """Returns a line for every value that is not the default's: it says which place decided it."""
    choices = choose(study, _given(folder, tracking, storage))
    return [f"{key}: {each}" for key, each in choices.items() if each.place != DEFAULT]


def read(path: Path) -> dict[str, str]:
    """Returns what a file of the configuration says; a folder in it is relative to the file's.

    Raises:
        ConfigurationError: The file cannot be read, or says what none may; all of it is told.
    """
    values = _parsed(path)
    problems = [problem for key, value in values.items() if (problem := _problem(key, value))]
    if problems:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    if "folder" in values:
        values["folder"] = str(path.parent / Path(values["folder"]).expanduser())
    return values


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        why = error.strerror or str(error)
    except (ValueError, RecursionError) as error:  # of TOML and of UTF-8 too
        why = str(error)
    raise ConfigurationError(
        f"{path}: must be a readable TOML file, but got {why!r}. Write lines such as "
        f'tracking = "http://host:5000", or remove the file.'
    )


def _problem(key: str, value: object) -> str | None:
    """Returns what is wrong with a key and its value; None where nothing is."""
    if key not in DEFAULTS:
        known = ", ".join(DEFAULTS)
        near = nearest(key, DEFAULTS)
        hint = f"Did you mean {near[0]}?" if near else f"Remove it, or write one of {known}."
        return f"a key must be one of {known}, but got {key!r}. {hint}"
    if not isinstance(value, str):
        kind = type(value).__name__
        return f"{key} must be text in quotation marks, but got {kind} {value!r}. Quote it."
    if not value.strip():
        return f"{key} must not be empty, but is. Remove the line for the default."
    return None


def _file(study: object) -> Path | None:
    """Returns the file that counts; None where there is none."""
    beside = [Path(study).parent / FILE] if isinstance(study, str | Path) else []
    return next((path for path in (*beside, Path(FILE)) if path.exists()), None)


def _given(
    folder: str | Path | None, tracking: str | None, storage: str | None
) -> dict[str, str | Path | None]:
    return {"folder": folder, "tracking": tracking, "storage": storage}


def _locations(choices: Mapping[str, Choice]) -> Locations:
    folder, tracking, storage = (choices[key].value for key in ("folder", "tracking", "storage"))
    return Locations(Path(folder), tracking, storage)


def _found_here() -> Locations | None:
    """Returns what a command in this folder finds by itself, of a study that is named."""
    try:
        return _locations(choose())
    except ConfigurationError:  # another file counts for this study
        return None
