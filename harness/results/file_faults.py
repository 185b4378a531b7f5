"""What is wrong with the files that runs and searches leave: each is read whole."""

import hashlib
import io
import json
from pathlib import Path

from harness.store.reader import StudyReader
from harness.store.rows import RunRow
from harness.study.units import Unit
from harness.training.files import FORECAST_FILE, MODEL_FILE, STATES_FILE

CHECKSUM_BYTES = 32


def artifact_fault(reader: StudyReader, run: RunRow) -> str | None:
    """Returns what is wrong with the files of a run that ended; None where nothing is."""
    curve = reader.artifact_of(run, "curve.csv")
    if curve is None:
        return "curve.csv is missing"
    for name, whole in (
        ("curve.csv", _is_curve),
        ("samples.json", _is_json),
        (FORECAST_FILE, _is_forecast),
        (STATES_FILE, _is_json),
        (MODEL_FILE, _is_model),
    ):
        content = curve if name == "curve.csv" else reader.artifact_of(run, name)
        if content is not None and not whole(content):
            return f"{name} is damaged"
    return None


def checkpoint_fault(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint's file; None where nothing is."""
    from harness.training import npz

    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if hashlib.sha256(content[CHECKSUM_BYTES:]).digest() != content[:CHECKSUM_BYTES]:
        return "damaged"
    try:
        npz.from_bytes(content[CHECKSUM_BYTES:])
    except npz.ArraysError:
        return "holds what this bench does not write"
    return None


def journal_fault(path: Path, *, whole: bool) -> str | None:
    """Returns what is wrong with a journal of Optuna's; None where nothing is."""
    if path.is_dir():
        return "is a folder"
    if not whole:
        return None
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                # One that was cut off is the last; it is passed over, and gone before the next.
                if line.endswith(b"\n") and not _is_json(line):
                    return f"line {number} is damaged"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _is_curve(content: bytes) -> bool:
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(content))
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError):
        return not content.strip()
    return "update" in frame and frame["update"].is_monotonic_increasing


def _is_forecast(content: bytes) -> bool:
    from harness.store import frames

    try:
        return not frames.forecasts([(Unit(""), content)])["truth"].isna().any()
    except (KeyError, OverflowError, ValueError):  # pandas' own errors are ValueErrors
        return False


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _is_model(content: bytes) -> bool:
    from harness.training import npz

    try:
        npz.from_bytes(content)
    except npz.ArraysError:
        return False
    return True
