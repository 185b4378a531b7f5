"""Files for what is too long for a message: the traceback of an error that nobody foresaw."""

import os
import tempfile
from datetime import datetime
from pathlib import Path

from harness.cache import cache_folder

MAX_LOGS = 50
"""So many logs are kept; the oldest go."""


def write_log(text: str) -> Path | None:
    """Writes a text to a file that its owner alone can read; None where there is no place for it.

    It lies in ``logs`` of the cache's folder, else in the system's folder of temporary files.
    """
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    for folder in (cache_folder() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / (name if folder.name == "logs" else f"harness-{name}")
            # A new file alone: a link that somebody planted under its name is not followed.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            _forget_old_logs(folder)
        except OSError:
            continue
        return path
    return None


def _forget_old_logs(folder: Path) -> None:
    if folder.name != "logs":  # the system's folder holds files of others
        return
    for path in sorted(folder.glob("*.log"))[:-MAX_LOGS]:
        path.unlink(missing_ok=True)
