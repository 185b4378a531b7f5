"""The folder of what can be made again, such as compiled cells."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the folder of what can be had again: HARNESS_CACHE, else the platform's.

    It need not exist.
    """
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named).expanduser()
    try:
        import platformdirs  # imported late: a worker may lack it
    except ImportError:
        return Path.home() / ".cache" / "harness"
    return platformdirs.user_cache_path("harness", appauthor=False)
