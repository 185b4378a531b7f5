"""The names of the files that a run leaves, and how a file is written: known without torch."""

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The system's codes of a disk without room."""
MODEL_FILE = "model.npz"
"""The name of a run's model among its artifacts."""
STATES_FILE = "states.json"
"""The name of a run's :class:`harness.training.state_statistics.StateStatistics` there."""
FORECAST_FILE = "forecast.csv"
"""The name of what :func:`harness.training.forecast_file.forecast_csv` wrote there."""


def checkpoint_name(run_id: str) -> str:
    """Returns the name of a run's checkpoint, which is safe whatever the run's id is."""
    return f"{hashlib.sha256(run_id.encode()).hexdigest()[:24]}.checkpoint"


def make_within(home: Path, folder: Path) -> None:
    """Makes a folder below another one that must be there: one that was moved is not made again.

    A folder of results that is moved while its study runs would else leave what looks like another
    study in its place.

    Raises:
        OSError: The other one is gone, or nothing can be made in it.
    """
    if not home.is_dir():
        raise OSError(errno.ESTALE, "The folder was moved or removed", str(home))
    folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, *contents: bytes, partial: Path | None = None) -> None:
    """Writes a file beside its place, to the disk, and moves it there.

    Whoever is killed in between leaves the old file, or none, but never half of the new one.

    Args:
        path: The file.
        contents: What it holds, one after the other.
        partial: What lies beside its place meanwhile; by default a hidden file.

    Raises:
        OSError: It cannot be written. It names the file, which the system's own error of a write
            does not; where the disk is full, a note says how much must find room.
    """
    partial = partial or path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        told = OSError(error.errno, error.strerror, str(path))
        if error.errno in FULL:
            told.add_note(f"at least {sum(map(len, contents)):,} bytes must find room")
        raise told from error
    finally:
        with suppress(OSError):  # it must not hide what was wrong
            partial.unlink(missing_ok=True)
