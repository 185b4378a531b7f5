"""A process that is interrupted while compilers work ends at once, and they with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SLOW = """#!/bin/sh
[ "$1" = --version ] && exit
sleep 3000 &
touch "$0.$$" "$0.$!"
wait
"""
"""Has another program do the work, as g++ does."""
PROGRAM = """
import sys, threading, time
from pathlib import Path
import cells
from harness.engine import ending, get
from harness.engine.cpu import compiler
from harness.store import signals
from harness.training import threads

def tell(slow):
    while len(list(slow.parent.glob("slow.*"))) < 4 or len(compiler._running) < 2:
        time.sleep(0.01)
    (slow.parent / "known").touch()

def refuse():
    threading.Thread(target=tell, args=[Path(compiler.find()[0])], daemon=True).start()
    get("cpu").refusal(cells.find("rnn-tanh"), "cpu", "float32")

"""
ENDS = {
    "of the interpreter": "refuse()",
    "with a thread that is left": """
threads.END_SECONDS = 0.0
pool = threads.Threads(1, int)
pool.submit(time.sleep, 3000)
try:
    refuse()
finally:
    print("KeyboardInterrupt", file=sys.stderr)
    pool.end()
    ending.leave(130)
""",
    "by a second signal": """
signals.SECOND_SECONDS = 0.0
with signals.handled():
    try:
        refuse()
    finally:
        print("KeyboardInterrupt", file=sys.stderr, flush=True)
        time.sleep(3000)
""",
}


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


@pytest.mark.parametrize("end", ENDS)
def test_who_interrupts_waits_for_no_compiler(tmp_path, end):
    slow = tmp_path / "slow"
    slow.write_text(SLOW)
    slow.chmod(0o700)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + ENDS[end]],
        env={**os.environ, "CXX": str(slow), "HARNESS_CACHE": str(tmp_path / "cache")},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # One compiles the cell for the main thread, one what all cells share for another.
        assert wait_for((tmp_path / "known").exists)
        process.send_signal(signal.SIGINT)
        assert any("KeyboardInterrupt" in line for line in process.stderr)
        if end == "by a second signal":
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    finally:
        process.kill()
    compilers = [path.suffix.removeprefix(".") for path in tmp_path.glob("slow.*")]
    assert wait_for(lambda: not any(map(is_alive, compilers)))
