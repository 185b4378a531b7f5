"""The frames that a report is made from, out of what a store keeps: tags, metrics, parameters and CSV files."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

RUN_DTYPES = {
    "arm": "str",
    "phase": "str",
    "index": "int64",
    "seed": "str",
    "state": "str",
    "objective": "float64",
    "validation/loss": "float64",
    "test/loss": "float64",
    "train/loss": "float64",
    "num_parameters": "Int64",
    "num_states": "Int64",
    "tokens": "Int64",
    "seconds": "float64",
    "engine": "str",
    "device": "str",
    "precision": "str",
    "threads": "Int64",
    "pack_size": "Int64",
    "params": "object",
    "samples": "object",
}
PLACE_DTYPES = {"arm": "str", "phase": "str", "index": "int64"}
CURVE_DTYPES = {
    "update": "int64",
    "tokens": "int64",
    "time_seconds": "float64",
    "train/loss": "float64",
    "validation/loss": "float64",
}
TIMING_DTYPES = {
    "mode": "str",
    "pack": "int64",
    "round": "int64",
    "seconds": "float64",
    "tokens_per_second": "float64",
    "engine": "str",
    "device": "str",
    "precision": "str",
    "threads": "int64",
    "busy": "bool",
}
LARGEST_FLOAT = 1.7976931348623157e308  # what MLflow's SQL stores keep in place of an infinity


@dataclass(frozen=True)
class StoredRun:
    """A trial or a replicate as it is stored. Parameters are texts of :func:`encode`."""

    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    samples: Sequence[Mapping[str, str]]
    is_over: bool


def encode(value: Any) -> str:
    """Returns a text that reads well and that :func:`decode` turns back into the value, its type included.

    >>> encode(0.1), encode("sgd"), encode(None), encode("1")
    ('0.1', 'sgd', 'null', '"1"')
    """
    if isinstance(value, str) and decode(value) == value:
        return value
    return json.dumps(value)


def decode(text: str) -> Any:
    """Returns the value that :func:`encode` wrote.

    >>> decode("0.1"), decode("sgd"), decode("null"), decode('"1"')
    (0.1, 'sgd', None, '1')
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def runs(stored: Iterable[StoredRun]) -> pd.DataFrame:
    """Returns one row per run, with the columns of :data:`RUN_DTYPES`, ordered by arm, phase and index.

    Counts are missing until known, numbers NaN; a run that is not over has state "running".
    """
    frame = pd.DataFrame([_row(run) for run in stored], columns=list(RUN_DTYPES))
    return frame.astype(RUN_DTYPES).sort_values(list(PLACE_DTYPES), ignore_index=True)


def _row(run: StoredRun) -> dict[str, Any]:
    row: dict[str, Any] = {"params": {key: decode(value) for key, value in run.params.items()}}
    row["samples"] = [dict(sample) for sample in run.samples]
    for column, dtype in RUN_DTYPES.items():
        if dtype == "float64":
            row[column] = _infinite(run.metrics.get(column, math.nan))
        elif dtype in ("Int64", "int64"):
            count = run.metrics.get(column, run.tags.get(column))
            row[column] = pd.NA if count is None else int(count)
        elif dtype == "str":
            row[column] = run.tags.get(column)
    return row if run.is_over else {**row, "state": "running"}


def _infinite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= LARGEST_FLOAT else value


def curves(stored: Iterable[tuple[str, str, int, bytes]]) -> pd.DataFrame:
    """Returns the rows of (arm, phase, index, CSV) under their place, all metric columns of all of them."""
    frames = [_empty(PLACE_DTYPES | CURVE_DTYPES)]
    for arm, phase, index, content in stored:
        if not content.strip():  # a run that ended before its first evaluation point
            continue
        rows = _read_csv(content, CURVE_DTYPES)
        place = pd.DataFrame({"arm": arm, "phase": phase, "index": index}, index=rows.index)
        frames.append(pd.concat([place, rows], axis=1))
    return _stack(frames, by=list(PLACE_DTYPES))


def timings(stored: Iterable[tuple[str, bytes]]) -> pd.DataFrame:
    """Returns the rows of (arm, CSV) under their arm, with the columns of :data:`TIMING_DTYPES`."""
    frames = [_empty({"arm": "str"} | TIMING_DTYPES)]
    for arm, content in stored:
        rows = _read_csv(content, TIMING_DTYPES)
        rows.insert(0, "arm", arm)
        frames.append(rows)
    return _stack(frames, by=["arm"])


def timings_csv(rows: pd.DataFrame) -> str:
    """Returns one arm's timings as :func:`timings` reads them."""
    return rows[list(TIMING_DTYPES)].to_csv(index=False)


def read_export(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns runs, curves and timings as ``harness export`` wrote them into ``folder``."""
    runs = pd.read_csv(folder / "runs.csv", dtype={**RUN_DTYPES, "params": "object"})
    columns = [name for name in map(str, runs) if name.startswith("params.")]
    values = runs[columns].astype(object).to_dict("records")
    params = [{str(k).removeprefix("params."): v for k, v in row.items() if pd.notna(v)} for row in values]
    runs["params"] = pd.Series(params, index=runs.index, dtype=object)
    runs["samples"] = pd.Series([json.loads(text) for text in runs["samples"]], index=runs.index, dtype=object)
    curves = pd.read_csv(folder / "curves.csv", dtype={**PLACE_DTYPES, **CURVE_DTYPES})
    timings = pd.read_csv(folder / "timings.csv", dtype={"arm": "str", **TIMING_DTYPES})
    return runs.drop(columns=columns), curves, timings


def sample_files(samples: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns samples of {prefix, text} as files: JSON to be read back, and text for a person."""
    if not samples:
        return {}
    readable = "\n".join(f"[{sample['prefix']}] {sample['text']}\n" for sample in samples)
    return {"samples.json": json.dumps(list(samples), ensure_ascii=False, indent=1), "samples.txt": readable}


def _read_csv(content: bytes, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Reads columns of these dtypes, any other as float64; numbers through texts, exact to the last bit."""
    frame = pd.read_csv(io.BytesIO(content), dtype="str")
    for name in map(str, frame.columns):
        dtype = dtypes.get(name, "float64")
        if dtype == "bool":
            frame[name] = frame[name] == "True"
        elif dtype != "str":
            frame[name] = frame[name].astype("float64")  # counts too: "64.0"
    return frame.astype({name: dtype for name, dtype in dtypes.items() if name in frame})


def _empty(dtypes: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(dtypes)).astype(dtypes)


def _stack(frames: Sequence[pd.DataFrame], by: Sequence[str]) -> pd.DataFrame:
    """Stacks frames, whatever their order, sorted; the first is empty and counts only where it is alone."""
    stacked = pd.concat(frames[1:] or frames, ignore_index=True)
    return stacked.sort_values(list(by), kind="stable", ignore_index=True)
