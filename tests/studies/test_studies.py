"""Every shipped study is a test: it can be read, resolved, and its arms train two updates."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness import study
from harness.preflight.design import design_problem
from harness.preflight.probe import probe_arm
from harness.preflight.resolve import resolve
from harness.runner import launch
from harness.settings import Budget
from harness.store.locations import Locations

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(p for p in ROOT.glob("studies/**/*.yaml") if p.parent.name != "published")
"""The studies of published figures have texts of their own: see test_published_recipes.py."""
REPRODUCTIONS = {"s1", "s2", "s3", "s4", "s5", "gru-2019"}
TIMED = {"peer"}
"""Of few seeds: it is run for its seconds."""


def lyrics_zip(folder: Path) -> Path:
    """Returns a zip of one's own with a text that has the prefixes of the published samples."""
    path = folder / "lyrics.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("lyrics.txt", "一只猫坐在窗前\n一只狗睡在门后\n分开不分开 " * 400)
    return path


def load(path: Path, folder: Path) -> study.Study:
    overrides = [f"fix.path={lyrics_zip(folder)}"] if path.stem == "s3" else []
    return study.load(path, overrides)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_a_shipped_study_is_named_after_its_file_and_can_reach_its_threshold(path, tmp_path):
    loaded = load(path, tmp_path)
    assert loaded.name in (path.stem, f"{path.stem}-2019")
    problem = design_problem(loaded)
    assert (problem is not None) == (
        loaded.name in REPRODUCTIONS | TIMED
    )  # three seeds show numbers, not a verdict


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_arm_of_a_shipped_study_trains(path, tmp_path):
    loaded = load(path, tmp_path)
    loaded = replace(loaded, replicate=replace(loaded.replicate, seeds=1))
    settings, _ = resolve(loaded)
    for arm, own in settings.items():
        probe = probe_arm(loaded, arm, replace(own, budget=Budget(updates=2)))
        assert probe.pace.update_seconds > 0


def test_the_lyrics_study_runs_from_a_zip(tmp_path):
    overrides = (
        f"fix.path={lyrics_zip(tmp_path)}",
        "fix.hidden_size=8",
        "fix.budget={epochs: 2}",
        "compare.arms.framework.budget={epochs: 3}",
    )
    console = Console(file=io.StringIO(), width=100)
    path = ROOT / "studies" / "sources" / "s3.yaml"
    report = launch.run(
        path, overrides=overrides, locations=Locations(tmp_path), force=True, console=console
    )
    assert (report.table["finished"] == 3).all()
    assert "分开" in report.html()
