"""Small studies in a loop, half of them killed, and whether anything of the process or disk grows.

``make soak`` runs for half an hour. One process runs study after study in new folders; between them
other studies are killed at random and end. After each pair a sample is taken: memory, descriptors
and threads of the first process, files in the folder of temporary files and in that of the cache,
which both have to themselves. All samples go to studies/bench/soak.json, and the exit code is 1
where one of them grows, or where a launch ended in an error.
"""

import argparse
import gc
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import kills
import psutil
import small_study
from forking import Forking
from rich.console import Console
from rich.table import Table

from harness import provenance
from harness.store.locations import Locations

OUT = kills.OUT / "soak.json"
LIMITS = {
    "memory_bytes": 32 * 2**20,
    "descriptors": 3,
    "threads": 2,
    "temporary_files": 3,
    "cache_files": 0,
}
"""By how much the median of the last third may exceed that of the first.

A study that left behind what it once did, 4 descriptors and 10 MB, exceeds them after a dozen.
"""
NUM_WARM = 3
"""So many first samples do not count: libraries are loaded, cells compiled, caches filled."""
FEWEST = NUM_WARM + 9
"""Fewer samples say nothing: a third of them would be a single one or two."""


def grown(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns by how much each of what is watched has grown, from the first third to the last.

    Raises:
        ValueError: There are too few samples.
    """
    if len(samples) < FEWEST:
        raise ValueError(
            f"soak: at least {FEWEST} studies must have run, but got {len(samples)}. Give more "
            "--minutes."
        )
    counted = samples[NUM_WARM:]
    third = len(counted) // 3
    return {
        name: statistics.median(each[name] for each in counted[-third:])
        - statistics.median(each[name] for each in counted[:third])
        for name in LIMITS
    }


def too_large(growths: Mapping[str, float]) -> list[str]:
    """Returns what has grown by more than it may."""
    return [name for name, growth in growths.items() if growth > LIMITS[name]]


def one_process() -> None:
    """Runs a study for each folder that standard input names, and prints a sample after it."""
    from harness.runner import launch

    process = psutil.Process()
    for line in sys.stdin:
        folder = Path(line.strip())
        path = small_study.write(folder, trials=2, seeds=2, updates=16)
        launch.run(path, locations=Locations(folder), console=Console(quiet=True), force=True)
        gc.collect()  # what is not collected yet is not held
        sample = {
            "memory_bytes": process.memory_info().rss,
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
        }
        print(json.dumps(sample), flush=True)


class OneProcess:
    """A process that runs studies one after another."""

    def __enter__(self) -> "OneProcess":
        command = [sys.executable, __file__, "--one-process"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=600)

    def run(self, folder: Path) -> dict[str, float]:
        """Runs a study in a new folder, and returns the sample that was taken after it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit("soak: the process that runs study after study has ended, as it said")


def num_files(folder: Path) -> int:
    """Returns how many files and folders there are below a folder."""
    return sum(1 for _ in folder.rglob("*"))


def soak(seconds: float, seed: int, root: Path) -> list[dict[str, Any]]:
    """Returns a sample for each pair of studies, one left in peace and one killed."""
    draw = random.Random(seed)
    samples: list[dict[str, Any]] = []
    folders = {"TMPDIR": root / "tmp", "HARNESS_CACHE": root / "cache"}
    for name, folder in folders.items():
        folder.mkdir()
        os.environ[name] = str(folder)  # of the processes that are started
    with Forking() as driver, OneProcess() as process:
        whole = root / "whole"
        _, launch_seconds = kills.undisturbed(kills.Files(), driver, whole)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            sample: dict[str, Any] = {"study": len(samples) + 1, **process.run(root / "study")}
            ended, _ = kills.kill_study(
                kills.Files(), driver, root / "killed", draw, launch_seconds, kills.MOST_KILLS
            )
            for study in ("study", "killed"):
                shutil.rmtree(root / study)
            sample["temporary_files"] = num_files(folders["TMPDIR"])
            sample["cache_files"] = num_files(folders["HARNESS_CACHE"])
            sample |= {"kills": len(ended.killed), "bad_ends": ended.bad_ends}
            sample["minutes"] = round((time.monotonic() - begun) / 60, 2)
            print(json.dumps(sample), flush=True)
            samples.append(sample)
    return samples


def print_table(samples: Sequence[Mapping[str, Any]], growths: Mapping[str, float]) -> None:
    """Prints what was watched, at the first sample that counts and at the last."""
    table = Table("", "first", "last", "grown", "may grow by", "")
    first, last, wrong = samples[NUM_WARM], samples[-1], too_large(growths)
    for name, growth in growths.items():
        numbers = [f"{each:,.0f}" for each in (first[name], last[name], growth, LIMITS[name])]
        table.add_row(name, *numbers, "GROWS" if name in wrong else "flat")
    Console().print(table)


def main() -> None:
    """Soaks, and ends with 1 where something grows or a launch ended in an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--one-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_process:
        return one_process()
    with tempfile.TemporaryDirectory() as root:
        samples = soak(60 * arguments.minutes, arguments.seed, Path(root))
    known = {"date": date.today().isoformat(), "seed": arguments.seed, **provenance.describe("cpu")}
    sums = {"studies": 2 * len(samples), "kills": sum(each["kills"] for each in samples)}
    try:
        growths = grown(samples)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    text = json.dumps({**known, **sums, "grown": growths, "limits": LIMITS, "samples": samples})
    arguments.out.write_text(f"{text}\n", encoding="utf-8")
    print_table(samples, growths)
    is_sound = not too_large(growths) and not any(each["bad_ends"] for each in samples)
    sys.exit(0 if is_sound else 1)


if __name__ == "__main__":
    main()
