"""What a study held fixed, what it varied, what it was run with, and how to run it again."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.tables import Section

FACTS = {
    "git_commit": "Commit",
    "git_dirty": "Code changed since",
    "engine": "Engine",
    "device": "Device",
    "device_name": "Machine",
    "precision": "Precision",
    "threads": "Threads",
    "pack_size": "Runs in a pack",
    "corpus_fingerprint": "Text (SHA-256)",
    "versions": "Versions",
}
"""Column of the runs -> what it is called. Those that a frame lacks are left out."""


def fixed(study: Any) -> Section:
    """Returns the settings that all arms share under all conditions, the tuned ones left out."""
    shared = [
        (name, values[0]) for name, values in _settings(study).items() if len(set(values)) == 1
    ]
    return Section("What was fixed", ("Setting", "Value"), shared)


def varied(study: Any) -> Section:
    """Returns the settings in which arms or conditions differ, a row per arm."""
    differing = {name: values for name, values in _settings(study).items() if len(set(values)) > 1}
    arms = _arms(study)
    rows = [(f"{arm.condition}/{arm.name}" if arm.condition else arm.name,) for arm in arms]
    cells = [tuple(values[i] for values in differing.values()) for i in range(len(arms))]
    return Section(
        "What differs",
        ("Arm", *differing),
        [name + cell for name, cell in zip(rows, cells, strict=True)],
    )


def _arms(study: Any) -> list[Any]:
    return [arm for condition in study.conditions for arm in study.under(condition).arms]


def _settings(study: Any) -> dict[str, list[str]]:
    """Setting -> its text in each arm of each condition."""
    tuned = {name for condition in study.conditions for name in _space(study.under(condition))}
    arms = _arms(study)
    names = [
        field.name for field in dataclasses.fields(arms[0].settings) if field.name not in tuned
    ]
    return {name: [_text(name, getattr(arm.settings, name)) for arm in arms] for name in names}


def _space(study: Any) -> dict[str, Any]:
    return dict(study.tune.space) if study.tune else {}


def _text(name: str, value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        said = {key: item for key, item in dataclasses.asdict(value).items() if item is not None}
        return ", ".join(f"{item:,} {key}" for key, item in said.items())
    if name == "path" and value is not None:
        return Path(value).name
    return "none" if value is None else str(value)


def provenance(runs: pd.DataFrame) -> Section:
    """Returns what the runs were made with, each value once.

    ``runs``: those of a store, with its tags as columns.
    """
    rows = []
    for column, title in FACTS.items():
        values = [str(value) for value in runs[column].dropna().unique()] if column in runs else []
        if values:
            rows.append((title, ", ".join(values)))
    return Section("Provenance", ("What", "Value"), rows)


def commands(study: Any, runs: pd.DataFrame) -> list[str]:
    """Returns what to type to run the study again: at its commit, where that is known and was
    one.
    """
    known = list(runs["git_commit"].dropna().unique()) if "git_commit" in runs else []
    lines = [f"git checkout {known[0]}"] if len(known) == 1 and known[0] != "unknown" else []
    words = ["harness", "run", study.path.name if study.path else f"{study.name}.yaml"]
    for override in study.overrides:
        words += ["--set", override]
    return [*lines, shlex.join(words)]
