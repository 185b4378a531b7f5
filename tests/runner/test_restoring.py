"""Optuna's database is lost, or an old copy of it came back, while MLflow's has the runs."""

import io

import pandas as pd
import pytest
import small_study
from rich.console import Console

from harness.runner import launch
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.tuning import storage as storages

pytestmark = pytest.mark.usefixtures("without_report_files")

SHARED = """\
  learning_rate: {low: 0.005, high: 0.1, log: true}
  seeds: 2
  finalists: 2
  finalist_seeds: 2
"""


def write(folder, version):
    """Writes a study whose searches take two rounds."""
    path = small_study.write(folder, trials=4, seeds=2, updates=8)
    if version == 2:
        text = path.read_text().replace("version: 1", "version: 2")
        old = "  learning_rate: {low: 0.005, high: 0.1, log: true}\n"
        assert old in text
        path.write_text(text.replace(old, SHARED))
    return path


def run(folder):
    """Runs the study and returns what it says."""
    said = Console(file=io.StringIO(), width=200)
    launch.run(folder / "small.yaml", locations=Locations(folder), force=True, console=said)
    return said.file.getvalue()


def runs(folder):
    rows = StudyReader(Locations(folder).tracking_uri, "small").runs()
    rows = rows[["run_id", "arm", "phase", "index", "draw", "state", "objective"]]
    return rows.sort_values(["arm", "phase", "index", "draw"], ignore_index=True)


def trials(folder):
    """Returns every arm's trials; what a pruner was told of them, too."""
    found = {}
    with storages.opened(Locations(folder).storage_url) as storage:
        for summary in storage.get_all_studies():
            stored = storage.get_all_trials(storage.get_study_id_from_name(summary.study_name))
            found[summary.study_name.split("/")[1]] = [
                (t.number, t.state, t.params, t.value, t.intermediate_values) for t in stored
            ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_a_search_that_is_lost_is_restored_and_nothing_is_trained_again(tmp_path, version):
    folder = tmp_path / "study"
    path = write(folder, version)
    run(folder)
    before, trials_before = runs(folder), trials(folder)
    (folder / "optuna.db").rename(tmp_path / "lost.db")
    path.write_text(path.read_text().replace("seeds: 2}", "seeds: 3}"))
    assert "Optuna's storage lacked 8 trials whose runs MLflow holds" in run(folder)
    after = runs(folder)
    assert len(after) == len(before) + 2 and set(after["phase"]) == set(before["phase"])
    pd.testing.assert_frame_equal(
        after[after["run_id"].isin(before["run_id"])].reset_index(drop=True), before
    )
    assert trials(folder) == trials_before
