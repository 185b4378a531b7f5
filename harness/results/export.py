"""A study as data frames: in files, or in a notebook."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from harness import catalog, study
from harness.results.names import Archive, ArchiveError
from harness.runner import scheduler
from harness.store import frames, tracker
from harness.store.locations import Places
from harness.study import Study

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Results:
    """What a study's books hold. Losses are in nats.

    Attributes:
        runs: A row per trial and replicate; parameters are columns ``params.NAME``, samples lists
            of {prefix, text}.
        curves: A row per evaluation of a run, under its condition, arm, repeat, phase and index.
        timings: A row per condition, arm, mode, pack and round.
        verdict: The report's table: a row per condition and arm.
        warnings: What the search said.
    """

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    verdict: pd.DataFrame
    warnings: list[str]


def load(
    study: str | Path,
    folder: str | Path = ".",
    tracking: str = "sqlite:///mlflow.db",
    *,
    overrides: Sequence[str] = (),
) -> Results:
    """Returns a study's runs, curves, timings and verdict as data frames.

    Args:
        study: Its name in MLflow, or its YAML file.
        folder: Where ``mlflow.db`` lies.
        tracking: MLflow's store, as ``harness run`` was given it.
        overrides: As ``harness run`` was given them; a study's name needs none.

    Raises:
        ValueError: The study is not in the books, or is another there.
    """
    loaded, tracker = _open(str(study), tuple(overrides), Places(Path(folder), tracking))
    warnings = scheduler.warnings_of(loaded, tracker)
    runs, curves, timings = tracker.runs(), tracker.curves(), tracker.timings()
    report = scheduler.build_report(loaded, runs, curves, timings, warnings)
    return Results(
        tracker.study_name, _with_parameters(runs), curves, timings, report.table, warnings
    )


def export(
    study: str,
    overrides: tuple[str, ...],
    places: Places,
    out: Path,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Writes a study's frames and its warnings into a folder and returns the files.

    The CSV files are what :func:`harness.store.frames.read_export` reads; samples are JSON in both
    formats.
    """
    found = load(study, places.folder, places.tracking, overrides=overrides)
    runs = found.runs.assign(
        samples=[json.dumps(samples, ensure_ascii=False) for samples in found.runs["samples"]]
    )
    tables = {
        "runs": runs,
        "curves": found.curves,
        "timings": found.timings,
        "verdict": found.verdict,
    }
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, frame in tables.items():
        for form in formats:
            paths.append(out / f"{name}.{form}")
            if form == "csv":
                frame.to_csv(paths[-1], index=False)
            else:
                _uniform(frame).to_parquet(paths[-1], engine="pyarrow", index=False)
    paths.append(out / "warnings.txt")
    paths[-1].write_text("\n".join(found.warnings), encoding="utf-8")
    return paths


def _open(name: str, overrides: tuple[str, ...], places: Places) -> tuple[Study, tracker.Tracker]:
    """Returns a study and its books, from its file or from what the books keep of it."""
    if Path(name).suffix in (".yaml", ".yml"):
        return catalog.open_books(name, overrides, places)
    tracker, _ = Archive(places).study(name)
    origin = tracker.note("origin")
    text = next(
        filter(None, (tracker.artifact(i, "study.yaml") for i in tracker.parents().values())), None
    )
    if origin is None or text is None:
        raise ArchiveError(
            f"study: must be kept with its runs to be named alone, but got study={name!r}, which is not. "
            "Give its YAML file."
        )
    kept = json.loads(origin)
    path = None if kept["path"] is None else Path(kept["path"])
    loaded = study.loads(text.decode("utf-8"), name, kept["overrides"], path=path)
    scheduler.check_identity(loaded, tracker, places)
    return loaded, tracker


def _with_parameters(runs: pd.DataFrame) -> pd.DataFrame:
    params = pd.json_normalize(runs["params"].tolist()).add_prefix("params.")
    return pd.concat([runs.drop(columns="params"), params], axis=1)


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame whose columns have one type each: one of several becomes text, as MLflow
    shows it.
    """
    mixed = [
        n for n in frame if frame[n].dtype == object and len(set(map(type, frame[n].dropna()))) > 1
    ]
    return frame.assign(**{str(name): frame[name].map(_encoded) for name in mixed})


def _encoded(value: Any) -> Any:
    return frames.encode(value) if isinstance(value, str) or not pd.isna(value) else None
