"""The names of the files that a run leaves, and how a file is written: known without torch."""

import hashlib
import os
from pathlib import Path

MODEL_FILE = "model.npz"
"""The name of a run's model among its artifacts."""
STATES_FILE = "states.json"
"""The name of a run's :class:`harness.training.state_statistics.StateStatistics` there."""
FORECAST_FILE = "forecast.csv"
"""The name of what :func:`harness.training.forecast_file.forecast_csv` wrote there."""


def checkpoint_name(run_id: str) -> str:
    """Returns the name of a run's checkpoint, which is safe whatever the run's id is."""
    return f"{hashlib.sha256(run_id.encode()).hexdigest()[:24]}.checkpoint"


def write_whole(path: Path, *contents: bytes, partial: Path | None = None) -> None:
    """Writes a file beside its place, to the disk, and moves it there.

    Whoever is killed in between leaves the old file, or none, but never half of the new one.

    Args:
        path: The file.
        contents: What it holds, one after the other.
        partial: What lies beside its place meanwhile; by default a hidden file.
    """
    partial = partial or path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
