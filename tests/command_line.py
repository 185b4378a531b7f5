"""`harness` in a process of its own."""

import subprocess
import sys


def harness(*words, cwd):
    """Runs a command and returns how it ended and what it said."""
    command = [sys.executable, "-m", "harness.cli", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
