"""A process that is interrupted while compilers work ends at once, and they with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SLOW = """#!/bin/sh
[ "$1" = --version ] || { touch "$0.$$"; exec sleep 3000; }
"""
PROGRAM = """
import cells
from harness.engine import get
get("cpu").refusal(cells.find("rnn-tanh"), "cpu", "float32")
"""


def is_alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_who_interrupts_waits_for_no_compiler(tmp_path):
    slow = tmp_path / "slow"
    slow.write_text(SLOW)
    slow.chmod(0o700)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "CXX": str(slow), "HARNESS_CACHE": str(tmp_path / "cache")},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # One compiles the cell for the main thread, one what all cells share for another.
        assert wait_for(lambda: len(list(tmp_path.glob("slow.*"))) == 2)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=300)[1]
    finally:
        process.kill()
    compilers = [path.suffix.removeprefix(".") for path in tmp_path.glob("slow.*")]
    assert wait_for(lambda: not any(map(is_alive, compilers)))
