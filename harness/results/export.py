"""A study as data frames: in files, or in a notebook."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from harness.report import notebook
from harness.report.assemble import build_report, warnings_of
from harness.results.open import open_study
from harness.store import frames
from harness.store.configuration import locate
from harness.store.folders import take_files
from harness.store.kept import told_of_cells
from harness.store.locations import Locations
from harness.training.files import write_whole

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Results:
    """What the store holds of a study. Losses are in nats.

    Attributes:
        name: The study's.
        runs: A row per trial and replicate; parameters are columns ``params.NAME``, samples lists
            of {prefix, text}.
        curves: A row per evaluation of a run, under its condition, arm, repeat, phase and index.
        timings: A row per condition, arm, mode, pack and round.
        states: A row per number of a replicate's states; None where the study asks for none.
        forecasts: A row per point that an arm's first replicate forecast; None where none was.
        simple_errors: A row per simple forecaster, column and split of a condition; likewise.
        verdict: The report's table: a row per condition and arm.
        warnings: What there is to say beside the verdict.
    """

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    states: pd.DataFrame | None
    forecasts: pd.DataFrame | None
    simple_errors: pd.DataFrame | None
    verdict: pd.DataFrame
    warnings: list[str]

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the verdicts, and how much there is beside them."""
        return notebook.results_html(self.name, self.verdict, self.warnings, len(self.runs))


def load(
    study: str | Path,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    overrides: Sequence[str] = (),
) -> Results:
    """Returns a study's runs, curves, timings and verdict as data frames.

    Args:
        study: Its name in MLflow, or its YAML file.
        folder: Where ``mlflow.db`` lies; None: as ``harness run`` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as that finds it.
        overrides: As ``harness run`` was given them; a study's name needs none.

    Raises:
        ValueError: The study is not in the store, or is another there.
    """
    loaded, reader = open_study(str(study), tuple(overrides), locate(study, folder, tracking))
    reader = reader.at_once()
    notes = reader.notes()
    warnings = [*warnings_of(loaded, notes), *told_of_cells(loaded)]
    runs, curves, timings = reader.runs(), reader.curves(), reader.timings()
    states = reader.states() if loaded.measure.states else None
    report = build_report(loaded, runs, curves, timings, warnings, states)
    return Results(
        name=reader.study_name,
        runs=_with_parameters(runs),
        curves=curves,
        timings=timings,
        states=states,
        forecasts=reader.forecasts() if notes.simple_errors else None,
        simple_errors=frames.simple_errors(notes.simple_errors) if notes.simple_errors else None,
        verdict=report.table,
        warnings=warnings,
    )


def export(
    study: str,
    overrides: tuple[str, ...],
    locations: Locations,
    out: Path,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Writes a study's frames and its warnings into a folder and returns the files.

    The CSV files are what :func:`harness.store.frames.read_export` reads; samples are JSON in both
    formats.

    Raises:
        FolderError: No file can be made in the folder.
        ValueError: As :func:`load`.
    """
    results = load(study, locations.folder, locations.tracking, overrides=overrides)
    take_files(out, "folder", "Name another one.")
    samples = [json.dumps(texts, ensure_ascii=False) for texts in results.runs["samples"]]
    tables: dict[str, pd.DataFrame | None] = {
        "runs": results.runs.assign(samples=samples),
        "curves": results.curves,
        "timings": results.timings,
        "verdict": results.verdict,
        "states": results.states,
        "forecasts": results.forecasts,
        "simple_errors": results.simple_errors,
    }
    paths = []
    for name, frame in tables.items():
        if frame is None:
            continue
        for form in formats:
            paths.append(out / f"{name}.{form}")
            if form == "csv":
                write_whole(paths[-1], frame.to_csv(index=False).encode())
            else:
                content = io.BytesIO()
                _uniform(frame).to_parquet(content, engine="pyarrow", index=False)
                write_whole(paths[-1], content.getvalue())
    paths.append(out / "warnings.txt")
    write_whole(paths[-1], "\n".join(results.warnings).encode())
    return paths


def _with_parameters(runs: pd.DataFrame) -> pd.DataFrame:
    params = pd.json_normalize(runs["params"].tolist()).add_prefix("params.")
    return pd.concat([runs.drop(columns="params"), params], axis=1)


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame whose columns have one type each.

    A column of several types becomes text, as MLflow shows it.
    """
    mixed = [
        n for n in frame if frame[n].dtype == object and len(set(map(type, frame[n].dropna()))) > 1
    ]
    return frame.assign(**{str(name): frame[name].map(_encoded) for name in mixed})


def _encoded(value: Any) -> Any:
    return frames.encode(value) if isinstance(value, str) or not pd.isna(value) else None
