"""How long the report of a large study takes, from its store on disk.

The study has 20 arms, 50 seeds and 200 points a curve. ``make large`` plants the study's records in
a real store (minutes), reads them back and makes the page, in a process of its own, and writes
studies/bench/report.json: seconds by step, bytes, machine and versions.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from harness import provenance, study
from harness.report.assemble import build_report
from harness.results.open import open_study
from harness.store.locations import Locations
from harness.store.writer import StudyWriter
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState

OUT = Path(__file__).resolve().parent.parent / "studies" / "bench" / "report.json"
NUM_ARMS, NUM_SEEDS, NUM_POINTS = 20, 50, 200
YAML = """\
study: large
version: 1
question: How long does the report of a large study take?
compare:
  arms: {%s}
  baseline: arm-01
fix: {cell: lstm, corpus: python-docs, budget: {updates: 4000}, evaluations: 200}
replicate: {seeds: 50}
measure: {runtime: {rounds: 20}}
"""


def plant(folder: Path) -> Path:
    """Writes the study and its records into a store in ``folder`` and returns the study's path."""
    path = folder / "large.yaml"
    arms = ", ".join(f"arm-{i:02}: {{hidden_size: {8 + i}}}" for i in range(1, NUM_ARMS + 1))
    path.write_text(YAML % arms, encoding="utf-8")
    loaded, locations = study.load(path), Locations(folder)
    writer = StudyWriter(locations.tracking_uri, loaded.name, locations.artifacts)
    writer.set_identity(loaded.identity())
    rng = np.random.default_rng(0)
    for arm in loaded.arms:
        for index in range(NUM_SEEDS):
            plant_run(writer, arm, index, rng)
        writer.store_timings(timings(arm.name, rng))
    return path


def plant_run(writer: StudyWriter, arm: study.Arm, index: int, rng: np.random.Generator) -> None:
    """Plants one replicate: a curve that falls to a loss that depends on its arm and its seed."""
    updates = np.arange(1, NUM_POINTS + 1) * 20
    assert arm.settings.hidden_size is not None  # as the study says
    loss = 1.6 + arm.settings.hidden_size / 500 + rng.normal(0, 0.02) + 2.0 * np.exp(-updates / 500)
    curve = pd.DataFrame(
        {"update": updates, "tokens": updates * 1120, "time_seconds": updates * 0.01}
    )
    curve = curve.assign(
        **{"train/loss": loss - 0.1, "validation/loss": loss + rng.normal(0, 0.005, NUM_POINTS)}
    )
    tags = {
        "seed": str(1000 + index),
        "engine": "cpu",
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
    }
    key = RunKey(Unit(arm.name), Phase.REPLICATE, index)
    run_id = writer.open_run(key, f"{arm.name} {index}", {"hidden_size": 64}, tags)
    for row in curve.to_dict("records"):
        values = {name: row[name] for name in ("train/loss", "validation/loss")}
        writer.log(run_id, int(row["update"]), values, 1.7e9 + row["time_seconds"])
    final = {
        "test/loss": float(loss[-1]),
        "validation/loss": float(loss[-1]),
        "tokens": 4_480_000,
        "seconds": 40.0,
    }
    final |= {"objective": float(loss[-1]), "num_parameters": 20_000, "num_states": 128}
    samples = [{"prefix": "The ", "text": "The cell is written " * 3}]
    files = {"curve.csv": curve.to_csv(index=False)}
    writer.end_run(run_id, RunState.FINISHED, {}, final, files, samples)


def timings(arm: str, rng: np.random.Generator) -> pd.DataFrame:
    """Returns the runtime phase of one arm."""
    rows = [
        {"arm": arm, "mode": mode, "pack": pack, "round": number, "seconds": 0.01, "busy": False}
        | {"tokens_per_second": 1e5 * rng.gamma(200.0, 1 / 200.0)}
        for mode in ("train", "forward")
        for pack in (1, 8)
        for number in range(20)
    ]
    return pd.DataFrame(rows).assign(engine="cpu", device="cpu", precision="float32", threads=2)


def measure(path: Path) -> dict[str, float]:
    """Returns the seconds of each step from the store to the page, and the page's bytes."""
    seconds: dict[str, float] = {}
    begun = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal begun
        seconds[step], begun = time.perf_counter() - begun, time.perf_counter()

    loaded, reader = open_study(str(path), (), Locations(path.parent))
    lap("open_seconds")
    frames = reader.runs(), reader.curves(), reader.timings()
    lap("read_seconds")
    report = build_report(loaded, *frames, [])
    lap("build_seconds")
    page = report.html()
    lap("page_seconds")
    num_runs = NUM_ARMS * NUM_SEEDS
    assert (len(frames[0]), len(frames[1])) == (num_runs, num_runs * NUM_POINTS)
    return {**seconds, "total_seconds": sum(seconds.values()), "page_bytes": len(page.encode())}


def main() -> None:
    """Plants, measures in a fresh process, and writes the figure."""
    with tempfile.TemporaryDirectory() as folder:
        path = plant(Path(folder))
        command = [sys.executable, __file__, str(path)]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(process.stdout)
    shape = {
        "arms": NUM_ARMS,
        "seeds": NUM_SEEDS,
        "points": NUM_POINTS,
        "date": date.today().isoformat(),
    }
    OUT.write_text(
        json.dumps({**shape, **measured, **provenance.describe("cpu")}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        main()
