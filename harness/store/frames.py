"""The frames that a report is made from.

They come from the tags, metrics, parameters and CSV files that a store keeps.
"""

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from harness.store.columns import (
    ALL_STATES,
    ARM_DTYPES,
    BESIDE_TEST,
    CURVE_DTYPES,
    ERROR_PREFIXES,
    FORECAST_DTYPES,
    KEY_DTYPES,
    RUN_DTYPES,
    STATE_DTYPES,
    TIMING_DTYPES,
    UNIT_DTYPES,
    stored_name,
)
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState
from harness.training.state_statistics import StateStatistics

STATE_NUMBERS = (
    "rms",
    "median",
    "percentile_90",
    "percentile_99",
    "largest",
    "saturated",
)
"""The numbers that a state has one of."""
EXCERPT_LENGTH = 60
"""The most characters of a sample where a row has place for one line."""
LARGEST_COUNT = 2**63 - 1
LARGEST_FLOAT = 1.7976931348623157e308  # what MLflow's SQL stores keep in place of an infinity


@dataclass(frozen=True)
class StoredRun:
    """A trial or a replicate as it is stored. Parameters are texts of :func:`encode`."""

    run_id: str
    unit: Unit
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    samples: Sequence[Mapping[str, str]]
    is_over: bool
    start_time: int | None = None


def moment(seconds: float) -> str:
    """Returns a time in Unix seconds as a date and a time of day in UTC.

    >>> moment(1_795_747_235.6)
    '2026-11-27T02:40:35Z'
    """
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def encode(value: Any) -> str:
    """Returns a text that reads well and that :func:`decode` turns back into the value.

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
    except (ValueError, RecursionError):  # also a number of thousands of digits
        return text


def runs(stored: Iterable[StoredRun]) -> pd.DataFrame:
    """Returns one row per run, ordered by arm, phase and index.

    Its columns are those of :data:`RUN_DTYPES`, and what any run has of :data:`UNIT_DTYPES` and of
    the errors of forecasts, :data:`ERROR_PREFIXES`, and what is told beside, :data:`BESIDE_TEST`.

    Counts are missing until known, numbers NaN; a run that is not over has state "running".
    """
    known = [_renamed(run) for run in stored]
    names = sorted({name for run in known for name in run.metrics})
    units = {name: dtype for name, dtype in UNIT_DTYPES.items() if name in names}
    told = [n for n in names if n.startswith(ERROR_PREFIXES) or BESIDE_TEST.fullmatch(n)]
    dtypes = RUN_DTYPES | units | dict.fromkeys(told, "float64")
    frame = pd.DataFrame([_row(run, dtypes) for run in known], columns=list(dtypes))
    return frame.astype(dtypes).sort_values(list(KEY_DTYPES), ignore_index=True)


def _renamed(run: StoredRun) -> StoredRun:
    """Returns a run whose metrics have the names of this version."""
    if not any(name.startswith("test_") for name in run.metrics):
        return run
    return replace(run, metrics={stored_name(name): run.metrics[name] for name in run.metrics})


def _row(run: StoredRun, dtypes: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"params": {key: decode(value) for key, value in run.params.items()}}
    row["samples"] = [dict(sample) for sample in run.samples]
    versions = {
        tag.removeprefix("version_"): text
        for tag, text in run.tags.items()
        if tag.startswith("version_")
    }
    given = {
        "draw": 0,
        **run.tags,
        **run.unit._asdict(),
        "hidden_size": run.params.get("hidden_size"),
        "run_id": run.run_id,
    }
    if "started" not in given and run.start_time is not None:  # written before the tag was
        given["started"] = moment(run.start_time / 1000)
    given["versions"] = (
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or None
    )
    for column, dtype in dtypes.items():
        if dtype == "float64":
            row[column] = _infinite(run.metrics.get(column, math.nan))
        elif dtype in ("Int64", "int64"):
            row[column] = _count(run.metrics.get(column, given.get(column)))
        elif dtype == "boolean":
            row[column] = given[column] == "True" if column in given else None
        elif dtype == "str":
            row[column] = given.get(column)
    return row if run.is_over else {**row, "state": str(RunState.RUNNING)}


def _count(value: Any) -> Any:
    """Returns a whole number that a frame can hold; missing for any other value.

    Whatever a store holds, what else it holds can be read.
    """
    try:
        count = int(value)
    except (OverflowError, TypeError, ValueError):  # infinite, none, a text of something else
        return pd.NA
    return count if abs(count) <= LARGEST_COUNT else pd.NA


def unit_of_row(row: Mapping[Any, Any]) -> Unit:
    """Returns the unit of a row of :func:`runs` or :func:`curves`."""
    return Unit(row["arm"], row["condition"], row["repeat"])


def key_of_row(row: Mapping[Any, Any]) -> RunKey:
    """Returns the key of a row of :func:`runs` or :func:`curves`, whose phase is one of Phase."""
    return RunKey(unit_of_row(row), Phase(row["phase"]), row["index"], row["draw"])


def finite(value: float) -> float:
    """Returns a number as MLflow's SQL stores keep it: an infinity as the largest float."""
    return math.copysign(LARGEST_FLOAT, value) if math.isinf(value) else value


def _infinite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= LARGEST_FLOAT else value


def curves(stored: Iterable[tuple[Unit, str, int, int, bytes]]) -> pd.DataFrame:
    """Returns the rows of (unit, phase, index, draw, CSV) under these, with all metric columns."""
    # Files of one header are parsed as one: a thousand of them in a second instead of five.
    texts: dict[bytes, list[bytes]] = {}
    keys: dict[bytes, list[tuple[Any, ...]]] = {}
    counts: dict[bytes, list[int]] = {}
    for unit, phase, index, draw, content in stored:
        header, _, rows = content.strip().partition(b"\n")
        if not header:  # a run that ended before its first evaluation point
            continue
        texts.setdefault(header, []).extend([rows] if rows else [])
        keys.setdefault(header, []).append(
            (unit.condition, unit.arm, unit.repeat, phase, index, draw)
        )
        counts.setdefault(header, []).append(len(rows.splitlines()))
    frames = [_empty(KEY_DTYPES | CURVE_DTYPES)]
    for header, parts in texts.items():
        curve = _read_csv(b"\n".join([header, *parts]), CURVE_DTYPES)
        key = pd.DataFrame(keys[header], columns=list(KEY_DTYPES))
        key = key.loc[key.index.repeat(counts[header])].set_axis(curve.index)
        frames.append(pd.concat([key, curve], axis=1))
    return _stack(frames, by=list(KEY_DTYPES))


def states(stored: Iterable[tuple[Unit, str, int, int, bytes]]) -> pd.DataFrame:
    """Returns the numbers of (unit, phase, index, draw, ``states.json``), a row each.

    Their columns are the key's and those of :data:`STATE_DTYPES`.
    """
    rows: list[tuple[Any, ...]] = []
    for unit, phase, index, draw, content in stored:
        statistics = StateStatistics.from_json(content.decode())
        key = (unit.condition, unit.arm, unit.repeat, phase, index, draw)
        rows += [(*key, *row) for row in _state_rows(statistics)]
    dtypes = KEY_DTYPES | STATE_DTYPES
    frame = pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
    return frame.sort_values(list(KEY_DTYPES), kind="stable", ignore_index=True)


def _state_rows(statistics: StateStatistics) -> Iterator[tuple[int, str, str, int, float]]:
    for each in statistics.states:
        for name in STATE_NUMBERS:
            yield each.layer, each.state, name, 0, getattr(each, name)
        for step, norm in enumerate(each.gradient_norms, 1):
            yield each.layer, each.state, "gradient_norm", step, norm
    for step, norm in enumerate(statistics.gradient_norms, 1):
        yield -1, ALL_STATES, "gradient_norm", step, norm


def timings(stored: Iterable[tuple[Unit, bytes]]) -> pd.DataFrame:
    """Returns the rows of (unit, CSV) under their condition and arm.

    Their columns are those of :data:`TIMING_DTYPES`.
    """
    frames = [_empty(ARM_DTYPES | TIMING_DTYPES)]
    for unit, content in stored:
        rows = _read_csv(content, TIMING_DTYPES)
        rows.insert(0, "condition", unit.condition)
        rows.insert(1, "arm", unit.arm)
        frames.append(rows)
    return _stack(frames, by=list(ARM_DTYPES))


def forecasts(stored: Iterable[tuple[Unit, bytes]]) -> pd.DataFrame:
    """Returns the rows of (unit, ``forecast.csv``) under their condition and arm, in their order.

    Their columns are those of :data:`FORECAST_DTYPES`.
    """
    dtypes = ARM_DTYPES | FORECAST_DTYPES
    frames = [_empty(dtypes)]
    for unit, content in stored:
        rows = _read_csv(content, FORECAST_DTYPES)
        frames.append(
            rows.assign(condition=unit.condition, arm=unit.arm).reindex(columns=[*dtypes])
        )
    return _stack(frames, by=list(ARM_DTYPES)).astype(dtypes)


def timings_csv(rows: pd.DataFrame) -> str:
    """Returns one arm's timings as :func:`timings` reads them."""
    return rows[list(TIMING_DTYPES)].to_csv(index=False)


def simple_errors(noted: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """Returns the errors of simple forecasters that notes have by condition, a row each."""
    rows = [{"condition": name, **row} for name, errors in noted.items() for row in errors]
    return pd.DataFrame(rows)


def read_forecasts(
    folder: Path,
) -> tuple[dict[str, list[dict[str, Any]]], pd.DataFrame] | tuple[None, None]:
    """Returns the errors of simple forecasters, as notes have them, and the forecasts of an export.

    Both are None where the study forecasts nothing.
    """
    path = folder / "simple_errors.csv"
    if not path.exists():
        return None, None
    table = pd.read_csv(path, dtype={"condition": "object", "remark": "object"})
    table = table.fillna({"condition": "", "remark": ""})
    errors: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        values = {str(name): value for name, value in row.items()}
        errors.setdefault(values.pop("condition"), []).append(values)
    forecasts = pd.read_csv(folder / "forecasts.csv", dtype=ARM_DTYPES | FORECAST_DTYPES)
    return errors, forecasts.fillna({"condition": ""})


def read_export(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns runs, curves and timings as ``harness export`` wrote them into ``folder``."""
    runs = pd.read_csv(folder / "runs.csv", dtype={**RUN_DTYPES, "params": "object"})
    runs = runs.rename(columns=stored_name)
    columns = [name for name in map(str, runs) if name.startswith("params.")]
    values = {name.removeprefix("params."): runs[name].astype(object).tolist() for name in columns}
    params = [
        {name: column[i] for name, column in values.items() if pd.notna(column[i])}
        for i in range(len(runs))
    ]
    runs["params"] = pd.Series(params, index=runs.index, dtype=object)
    runs["samples"] = pd.Series(
        [json.loads(text) for text in runs["samples"]], index=runs.index, dtype=object
    )
    curves = pd.read_csv(folder / "curves.csv", dtype={**KEY_DTYPES, **CURVE_DTYPES})
    timings = pd.read_csv(folder / "timings.csv", dtype={**ARM_DTYPES, **TIMING_DTYPES})
    runs = _completed(runs.drop(columns=columns), RUN_DTYPES)
    sizes = pd.Series(
        [values.get("hidden_size") for values in params], index=runs.index, dtype="Int64"
    )
    runs["hidden_size"] = runs["hidden_size"].fillna(sizes)
    curves, timings = (
        _completed(curves, KEY_DTYPES | CURVE_DTYPES),
        _completed(timings, ARM_DTYPES | TIMING_DTYPES),
    )
    return runs, curves, timings


def _completed(frame: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Returns an export with the columns that later versions added.

    Before them there was one condition, one repeat, and one seed a trial.
    """
    absent = [name for name in dtypes if name not in frame and name != "condition"]
    empty = {name: 0 if name in ("repeat", "draw") else None for name in absent}
    filled = frame.assign(
        condition=frame["condition"].fillna("") if "condition" in frame else "", **empty
    )
    others = [name for name in map(str, filled) if name not in dtypes]
    return filled[[*(name for name in dtypes if name in filled), *others]].astype(
        {n: dtypes[n] for n in absent}
    )


def sample_files(samples: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns samples of {prefix, text} as files: JSON to be read back, and text for a person."""
    if not samples:
        return {}
    readable = "\n".join(
        (f"after update {s['update']}: " if "update" in s else "")
        + (f"at temperature {s['temperature']}: " if "temperature" in s else "")
        + f"[{s['prefix']}] {s['text']}\n"
        for s in samples
    )
    return {
        "samples.json": json.dumps(list(samples), ensure_ascii=False, indent=1),
        "samples.txt": readable,
    }


def excerpt(samples: Sequence[Mapping[str, Any]]) -> str:
    """Returns the beginning of what a run wrote last after its first prefix, or nothing.

    That is the likeliest text where there is one, and not a drawn one.

    >>> excerpt([{"prefix": "the ", "text": "the c", "update": 5}])
    'the c'
    """
    if not samples:
        return ""
    prefix = samples[0]["prefix"]
    texts = [sample for sample in samples if sample["prefix"] == prefix]
    likeliest = [sample for sample in texts if "temperature" not in sample]
    text: str = (likeliest or texts)[-1]["text"]  # which begins with the prefix
    return text if len(text) <= EXCERPT_LENGTH else f"{text[: EXCERPT_LENGTH - 1]}…"


def _read_csv(content: bytes, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Reads columns of these dtypes, and any other as float64.

    Numbers are read as texts first, so that they are exact to the last bit.
    """
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
    """Stacks frames and sorts them; the first is empty and counts only where it is alone."""
    stacked = pd.concat(frames[1:] or frames, ignore_index=True)
    return stacked.sort_values(list(by), kind="stable", ignore_index=True)
