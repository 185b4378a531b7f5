"""The plan that ``make gpu`` trains, and its records of a CPU; ``make gpu-plan``.

Both are committed, since the machine with the GPU has nothing that makes them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "gpu"


def main() -> int:
    """Writes plan.json and cpu.jsonl beside the study and returns the exit code."""
    plan = FOLDER / "plan.json"
    with tempfile.TemporaryDirectory() as folder:
        harness = [
            sys.executable,
            "-m",
            "harness.cli",
            "plan",
            str(FOLDER / "study.yaml"),
            str(plan),
        ]
        code = subprocess.run([*harness, "--folder", folder, "--force"]).returncode
    if code:
        return code
    words = [sys.executable, "-m", "harness.train", str(plan)]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=hidden)
    records = "".join(f"{without_model(line)}\n" for line in done.stdout.splitlines())
    (FOLDER / "cpu.jsonl").write_text(records, encoding="utf-8")
    return done.returncode


def without_model(line: str) -> str:
    """Returns a record without the trained parameters, which are most of it."""
    record = json.loads(line)
    record.pop("model", None)
    return json.dumps(record)


if __name__ == "__main__":
    sys.exit(main())
