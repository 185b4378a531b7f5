"""A store that commit e496428 wrote opens, continues and reports with the numbers of that commit.

old_store/make.py made it. It stands where it stood then, since runs and checkpoints know the path
of their text.
"""

import io
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from filelock import FileLock
from rich.console import Console

from harness.results import export
from harness.runner import launch
from harness.statistics import decisions
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.training import pack

ROOT = Path("/tmp/recurrent-bench-store")
ARCHIVE = Path(__file__).parent / "old_store" / "store.tar.xz"
KEYS = ["condition", "arm", "repeat", "phase", "index"]
LOSSES = ["objective", "validation/loss", "test/loss", "train/loss"]
ROUNDING = 2e-5
"""Runs that another processor ends differ by rounding: forty updates of it in float32."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_report_files")]


@pytest.fixture(scope="module")
def old():
    """Locations of the old store, unpacked."""
    # Of each user a lock: in /tmp nobody may open another's.
    with FileLock(f"{ROOT}.{os.getuid()}.lock"):
        shutil.rmtree(ROOT, ignore_errors=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(ROOT, filter="data")
        yield Locations(ROOT / "store")
        shutil.rmtree(ROOT)


def run(locations, name):
    console = Console(file=io.StringIO(), width=80)
    report = launch.run(locations.folder / f"{name}.yaml", locations=locations, console=console)
    return report, console.file.getvalue()


def runs_of(locations, name):
    runs = StudyReader(locations.tracking_uri, name).runs()
    return runs.sort_values(KEYS, ignore_index=True)


def expected(name, file):
    dtypes = {"condition": "str", "arm": "str", "phase": "str", "seed": "str"}
    frame = pd.read_csv(ROOT / "expected" / name / f"{file}.csv", dtype=dtypes)
    return frame.assign(condition=frame["condition"].fillna(""))


def rows_of(printed):
    """The cells of the printed tables: arm, perplexity, ratio, p, speed and verdict.

    A speed is without its interval and the sign of what is undecided, which older reports lack.
    """
    interval = re.compile(r"( \([\d.]+-[\d.]+\))?\??(?= +\w+$)")
    cells = [interval.sub("", line.rstrip()).split() for line in printed.splitlines()]
    ends = {word.split()[0] for word in (*get_args(decisions.Verdict), "baseline")}
    numbered = [row for row in cells if len(row) > 2 and row[1].replace(".", "").isdigit()]
    rows = [row for row in numbered if row[-1] in ends]
    assert len(rows) == 6, "two conditions of three arms"
    return rows


def test_a_finished_study_trains_nothing_and_reports_the_same_to_the_last_digit(old, monkeypatch):
    def forbidden(*_):
        raise AssertionError("a finished study must not train")

    monkeypatch.setattr(pack.Pack, "__init__", forbidden)
    before = runs_of(old, "finished")
    report, said = run(old, "finished")
    printed = (ROOT / "expected" / "finished" / "report.txt").read_text()
    assert rows_of(said) == rows_of(printed)
    pd.testing.assert_frame_equal(runs_of(old, "finished"), before)
    wanted = expected("finished", "verdict")
    table = pd.read_csv(io.StringIO(report.table.to_csv(index=False)))
    pd.testing.assert_frame_equal(table[wanted.columns], wanted, check_dtype=False, rtol=1e-12)
    again, _ = run(old, "finished")  # now by the way that asks the store alone
    pd.testing.assert_frame_equal(again.table, report.table)


@pytest.mark.parametrize("name, num_running", [("trials", 2), ("replicates", 7)])
def test_a_study_under_way_goes_on_from_its_checkpoints(old, name, num_running):
    before = runs_of(old, name)
    assert (before["state"] == "running").sum() == num_running
    report, said = run(old, name)
    assert not report.missing and "not used" not in said
    after, wanted = runs_of(old, name), expected(name, "runs").sort_values(KEYS, ignore_index=True)
    facts = [*KEYS, "seed", "state", "num_parameters", "tokens", "corpus_fingerprint"]
    pd.testing.assert_frame_equal(after[facts], wanted[facts], check_dtype=False)
    pd.testing.assert_frame_equal(after[LOSSES], wanted[LOSSES], rtol=ROUNDING, atol=0.0)
    known = before["state"] != "running"
    ended = after.merge(before.loc[known, ["run_id"]], on="run_id")
    pd.testing.assert_frame_equal(
        ended[[*KEYS, "run_id", *LOSSES]],
        before.loc[known, [*KEYS, "run_id", *LOSSES]].reset_index(drop=True),
    )
    verdict = expected(name, "verdict").set_index("arm")["verdict"]
    assert report.table.set_index("arm")["verdict"].to_dict() == verdict.to_dict()
    export.export(name, (), old, ROOT / "out" / name, ["csv"])
