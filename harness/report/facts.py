"""What a study held fixed, what it varied, what it was run with, and how to run it again."""

import dataclasses
import shlex
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.tables import Section
from harness.settings import Lines, Options, Paths
from harness.study import Arm, Study

ROOT = Path(__file__).resolve().parents[2]
"""The root of the harness's own tree."""
FACTS = {
    "started": "Run",
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
"""Column of the runs -> what it is called. Columns that a frame lacks are left out."""


def fixed(study: Study) -> Section:
    """Returns the settings that all arms share under all conditions, the tuned ones left out."""
    shared = [
        (name, values[0]) for name, values in _settings(study).items() if len(set(values)) == 1
    ]
    return Section("What was fixed", ("Setting", "Value"), shared)


def varied(study: Study) -> Section:
    """Returns the settings in which arms or conditions differ, a row per arm."""
    differing = {name: values for name, values in _settings(study).items() if len(set(values)) > 1}
    arms = _arms(study)
    names = [f"{arm.condition}/{arm.name}" if arm.condition else arm.name for arm in arms]
    rows = [(name, *(texts[i] for texts in differing.values())) for i, name in enumerate(names)]
    return Section("What differs", ("Arm", *differing), rows)


def _arms(study: Study) -> list[Arm]:
    return [arm for condition in study.conditions for arm in study.under(condition).arms]


def _settings(study: Study) -> dict[str, list[str]]:
    """Returns setting -> its text in each arm of each condition."""
    tunes = [study.under(condition).tune for condition in study.conditions]
    tuned = {name for tune in tunes if tune is not None for name in tune.space}
    arms = _arms(study)
    names = [
        field.name for field in dataclasses.fields(arms[0].settings) if field.name not in tuned
    ]
    return {name: [_text(name, getattr(arm.settings, name)) for arm in arms] for name in names}


def _text(name: str, value: Any) -> str:
    if isinstance(value, Lines):
        return f"end: {value.end}"
    if isinstance(value, Options):
        return ", ".join(f"{key}: {item}" for key, item in value.items)
    if isinstance(value, Paths):
        return ", ".join(Path(path).name for path in vars(value).values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = dataclasses.asdict(value).items()
        return ", ".join(f"{item:,} {key}" for key, item in items if item is not None)
    if name == "path" and value is not None:
        return Path(value).name
    return "none" if value is None else str(value)


def provenance(runs: pd.DataFrame) -> Section:
    """Returns what the runs were made with, each value once.

    ``runs`` are the runs of a store, with its tags as columns.
    """
    rows = []
    for column, title in FACTS.items():
        values = [str(value) for value in runs[column].dropna().unique()] if column in runs else []
        values = _days(values) if column == "started" else values
        if values:
            rows.append((title, ", ".join(values)))
    return Section("Provenance", ("What", "Value"), rows)


def effort(runs: pd.DataFrame, begun: date | None) -> str:
    """Returns when the study began, where that is known, and how long its runs took.

    A pack's runs share its time, so the sum over runs is taken of their shares.
    """
    known = _days(runs["started"].dropna()) if "started" in runs else []
    first = begun.isoformat() if begun is not None else known[0].split()[0] if known else None
    parts = [f"Begun on {first}"] if first is not None else []
    if not runs.empty and "seconds" in runs and runs["seconds"].notna().any():
        packs = runs["pack_size"] if "pack_size" in runs else pd.Series(1, index=runs.index)
        seconds = float((runs["seconds"] / packs.fillna(1).astype(float).clip(lower=1)).sum())
        took = f"{len(runs):,} runs, {_duration(seconds)} of training by their own clocks"
        parts += [took]
    return f"{'; '.join(parts)}." if parts else ""


def _days(moments: Iterable[str]) -> list[str]:
    """Returns the first and the last day of the moments that runs began at, where they have any.

    >>> _days(["2026-11-27T02:40:35Z", "2026-11-26T23:59:59Z"]), _days([])
    (['2026-11-26 to 2026-11-27'], [])
    """
    days = sorted({moment[: len("2026-11-27")] for moment in moments})
    return days if len(days) < 2 else [f"{days[0]} to {days[-1]}"]


def _duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.2g} seconds"


def commands(study: Study, runs: pd.DataFrame) -> list[str]:
    """Returns what to type to run the study again, in a folder of its own: lines for a shell.

    It is run at its commit, where that is known and all runs have the same. A study of the
    harness's own tree is named from the tree's root, where that commit is checked out; any other
    from the folder in which the report is made, where it lies below it. That folder is no tree of
    the harness, so there a comment says the commit.
    """
    commits = list(runs["git_commit"].dropna().unique()) if "git_commit" in runs else []
    is_known = len(commits) == 1 and commits[0] != "unknown"
    file = study.path if study.path is not None and study.path.is_file() else None
    is_shipped = file is not None and file.resolve().is_relative_to(ROOT)
    at_commit = "git checkout" if is_shipped else "# with the harness at commit"
    lines = [f"{at_commit} {commits[0]}"] if is_known else []
    if file is None:
        lines.append(f"# with the study file, which stands below, as {study.name}.yaml")
    path = Path(f"{study.name}.yaml") if file is None else _shortest(file)
    words = ["harness", "run", str(path)]
    for override in study.overrides:
        words += ["--set", override]
    return [*lines, shlex.join([*words, "--folder", "again"])]


def _shortest(path: Path) -> Path:
    path = path.resolve()
    for folder in (ROOT, Path.cwd()):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return path
