"""A study under several search seeds: does the same question get the same answer?

``python tools/search_stability.py STUDY FOLDER`` runs the study once for each seed, in a folder of
its own below FOLDER, without the runtime phase; what has run is not run again. It writes a row per
seed and arm to ``studies/results/stability/NAME.csv``.
"""

import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness import study
from harness.runner import launch
from harness.store.locations import Locations

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "studies" / "results" / "stability"
SEEDS = range(10)
COLUMNS = [
    "arm",
    "params",
    "verdict",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p_holm",
    "search_spread",
    "ratio_low_with_search",
    "ratio_high_with_search",
]
OPPOSITES = ({"better", "worse"},)
"""Verdicts that contradict one another."""


def verdicts(path: Path, folder: Path) -> pd.DataFrame:
    """Returns a row per search seed and arm, the columns of ``COLUMNS``."""
    frames = []
    for seed in SEEDS:
        overrides = (f"tune.search_seed={seed}", "measure.runtime=none")
        locations = Locations(folder / str(seed))
        (folder / str(seed)).mkdir(parents=True, exist_ok=True)
        report = launch.run(
            path, overrides=overrides, locations=locations, console=Console(stderr=True)
        )
        table = report.table[report.table["verdict"] != "baseline"]
        frames.append(table[COLUMNS].assign(search_seed=seed))
    rows = pd.concat(frames, ignore_index=True)
    return rows[["search_seed", *COLUMNS]]


def contradictions(rows: pd.DataFrame) -> list[str]:
    """Returns the arms that some seeds call better and others worse."""
    found = rows.groupby("arm")["verdict"].agg(set)
    return [str(arm) for arm, words in found.items() if any(pair <= words for pair in OPPOSITES)]


def main(arguments: list[str]) -> None:
    """Runs the study and writes its table."""
    path, folder = map(Path, arguments)
    rows = verdicts(path, folder)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows.to_csv(FOLDER / f"{study.load(path).name}.csv", index=False, float_format="%.6g")
    print(rows.groupby(["arm", "verdict"]).size().to_string())
    print("contradictions:", ", ".join(contradictions(rows)) or "none")


if __name__ == "__main__":
    main(sys.argv[1:])
