"""A run that failed has no result: it is trained again, and its cause is told once."""

import io

import pandas as pd
import pytest
import small_study
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import app
from harness.runner import launch
from harness.runner.failures import MAX_IN_A_ROW, Failures
from harness.store.locations import Locations
from harness.store.reader import StudyReader
from harness.study.units import Phase, RunKey, Unit
from harness.training.shard import Shard

pytestmark = pytest.mark.usefixtures("without_report_files")


def run(path, folder):
    console = Console(file=io.StringIO(), width=100)
    report = launch.run(path, locations=Locations(folder), console=console, force=True)
    return report, console.file.getvalue()


def results(folder):
    runs = StudyReader(Locations(folder).tracking_uri, "small").runs()
    columns = ["arm", "phase", "index", "seed", "state", "objective", "test/loss"]
    return runs[columns].sort_values(["arm", "phase", "index"], ignore_index=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(small_study.write(folder, seeds=3), folder)
    return results(folder)


class Disk:
    """A disk that is full for some evaluations of some runs."""

    def __init__(self, monkeypatch, is_full):
        self.evaluations = 0
        evaluate = Shard.evaluate

        def full(shard, split, **which):
            self.evaluations += 1
            if is_full(self, shard):
                raise OSError(28, "No space left on device")
            return evaluate(shard, split, **which)

        monkeypatch.setattr(Shard, "evaluate", full)


def is_wide(shard):
    return shard.model.arch.hidden_size == 16


def test_a_failure_now_and_then_changes_no_number(tmp_path, monkeypatch, undisturbed):
    Disk(monkeypatch, lambda disk, shard: disk.evaluations % 11 == 0)
    report, said = run(small_study.write(tmp_path, seeds=3), tmp_path)
    assert not report.missing and "OSError: [Errno 28] No space left on device" in said
    pd.testing.assert_frame_equal(results(tmp_path), undisturbed)


def test_an_arm_that_keeps_failing_is_left_alone_and_goes_on_another_time(
    tmp_path, monkeypatch, undisturbed
):
    with monkeypatch.context() as patch:
        disk = Disk(patch, lambda disk, shard: is_wide(shard))
        path = small_study.write(tmp_path, seeds=3)
        report, said = run(path, tmp_path)
        assert said.count("failed, OSError") - said.count("runs failed, OSError") == 1
        assert "wide: 4 runs failed, OSError: [Errno ...] No space left" in said.replace("\n", " ")
        assert any(line.startswith("wide: 0 of 4 trials ended") for line in report.missing)
        assert not any(line.startswith("narrow") for line in report.missing)
        tried = disk.evaluations
        done = CliRunner().invoke(app, ["run", str(path), "--folder", str(tmp_path), "--force"])
        assert done.exit_code == 1 and disk.evaluations > tried
        stored = StudyReader(Locations(tmp_path).tracking_uri, "small")  # it says the same again
        assert not stored.tags()["mlflow.note.content"].startswith("Running")
        assert "RUNNING" not in {row.status for row in stored.search()}
    report, _ = run(path, tmp_path)
    assert not report.missing
    pd.testing.assert_frame_equal(results(tmp_path), undisturbed)
    messages = StudyReader(Locations(tmp_path).tracking_uri, "small").search()
    assert not any(row.tags.get("message") for row in messages)


def test_replicates_that_failed_are_missing_and_come_back(tmp_path, monkeypatch, undisturbed):
    path = small_study.write(tmp_path, seeds=3)
    with monkeypatch.context() as patch:
        Disk(patch, lambda disk, shard: is_wide(shard) and "replicate" in shard.runs[0].id)
        report, _ = run(path, tmp_path)
        assert any("replicates are missing" in line for line in report.missing)
    report, _ = run(path, tmp_path)
    assert not report.missing
    pd.testing.assert_frame_equal(results(tmp_path), undisturbed)


def test_three_in_a_row_of_one_cause_stop_a_unit_and_a_success_between_does_not():
    unit, other = Unit("lstm"), Unit("gru")
    keys = [RunKey(unit, Phase.TRIAL, number) for number in range(9)]
    failures = Failures()
    assert failures.add(keys[0], "OSError: [Errno 28] no space", set())
    assert not failures.add(keys[1], "OSError: [Errno 28] no space", set())
    failures.clear(unit)
    failures.add(keys[2], "OSError: [Errno 28] no space", set())
    failures.add(keys[3], "OSError: [Errno 28] no space", set())
    assert not failures.stops(unit)
    failures.add(keys[4], "OSError: [Errno 28] no space", set())
    assert failures.stops(unit) and not failures.stops(other)
    for number in range(MAX_IN_A_ROW):
        assert not failures.stops(other)
        failures.add(RunKey(other, Phase.TRIAL, number), f"{'Value' * (number % 2)}Error: x", set())
    assert failures.stops(other)
    pack, told = Unit("rnn-tanh"), set()
    for number in range(8):  # all runs of a pack fall together, once
        failures.add(RunKey(pack, Phase.REPLICATE, number), "OSError: gone", told)
    assert not failures.stops(pack)
    line = next(iter(failures.lines("harness run small --folder out")))
    assert line.startswith("lstm: 5 runs failed, OSError: [Errno ...] no")
    assert line.endswith(
        "; no more is trained of it now. `harness run small --folder out` tries again."
    )
